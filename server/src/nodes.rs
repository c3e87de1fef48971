//! Ways to the proxy ports of other nodes: plain HTTP/1.1 keep-alive, which Go nodes speak too, and links to those that
//! advertise them.

use crate::link::{self, Found, Link};
use crate::seldom::Seldom;

use piko_core::id::NodeId;
use piko_core::mux;
use piko_core::proxy::{Failure, cause};
use piko_core::time::Instant;
use piko_driver::tls::Connector;
use piko_driver::{Addr, Attempt, Connected, Io, MaybeTls, Members, Pool, Runtime, TunnelHandle, timeout_at};
use piko_observe::metrics::Counter;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

/// Connections to one node that wait: as many as requests are usually under way to it at once. More are
/// opened when needed, and closed behind their request.
const IDLE_MAX: usize = 256;
/// How long one waits. Go closes after 5 minutes, and firewalls forget idle connections after some more.
const IDLE: Duration = Duration::from_secs(60);
/// How long a node may take to accept. Nodes are close to each other; a retry elsewhere is better than a
/// second SYN after a lost one, which comes after 1 s, and a third after 3 s.
const DIAL: Duration = Duration::from_secs(2);
/// TCP asks a silent peer after this long whether it is still there: a request may wait for long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a node is, and its connections.
struct Place<R: Runtime> {
    proxy: SocketAddr,
    pool: Arc<Pool<R>>,
    link: Arc<Link>,
    /// It takes links.
    takes_links: bool,
}

impl<R: Runtime> Place<R> {
    /// What is under way goes on.
    fn close(&self) {
        self.pool.close();
        self.link.close();
    }
}

struct Places<R: Runtime> {
    up: BTreeMap<NodeId, Place<R>>,
    /// Nodes that take links, up or not.
    take_links: BTreeSet<NodeId>,
    /// Where each node that is known was last, up or not: what one sends that gossip misses is still its own.
    known: BTreeMap<NodeId, IpAddr>,
    /// The addresses in `known`.
    ips: BTreeSet<IpAddr>,
}

impl<R: Runtime> Places<R> {
    fn know(&mut self, node: &NodeId, ip: Option<IpAddr>) {
        let was = match ip {
            Some(ip) => self.known.insert(node.clone(), ip),
            None => self.known.remove(node),
        };
        if was != ip {
            self.ips = self.known.values().copied().collect();
        }
    }
}

/// The connections to all nodes that are up.
pub(crate) struct Nodes<R: Runtime> {
    pub(crate) rt: R,
    /// Nodes are reached by TLS when this one is.
    tls: Option<Arc<Connector>>,
    places: RwLock<Places<R>>,
    /// The limits of links, in both directions.
    pub(crate) links: Arc<mux::Config>,
    /// What shows other nodes that this one belongs to them.
    pub(crate) members: Option<Arc<Members>>,
    /// Connections that were opened, for the metrics.
    pub(crate) dials: Arc<Counter>,
    /// Nodes with which there is no agreement on TLS.
    tls_failures: Seldom,
}

impl<R: Runtime> fmt::Debug for Nodes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("dials", &self.dials).finish_non_exhaustive()
    }
}

/// What follows the membership; apart from the runtime, so that its owner needs none.
pub(crate) trait Follow: Send + Sync {
    /// A node is up at this address.
    fn up(&self, node: &NodeId, proxy: SocketAddr);
    /// A node is gone: its connections are closed once their requests are done, idle ones at once.
    fn down(&self, node: &NodeId);
    /// A node is gone for good.
    fn forget(&self, node: &NodeId);
    /// Whether a node takes links.
    fn takes_links(&self, node: &NodeId, takes: bool);
}

impl<R: Runtime> Follow for Nodes<R> {
    fn up(&self, node: &NodeId, proxy: SocketAddr) {
        let mut places = self.write();
        places.know(node, Some(proxy.ip().to_canonical()));
        if places.up.get(node).is_some_and(|place| place.proxy == proxy) {
            return;
        }
        let pool = Arc::new(Pool::new(self.rt.clone(), IDLE_MAX, IDLE));
        let takes_links = places.take_links.contains(node);
        let place = Place { proxy, pool, link: Arc::default(), takes_links };
        let old = places.up.insert(node.clone(), place);
        drop(places);
        if let Some(old) = old {
            old.close();
        }
    }

    fn down(&self, node: &NodeId) {
        let gone = self.write().up.remove(node);
        if let Some(gone) = gone {
            gone.close();
        }
    }

    fn forget(&self, node: &NodeId) {
        self.down(node);
        self.takes_links(node, false);
        self.write().know(node, None);
    }

    fn takes_links(&self, node: &NodeId, takes: bool) {
        let mut places = self.write();
        if takes {
            places.take_links.insert(node.clone());
        } else {
            places.take_links.remove(node);
        }
        if let Some(place) = places.up.get_mut(node) {
            place.takes_links = takes;
        }
    }
}

