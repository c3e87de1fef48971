//! The cluster: what gossip tells about other nodes becomes routes, and what this node serves becomes gossip.

use crate::peers::Peers;
use piko_config::{ClusterOptions, Seed};
use piko_core::gossip::{GossipEvent, Key, PeerView, Value};
use piko_core::id::{EndpointId, NodeId};
use piko_driver::{Gossip, Joined, Runtime, Shutdown, sleep_until};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where requests of other nodes go (wire protocol 7.8).
pub(crate) const PROXY_ADDR: &str = "proxy_addr";
/// Where the status of a node is asked for.
pub(crate) const ADMIN_ADDR: &str = "admin_addr";
/// How many upstreams of an endpoint a node has; the endpoint's id follows.
pub(crate) const ENDPOINT: &[u8] = b"endpoint:";
/// A node of ours that is about to go. Go stores it silently, like every key that is marked as internal.
pub(crate) const DRAINING: &str = "_internal:draining";

/// Between two tries to find the address behind a name.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// The first wait after a join that reached nobody; it doubles (behaviour, server 3.10).
const JOIN_WAIT: Duration = Duration::from_secs(1);
const JOIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the names of the seeds are resolved anew, for nodes that nobody has heard of: two halves of a cluster
/// that started apart find each other (weakness G17). Soon at first, since nodes often start together.
const LOOK_WAIT: Duration = Duration::from_millis(250);
const LOOK_WAIT_MAX: Duration = Duration::from_secs(15);

/// What is known of one other node.
#[derive(Debug, Default)]
struct Seen {
    /// As it advertises it, and as it was found.
    proxy_text: Vec<u8>,
    proxy: Option<SocketAddr>,
    has_admin: bool,
    /// Not left and not unreachable.
    alive: bool,
    /// The routes know it.
    routed: bool,
}

/// Turns events into routes.
#[derive(Debug)]
pub(crate) struct Membership {
    nodes: BTreeMap<NodeId, Seen>,
    peers: Peers,
}

/// Somebody's proxy address is a name.
#[derive(Debug, PartialEq, Eq)]
struct Lookup {
    node: NodeId,
    name: String,
    port: u16,
    text: Vec<u8>,
}

impl Membership {
    pub(crate) fn new(peers: Peers) -> Self {
        Self { nodes: BTreeMap::new(), peers }
    }

    fn event(&mut self, event: GossipEvent) -> Option<Lookup> {
        match event {
            GossipEvent::Joined(node) => {
                tracing::info!(target: "gossip", { "node-id" = %node }, "node joined");
                self.nodes.entry(node.clone()).or_default().alive = true;
                self.settle(&node);
            }
            GossipEvent::Reachable(node) => {
                tracing::info!(target: "gossip", { "node-id" = %node }, "node reachable; updated cluster");
                self.nodes.entry(node.clone()).or_default().alive = true;
                self.settle(&node);
            }
            GossipEvent::Left(node) => {
                tracing::info!(target: "gossip", { "node-id" = %node }, "node leave; updated cluster");
                self.gone(&node);
            }
            GossipEvent::Unreachable(node) => {
                tracing::warn!(target: "gossip", { "node-id" = %node }, "node unreachable; updated cluster");
                self.gone(&node);
            }
            GossipEvent::Expired(node) => {
                tracing::info!(target: "gossip", { "node-id" = %node }, "node expired; removed from cluster");
                self.nodes.remove(&node);
                self.peers.node_forget(&node);
            }
            GossipEvent::Set { node, key, value, internal } => {
                return self.set(&node, key.as_bytes(), value.as_bytes(), internal);
            }
            GossipEvent::Unset { node, key } => self.unset(&node, key.as_bytes()),
            GossipEvent::Refused { why, count } => {
                tracing::warn!(target: "gossip", why = ?why, count, "refused messages");
            }
            // Told to whoever asked, or new in a later release of core.
            _ => {}
        }
        None
    }

    fn set(&mut self, node: &NodeId, key: &[u8], value: &[u8], internal: bool) -> Option<Lookup> {
        if internal {
            if key == DRAINING.as_bytes() {
                self.peers.node_draining(node, true);
            }
            return None;
        }
        if let Some(endpoint) = key.strip_prefix(ENDPOINT) {
            let listeners = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
            match (EndpointId::new(endpoint), listeners) {
                (Ok(endpoint), Some(listeners)) => {
                    let listeners = u32::try_from(listeners.max(0)).unwrap_or(u32::MAX);
                    self.peers.remote(node, endpoint, listeners);
                }
                _ => {
                    tracing::debug!(target: "gossip", { "node-id" = %node, key = %key.escape_ascii() }, "not an endpoint");
                }
            }
            return None;
        }
        let seen = self.nodes.entry(node.clone()).or_default();
        let mut lookup = None;
        if key == PROXY_ADDR.as_bytes() {
            if seen.proxy_text == value && seen.proxy.is_some() {
                return None;
            }
            seen.proxy_text = value.to_vec();
            let text = std::str::from_utf8(value).unwrap_or_default();
            seen.proxy = text.parse().ok();
            if seen.proxy.is_none() {
                lookup = text.rsplit_once(':').and_then(|(name, port)| {
                    let port = port.parse().ok()?;
                    Some(Lookup { node: node.clone(), name: name.to_owned(), port, text: value.to_vec() })
                });
            }
        } else if key == ADMIN_ADDR.as_bytes() {
            seen.has_admin = !value.is_empty();
        }
        self.settle(node);
        lookup
    }

