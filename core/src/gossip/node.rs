//! [`Node`]: what it is made of, and what the application sees of it.

use super::codec::{self, Entry, Header};
use super::config::Config;
use super::peer::{self, Peer, Told};
use super::rounds;
use super::state::{self, Keys};
use super::streams::Streams;
use super::twin::Twin;
use super::types::{
    CAPS_KEY, CAPS_VALUE, Counters, GossipEvent, Key, NodeInfo, NodeStatus, PacketError, PeerView, Refusal,
    SetError, Value,
};
use crate::id::NodeId;
use crate::rng::Rng;
use crate::time::{Deadline, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

/// Refusals of one kind are told at most this often.
const REFUSED_EVERY: Duration = Duration::from_secs(10);
/// Longer names of nodes and addresses are refused, in bytes: a host name has at most 253.
pub(super) const NAME_BYTES_MAX: usize = 260;

/// One member of the cluster: the machine.
///
/// # Contract
///
/// See the [module](super). After every call that takes something in, take out all that
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) have, then look at
/// [`poll_timeout`](Self::poll_timeout), which any of the calls may have changed. Nothing is lost when that is
/// done later or in another order: what is owed is state of the peers it is owed to, and never grows beyond that.
#[derive(Debug)]
pub struct Node {
    pub(super) me: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) addr_text: Arc<[u8]>,
    pub(super) own: Keys,
    /// The own keys changed since the last look at who is to be told.
    pub(super) own_changed: bool,
    pub(super) leaving: bool,
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// The latest time that was heard of.
    pub(super) now: Instant,
    /// What the wall clock said at `started`.
    wall_ms: u64,
    started: Instant,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) graves: BTreeMap<NodeId, Grave>,
    /// Bytes of all peers' keys.
    pub(super) state_bytes: usize,
    /// Peers that something is owed to, each at most once.
    pub(super) ready: VecDeque<NodeId>,
    /// The last digest of a stranger.
    pub(super) stranger: Option<Stranger>,
    pub(super) streams: Streams,
    pub(super) twin: Twin,
    /// The order in which peers get their rounds: Go's, and ours.
    pub(super) cycles: [VecDeque<NodeId>; 2],
    pub(super) round_at: Instant,
    /// Nodes known from hearsay that may still be asked before the next round.
    pub(super) probes_left: usize,
    /// When a raise of the own versions is allowed again.
    pub(super) raise_at: Instant,
    /// The version of the last compaction, and when the next is allowed whoever lags behind.
    pub(super) compacted: (u64, Instant),
    /// Nodes with something to tell of, each at most once.
    news: VecDeque<NodeId>,
    /// Forgotten nodes that were told of.
    pub(super) gone: VecDeque<NodeId>,
    refusals: [(u64, Option<Instant>); Refusal::ALL.len()],
    pub(super) counters: Counters,
}

/// What remains of a forgotten node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grave {
    pub(super) version: u64,
    /// Moves on with every mention.
    pub(super) until: Instant,
}

/// A digest of somebody who is not proven: it gets no more than it gave, where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger {
    pub(super) to: SocketAddr,
    /// Bytes that it may still get.
    pub(super) allowance: usize,
    pub(super) delta_sent: bool,
    pub(super) request: bool,
}

impl Node {
    /// A node that knows nobody. The same `seed` makes the same choices.
    ///
    /// Publishes the first keys of `me`, then [`CAPS_KEY`], then the mark that makes peers drop what they remember
    /// of an earlier process with this id. First keys that fit into no datagram are left out.
    pub fn new(me: NodeInfo, config: Config, seed: u64, now: Instant) -> Self {
        let addr = peer::canonical(me.addr);
        let mut node = Self {
            addr,
            addr_text: Arc::from(alloc::format!("{addr}").into_bytes()),
            me: me.id,
            own: Keys::above(first_version(me.wall_ms)),
            own_changed: false,
            leaving: false,
            config: config.clamped(),
            rng: Rng::new(seed),
            now,
            wall_ms: me.wall_ms,
            started: now,
            peers: BTreeMap::new(),
            graves: BTreeMap::new(),
            state_bytes: 0,
            ready: VecDeque::new(),
            stranger: None,
            streams: Streams::default(),
            twin: Twin::new(now),
            cycles: [VecDeque::new(), VecDeque::new()],
            round_at: now,
            probes_left: rounds::ROUND_PROBES,
            raise_at: now,
            compacted: (0, now),
            news: VecDeque::new(),
            gone: VecDeque::new(),
            refusals: [(0, None); Refusal::ALL.len()],
            counters: Counters::default(),
        };
        let base = node.own.version();
        for (key, value) in &me.first {
            let _ = node.set(key, value);
        }
        node.own.set(CAPS_KEY.as_bytes(), CAPS_VALUE.as_bytes(), true);
        node.own.mark(base);
        node
    }

