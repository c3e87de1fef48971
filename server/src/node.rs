//! What the ports of one node share: the routes, the tunnels, the counters.

use crate::date;
use crate::waiting::{Held, Waiting};
use piko_core::id::{EndpointId, NodeId, TunnelId};
use piko_core::preface::HeaderVersion;
use piko_core::route::{Advert, Elsewhere, Hop, Pick, Preference, Route, Router};
use piko_core::time::Instant;
use piko_core::tunnel::Caps;
use piko_driver::{Clock, TunnelHandle};
use piko_observe::metrics::{Counter, CounterVec, Gauge, HttpMetrics, TcpMetrics};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

/// One server node.
#[derive(Debug)]
pub(crate) struct Node {
    router: RwLock<Router>,
    tunnels: RwLock<BTreeMap<TunnelId, Attached>>,
    next_tunnel: AtomicU64,
    ready: AtomicBool,
    draining: AtomicBool,
    pub(crate) requests: HttpMetrics,
    /// TCP connections that end here, in a tunnel.
    pub(crate) tcp: TcpMetrics,
    /// Connections that came in at the TCP ports of endpoints.
    pub(crate) port_tcp: TcpMetrics,
    /// Connections that came in at the port that routes TLS by name.
    pub(crate) sni_tcp: TcpMetrics,
    /// Connections of trusted networks that were refused for their PROXY header, by cause.
    pub(crate) proxy_headers_refused: Arc<CounterVec>,
    pub(crate) upstream_requests: Counter,
    pub(crate) remote_requests: CounterVec,
    /// Connections opened to other nodes.
    pub(crate) remote_dials: Arc<Counter>,
    /// Requests that went to another node over a link.
    pub(crate) link_requests: Counter,
    /// Links that other nodes have to this one.
    pub(crate) links: Gauge,
    /// Links that were asked for and refused.
    pub(crate) links_refused: Counter,
    /// When it was last said that another node's clock is wrong, in seconds since 1970.
    clock_told: AtomicU64,
    /// Requests under way that came over links.
    pub(crate) link_streams: Gauge,
    /// Requests that were sent once more, to another upstream or on another connection.
    pub(crate) retries: Counter,
    /// Tunnels that were sent to other nodes, because this one had more than its share.
    pub(crate) shed: Counter,
    /// An agent has asked for the clients of its streams; never taken back.
    names_clients: AtomicBool,
    /// Another node has been heard of; never taken back.
    has_others: AtomicBool,
    adverts: Mutex<Adverts>,
    clock: Clock,
    pub(crate) waiting: Waiting,
}

/// A tunnel, and what is told of it.
#[derive(Debug)]
struct Attached {
    handle: TunnelHandle,
    since: SystemTime,
    /// What the agent calls itself.
    agent: Option<Box<str>>,
    /// What both sides stated; nothing of Go's agents.
    caps: Option<Caps>,
}

impl Attached {
    fn proxy_header(&self) -> Option<HeaderVersion> {
        self.caps.as_ref().and_then(|caps| caps.proxy_header)
    }
}

/// One upstream as operators see it.
#[derive(Debug)]
pub(crate) struct UpstreamView {
    pub(crate) id: u64,
    pub(crate) handle: TunnelHandle,
    pub(crate) since: SystemTime,
    pub(crate) agent: Option<Box<str>>,
    pub(crate) caps: Option<Caps>,
}

/// Endpoints whose number of listeners has changed. Filled from the first look on, so that a node without a
/// cluster keeps no list; the latest number of each, so that it is never longer than the table.
#[derive(Debug, Default)]
struct Adverts {
    watched: bool,
    changed: BTreeMap<EndpointId, u32>,
    waker: Option<Waker>,
}

impl Adverts {
    fn push(&mut self, advert: Advert) -> Option<Waker> {
        if self.watched {
            self.changed.insert(advert.endpoint, advert.listeners);
        }
        self.waker.take()
    }
}

/// What a request is sent through.
#[derive(Debug)]
pub(crate) enum Via {
    /// Nobody is there; somebody may come.
    Held(Held),
    /// A stream of a link to another node, which may fail to open.
    Link(TunnelHandle),
    Node,
    /// A stream of a tunnel, which begins with a PROXY header where the agent asked for one.
    Tunnel(TunnelHandle, Option<HeaderVersion>),
}

