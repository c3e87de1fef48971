//! The table: endpoints, tunnels, nodes.

use super::balance::{self, Candidate};
use super::entry::{BestLocal, Choice, Entry, Remote};
use super::key::{Key, Name, Wanted};
use super::load::{QUIET_LOCAL, Rank, Trial};
use super::pick::{NodeState, Pick};
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;

/// How far a request has come. A type, so that a second hop between nodes cannot be written by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// From a client: local tunnels and other nodes.
    First,
    /// From another node (`x-piko-forward: true`, wire protocol 6.3): local tunnels only.
    Forwarded,
}

/// Whether a tunnel of this node is better than one of another (`--proxy.routing.prefer-local`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// All upstreams of the cluster get the same share.
    Even,
    /// A local tunnel is taken unless another node has clearly fewer requests under way.
    #[default]
    Local,
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

/// What the other nodes have that take new tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// How many such nodes there are.
    pub nodes: usize,
    /// Their listeners, of all endpoints together.
    pub listeners: u64,
}

/// A local tunnel gives way to another node when it has this many requests more under way than twice those
/// per listener there. A hop costs about as much as the request itself, so the queue it saves must be longer;
/// and the few requests that a handful of clients keep under way say nothing about load.
const LOCAL_SLACK: usize = 8;

/// The routing table of one process.
///
/// # Contract
///
/// `attach` and `detach` follow the tunnels; `node_up`, `node_down`, `node_draining`, `node_forget` and
/// `remote` follow gossip, in any order. [`select`](Self::select) gives a [`Pick`], which counts its request
/// for as long as it exists. Calls about tunnels and nodes that are unknown do nothing.
///
/// Memory: one entry per endpoint that has a tunnel here or a listener elsewhere, one per tunnel, one
/// per node. The callers' limits on tunnels and on gossip state bound all three.
#[derive(Debug, Default)]
pub struct Router {
    preference: Preference,
    endpoints: BTreeMap<Key, Entry>,
    tunnels: BTreeMap<TunnelId, EndpointId>,
    nodes: BTreeMap<NodeId, Node>,
}

#[derive(Debug)]
struct Node {
    proxy: Option<SocketAddr>,
    state: Arc<NodeState>,
    /// Endpoints that name this node; at zero a node that is down needs no entry.
    endpoints: usize,
}

impl Router {
    /// An empty table.
    pub fn new(preference: Preference) -> Self {
        Self { preference, ..Self::default() }
    }

    /// Adds a tunnel and says what to gossip. A tunnel serves one endpoint for its whole life: one that
    /// is attached already stays where it is, and the advert is about that endpoint.
    pub fn attach(&mut self, endpoint: EndpointId, tunnel: TunnelId) -> Advert {
        if let Some(endpoint) = self.tunnels.get(&tunnel).cloned() {
            let listeners = self.entry(endpoint.as_bytes()).map_or(0, Entry::listeners);
            return Advert { endpoint, listeners };
        }
        let entry = self.endpoints.entry(Key::new(endpoint.clone())).or_default();
        if entry.locals.is_empty() {
            // Most endpoints have one here, and each is part of what an idle tunnel costs.
            entry.locals.reserve_exact(1);
        }
        entry.locals.push((tunnel, Arc::default()));
        let listeners = entry.listeners();
        self.tunnels.insert(tunnel, endpoint.clone());
        Advert { endpoint, listeners }
    }

    /// Removes a tunnel and says what to gossip; `None` when it is gone already, so that nothing is
    /// counted out twice (rough edge R5).
    pub fn detach(&mut self, tunnel: TunnelId) -> Option<Advert> {
        let endpoint = self.tunnels.remove(&tunnel)?;
        let entry = self.endpoints.get_mut(&Wanted::new(endpoint.as_bytes()) as &dyn Name)?;
        entry.locals.retain(|(id, _)| *id != tunnel);
        let listeners = entry.listeners();
        self.drop_if_unused(&endpoint);
        Some(Advert { endpoint, listeners })
    }