    fn unset(&mut self, node: &NodeId, key: &[u8]) {
        if let Some(endpoint) = key.strip_prefix(ENDPOINT) {
            if let Ok(endpoint) = EndpointId::new(endpoint) {
                self.peers.remote(node, endpoint, 0);
            }
        } else if key == DRAINING.as_bytes() {
            self.peers.node_draining(node, false);
        } else if let Some(seen) = self.nodes.get_mut(node) {
            if key == PROXY_ADDR.as_bytes() {
                (seen.proxy, seen.proxy_text) = (None, Vec::new());
            } else if key == ADMIN_ADDR.as_bytes() {
                seen.has_admin = false;
            }
            self.settle(node);
        }
    }

    /// A name was found, unless the node has said something else meanwhile. True when that is done with.
    fn found(&mut self, lookup: &Lookup, addr: Option<SocketAddr>) -> bool {
        let Some(seen) = self.nodes.get_mut(&lookup.node).filter(|seen| seen.proxy_text == lookup.text)
        else {
            return true;
        };
        let Some(addr) = addr else { return false };
        seen.proxy = Some(addr);
        self.settle(&lookup.node);
        true
    }

    /// A node takes requests once both its addresses are known, as with Go's (wire protocol 7.8).
    fn settle(&mut self, node: &NodeId) {
        let Some(seen) = self.nodes.get_mut(node) else { return };
        match seen.proxy.filter(|_| seen.alive && seen.has_admin) {
            Some(proxy) => {
                seen.routed = true;
                self.peers.node_up(node, proxy);
            }
            None => {
                if std::mem::take(&mut seen.routed) {
                    self.peers.node_down(node);
                }
            }
        }
    }

    fn gone(&mut self, node: &NodeId) {
        if let Some(seen) = self.nodes.get_mut(node) {
            seen.alive = false;
        }
        self.settle(node);
    }
}

/// Hears the events of gossip; names are resolved off its loop (weakness G12).
pub(crate) fn hear<R: Runtime>(
    rt: &R,
    gossip: &Gossip,
    peers: Peers,
    stop: &Shutdown,
) -> impl FnMut(GossipEvent) + Send + use<R> {
    let membership = Arc::new(Mutex::new(Membership::new(peers)));
    let (rt, gossip, stop) = (rt.clone(), gossip.clone(), stop.clone());
    move |event| {
        if let GossipEvent::Resolve { node, addr } = &event {
            let work = resolve_gossip(rt.clone(), gossip.clone(), node.clone(), addr.to_vec());
            rt.spawn(work);
            return;
        }
        let lookup = membership.lock().unwrap_or_else(PoisonError::into_inner).event(event);
        if let Some(lookup) = lookup {
            rt.spawn(find(rt.clone(), membership.clone(), lookup, stop.clone()));
        }
    }
}

async fn resolve_gossip<R: Runtime>(rt: R, gossip: Gossip, node: NodeId, addr: Vec<u8>) {
    let text = String::from_utf8_lossy(&addr).into_owned();
    let Some((host, port)) = text.rsplit_once(':').and_then(|(h, p)| Some((h, p.parse().ok()?))) else {
        return;
    };
    match rt.resolve(host, port).await {
        Ok(addrs) => addrs.first().into_iter().for_each(|addr| gossip.resolved(&node, *addr)),
        Err(error) => {
            tracing::debug!(target: "gossip", { "node-id" = %node, %error }, "failed to resolve gossip address");
        }
    }
}

/// Looks a name up until it is found or out of date.
async fn find<R: Runtime>(rt: R, membership: Arc<Mutex<Membership>>, lookup: Lookup, stop: Shutdown) {
    while !stop.is_triggered() {
        let addr = rt.resolve(&lookup.name, lookup.port).await.ok().and_then(|addrs| addrs.first().copied());
        if membership.lock().unwrap_or_else(PoisonError::into_inner).found(&lookup, addr) {
            return;
        }
        sleep_until(&rt, rt.now() + RESOLVE_AGAIN).await;
    }
}

