//! Joins, leaves and catching up: what travels over streams (wire protocol 7.4, 7.9, 7.11).

use super::codec::{self, DigestEntry, Header, Reply, Request, Section, StreamKind};
use super::node::Node;
use super::peer::{self, Told};
use super::receive::name;
use super::send::entry;
use super::state::{Keys, LEFT};
use super::types::{Channel, Exchanged, GossipEvent, JoinFault, PacketError, Refusal, StreamError, Transmit};
use crate::id::NodeId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Bound;
use core::time::Duration;

/// Addresses that wait to be joined.
const SEEDS_MAX: usize = 256;
/// Seeds that are asked at once. Mute ones take their time, and neither the good ones behind them nor what known nodes
/// have to say should wait for it.
const JOINS_AT_ONCE: usize = 32;
/// Streams under way to nodes that are not proven, so that lies about addresses do not use up all. So many more
/// may be under way to members that are said to have moved.
const PROOFS_MAX: usize = 2;
/// The driver gives up far earlier; this is for one that forgot.
const STREAM_TIME_MAX: Duration = Duration::from_secs(30);
/// Between two streams to one peer of ours, and to one of Go's make.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_GO: Duration = Duration::from_millis(500);
/// After a stream that failed.
const PAUSE_FAILED: Duration = Duration::from_secs(1);

/// The streams that this node opened or is about to open.
#[derive(Debug, Default)]
pub(super) struct Streams {
    next: u64,
    active: BTreeMap<Exchanged, Active>,
    /// Peers that want one, and the one that had the last turn.
    wanting: BTreeSet<NodeId>,
    served: Option<NodeId>,
    seeds: VecDeque<SocketAddr>,
    /// Joins that are neither ended nor told of.
    joins: Option<Joins>,
    leaves: VecDeque<NodeId>,
    /// Leaves that are neither acknowledged nor failed, and the acknowledged ones; gone once told of.
    leave: Option<(usize, usize)>,
}

#[derive(Debug, Default)]
struct Joins {
    open: usize,
    joined: usize,
    failed: usize,
    /// What was wrong with the last seeds that failed, until it is told.
    faults: VecDeque<(SocketAddr, JoinFault)>,
}

#[derive(Debug)]
struct Active {
    what: What,
    to: SocketAddr,
    since: Instant,
}

#[derive(Debug)]
enum What {
    Join,
    Leave,
    /// With the own version that the peer has once it answers.
    Sync(NodeId, u64),
    /// Whether a second process of the own id is there.
    Twin,
}

impl Streams {
    pub(super) fn poll_event(&mut self) -> Option<GossipEvent> {
        if let Some(joins) = &mut self.joins {
            if let Some((seed, why)) = joins.faults.pop_front() {
                return Some(GossipEvent::JoinFailed { seed, why });
            }
            if let Joins { open: 0, joined, failed, .. } = *joins {
                self.joins = None;
                return Some(GossipEvent::JoinEnded { joined, failed });
            }
        }
        if let Some((0, told)) = self.leave {
            self.leave = None;
            return Some(GossipEvent::LeaveEnded { told });
        }
        None
    }

    pub(super) fn want(&mut self, id: &NodeId) {
        self.wanting.insert(id.clone());
    }

    /// Takes the next one in turn.
    fn next_wanting(&mut self) -> Option<NodeId> {
        let served = self.served.take();
        let after =
            served.and_then(|id| self.wanting.range((Bound::Excluded(id), Bound::Unbounded)).next().cloned());
        let id = after.or_else(|| self.wanting.first().cloned())?;
        self.wanting.remove(&id);
        self.served = Some(id.clone());
        Some(id)
    }

    fn open(&mut self, what: What, to: SocketAddr, since: Instant) -> Exchanged {
        self.next += 1;
        let stream = Exchanged(self.next);
        self.active.insert(stream, Active { what, to, since });
        stream
    }

    /// Seeds that are being asked.
    fn joins_active(&self) -> usize {
        self.active.values().filter(|active| matches!(active.what, What::Join)).count()
    }

    /// The streams whose driver forgot them.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Exchanged> {
        let late = |active: &Active| now.since(active.since) > STREAM_TIME_MAX;
        self.active.iter().filter(|(_, active)| late(active)).map(|(id, _)| *id).collect()
    }
}

