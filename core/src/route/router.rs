//! The table: endpoints, tunnels, nodes.

use super::balance::{self, Candidate, Load};
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How far a request has come. A type, so that a second hop between nodes cannot be written by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// From a client: local tunnels, else another node.
    First,
    /// From another node (`x-piko-forward: true`, wire protocol 6.3): local tunnels only.
    Forwarded,
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through a tunnel of this process.
    Local(TunnelId),
    /// To the proxy port of another node.
    Remote {
        /// Which node.
        node: NodeId,
        /// Its advertised proxy address.
        proxy: SocketAddr,
    },
}

/// What this node is to tell the others about one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// How many tunnels of this process serve it; zero means that the key is to be deleted.
    pub listeners: u32,
}

/// The routing table of one process.
///
/// # Contract
///
/// `attach` and `detach` follow the tunnels; `node_up`, `node_down`, `node_forget` and `remote` follow
/// gossip, in any order. Every route that [`select`](Self::select) gave is given back exactly once by
/// [`release`](Self::release), whatever became of the request; [`fail`](Self::fail) may come before it.
/// Calls about tunnels and nodes that are unknown do nothing.
///
/// Memory: one entry per endpoint that has a tunnel here or a listener elsewhere, one per tunnel, one
/// per node. The callers' limits on tunnels and on gossip state bound all three.
#[derive(Debug, Default)]
pub struct Router {
    endpoints: BTreeMap<EndpointId, Entry>,
    tunnels: BTreeMap<TunnelId, Local>,
    nodes: BTreeMap<NodeId, Node>,
}

/// Who serves one endpoint.
#[derive(Debug, Default)]
struct Entry {
    /// In the order in which they came, which is the order of turns.
    locals: Vec<(TunnelId, Arc<Load>)>,
    remotes: Vec<Remote>,
    /// Whose turn it is; wraps.
    turn: AtomicUsize,
}

/// A tunnel, found by its id.
#[derive(Debug)]
struct Local {
    endpoint: EndpointId,
    load: Arc<Load>,
}

/// Another node's listeners of one endpoint.
#[derive(Debug)]
struct Remote {
    node: NodeId,
    state: Arc<NodeState>,
    listeners: u32,
}

#[derive(Debug)]
struct Node {
    proxy: Option<SocketAddr>,
    state: Arc<NodeState>,
    /// Endpoints that name this node; at zero a node that is down needs no entry.
    endpoints: usize,
}

/// The part of a node that `select` reads for each candidate without a look-up.
#[derive(Debug, Default)]
struct NodeState {
    up: AtomicBool,
    load: Load,
}

impl Router {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tunnel and says what to gossip. A tunnel serves one endpoint for its whole life: one that
    /// is attached already stays where it is, and the advert is about that endpoint.
    pub fn attach(&mut self, endpoint: EndpointId, tunnel: TunnelId) -> Advert {
        if let Some(known) = self.tunnels.get(&tunnel) {
            let endpoint = known.endpoint.clone();
            let listeners = self.endpoints.get(&endpoint).map_or(0, Entry::listeners);
            return Advert { endpoint, listeners };
        }
        let load = Arc::new(Load::default());
        let entry = self.endpoints.entry(endpoint.clone()).or_default();
        entry.locals.push((tunnel, Arc::clone(&load)));
        let listeners = entry.listeners();
        self.tunnels.insert(tunnel, Local { endpoint: endpoint.clone(), load });
        Advert { endpoint, listeners }
    }

    /// Removes a tunnel and says what to gossip; `None` when it is gone already, so that nothing is
    /// counted out twice (rough edge R5).
    pub fn detach(&mut self, tunnel: TunnelId) -> Option<Advert> {
        let Local { endpoint, .. } = self.tunnels.remove(&tunnel)?;
        let entry = self.endpoints.get_mut(&endpoint)?;
        entry.locals.retain(|(id, _)| *id != tunnel);
        let listeners = entry.listeners();
        self.drop_if_unused(&endpoint);
        Some(Advert { endpoint, listeners })
    }