/// Publishes which endpoints this node serves, for as long as it runs.
pub(crate) async fn publish(peers: Peers, gossip: Gossip, stop: Shutdown) {
    let mut stopped = stop.listener();
    loop {
        let adverts = poll_fn(|cx| {
            if stopped.poll(cx).is_ready() {
                return std::task::Poll::Ready(None);
            }
            peers.poll_adverts(cx).map(Some)
        })
        .await;
        let Some(adverts) = adverts else { return };
        gossip.change(|node| {
            for advert in adverts {
                let key = Key::new([ENDPOINT, advert.endpoint.as_bytes()].concat());
                if advert.listeners == 0 {
                    node.unset(&key);
                } else if let Err(error) = node.set(&key, &Value::new(advert.listeners.to_string())) {
                    // An id of 1,024 bytes fits; a smaller datagram was asked for.
                    tracing::warn!(target: "gossip", { "endpoint-id" = %advert.endpoint, %error }, "endpoint not published");
                }
            }
        });
    }
}

/// Finds the nodes to join and joins them.
#[derive(Clone, Debug)]
pub(crate) struct Joiner<R> {
    pub(crate) rt: R,
    pub(crate) gossip: Gossip,
    /// The own name.
    pub(crate) id: NodeId,
    pub(crate) seeds: Vec<Seed>,
    /// The port of seeds that name none.
    pub(crate) port: u16,
    /// The own gossip address.
    pub(crate) own: SocketAddr,
}

impl<R: Runtime> Joiner<R> {
    /// One try at all seeds; `all`: also at nodes that are known already.
    pub(crate) async fn attempt(&self, all: bool) -> Result<Joined, String> {
        let mut addrs: Vec<SocketAddr> = Vec::new();
        let mut last = None;
        for seed in &self.seeds {
            match self.rt.resolve(&seed.host, seed.port.unwrap_or(self.port)).await {
                Ok(found) => addrs.extend(found),
                // The other seeds may be good (weakness G17).
                Err(error) => last = Some(format!("resolve {seed}: {error}")),
            }
        }
        addrs.sort_unstable();
        addrs.dedup();
        if !all {
            let known = self.known();
            addrs.retain(|addr| *addr != self.own && !known.contains(addr));
        }
        if addrs.is_empty() {
            return match last {
                Some(error) => Err(error),
                None => Ok(Joined { joined: 0, failed: 0 }),
            };
        }
        let joined = self.gossip.join(&addrs).await;
        match (joined.joined, last) {
            (0, Some(error)) => Err(error),
            (0, None) => Err(format!("no node answered at {}", list(&addrs))),
            _ => Ok(joined),
        }
    }

    /// The first try, which a node makes before it serves.
    pub(crate) async fn first(&self) -> bool {
        match self.attempt(true).await {
            Ok(_) => {
                self.tell();
                true
            }
            Err(error) => {
                tracing::warn!(target: "cluster", error, "failed to join cluster");
                false
            }
        }
    }

    fn tell(&self) {
        let others = |peer: PeerView<'_>| (*peer.id() != self.id).then(|| peer.id().to_string());
        let ids: Vec<String> = self.gossip.look(|node| node.peers().filter_map(others).collect());
        tracing::info!(target: "cluster", { "node-ids" = ?ids }, "joined cluster");
    }

    /// Tries again until somebody was joined or the time is up; an error says that it is.
    pub(crate) async fn again(&self, options: &ClusterOptions) -> Result<(), String> {
        let until = self.rt.now() + options.join_timeout;
        let mut wait = JOIN_WAIT;
        loop {
            let jitter = wait.mul_f64(fastrand::f64() / 10.0);
            let at = self.rt.now() + wait + jitter;
            sleep_until(&self.rt, at.min(until)).await;
            let outcome = self.attempt(true).await;
            match outcome {
                Ok(_) => {
                    self.tell();
                    return Ok(());
                }
                Err(error) if self.rt.now() >= until => return Err(error),
                Err(error) => tracing::warn!(target: "cluster", error, "failed to join cluster"),
            }
            wait = (wait * 2).min(JOIN_WAIT_MAX);
        }
    }

    /// Looks for nodes that nobody has told of, for ever.
    pub(crate) async fn look(&self) -> Infallible {
        let mut wait = LOOK_WAIT;
        loop {
            sleep_until(&self.rt, self.rt.now() + wait).await;
            wait = (wait * 2).min(LOOK_WAIT_MAX);
            match self.attempt(false).await {
                Ok(Joined { joined: 0, .. }) => {}
                Ok(_) => self.tell(),
                Err(error) => tracing::debug!(target: "cluster", error, "no further node"),
            }
        }
    }

    /// Gossip addresses of the nodes that are alive.
    fn known(&self) -> Vec<SocketAddr> {
        let alive = |peer: &PeerView<'_>| !peer.left() && !peer.unreachable();
        let addr = |peer: PeerView<'_>| std::str::from_utf8(peer.addr()).ok()?.parse().ok();
        self.gossip.look(|node| node.peers().filter(alive).filter_map(addr).collect())
    }
}

fn list(addrs: &[SocketAddr]) -> String {
    const SHOWN: usize = 8;
    let mut text = addrs.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addrs.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

/// Runs `work` unless `stop` comes first.
pub(crate) async fn unless<T>(stop: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut stopped = stop.listener();
    poll_fn(|cx| {
        if stopped.poll(cx).is_ready() {
            return std::task::Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