    /// Publishes a key, or changes its value. Refused, nothing changes.
    pub fn set(&mut self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.publish(key, value, false)
    }

    /// The same for a key that only our own nodes understand: its name should begin with `_internal:`, and Go
    /// stores it silently.
    pub fn set_internal(&mut self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.publish(key, value, true)
    }

    fn publish(&mut self, key: &Key, value: &Value, internal: bool) -> Result<(), SetError> {
        if self.leaving {
            return Err(SetError::Leaving);
        }
        let (key, value) = (key.as_bytes(), value.as_bytes());
        if key.is_empty() || [state::LEFT, state::COMPACT, CAPS_KEY.as_bytes()].contains(&key) {
            return Err(SetError::Reserved);
        }
        // A version of nine bytes is the longest.
        let entry = Entry { key, value, version: u64::MAX, internal, deleted: false };
        let me = self.header();
        if 2 + me.delta_len(0) + me.delta_len(u32::MAX) + codec::since_len(Some(u64::MAX)) + entry.len()
            > self.config.packet_bytes_max
        {
            return Err(SetError::Oversized);
        }
        self.own.set(key, value, internal);
        self.own_changed = true;
        Ok(())
    }

    /// Withdraws a key.
    pub fn unset(&mut self, key: &Key) {
        let reserved = [state::LEFT, state::COMPACT, CAPS_KEY.as_bytes()].contains(&key.as_bytes());
        if !self.leaving && !reserved {
            self.own.unset(key.as_bytes());
            self.own_changed = true;
        }
    }

    /// What was learnt. Changes are kept as marks on the nodes that they concern, so that they cannot grow beyond
    /// what is known.
    pub fn poll_event(&mut self) -> Option<GossipEvent> {
        if let Some(refused) = self.refused_event() {
            return Some(refused);
        }
        if let Some(twin) = self.twin_event() {
            return Some(twin);
        }
        if let Some(event) = self.streams.poll_event() {
            return Some(event);
        }
        if let Some(id) = self.gone.pop_front() {
            return Some(GossipEvent::Expired(id));
        }
        while let Some(id) = self.news.front() {
            let id = id.clone();
            if let Some(event) = self.peers.get_mut(&id).and_then(|peer| peer_event(&id, peer)) {
                return Some(event);
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.in_news = false;
            }
            self.news.pop_front();
        }
        None
    }

    fn refused_event(&mut self) -> Option<GossipEvent> {
        let now = self.now;
        for (why, (count, told)) in Refusal::ALL.into_iter().zip(&mut self.refusals) {
            if *count > 0 && told.is_none_or(|told| now.since(told) >= REFUSED_EVERY) {
                *told = Some(now);
                return Some(GossipEvent::Refused { why, count: core::mem::take(count) });
            }
        }
        None
    }