    /// A node became active, or its proxy address changed. Counts that came before are used from here on.
    pub fn node_up(&mut self, node: NodeId, proxy: SocketAddr) {
        let entry = self.nodes.entry(node).or_insert_with(Node::unknown);
        entry.proxy = Some(proxy);
        entry.state.up.store(true, Ordering::Relaxed);
    }

    /// A node became unreachable or left: it gets no requests until [`node_up`](Self::node_up). Its
    /// counts are kept for its return.
    pub fn node_down(&mut self, node: &NodeId) {
        let Some(entry) = self.nodes.get_mut(node) else { return };
        entry.proxy = None;
        entry.state.up.store(false, Ordering::Relaxed);
        if entry.endpoints == 0 {
            self.nodes.remove(node);
        }
    }

    /// A node expired: all that is known about it goes. Walks the table; nodes expire rarely.
    pub fn node_forget(&mut self, node: &NodeId) {
        if self.nodes.remove(node).is_none() {
            return;
        }
        self.endpoints.retain(|_, entry| {
            entry.remotes.retain(|remote| remote.node != *node);
            !entry.is_unused()
        });
    }

    /// Another node advertises `listeners` of an endpoint; zero removes. May come before `node_up`.
    pub fn remote(&mut self, node: &NodeId, endpoint: EndpointId, listeners: u32) {
        if listeners == 0 {
            self.remove_remote(node, &endpoint);
            return;
        }
        let known = self.nodes.entry(node.clone()).or_insert_with(Node::unknown);
        let entry = self.endpoints.entry(endpoint).or_default();
        if let Some(remote) = entry.remotes.iter_mut().find(|remote| remote.node == *node) {
            remote.listeners = listeners;
        } else {
            known.endpoints += 1;
            let state = Arc::clone(&known.state);
            entry.remotes.push(Remote { node: node.clone(), state, listeners });
        }
    }

    /// Where the next request for `endpoint` goes, or `None` when nobody serves it. Counts the request
    /// in; give the route back with [`release`](Self::release).
    ///
    /// `dice` is any 64 random bits. `exclude` names what this request has tried; those are never given
    /// again. What is suspected is given only when nothing else is left. Local tunnels come first; other
    /// nodes are considered on the first hop only and by the number of their listeners.
    pub fn select(
        &self,
        now: Instant,
        endpoint: &[u8],
        hop: Hop,
        dice: u64,
        exclude: &[Route],
    ) -> Option<Route> {
        let entry = self.endpoints.get(endpoint)?;
        let remote = |suspected| match hop {
            Hop::First => self.select_remote(entry, now, dice, exclude, suspected),
            Hop::Forwarded => None,
        };
        entry
            .select_local(now, dice, exclude, false)
            .or_else(|| remote(false))
            .or_else(|| entry.select_local(now, dice, exclude, true))
            .or_else(|| remote(true))
    }

    /// Counts a request out.
    pub fn release(&self, route: &Route) {
        if let Some(load) = self.load(route) {
            load.count_out();
        }
    }

    /// The tunnel or node failed before it answered: it is suspected, that is passed over for a second
    /// unless it is the only choice. Does not count the request out.
    pub fn fail(&self, now: Instant, route: &Route) {
        if let Some(load) = self.load(route) {
            load.suspect(now);
        }
    }

    /// The tunnels to close so that `target` are left. Endpoints with the most tunnels give first, so
    /// that one loses its last tunnel only when no other has two; then the least busy tunnels go.
    ///
    /// Sorts all tunnels: for a rebalancing that runs once per second, not for the path of a request.
    pub fn shed(&self, target: usize) -> Vec<TunnelId> {
        let Some(count) = self.tunnels.len().checked_sub(target).filter(|count| *count > 0) else {
            return Vec::new();
        };
        let mut candidates = Vec::with_capacity(self.tunnels.len());
        for entry in self.endpoints.values() {
            let first = candidates.len();
            for (tunnel, load) in &entry.locals {
                let outstanding = load.outstanding();
                candidates.push(Candidate { siblings: 0, outstanding, tunnel: *tunnel });
            }
            // The least busy one of an endpoint goes while it has all its siblings, the busiest one last.
            let own = candidates.get_mut(first..).unwrap_or_default();
            own.sort_unstable_by_key(|candidate| {
                (candidate.outstanding, core::cmp::Reverse(candidate.tunnel))
            });
            for (siblings, candidate) in (1..=own.len()).rev().zip(own) {
                candidate.siblings = siblings;
            }
        }
        balance::shed(candidates, count)
    }