    /// A node became active, or its proxy address changed. Counts that came before are used from here on.
    pub fn node_up(&mut self, node: NodeId, proxy: SocketAddr) {
        let entry = self.nodes.entry(node).or_insert_with(Node::unknown);
        if entry.proxy != Some(proxy) {
            // Whoever is at a new address, or is back, has done nothing wrong yet.
            entry.state.forgive();
        }
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

    /// A node says that it is about to go, or that it is not: it gets requests only while there is no better
    /// choice. May come before `node_up`.
    pub fn node_draining(&mut self, node: &NodeId, draining: bool) {
        if draining && !self.nodes.contains_key(node) {
            self.nodes.insert(node.clone(), Node::unknown());
        }
        if let Some(entry) = self.nodes.get(node) {
            entry.state.draining.store(draining, Ordering::Relaxed);
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
        let entry = self.endpoints.entry(Key::new(endpoint)).or_default();
        if let Some(remote) = entry.remotes.iter_mut().find(|remote| remote.node == *node) {
            remote.listeners = listeners;
        } else {
            known.endpoints += 1;
            let state = Arc::clone(&known.state);
            entry.remotes.push(Remote { node: node.clone(), state, load: Arc::default(), listeners });
        }
    }

    /// Where the next request for `endpoint` goes, or `None` when nobody serves it. The request counts as
    /// under way there until the pick is dropped.
    ///
    /// `dice` is any 64 random bits. `exclude` names what this request has tried; those are never given
    /// again. The module's documentation says who is chosen.
    pub fn select(
        &self,
        now: Instant,
        endpoint: &[u8],
        hop: Hop,
        dice: u64,
        exclude: &[Route],
    ) -> Option<Pick> {
        let entry = self.entry(endpoint)?;
        let choice = Choice { now, dice, exclude };
        let pick = self.find_trial(entry, hop, choice).or_else(|| self.choose(entry, hop, choice))?;
        if self.preference == Preference::Even && hop == Hop::First && pick.take() {
            entry.forget_half();
        }
        Some(pick)
    }

    /// The best of those that are not due for a trial.
    fn choose(&self, entry: &Entry, hop: Hop, choice: Choice<'_>) -> Option<Pick> {
        let now = choice.now;
        if let Some(tunnel) = entry.only_one() {
            let tried = choice.exclude.contains(&Route::Local(tunnel));
            return if tried { None } else { entry.pick_local(now, 0) };
        }
        let local = entry.best_local(choice);
        if hop == Hop::Forwarded || entry.remotes.is_empty() {
            return entry.pick_local(now, local?.at);
        }
        let rank = entry.best_remote_rank(choice);
        match (local, rank) {
            (None, None) => None,
            (Some(local), None) => entry.pick_local(now, local.at),
            (Some(local), Some(rank)) if local.rank < rank => entry.pick_local(now, local.at),
            (Some(local), Some(rank)) if local.rank == rank => self
                .pick_of_both(entry, choice, rank, local)
                .or_else(|| self.pick_remote(entry, choice, rank)),
            (_, Some(rank)) => self.pick_remote(entry, choice, rank),
        }
    }

    /// Whether somebody may get requests for `endpoint`: a tunnel of this process, or a node that is up.
    pub fn is_served(&self, endpoint: &[u8]) -> bool {
        self.entry(endpoint).is_some_and(Entry::is_served)
    }

    /// Whether somebody who is not in `exclude` may get requests for `endpoint`. For a forwarded one that counts nodes,
    /// too: who sent it may turn to them.
    pub fn has_other(&self, endpoint: &[u8], exclude: &[Route]) -> bool {
        self.entry(endpoint).is_some_and(|entry| entry.has_other(exclude))
    }

    /// The endpoints that `node` has and nobody serves: those that its end has left alone. Walks the table; nodes
    /// go rarely.
    pub fn left_alone(&self, node: &NodeId) -> impl Iterator<Item = &EndpointId> {
        let has = |entry: &Entry| entry.remotes.iter().any(|remote| remote.node == *node);
        let left = move |entry: &Entry| has(entry) && !entry.is_served();
        self.endpoints.iter().filter(move |(_, entry)| left(entry)).map(|(key, _)| &key.endpoint)
    }

    /// Requests for `endpoint` that are under way through the tunnels of this process.
    pub fn outstanding(&self, endpoint: &[u8]) -> usize {
        let Some(entry) = self.entry(endpoint) else { return 0 };
        entry.locals.iter().map(|(_, load)| load.outstanding()).fold(0, usize::saturating_add)
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

    /// The nodes that are up and stay, and how many listeners they have together: what this process compares
    /// itself with before it sheds tunnels. Walks the table: for once per second.
    pub fn elsewhere(&self) -> Elsewhere {
        let counts = |state: &NodeState| state.is_up() && !state.draining.load(Ordering::Relaxed);
        let nodes = self.nodes.values().filter(|node| counts(&node.state)).count();
        let remotes = self.endpoints.values().flat_map(|entry| &entry.remotes);
        let listeners =
            remotes.filter(|remote| counts(&remote.state)).map(|remote| u64::from(remote.listeners));
        Elsewhere { nodes, listeners: listeners.fold(0, u64::saturating_add) }
    }

    /// The endpoints that this process serves, each with its number of tunnels, in order of the ids. Sorts
    /// them: for status and for the start of gossip.
    pub fn local(&self) -> impl Iterator<Item = (&EndpointId, u32)> {
        let all = self.endpoints.iter().map(|(key, entry)| (&key.endpoint, entry.listeners()));
        let mut served: Vec<_> = all.filter(|(_, listeners)| *listeners > 0).collect();
        served.sort_unstable();
        served.into_iter()
    }

    /// How many tunnels, nodes, and endpoints of nodes are set aside, and get a trial request at a time at most.
    /// Walks the table: for metrics.
    pub fn set_aside(&self, now: Instant) -> usize {
        let is_aside = |rank: Rank| rank == Rank::Aside;
        let nodes = self.nodes.values().filter(|node| is_aside(node.state.health.rank(now))).count();
        let of_entry = |entry: &Entry| {
            let locals = entry.locals.iter().filter(|(_, load)| is_aside(load.health.rank(now))).count();
            locals + entry.remotes.iter().filter(|remote| is_aside(remote.load.health.rank(now))).count()
        };
        nodes + self.endpoints.values().map(of_entry).sum::<usize>()
    }

    /// How many tunnels are attached.
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    /// What is set aside and whose time is up, or what looks stalled: one request finds out.
    fn find_trial(&self, entry: &Entry, hop: Hop, choice: Choice<'_>) -> Option<Pick> {
        // Trials are for the first try of a request: a second one should succeed.
        if !choice.exclude.is_empty() {
            return None;
        }
        // Where one look finds trouble, more are worth their time; a large crowd is tried one by one.
        for (tunnel, load) in entry.locals.iter().take(TRIALS_SCAN_MAX) {
            if load.rank(choice.now, QUIET_LOCAL) > Rank::Quiet {
                if let Some(trial) = load.claim_trial(choice.now) {
                    return Some(Pick::new(choice.now, Route::Local(*tunnel), load, None, Some(trial)));
                }
            }
        }
        if hop == Hop::Forwarded {
            return None;
        }
        for remote in entry.remotes.iter().take(TRIALS_SCAN_MAX) {
            if !remote.state.is_up() || remote.rank(choice.now) <= Rank::Quiet {
                continue;
            }
            // What was set aside itself waits for its own time, whatever its node needs.
            let of_node = if remote.load.is_aside() { None } else { remote.state.claim_trial(choice.now) };
            let trial = of_node.or_else(|| remote.load.claim_trial(choice.now));
            if trial.is_some() {
                return self.pick_of(remote, choice.now, trial);
            }
        }
        None
    }

    /// Local tunnels and other nodes of the same rank.
    fn pick_of_both(&self, entry: &Entry, choice: Choice<'_>, rank: Rank, local: BestLocal) -> Option<Pick> {
        let now = choice.now;
        let remotes = &entry.remotes;
        let weight = |at: usize| remotes.get(at).map_or(0, |remote| remote.weight(choice, rank));
        match self.preference {
            Preference::Local => {
                if local.outstanding <= LOCAL_SLACK {
                    return entry.pick_local(now, local.at);
                }
                let at = balance::pick_weighted(remotes.len(), choice.dice, weight, |one, two| {
                    entry.is_less_busy(two, one, now)
                })?;
                let remote = remotes.get(at)?;
                // In words: local − slack > 2 × theirs per listener.
                let theirs = remote.load.estimate(now).saturating_mul(2);
                let ours = (local.outstanding - LOCAL_SLACK).saturating_mul(remote.listeners as usize);
                if ours > theirs { self.pick_of(remote, now, None) } else { entry.pick_local(now, local.at) }
            }
            Preference::Even => {
                let here = remotes.len();
                // Each local tunnel as good as `local` weighs as much as a listener elsewhere; `local` stands for all.
                let weight = |at: usize| if at == here { entry.listeners() } else { weight(at) };
                let ours = entry.local_stand(local);
                let stand = |at: usize| remotes.get(at).map_or(ours, |remote| remote.stand(now));
                let at = balance::pick_weighted(here + 1, choice.dice, weight, |one, two| {
                    stand(one).gives_way_to(stand(two))
                })?;
                match remotes.get(at) {
                    Some(remote) => self.pick_of(remote, now, None),
                    None => entry.pick_local(now, local.at),
                }
            }
        }
    }

    /// A node of this rank.
    fn pick_remote(&self, entry: &Entry, choice: Choice<'_>, rank: Rank) -> Option<Pick> {
        let remotes = &entry.remotes;
        let weight = |at: usize| remotes.get(at).map_or(0, |remote| remote.weight(choice, rank));
        let at =
            balance::pick_weighted(remotes.len(), choice.dice, weight, |one, two| match self.preference {
                Preference::Local => entry.is_less_busy(two, one, choice.now),
                Preference::Even => entry.gives_way_to(one, two, choice.now),
            })?;
        self.pick_of(remotes.get(at)?, choice.now, None)
    }

    fn pick_of(&self, remote: &Remote, now: Instant, trial: Option<Trial>) -> Option<Pick> {
        let proxy = self.nodes.get(&remote.node)?.proxy?;
        let route = Route::Remote { node: remote.node.clone(), proxy };
        Some(Pick::new(now, route, &remote.load, Some(&remote.state), trial))
    }

    fn remove_remote(&mut self, node: &NodeId, endpoint: &EndpointId) {
        let wanted = Wanted::new(endpoint.as_bytes());
        let Some(entry) = self.endpoints.get_mut(&wanted as &dyn Name) else { return };
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
        if self.entry(endpoint.as_bytes()).is_some_and(Entry::is_unused) {
            self.endpoints.remove(&Wanted::new(endpoint.as_bytes()) as &dyn Name);
        }
    }

    fn entry(&self, endpoint: &[u8]) -> Option<&Entry> {
        self.endpoints.get(&Wanted::new(endpoint) as &dyn Name)
    }
}

/// A trial is looked for among so many tunnels and nodes of an endpoint: the look is part of every request.
const TRIALS_SCAN_MAX: usize = 8;

impl Node {
    fn unknown() -> Self {
        Self { proxy: None, state: Arc::default(), endpoints: 0 }
    }
}