impl Node {
    /// Asks the nodes at these addresses for what they know; ends in one [`GossipEvent::JoinEnded`]. May be called
    /// at any time, for instance whenever the names of the seeds were resolved again. The own address counts as
    /// joined (wire protocol 7.11); of more than 256 waiting addresses the last ones count as failed.
    pub fn join(&mut self, now: Instant, seeds: &[SocketAddr]) {
        self.observe(now);
        let joins = self.streams.joins.get_or_insert_default();
        for seed in seeds.iter().map(|seed| peer::canonical(*seed)) {
            if seed == self.addr {
                joins.joined += 1;
            } else if self.streams.seeds.contains(&seed) {
                // It is asked once for both.
            } else if self.streams.seeds.len() >= SEEDS_MAX {
                joins.failed += 1;
            } else {
                joins.open += 1;
                self.streams.seeds.push_back(seed);
            }
        }
    }

    /// Says good-bye to all; ends in [`GossipEvent::LeaveEnded`] once some live nodes were told over streams, all
    /// at the same time. The node goes on answering until it is dropped. A second call does nothing.
    pub fn leave(&mut self, now: Instant) {
        self.observe(now);
        if core::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.own.set(LEFT, b"", true);
        self.own_changed = true;
        let mut live: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.is_live()).map(|(id, _)| id.clone()).collect();
        while live.len() > self.config.leave_told {
            live.swap_remove(self.rng.below(live.len() as u64) as usize);
        }
        self.streams.leave = Some((live.len(), 0));
        self.streams.leaves = live.into();
    }

    /// The next stream to open.
    pub(super) fn poll_stream(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(id) = self.streams.leaves.pop_front() {
            let Some(to) = self.peers.get(&id).and_then(|peer| peer.target) else {
                self.leave_done(false);
                continue;
            };
            codec::put_request(out, StreamKind::Leave, &self.header());
            codec::put_list(out, 1);
            self.put_own(out, 0, false, self.config.stream_bytes_max / 2);
            return Some(self.stream(What::Leave, to, StreamKind::Leave, out.len()));
        }
        let joins = self.streams.joins_active();
        if joins < JOINS_AT_ONCE {
            if let Some(to) = self.streams.seeds.pop_front() {
                self.put_join(out, None, 0);
                return Some(self.stream(What::Join, to, StreamKind::Join, out.len()));
            }
        }
        if self.streams.active.len() - joins >= self.config.streams_max {
            return None;
        }
        if let Some(to) = self.twin.poll_ask(self.now) {
            // Its own keys are no news to it.
            self.put_join(out, None, self.own.version());
            return Some(self.stream(What::Twin, to, StreamKind::Join, out.len()));
        }
        while let Some(id) = self.streams.next_wanting() {
            let Some(to) = self.may_sync(&id) else { continue };
            let known = self.peers.get(&id).map_or(0, |peer| peer.push.known);
            let sent = self.put_join(out, Some(&id), known);
            if let Some(peer) = self.peers.get_mut(&id) {
                (peer.sync.busy, peer.sync.wanted) = (true, false);
            }
            return Some(self.stream(What::Sync(id, sent), to, StreamKind::Join, out.len()));
        }
        None
    }

    fn stream(&mut self, what: What, to: SocketAddr, kind: StreamKind, bytes: usize) -> Transmit {
        self.counters.streams_out += 1;
        self.counters.stream_bytes_out += bytes as u64;
        let stream = self.streams.open(what, to, self.now);
        Transmit { to, channel: Channel::Stream(stream, kind) }
    }

    /// Whether a peer gets the stream that it wants, and where to. Rounds ask again for those that do not.
    fn may_sync(&self, id: &NodeId) -> Option<SocketAddr> {
        let peer = self.peers.get(id)?;
        let due = peer.sync.wanted && !peer.sync.busy && self.now >= peer.sync.not_before;
        // One that is gone has nothing to say, unless somebody speaks in its name from another address: a second
        // process of its id has left, and it has not.
        let is_gone = peer.left || (peer.proven && peer.unreachable);
        if !due || (is_gone && peer.moving.is_none()) {
            return None;
        }
        let is_proof = |peer: &peer::Peer| !peer.proven || peer.moving.is_some();
        let member = |peer: &peer::Peer| peer.told != Told::Nothing;
        if is_proof(peer) {
            let proof = |active: &&Active| match &active.what {
                What::Sync(id, _) => {
                    self.peers.get(id).is_some_and(|other| is_proof(other) && member(other) == member(peer))
                }
                What::Join | What::Leave | What::Twin => false,
            };
            if self.streams.active.values().filter(proof).count() >= PROOFS_MAX {
                return None;
            }
        }
        peer.moving.as_ref().map(|(_, target)| *target).or(peer.target)
    }

    /// A join, complete: the own keys above `known`, as far as a message may be long, and all that is known of
    /// others. Gives the last own version in it.
    fn put_join(&self, out: &mut Vec<u8>, to: Option<&NodeId>, known: u64) -> u64 {
        codec::put_request(out, StreamKind::Join, &self.header());
        codec::put_list(out, 1);
        let ours = to.and_then(|to| self.peers.get(to)).is_some_and(|peer| peer.ours);
        let sent = self.put_own(out, known, ours, self.config.stream_bytes_max / 2);
        let told = self.peers.iter().filter(|(id, peer)| peer.is_told_of() || to == Some(*id));
        codec::put_list(out, 1 + told.clone().count());
        self.own_entry().put(out);
        for (id, peer) in told {
            let version = peer.keys.version();
            DigestEntry { id: id.as_str().as_bytes(), addr: &peer.addr, version, left: peer.left }.put(out);
        }
        sent
    }

    fn put_own(&self, out: &mut Vec<u8>, known: u64, since: bool, bytes_max: usize) -> u64 {
        put_keys(out, &self.header(), &self.own, Known { version: known, since, bytes_max })
    }

    /// Takes a complete join or leave that came in on a stream and appends the answer to `reply`. On an error the
    /// stream is to be closed without one.
    pub fn handle_request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), PacketError> {
        self.observe(now);
        let from = peer::canonical(from);
        let request = Request::decode(message).map_err(|error| self.refuse_error(error))?;
        self.counters.streams_in += 1;
        self.counters.stream_bytes_in += message.len() as u64;
        let before = reply.len();
        match request {
            Request::Join { header, delta, digest } => {
                self.join_requested(from, &header, &delta, &digest);
                self.header().put_stream(reply);
                self.put_lacking(reply, &header, &digest);
            }
            Request::Leave { header, delta } => {
                self.leave_requested(from, &header, &delta);
                self.header().put_stream(reply);
            }
        }
        self.counters.stream_bytes_out += (reply.len() - before) as u64;
        Ok(())
    }

    fn join_requested(
        &mut self,
        from: SocketAddr,
        header: &Header<'_>,
        delta: &[Section<'_>],
        digest: &[DigestEntry<'_>],
    ) {
        self.counters.digest_entries_in += digest.len() as u64;
        let Some(id) = name(header.node_id) else { return self.refuse(Refusal::Malformed) };
        if id == self.me {
            if !digest.iter().all(|entry| entry.id == header.node_id) || header.addr != &*self.addr_text {
                self.refuse(Refusal::Impostor);
            }
            // The source of a stream is certain, its port is another one.
            match peer::parse(header.addr) {
                Some(addr) if addr.ip() == from.ip() && addr != self.addr => self.twin_found(addr),
                _ => self.suspect_twin(header.addr),
            }
            return;
        }
        let stated = digest.iter().find(|entry| entry.id == header.node_id).map_or(0, |entry| entry.version);
        // The source of a stream is certain, its port is another one.
        let direct = peer::parse(header.addr).is_some_and(|addr| addr.ip() == from.ip());
        if !self.peers.contains_key(&id) {
            self.rise(&id, stated, true);
            if !self.insert(&id, header.addr, direct) {
                return;
            }
        }
        self.readdress(&id, header.addr, stated, direct);
        let proven = self.peers.get(&id).is_some_and(|peer| peer.proven && direct);
        for section in delta.iter().filter(|section| proven || section.id == header.node_id) {
            self.counters.delta_entries_in += section.entries.len() as u64;
            self.apply(&id, section);
        }
        if proven {
            self.follow_digest(&id, digest);
            self.confirm(&id, digest, false);
        } else if let Some(peer) = self.peers.get_mut(&id) {
            // It is asked at once, or over a stream when its address is not its own.
            (peer.ask, peer.vouched) = (peer.vouched | direct, peer.vouched | direct);
            peer.sync.wanted |= !peer.vouched;
            self.owe(&id);
        }
    }

    fn leave_requested(&mut self, from: SocketAddr, header: &Header<'_>, delta: &[Section<'_>]) {
        let Some(id) = name(header.node_id) else { return self.refuse(Refusal::Malformed) };
        let known = self.peers.get(&id).is_some_and(|peer| {
            peer.any_source || peer.target.is_some_and(|target| target.ip() == from.ip())
        });
        if !known {
            return self.refuse(Refusal::Stranger);
        }
        for section in delta.iter().filter(|section| section.id == header.node_id) {
            self.counters.delta_entries_in += section.entries.len() as u64;
            self.apply(&id, section);
        }
    }

    /// The answer to a join: what its digest lacks, complete (wire protocol 7.5), oneself first.
    ///
    /// A second process of a known id is told the address of the first: a node with nothing new, which Go passes over.
    fn put_lacking(&mut self, out: &mut Vec<u8>, header: &Header<'_>, digest: &[DigestEntry<'_>]) {
        let known: BTreeMap<&[u8], u64> = digest.iter().map(|entry| (entry.id, entry.version)).collect();
        let version = |id: &[u8]| known.get(id).copied();
        let lacks = |id: &[u8], keys: &Keys| version(id).is_none_or(|version| keys.version() > version);
        let ours = name(header.node_id).and_then(|id| self.peers.get(&id)).is_some_and(|peer| peer.ours);
        let told = self.peers.iter().filter(|(id, peer)| {
            let id = id.as_str().as_bytes();
            peer.is_told_of() && id != header.node_id && lacks(id, &peer.keys)
        });
        let me = self.header();
        let own = lacks(me.node_id, &self.own) && me.node_id != header.node_id;
        let twin = name(header.node_id).and_then(|id| self.peers.get(&id)).filter(|peer| {
            let other = *peer.addr != *header.addr && peer.target != peer::parse(header.addr);
            other && peer.is_live()
        });
        codec::put_list(out, usize::from(own) + usize::from(twin.is_some()) + told.clone().count());
        // Heads of sections come on top, and the reader has the same limit for all of it.
        let end = out.len() + self.config.stream_bytes_max / 4 * 3;
        if own {
            self.put_own(out, version(me.node_id).unwrap_or(0), ours, end - out.len());
        }
        if let Some(peer) = twin {
            codec::put_section(out, &Header { node_id: header.node_id, addr: &peer.addr }, 0, None);
        }
        for (id, peer) in told {
            let node = Header { node_id: id.as_str().as_bytes(), addr: &peer.addr };
            let since = version(node.node_id).unwrap_or(0);
            let bytes_max = end.saturating_sub(out.len());
            put_keys(out, &node, &peer.keys, Known { version: since, since: ours, bytes_max });
        }
    }

    /// What became of a stream that `poll_transmit` asked for. An error is counted and told as an event too, and
    /// the stream counts as failed; answers to streams that are not under way are ignored.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        stream: Exchanged,
        outcome: Result<&[u8], StreamError>,
    ) -> Result<(), PacketError> {
        self.observe(now);
        let Some(Active { what, to, .. }) = self.streams.active.remove(&stream) else { return Ok(()) };
        let kind = if matches!(what, What::Leave) { StreamKind::Leave } else { StreamKind::Join };
        let (reply, result) = match outcome.map(|bytes| (bytes.len(), Reply::decode(kind, bytes))) {
            Ok((bytes, Ok(reply))) => {
                self.counters.stream_bytes_in += bytes as u64;
                let id = name(reply.header.node_id);
                (id.map(|id| (id, reply)).ok_or(StreamError::BadReply), Ok(()))
            }
            Ok((_, Err(error))) => (Err(StreamError::BadReply), Err(self.refuse_error(error))),
            Err(error) => (Err(error), Ok(())),
        };
        match what {
            What::Join => self.joined(to, reply),
            What::Leave => self.leave_done(reply.is_ok()),
            What::Sync(id, sent) => self.synced(&id, to, sent, reply.ok()),
            What::Twin => {
                self.twin.asked();
                if let Ok((id, reply)) = reply {
                    self.meet_twin(&id, reply.header.addr, to);
                }
            }
        }
        result
    }

    fn joined(&mut self, seed: SocketAddr, reply: Result<(NodeId, Reply<'_>), StreamError>) {
        let fault = match &reply {
            Ok((id, reply)) => self.meet_twin(id, reply.header.addr, seed).then_some(JoinFault::SameId),
            Err(error) => Some(JoinFault::Stream(*error)),
        };
        let joins = self.streams.joins.get_or_insert_default();
        joins.open = joins.open.saturating_sub(1);
        if let Some(fault) = fault {
            joins.failed += 1;
            // Who joins on and on and polls no events hears of the first ones only.
            joins.faults.truncate(SEEDS_MAX - 1);
            joins.faults.push_back((seed, fault));
        } else {
            joins.joined += 1;
        }
        let Some((id, reply)) = reply.ok().filter(|(id, _)| *id != self.me) else { return };
        let here = peer::parse(reply.header.addr) == Some(seed);
        if self.peers.contains_key(&id) {
            // Nobody else answers there, whatever the version.
            self.moved(&id, reply.header.addr, seed, here);
        } else {
            self.rise(&id, 0, true);
            self.insert(&id, reply.header.addr, true);
        }
        self.answered(&id, seed, &reply.delta);
    }

    fn synced(&mut self, id: &NodeId, to: SocketAddr, sent: u64, reply: Option<(NodeId, Reply<'_>)>) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.sync.busy = false;
        let pause = match (&reply, peer.ours) {
            (None, _) => PAUSE_FAILED,
            (Some(_), true) => PAUSE,
            (Some(_), false) => PAUSE_GO,
        };
        peer.sync.not_before = now + pause;
        let moving = peer.moving.take_if(|(_, target)| *target == to);
        match reply {
            Some((answerer, reply)) if answerer == *id => {
                if let Some((addr, target)) = moving {
                    self.moved(id, &addr, target, true);
                }
                let Some(peer) = self.peers.get_mut(id) else { return };
                peer.push.known = peer.push.known.max(sent);
                self.answered(id, to, &reply.delta);
            }
            // Somebody else lives at the other address, or nobody: it did not move.
            _ if moving.is_some() => {}
            Some((other, reply)) => {
                // Somebody else lives there.
                peer.detector.replace();
                if !peer.vouched && peer.told == Told::Nothing {
                    self.remove(id);
                }
                if !self.peers.contains_key(&other) && peer::parse(reply.header.addr) == Some(to) {
                    self.insert(&other, reply.header.addr, true);
                }
            }
            None if !peer.vouched && !peer.proven && peer.told == Told::Nothing => {
                if peer.try_next() {
                    (peer.sync.wanted, peer.sync.not_before) = (true, now);
                } else {
                    self.remove(id);
                }
            }
            None => {}
        }
        self.owe(id);
    }

    /// A node answered at another address than the known one, if `here`.
    fn moved(&mut self, id: &NodeId, addr: &[u8], target: SocketAddr, here: bool) {
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| here && peer.target != Some(target)) {
            tracing::info!(node = %id, to = %target, "gossip address changed");
            peer.addr = addr.into();
            peer.target = Some(target);
            peer.found = (Vec::new(), 0);
            (peer.proven, peer.resolve) = (false, false);
        }
    }

    /// A node answered on a stream to `at`: it is there, and knows what it says.
    fn answered(&mut self, id: &NodeId, at: SocketAddr, delta: &[Section<'_>]) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.target == Some(at) && (!peer.proven || peer.is_unheard(now)) {
            // Its datagrams may come from elsewhere, until one comes from there.
            peer.any_source = true;
            peer.ask = true;
            peer.detector.report(now);
            self.prove(id);
        }
        for section in delta {
            self.counters.delta_entries_in += section.entries.len() as u64;
            self.apply(id, section);
        }
        self.owe(id);
    }

    fn leave_done(&mut self, told: bool) {
        if let Some((open, all)) = &mut self.streams.leave {
            *open = open.saturating_sub(1);
            *all += usize::from(told);
        }
    }
}

/// What the receiver of keys knows.
struct Known {
    version: u64,
    /// It is one of ours and is told that the keys follow on that version.
    since: bool,
    /// The most bytes of entries.
    bytes_max: usize,
}

/// Appends a node with its keys above the known version, as many as are allowed; gives the last version in it.
fn put_keys(out: &mut Vec<u8>, node: &Header<'_>, keys: &Keys, known: Known) -> u64 {
    let Known { version: known, since, bytes_max } = known;
    let mut bytes = 0;
    let fits = |key: &super::types::KeyView<'_>| {
        bytes += entry(key).len();
        bytes <= bytes_max
    };
    let n = keys.after(known).take_while(fits).count();
    codec::put_section(out, node, n, since.then_some(known));
    let mut last = known;
    for key in keys.after(known).take(n) {
        last = key.version;
        entry(&key).put(out);
    }
    last
}
