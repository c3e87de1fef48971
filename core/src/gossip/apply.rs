//! What others say, applied to what is known (wire protocol 7.5).

use super::codec::{DigestEntry, Entry, Section};
use super::node::Node;
use super::receive::name;
use super::state::{COMPACT, Keys, LEFT};
use super::types::{CAPS_KEY, Refusal};
use crate::id::NodeId;
use core::time::Duration;

/// The own versions are raised at most this often, whatever others quote.
const RAISE_EVERY: Duration = Duration::from_secs(10);

impl Node {
    /// Learns of nodes from the digest of a proven node.
    pub(super) fn follow_digest(&mut self, by: &NodeId, entries: &[DigestEntry<'_>]) {
        for entry in entries {
            let Some(id) = name(entry.id) else { continue };
            if id == self.me {
                self.suspect_twin(entry.addr);
                self.quoted(entry.version, entry.left);
            } else if self.peers.contains_key(&id) {
                let ours = self.peers.get(by).is_some_and(|peer| peer.ours);
                if id != *by && ours {
                    if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_live()) {
                        peer.note_rival(entry.addr, self.now);
                    }
                    self.readdress(&id, entry.addr, entry.version, false);
                }
                self.consider_pull(by, &id, entry.version);
            } else if !entry.left && self.rise(&id, entry.version, false) {
                self.insert(&id, entry.addr, true);
            }
        }
    }

    /// One of Go's make that is far ahead tells more over a stream than in a hundred datagrams.
    fn consider_pull(&mut self, by: &NodeId, id: &NodeId, version: u64) {
        let from = self.config.stream_from_go as u64;
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| by == id && !peer.ours) {
            // Go counts from 1, so the difference is about the number of entries; a clock is no such number.
            let behind = version.saturating_sub(peer.keys.version());
            peer.sync.wanted |= behind > from && behind < 1 << 32;
        }
    }

    /// Others have a version of the own keys: of an earlier process whose clock was ahead, or of a liar. Moving
    /// above it makes the own keys count again.
    fn quoted(&mut self, version: u64, left: bool) {
        let own = self.own.version();
        let outrun = version > own || (left && !self.leaving && version == own);
        if !outrun || self.now < self.raise_at || version >= self.version_ceiling() {
            return;
        }
        self.raise_at = self.now + RAISE_EVERY;
        self.refuse(Refusal::Impostor);
        tracing::info!(version, own, "own gossip versions raised above what others remember");
        self.recast(version);
    }

    /// Gives all own keys versions above `base`.
    pub(super) fn recast(&mut self, base: u64) {
        self.own.compact(base);
        self.compacted = (self.own.version(), self.now + RAISE_EVERY);
        self.own_changed = true;
        for peer in self.peers.values_mut() {
            peer.rewind();
        }
    }

    /// Applies one section of a delta that `by` sent.
    pub(super) fn apply(&mut self, by: &NodeId, section: &Section<'_>) {
        let Some(id) = name(section.id) else { return };
        if id == self.me {
            self.suspect_twin(section.addr);
            if let Some(last) = section.entries.last() {
                self.quoted(last.version, false);
            }
            return;
        }
        if !self.peers.contains_key(&id) {
            let version = section.entries.last().map_or(0, |entry| entry.version);
            if !self.rise(&id, version, id == *by) || !self.insert(&id, section.addr, true) {
                return;
            }
        }
        let now = self.now;
        let hearsay = id != *by;
        if self.peers.get(&id).is_some_and(|p| hearsay && p.own_word_until.is_some_and(|until| now < until)) {
            return;
        }
        // Something before it is still on the way, or lost: it would be hidden for ever.
        if self.peers.get(&id).is_some_and(|peer| section.since > peer.keys.version()) {
            return;
        }
        let mut changed = false;
        for entry in &section.entries {
            let known = self.peers.get(&id).map_or(u64::MAX, |peer| peer.keys.version());
            if entry.version <= known {
                continue;
            }
            if !self.apply_entry(&id, entry) {
                break;
            }
            changed = true;
        }
        if changed {
            self.tell(&id);
        }
    }

    /// Stores one entry that is newer than what is known; says whether the next one may follow.
    fn apply_entry(&mut self, id: &NodeId, entry: &Entry<'_>) -> bool {
        if entry.version > self.version_ceiling() {
            self.refuse(Refusal::Impostor);
            return false;
        }
        let compact = entry.internal && !entry.deleted && entry.key == COMPACT;
        let base =
            if compact { core::str::from_utf8(entry.value).ok().and_then(|v| v.parse().ok()) } else { None };
        if compact && base.is_none() {
            self.refuse(Refusal::Malformed);
            return false;
        }
        if self.state_bytes + Keys::cost_of(entry) > self.config.state_bytes_max {
            self.refuse(Refusal::Full);
            return false;
        }
        let expiry = self.now + self.config.expiry;
        let Some(peer) = self.peers.get_mut(id) else { return false };
        let before = peer.keys.bytes();
        peer.keys.put(entry);
        peer.news.insert(super::types::Key::new(entry.key));
        if let Some(base) = base {
            // The mark itself stays, whatever it says.
            let news = &mut peer.news;
            peer.keys.drop_until(u64::min(base, entry.version - 1), |key| {
                news.insert(key);
            });
        }
        self.state_bytes = self.state_bytes - before + peer.keys.bytes();
        if !entry.internal {
            return true;
        }
        peer.ours = peer.keys.live(CAPS_KEY.as_bytes()).is_some();
        // A compaction that took the mark of a leave with it is a node that came back.
        let left = peer.keys.live(LEFT).is_some_and(|(_, internal)| internal);
        if left != peer.left {
            peer.left = left;
            if !left {
                // Nobody waited for it meanwhile, so its silence says nothing against it.
                peer.detector.forget();
            }
            peer.expiry = (left || peer.unreachable).then_some(expiry);
        }
        true
    }

    /// Forgets the keys of a node that began a new life, and believes only itself about them for a while: others
    /// may still tell of the old ones.
    pub(super) fn restart(&mut self, id: &NodeId) {
        let until = self.now + self.config.expiry;
        let Some(peer) = self.peers.get_mut(id) else { return };
        self.state_bytes -= peer.keys.bytes();
        let keys = core::mem::take(&mut peer.keys);
        peer.news.extend(keys.live_keys().cloned());
        (peer.left, peer.ours, peer.lower) = (false, false, None);
        peer.own_word_until = Some(until);
        peer.ask = true;
        self.tell(id);
        self.owe(id);
    }
}