    /// When `handle_timeout` is wanted next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline::new(self.round_at, "gossip round"))
    }

    /// All known nodes by id, the local one among them.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        let before = self.peers.range(..&self.me).map(|(id, peer)| view(id, peer));
        let after = self.peers.range(&self.me..).map(|(id, peer)| view(id, peer));
        before.chain(core::iter::once(self.own_view())).chain(after)
    }

    /// One known node.
    pub fn peer(&self, id: &NodeId) -> Option<PeerView<'_>> {
        if *id == self.me {
            return Some(self.own_view());
        }
        self.peers.get_key_value(id).map(|(id, peer)| view(id, peer))
    }

    fn own_view(&self) -> PeerView<'_> {
        PeerView {
            id: &self.me,
            addr: &self.addr_text,
            status: if self.leaving { NodeStatus::Left } else { NodeStatus::Active },
            left: self.leaving,
            unreachable: false,
            ours: true,
            expiry: None,
            keys: &self.own,
        }
    }

    /// Totals for metrics.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who speaks in our messages.
    pub(super) fn header(&self) -> Header<'_> {
        Header { node_id: self.me.as_str().as_bytes(), addr: &self.addr_text }
    }

    /// Time went on.
    pub(super) fn observe(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Counts something that was refused.
    pub(super) fn refuse(&mut self, why: Refusal) {
        let at = Refusal::ALL.iter().position(|known| *known == why).unwrap_or_default();
        self.counters.refused[at] += 1;
        self.refusals[at].0 += 1;
    }

    pub(super) fn refuse_error(&mut self, error: PacketError) -> PacketError {
        self.refuse(match error {
            PacketError::Malformed => Refusal::Malformed,
            PacketError::TooLong => Refusal::TooLong,
            PacketError::Unknown => Refusal::Unknown,
        });
        error
    }

    /// Something changed that the application may have to hear of.
    pub(super) fn tell(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.in_news) {
            peer.in_news = true;
            self.news.push_back(id.clone());
        }
    }

    /// Something is owed to a peer.
    pub(super) fn owe(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.in_ready) {
            peer.in_ready = true;
            self.ready.push_back(id.clone());
        }
    }

    /// No version is taken that is beyond what the wall clock can justify, with ten years to spare: otherwise one
    /// forged number would freeze a node's keys for ever (weakness G10). Moves on with the clock, so that the
    /// owner can always move above what was taken.
    pub(super) fn version_ceiling(&self) -> u64 {
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let elapsed = self.now.since(self.started).as_millis() as u64;
        // A machine without a clock of its own thinks that it is 1970.
        let wall = self.wall_ms.max(55 * YEAR_MS).saturating_add(elapsed);
        first_version(wall.saturating_add(10 * YEAR_MS))
    }
}

/// Versions begin at the wall clock, 256 to the millisecond (wire protocol 10): more than a node can change. A
/// clock beyond the year 10,000 is none, and must not leave the versions without room to grow.
fn first_version(wall_ms: u64) -> u64 {
    wall_ms.min(1 << 48) * 256
}

fn view<'n>(id: &'n NodeId, peer: &'n Peer) -> PeerView<'n> {
    PeerView {
        id,
        addr: &peer.addr,
        status: peer.status(),
        left: peer.left,
        unreachable: peer.unreachable,
        ours: peer.ours,
        expiry: peer.expiry,
        keys: &peer.keys,
    }
}

/// The next thing to tell of a node: first how it stands, then its keys.
fn peer_event(id: &NodeId, peer: &mut Peer) -> Option<GossipEvent> {
    if core::mem::take(&mut peer.resolve) {
        return Some(GossipEvent::Resolve { node: id.clone(), addr: peer.addr.clone() });
    }
    let id = id.clone();
    let was = peer.told;
    match (was, peer.status()) {
        (Told::Nothing | Told::Left, NodeStatus::Active) => {
            peer.told = Told::Active;
            if was == Told::Nothing {
                // Until here changes were not worth telling.
                peer.news.extend(peer.keys.live_keys().cloned());
            }
            return Some(GossipEvent::Joined(id));
        }
        (Told::Unreachable, NodeStatus::Active) => {
            peer.told = Told::Active;
            return Some(GossipEvent::Reachable(id));
        }
        (Told::Active, NodeStatus::Unreachable) => {
            peer.told = Told::Unreachable;
            return Some(GossipEvent::Unreachable(id));
        }
        (Told::Active | Told::Unreachable, NodeStatus::Left) => {
            peer.told = Told::Left;
            return Some(GossipEvent::Left(id));
        }
        (Told::Nothing, _) => {
            peer.news.clear();
            return None;
        }
        _ => {}
    }
    while let Some(key) = peer.news.pop_first() {
        if [state::LEFT, state::COMPACT].contains(&key.as_bytes()) {
            continue;
        }
        return Some(match peer.keys.live(key.as_bytes()) {
            Some((value, internal)) => GossipEvent::Set { node: id, value: value.clone(), internal, key },
            None => GossipEvent::Unset { node: id, key },
        });
    }
    None
}
