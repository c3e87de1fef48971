//! What is done every interval: rounds, liveness, expiry, compaction (wire protocol 7.6, 7.9, 7.10, 7.12).

use super::node::Node;
use super::peer::{Peer, RETRY_MAX};
use super::types::StreamError;
use crate::id::NodeId;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Peers of ours that are asked in one round; of Go's make it is one, as they expect (7.13).
const ROUND_OURS: usize = 4;
/// Peers of ours that are asked out of turn in one round, those that were silent longest.
const ROUND_QUIET: usize = 4;
/// Nodes that are not proven and are asked in one round.
pub(super) const ROUND_PROBES: usize = 8;
/// A compaction waits this long at most for peers that lag behind.
const COMPACT_EVERY: Duration = Duration::from_secs(10);

impl Node {
    /// Does what is due; nothing when called early, and the same once when called late.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.observe(now);
        let now = self.now;
        if now < self.round_at {
            return;
        }
        let jitter = self.rng.below(self.config.interval.as_nanos() as u64 / 10);
        self.round_at = now + self.config.interval + Duration::from_nanos(jitter);
        self.judge();
        self.expire();
        self.ask_around();
        self.look_after_peers();
        for stream in self.streams.overdue(now) {
            let _ = self.handle_reply(now, stream, Err(StreamError::TimedOut));
        }
        self.compact();
    }

    /// Who is silent for too long, and who is not any more.
    fn judge(&mut self) {
        let (now, max, expiry) = (self.now, self.config.suspicion_max, self.config.expiry);
        let mut changed = Vec::new();
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.left) {
            let unreachable = peer.detector.suspects(now, max);
            if unreachable != peer.unreachable {
                peer.unreachable = unreachable;
                peer.expiry = unreachable.then_some(now + expiry);
                // Its name may stand for another address by the time that it comes back.
                peer.resolve |= unreachable && super::peer::parse(&peer.addr).is_none();
                peer.rewind();
                tracing::debug!(node = %id, unreachable, "gossip liveness");
                changed.push(id.clone());
            }
        }
        changed.iter().for_each(|id| self.tell(id));
    }

    /// Forgets who left or was unreachable for long enough, and gravestones that nobody mentions.
    fn expire(&mut self) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let old: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| due(peer.expiry)).map(|(id, _)| id.clone()).collect();
        for id in old {
            let Some(peer) = self.remove(&id) else { continue };
            tracing::debug!(node = %id, "gossip peer expired");
            if peer.told != super::peer::Told::Nothing {
                self.gone.push_back(id.clone());
            }
            self.bury(id, peer.keys.version());
        }
        self.graves.retain(|_, grave| grave.until > now);
    }

    /// Whom to send a digest: in turn rather than at random, so that everybody is asked at an even pace.
    fn ask_around(&mut self) {
        self.probes_left = ROUND_PROBES;
        let mut asked: Vec<NodeId> = Vec::new();
        for (ours, n) in [(false, 1), (true, ROUND_OURS)] {
            for _ in 0..n {
                match self.next_in_turn(ours) {
                    Some(id) if !asked.contains(&id) => asked.push(id),
                    _ => break,
                }
            }
        }
        for id in self.quiet() {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.detector.questioned();
            }
            asked.push(id);
        }
        let lost: Vec<&NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.unreachable && peer.vouched && !peer.left)
            .map(|(id, _)| id)
            .collect();
        if !lost.is_empty() {
            let id = lost[self.rng.below(lost.len() as u64) as usize].clone();
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.try_next();
            }
            asked.push(id);
        }
        let now = self.now;
        let unproven =
            self.peers.iter_mut().filter(|(_, p)| !p.proven && p.vouched && !p.unreachable && !p.left);
        for (id, peer) in unproven.filter(|(_, peer)| peer.probe_at <= now).take(ROUND_PROBES / 2) {
            self.probes_left -= 1;
            peer.probe_at = now + peer.probe_wait;
            peer.try_next();
            peer.probe_wait = (peer.probe_wait * 2).min(RETRY_MAX);
            // Datagrams that come from elsewhere never prove it; a stream does.
            peer.sync.wanted |= peer.probe_wait > super::peer::RETRY * 4;
            asked.push(id.clone());
        }
        for id in asked {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.ask = true;
            }
            self.owe(&id);
        }
    }

    /// The peers of ours that were silent longest, if they were for long: those whose turn has not come, and the dead.
    /// Go's detector would take questions out of turn for the pace of this node (7.13).
    fn quiet(&self) -> Vec<NodeId> {
        let now = self.now;
        let quiet = |peer: &Peer| peer.ours && peer.is_live() && peer.detector.is_quiet(now);
        let mut found: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| quiet(peer))
            .map(|(id, peer)| (peer.detector.silence(now), id))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().take(ROUND_QUIET).map(|(_, id)| id.clone()).collect()
    }

    /// The next live peer of a kind; once all had their turn, they are shuffled anew.
    fn next_in_turn(&mut self, ours: bool) -> Option<NodeId> {
        for fresh in [false, true] {
            if fresh {
                let live = self.peers.iter().filter(|(_, peer)| peer.is_live() && peer.ours == ours);
                let mut live: VecDeque<NodeId> = live.map(|(id, _)| id.clone()).collect();
                for at in (1..live.len()).rev() {
                    live.swap(at, self.rng.below(at as u64 + 1) as usize);
                }
                self.cycles[usize::from(ours)] = live;
            }
            while let Some(id) = self.cycles[usize::from(ours)].pop_front() {
                if self.peers.get(&id).is_some_and(|peer| peer.is_live() && peer.ours == ours) {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Bursts that were not confirmed begin again; streams that had to wait may open.
    fn look_after_peers(&mut self) {
        let now = self.now;
        let mut owed = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.push.until.is_some_and(|until| until <= now) {
                peer.rewind();
                owed.push(id.clone());
            }
            if peer.sync.wanted && !peer.sync.busy && peer.sync.not_before <= now {
                self.streams.want(id);
            }
        }
        owed.iter().for_each(|id| self.owe(id));
    }

    /// Drops the own tombstones when they outweigh the rest, once everybody had time to catch up with the last
    /// time (weakness G6).
    fn compact(&mut self) {
        let (version, anyway) = self.compacted;
        let behind = |peer: &Peer| peer.is_live() && peer.push.known < version;
        if self.own.wants_compaction() && (self.now >= anyway || !self.peers.values().any(behind)) {
            let base = self.own.version();
            self.recast(base);
            self.compacted.1 = self.now + COMPACT_EVERY;
        }
    }
}
