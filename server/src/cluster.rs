//! The cluster: what gossip tells about other nodes becomes routes, and what this node serves becomes gossip.

use crate::peers::Peers;
use piko_core::gossip::{GossipEvent, Key, Value};
use piko_core::id::{EndpointId, NodeId};
use piko_driver::{Addr, Gossip, Runtime, Shutdown, sleep_until, timeout_at};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
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
/// A node of ours that takes many requests over one connection.
pub(crate) const LINKS: &str = "_internal:links";

/// Between two tries to find the address behind a name.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// How long the address behind a name is good for: a pod that is replaced keeps its name and gets another address,
/// and the DNS may know the old one for a while.
const RESOLVE_FRESH: Duration = Duration::from_secs(15);
/// So many addresses of a name are tried, each for so long.
const ADDRS_TRIED: usize = 16;
const ADDR_TIME: Duration = Duration::from_secs(1);

/// What is known of one other node.
#[derive(Debug, Default)]
struct Seen {
    /// As it advertises it, and as it was found.
    proxy_text: Vec<u8>,
    proxy: Option<SocketAddr>,
    /// Which lookup is about `proxy_text`, where that is a name; earlier ones end.
    lookup: u64,
    /// An operator was told that the name is not found.
    complained: bool,
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
    /// How many names were looked up.
    lookups: u64,
    peers: Peers,
}

/// Somebody's proxy address is a name.
#[derive(Debug, PartialEq, Eq)]
struct Lookup {
    node: NodeId,
    name: String,
    port: u16,
    /// A node that goes back and forth between two names must not gather lookups.
    number: u64,
}

impl Membership {
    pub(crate) fn new(peers: Peers) -> Self {
        Self { nodes: BTreeMap::new(), lookups: 0, peers }
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
            GossipEvent::Twin { node, own, other } => {
                tracing::warn!(
                    target: "cluster",
                    { "node-id" = %node, addr = %own, "other-addr" = %other },
                    "another process has this node's id; every process needs a --cluster.node-id of its own"
                );
            }
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
            } else if key == LINKS.as_bytes() {
                self.peers.node_takes_links(node, true);
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
            let text = std::str::from_utf8(value).unwrap_or_default();
            let addr = text.parse().ok();
            // A name that is told again is that of a node that restarted: what it stood for serves until it is found.
            if addr.is_some() || seen.proxy_text != value {
                seen.proxy = addr;
            }
            (seen.proxy_text, seen.lookup) = (value.to_vec(), 0);
            if addr.is_none() {
                lookup = text.rsplit_once(':').and_then(|(name, port)| {
                    let port = port.parse().ok()?;
                    self.lookups += 1;
                    seen.lookup = self.lookups;
                    Some(Lookup { node: node.clone(), name: name.to_owned(), port, number: self.lookups })
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
        } else if key == LINKS.as_bytes() {
            self.peers.node_takes_links(node, false);
        } else if let Some(seen) = self.nodes.get_mut(node) {
            if key == PROXY_ADDR.as_bytes() {
                (seen.proxy, seen.proxy_text, seen.lookup) = (None, Vec::new(), 0);
            } else if key == ADMIN_ADDR.as_bytes() {
                seen.has_admin = false;
            }
            self.settle(node);
        }
    }

    /// A name was looked up. Says when to do it again; never, when the node has said something else meanwhile.
    fn found(&mut self, lookup: &Lookup, addrs: io::Result<Vec<SocketAddr>>) -> Option<Duration> {
        let seen = self.nodes.get_mut(&lookup.node).filter(|seen| seen.lookup == lookup.number)?;
        // Of several addresses the one in use stays: the order of answers says nothing.
        let in_use = seen.proxy;
        let best = addrs.and_then(|addrs| {
            let known = addrs.iter().copied().find(|addr| Some(*addr) == in_use);
            known.or(addrs.first().copied()).ok_or_else(|| io::ErrorKind::NotFound.into())
        });
        match best {
            Ok(addr) => {
                (seen.proxy, seen.complained) = (Some(addr), false);
                self.settle(&lookup.node);
                Some(RESOLVE_FRESH)
            }
            Err(error) => {
                // Its endpoints are known and cannot be reached: somebody has to hear why, once.
                if !std::mem::replace(&mut seen.complained, true) {
                    let Lookup { node, name, .. } = lookup;
                    tracing::warn!(target: "gossip", { "node-id" = %node, name, %error }, "failed to resolve proxy address");
                }
                Some(RESOLVE_AGAIN)
            }
        }
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
        Ok(addrs) => gossip.resolved(&node, &addrs),
        Err(error) => {
            tracing::debug!(target: "gossip", { "node-id" = %node, %error }, "failed to resolve gossip address");
        }
    }
}

/// Looks a name up again and again, until it is out of date.
async fn find<R: Runtime>(rt: R, membership: Arc<Mutex<Membership>>, lookup: Lookup, stop: Shutdown) {
    while !stop.is_triggered() {
        let mut addrs = rt.resolve(&lookup.name, lookup.port).await;
        let in_use = {
            let membership = membership.lock().unwrap_or_else(PoisonError::into_inner);
            membership.nodes.get(&lookup.node).and_then(|seen| seen.proxy)
        };
        if let Ok(found) = &mut addrs
            && let Some(addr) = answering(&rt, found, in_use).await
        {
            *found = vec![addr];
        }
        let again = membership.lock().unwrap_or_else(PoisonError::into_inner).found(&lookup, addrs);
        let Some(wait) = again else { return };
        sleep_until(&rt, rt.now() + wait).await;
    }
}

/// Of several addresses the first that takes connections, the one `in_use` before the others: a name may be an IPv4
/// and an IPv6 address of which one leads nowhere. `None` when there is no choice, or none of them does.
async fn answering<R: Runtime>(
    rt: &R,
    addrs: &[SocketAddr],
    in_use: Option<SocketAddr>,
) -> Option<SocketAddr> {
    if addrs.len() < 2 {
        return None;
    }
    let first = addrs.iter().filter(|addr| Some(**addr) == in_use);
    let rest = addrs.iter().filter(|addr| Some(**addr) != in_use);
    for addr in first.chain(rest).take(ADDRS_TRIED) {
        let connected = timeout_at(rt, Some(rt.now() + ADDR_TIME), rt.connect(&Addr::Ip(*addr))).await;
        if matches!(connected, Ok(Ok(_))) {
            return Some(*addr);
        }
    }
    None
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

#[cfg(test)]
mod tests;