impl<R: Runtime> Nodes<R> {
    pub(crate) fn new(
        rt: R,
        tls: Option<Arc<Connector>>,
        members: Option<Arc<Members>>,
        dials: Arc<Counter>,
    ) -> Self {
        let places = RwLock::new(Places {
            up: BTreeMap::new(),
            take_links: BTreeSet::new(),
            known: BTreeMap::new(),
            ips: BTreeSet::new(),
        });
        Self { rt, tls, places, links: link::limits(), members, dials, tls_failures: Seldom::default() }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Places<R>> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node that is known has this address, as it advertises its proxy port.
    pub(crate) fn is_node(&self, ip: IpAddr) -> bool {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.ips.contains(&ip.to_canonical())
    }

    /// What is known of a node at this address: connections to an old one are not for requests to the new one.
    fn place<T>(&self, node: &NodeId, proxy: SocketAddr, look: impl FnOnce(&Place<R>) -> T) -> Option<T> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.up.get(node).filter(|place| place.proxy == proxy).map(look)
    }

    /// By which certificates and authorities nodes are judged at the moment ([`Connector::version`]).
    fn version(&self) -> u32 {
        self.tls.as_ref().map_or(0, |tls| tls.version())
    }

    fn pool(&self, node: &NodeId, proxy: SocketAddr) -> Option<Arc<Pool<R>>> {
        self.place(node, proxy, |place| place.pool.clone())
    }

    /// The link to a node, if there is one. If there should be one, it is opened for later requests.
    pub(crate) fn link(self: &Arc<Self>, node: &NodeId, proxy: SocketAddr) -> Option<TunnelHandle> {
        let version = self.version();
        let find = |place: &Place<R>| place.link.find(version, || self.rt.now());
        let look = |place: &Place<R>| match place.takes_links.then(|| find(place))? {
            Found::Up(handle) => Some(Ok(handle)),
            Found::Dial(number) => Some(Err((place.link.clone(), number))),
            Found::Nothing => None,
        };
        match self.place(node, proxy, look)?? {
            Ok(handle) => Some(handle),
            Err((link, number)) => {
                self.rt.spawn(link::dial(self.clone(), link, node.clone(), proxy, number));
                None
            }
        }
    }

    /// Ends all links, once their requests are done.
    pub(crate) fn close_links(&self) {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        for place in places.up.values() {
            place.link.close();
        }
    }

    /// A kept connection to the node, or a new one.
    pub(crate) async fn connect(
        &self,
        node: &NodeId,
        proxy: SocketAddr,
        attempt: Attempt,
    ) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        if !attempt.fresh
            && let Some(pool) = self.pool(node, proxy)
        {
            pool.only_since(self.version());
            if let Some(io) = pool.take(attempt.idempotent) {
                return Ok(Connected { io, pooled: true });
            }
        }
        let until = self.rt.now() + DIAL;
        let until = attempt.until.map_or(until, |at: Instant| at.min(until));
        self.dials.inc();
        let cause = match timeout_at(&self.rt, Some(until), self.dial(proxy)).await {
            Ok(Ok(io)) => return Ok(Connected { io, pooled: false }),
            Ok(Err(error)) => match error.kind() {
                _ if self.is_no_tls(node, proxy, &error) => cause::TLS_FAILED,
                io::ErrorKind::ConnectionRefused => cause::CONNECT_REFUSED,
                io::ErrorKind::TimedOut => cause::CONNECT_TIMEOUT,
                _ => cause::CONNECT_FAILED,
            },
            Err(_) => cause::CONNECT_TIMEOUT,
        };
        Err(Failure::Connect(cause))
    }

    /// Whether this error of a connection to a node is one of TLS: of the handshake, or the node's refusal behind it
    /// (RFC 8446 4.4.2.4). What no retry cures every request would repeat; it is told once in a while.
    pub(crate) fn is_no_tls(&self, node: &NodeId, proxy: SocketAddr, error: &io::Error) -> bool {
        let is_tls = self.tls.is_some() && error.kind() == io::ErrorKind::InvalidData;
        if is_tls && self.tls_failures.is_due(proxy, self.rt.now()) {
            tracing::warn!(target: "proxy.http", { "node-id" = %node, %proxy, %error }, "no TLS with node");
        } else {
            tracing::debug!(target: "proxy.http", { "node-id" = %node, %proxy, %error }, "failed to dial node");
        }
        is_tls
    }

    /// The node speaks TLS on its proxy port, and this one does not.
    pub(crate) fn wants_tls(&self, node: &NodeId, proxy: SocketAddr) {
        if self.tls_failures.is_due(proxy, self.rt.now()) {
            let error = "the node takes requests by TLS only, and the proxy port of this one is without";
            tracing::warn!(target: "proxy.http", { "node-id" = %node, %proxy, error }, "no TLS with node");
        }
    }

    pub(crate) async fn dial(&self, proxy: SocketAddr) -> io::Result<MaybeTls<R::Tcp>> {
        let io = self.rt.connect(&Addr::Ip(proxy)).await?;
        io.keep_alive(Some(KEEP_ALIVE));
        match &self.tls {
            None => Ok(MaybeTls::Plain(io)),
            // Boxed: most dials are plain, and the handshake's state would be part of every exchange.
            Some(tls) => Box::pin(tls.connect(io, &proxy.ip().to_string())).await,
        }
    }

    /// Keeps a connection for the next request to the node, if that is still there.
    pub(crate) fn keep(&self, node: &NodeId, proxy: SocketAddr, io: MaybeTls<R::Tcp>) {
        if let Some(pool) = self.pool(node, proxy) {
            pool.put(io);
        }
    }
}