    /// The endpoints that this process serves, each with its number of tunnels, in order of the ids.
    pub fn local(&self) -> impl Iterator<Item = (&EndpointId, u32)> {
        let listeners = self.endpoints.iter().map(|(endpoint, entry)| (endpoint, entry.listeners()));
        listeners.filter(|(_, listeners)| *listeners > 0)
    }

    /// How many tunnels are attached.
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    fn select_remote(
        &self,
        entry: &Entry,
        now: Instant,
        dice: u64,
        exclude: &[Route],
        suspected: bool,
    ) -> Option<Route> {
        let remotes = &entry.remotes;
        let weight = |at: usize| match remotes.get(at) {
            Some(remote) if remote.is_usable(now, exclude, suspected) => remote.listeners,
            _ => 0,
        };
        let busy = |at: usize| remotes.get(at).map_or(usize::MAX, |remote| remote.state.load.outstanding());
        let remote = remotes.get(balance::pick_weighted(remotes.len(), dice, weight, busy)?)?;
        let proxy = self.nodes.get(&remote.node)?.proxy?;
        remote.state.load.count_in();
        Some(Route::Remote { node: remote.node.clone(), proxy })
    }

    fn load(&self, route: &Route) -> Option<&Load> {
        match route {
            Route::Local(tunnel) => Some(&self.tunnels.get(tunnel)?.load),
            Route::Remote { node, .. } => Some(&self.nodes.get(node)?.state.load),
        }
    }

    fn remove_remote(&mut self, node: &NodeId, endpoint: &EndpointId) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let Some(at) = entry.remotes.iter().position(|remote| remote.node == *node) else { return };
        entry.remotes.remove(at);
        self.drop_if_unused(endpoint);
        if let Some(known) = self.nodes.get_mut(node) {
            known.endpoints = known.endpoints.saturating_sub(1);
            if known.endpoints == 0 && known.proxy.is_none() {
                self.nodes.remove(node);
            }
        }
    }

    fn drop_if_unused(&mut self, endpoint: &EndpointId) {
        if self.endpoints.get(endpoint).is_some_and(Entry::is_unused) {
            self.endpoints.remove(endpoint);
        }
    }
}

impl Entry {
    fn listeners(&self) -> u32 {
        u32::try_from(self.locals.len()).unwrap_or(u32::MAX)
    }

    fn is_unused(&self) -> bool {
        self.locals.is_empty() && self.remotes.is_empty()
    }

    fn select_local(&self, now: Instant, dice: u64, exclude: &[Route], suspected: bool) -> Option<Route> {
        if self.locals.is_empty() {
            return None;
        }
        let usable = |at: usize| {
            self.locals.get(at).is_some_and(|(tunnel, load)| {
                (suspected || !load.is_suspected(now)) && !exclude.contains(&Route::Local(*tunnel))
            })
        };
        let busy = |at: usize| self.locals.get(at).map_or(usize::MAX, |(_, load)| load.outstanding());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (tunnel, load) = self.locals.get(balance::pick(self.locals.len(), turn, dice, usable, busy)?)?;
        load.count_in();
        Some(Route::Local(*tunnel))
    }
}

impl Remote {
    /// A node is excluded by its name: its address may have changed since it was tried.
    fn is_usable(&self, now: Instant, exclude: &[Route], suspected: bool) -> bool {
        self.state.up.load(Ordering::Relaxed)
            && (suspected || !self.state.load.is_suspected(now))
            && !exclude.iter().any(|tried| matches!(tried, Route::Remote { node, .. } if *node == self.node))
    }
}

impl Node {
    fn unknown() -> Self {
        Self { proxy: None, state: Arc::new(NodeState::default()), endpoints: 0 }
    }
}