/// Never held across an await; poison only follows a panic, which ends the process in releases.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(preference: Preference, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            router: RwLock::new(Router::new(preference)),
            tunnels: RwLock::new(BTreeMap::new()),
            next_tunnel: AtomicU64::new(1),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            requests: HttpMetrics::new("piko_proxy", None),
            tcp: TcpMetrics::new("piko_proxy", None),
            port_tcp: TcpMetrics::new("piko_proxy_port", None),
            sni_tcp: TcpMetrics::new("piko_proxy_sni", None),
            proxy_headers_refused: Arc::default(),
            upstream_requests: Counter::new(),
            remote_requests: CounterVec::new(),
            remote_dials: Arc::new(Counter::new()),
            link_requests: Counter::new(),
            links: Gauge::new(),
            links_refused: Counter::new(),
            clock_told: AtomicU64::new(0),
            link_streams: Gauge::new(),
            retries: Counter::new(),
            shed: Counter::new(),
            names_clients: AtomicBool::new(false),
            has_others: AtomicBool::new(false),
            adverts: Mutex::default(),
            clock,
            waiting: Waiting::default(),
        })
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The node is about to go.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Makes a tunnel routable; it is forgotten when the registration is dropped. `agent` is what the other side
    /// calls itself, `caps` what both sides stated.
    pub(crate) fn attach(
        self: &Arc<Self>,
        endpoint: &EndpointId,
        tunnel: TunnelHandle,
        agent: Option<Box<str>>,
        caps: Option<Caps>,
    ) -> Registration {
        let id = TunnelId(self.next_tunnel.fetch_add(1, Ordering::Relaxed));
        let attached = Attached { handle: tunnel.clone(), since: SystemTime::now(), agent, caps };
        write(&self.tunnels).insert(id, attached);
        self.tell(|router| Some(router.attach(endpoint.clone(), id)));
        self.waiting.served(endpoint);
        Registration { node: self.clone(), id, tunnel }
    }

    /// Changes the routes, and keeps in the same order what the others are to be told of it.
    fn tell(&self, change: impl FnOnce(&mut Router) -> Option<Advert>) {
        let waker = {
            let mut router = write(&self.router);
            change(&mut router)
                .and_then(|advert| self.adverts.lock().unwrap_or_else(PoisonError::into_inner).push(advert))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Changes what is known of other nodes.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Router)) {
        change(&mut write(&self.router));
    }

    /// Takes a tunnel out of the routes; `None` when it is out already.
    fn detach(&self, id: TunnelId) {
        let mut vacant = None;
        self.tell(|router| {
            let advert = router.detach(id)?;
            vacant = (!router.is_served(advert.endpoint.as_bytes())).then(|| advert.endpoint.clone());
            Some(advert)
        });
        self.waiting.vacated(self.clock.now(), vacant);
    }

    /// Another node has so many listeners on an endpoint; 0 is none.
    pub(crate) fn remote(&self, node: &NodeId, endpoint: EndpointId, listeners: u32) {
        let mut vacant = None;
        self.update(|router| {
            let was = router.is_served(endpoint.as_bytes());
            router.remote(node, endpoint.clone(), listeners);
            vacant = (was && !router.is_served(endpoint.as_bytes())).then(|| endpoint.clone());
        });
        if listeners > 0 {
            self.waiting.served(&endpoint);
        }
        self.waiting.vacated(self.clock.now(), vacant);
    }

    /// A node is active at this address.
    pub(crate) fn node_up(&self, node: &NodeId, proxy: SocketAddr) {
        self.update(|router| router.node_up(node.clone(), proxy));
        self.meet_others();
        self.waiting.wake();
    }

    /// A node is unreachable, or has left.
    pub(crate) fn node_down(&self, node: &NodeId) {
        let mut vacant = Vec::new();
        self.update(|router| {
            router.node_down(node);
            vacant = router.left_alone(node).cloned().collect();
        });
        self.waiting.vacated(self.clock.now(), vacant);
    }

    /// Some agent wants to know the clients of its streams.
    pub(crate) fn name_clients(&self) {
        self.names_clients.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::name_clients`] was said: else nobody needs to remember them.
    pub(crate) fn names_clients(&self) -> bool {
        self.names_clients.load(Ordering::Relaxed)
    }

    /// Monotonic time.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock that tunnels share: one of their own is 32 bytes for each.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// There are other nodes.
    pub(crate) fn meet_others(&self) {
        self.has_others.store(true, Ordering::Relaxed);
    }

    /// Requests may go to another node than this one.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// A node of the cluster, by the secret, has a clock that differs by so many minutes from this one's; `what` comes of
    /// it. Said once a minute, however often it happens.
    pub(crate) fn complain_of_clock(&self, minutes: u64, what: &'static str) {
        let now = date::unix_secs();
        let last = self.clock_told.load(Ordering::Relaxed);
        let is_due = last.abs_diff(now) >= 60;
        if is_due && self.clock_told.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(target: "cluster", { minutes, what }, "clocks of nodes differ");
        }
    }

    /// See [`Peers::poll_adverts`](crate::Peers::poll_adverts).
    pub(crate) fn poll_adverts(&self, cx: &mut Context<'_>) -> Poll<Vec<Advert>> {
        let router = read(&self.router);
        let mut adverts = self.adverts.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut adverts.watched, true) {
            adverts.changed =
                router.local().map(|(endpoint, listeners)| (endpoint.clone(), listeners)).collect();
        }
        if adverts.changed.is_empty() {
            adverts.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let changed = std::mem::take(&mut adverts.changed);
        Poll::Ready(changed.into_iter().map(|(endpoint, listeners)| Advert { endpoint, listeners }).collect())
    }

    /// Where a request goes, which is counted in for as long as the pick exists.
    pub(crate) fn select(
        &self,
        now: Instant,
        endpoint: &EndpointId,
        hop: Hop,
        tried: &[Route],
    ) -> Option<(Pick, Via)> {
        let mut tried_here = None;
        loop {
            let exclude = tried_here.as_deref().unwrap_or(tried);
            let pick =
                read(&self.router).select(now, endpoint.as_bytes(), hop, fastrand::u64(..), exclude)?;
            let via = match pick.route() {
                Route::Local(id) => {
                    let tunnels = read(&self.tunnels);
                    tunnels.get(id).map(|tunnel| Via::Tunnel(tunnel.handle.clone(), tunnel.proxy_header()))
                }
                Route::Remote { .. } => Some(Via::Node),
            };
            match via {
                Some(via) => return Some((pick, via)),
                // The tunnel left between the two looks.
                None => tried_here.get_or_insert_with(|| tried.to_vec()).push(pick.route().clone()),
            }
        }
    }

    /// Somebody is known for the endpoint.
    pub(crate) fn is_served(&self, endpoint: &EndpointId) -> bool {
        read(&self.router).is_served(endpoint.as_bytes())
    }

    /// Somebody else than `tried` and `now` is known for the endpoint, here or elsewhere.
    pub(crate) fn has_other(&self, endpoint: &EndpointId, tried: &[Route], now: &Route) -> bool {
        let exclude: Vec<Route> = tried.iter().chain([now]).cloned().collect();
        read(&self.router).has_other(endpoint.as_bytes(), &exclude)
    }

    /// Requests for the endpoint that are under way through tunnels of this node.
    pub(crate) fn outstanding(&self, endpoint: &EndpointId) -> usize {
        read(&self.router).outstanding(endpoint.as_bytes())
    }

    /// (endpoint, listeners) of this node.
    pub(crate) fn endpoints(&self) -> Vec<(EndpointId, u32)> {
        read(&self.router).local().map(|(endpoint, listeners)| (endpoint.clone(), listeners)).collect()
    }

    /// Tunnels that are routable.
    pub(crate) fn routable(&self) -> usize {
        read(&self.router).tunnels()
    }

    /// Every tunnel, also those that take no new streams.
    pub(crate) fn tunnels(&self) -> Vec<TunnelHandle> {
        read(&self.tunnels).values().map(|tunnel| tunnel.handle.clone()).collect()
    }

    /// Every tunnel, oldest first.
    pub(crate) fn upstreams(&self) -> Vec<UpstreamView> {
        let tunnels = read(&self.tunnels);
        let view = |(id, tunnel): (&TunnelId, &Attached)| UpstreamView {
            id: id.0,
            handle: tunnel.handle.clone(),
            since: tunnel.since,
            agent: tunnel.agent.clone(),
            caps: tunnel.caps.clone(),
        };
        tunnels.iter().map(view).collect()
    }

    /// Asks an agent of ours for its next tunnel, elsewhere if that is how its address is made. False when there
    /// is no such tunnel.
    pub(crate) fn hint(&self, id: TunnelId) -> bool {
        let handle = read(&self.tunnels).get(&id).map(|tunnel| tunnel.handle.clone());
        handle.inspect(TunnelHandle::hint).is_some()
    }

    /// Takes a tunnel down in order: no new requests, those in flight end within `grace`.
    pub(crate) fn retire(&self, id: TunnelId, grace: Duration) {
        self.detach(id);
        let handle = read(&self.tunnels).get(&id).map(|tunnel| tunnel.handle.clone());
        if let Some(handle) = handle {
            handle.drain(grace);
        }
    }

    /// What the other nodes have, see [`Router::elsewhere`].
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        read(&self.router).elsewhere()
    }

    /// What gets trial requests at most, see [`Router::set_aside`].
    pub(crate) fn set_aside(&self, now: Instant) -> usize {
        read(&self.router).set_aside(now)
    }

    /// The tunnels to give up so that `target` are left, see [`Router::shed`].
    pub(crate) fn choose_shed(&self, target: usize) -> Vec<TunnelId> {
        read(&self.router).shed(target)
    }
}

/// A tunnel in the tables, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    node: Arc<Node>,
    id: TunnelId,
    pub(crate) tunnel: TunnelHandle,
}

impl Registration {
    /// Takes the tunnel out of the routes; its open streams go on. Counted once, however often called.
    pub(crate) fn detach(&self) {
        self.node.detach(self.id);
    }

    /// Where the agent is, for the log.
    pub(crate) fn peer(&self) -> String {
        self.tunnel.info().peer.map(|peer| peer.ip().to_string()).unwrap_or_default()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.detach();
        write(&self.node.tunnels).remove(&self.id);
        // If its loop never ran, whoever opened a stream meanwhile must not wait for ever.
        self.tunnel.fail();
    }
}
