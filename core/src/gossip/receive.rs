//! Datagrams in: who speaks, and what follows from it.

use super::codec::{DigestEntry, Header, Packet, Section};
use super::node::{Grave, NAME_BYTES_MAX, Node, Stranger};
use super::peer::{self, Answer, Peer, Told};
use super::types::{PacketError, Refusal};
use crate::id::NodeId;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Strangers that are remembered until a stream proves them.
const STRANGERS_MAX: usize = 64;
/// Silence after which another address of a node is believed although its version is not higher.
const MOVE_AFTER: Duration = Duration::from_secs(1);
/// How often, and for how long, a node has to state a version below what is known before that counts as its
/// restart: a single datagram may have been late.
const LOWER_TIMES: u32 = 3;
const LOWER_FOR: Duration = Duration::from_secs(1);

/// Who sent a message.
pub(super) enum Sender {
    /// A node that its own words or our questions have proven.
    Proven(NodeId),
    /// Anybody else with a name of its own.
    Stranger,
    /// Nobody worth an answer.
    Nobody,
}

impl Node {
    /// Takes one datagram. An error is counted and told as an event too, so the caller may ignore it.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> Result<(), PacketError> {
        self.observe(now);
        self.counters.packets_in += 1;
        self.counters.packet_bytes_in += data.len() as u64;
        let from = peer::canonical(from);
        match Packet::decode(data).map_err(|error| self.refuse_error(error))? {
            Packet::Digest { header, request, entries } => {
                self.counters.digest_entries_in += entries.len() as u64;
                self.digest(from, &header, request, &entries, data.len());
            }
            Packet::Delta { header, sections } => {
                self.counters.delta_entries_in +=
                    sections.iter().map(|s| s.entries.len() as u64).sum::<u64>();
                self.delta(from, &header, &sections);
            }
        }
        Ok(())
    }

    fn digest(
        &mut self,
        from: SocketAddr,
        header: &Header<'_>,
        request: bool,
        entries: &[DigestEntry<'_>],
        bytes: usize,
    ) {
        let stated = entries.iter().find(|entry| entry.id == header.node_id).map(|entry| entry.version);
        let id = match self.sender(from, header, stated) {
            Sender::Proven(id) => id,
            Sender::Stranger => {
                self.stranger = Some(Stranger { to: from, allowance: bytes, delta_sent: false, request });
                return;
            }
            Sender::Nobody => return,
        };
        self.stated(&id, stated);
        self.follow_digest(&id, entries);
        self.confirm(&id, entries, !request);
        let me = self.me.as_str().as_bytes();
        let known = |entry: &DigestEntry<'_>| {
            if entry.id == me {
                return Some((self.me.clone(), entry.version));
            }
            let (id, _) = self.peers.get_key_value(&name(entry.id)?)?;
            Some((id.clone(), entry.version))
        };
        let digest = entries.iter().filter_map(known).collect();
        if let Some(peer) = self.peers.get_mut(&id) {
            let owed = peer.answer.take().is_some_and(|answer| answer.request);
            peer.answer = Some(Answer { digest, delta_sent: false, request: request || owed });
        }
        self.owe(&id);
    }

    fn delta(&mut self, from: SocketAddr, header: &Header<'_>, sections: &[Section<'_>]) {
        let own = sections.iter().find(|section| section.id == header.node_id);
        let stated = own.and_then(|section| section.entries.last()).map(|entry| entry.version);
        match self.sender(from, header, stated) {
            Sender::Proven(id) => {
                self.alive(&id);
                for section in sections {
                    self.apply(&id, section);
                }
            }
            Sender::Stranger => {
                // One whose proof is under way is no reason to worry anybody.
                let at = |id| self.peers.get(&id).and_then(|peer| peer.target);
                if name(header.node_id).and_then(at) != Some(from) {
                    self.refuse(Refusal::Stranger);
                }
            }
            Sender::Nobody => {}
        }
    }

    /// Judges who sent a datagram. `stated` is the version that it says its own keys have.
    fn sender(&mut self, from: SocketAddr, header: &Header<'_>, stated: Option<u64>) -> Sender {
        let Some(id) = name(header.node_id) else {
            self.refuse(Refusal::Malformed);
            return Sender::Nobody;
        };
        if id == self.me {
            if from != self.addr {
                self.refuse(Refusal::Impostor);
            }
            if peer::parse(header.addr) == Some(from) {
                self.suspect_twin(header.addr);
            }
            return Sender::Nobody;
        }
        if !self.peers.contains_key(&id) {
            // It is asked over a stream, which no forged source survives.
            if peer::parse(header.addr) == Some(from) && self.rise(&id, stated.unwrap_or(0), true) {
                self.insert(&id, header.addr, false);
            }
            return Sender::Stranger;
        }
        self.readdress(&id, header.addr, stated.unwrap_or(0), peer::parse(header.addr) == Some(from));
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else { return Sender::Stranger };
        if peer.target == Some(from) {
            peer.any_source = false;
            if peer.vouched && !peer.proven {
                self.prove(&id);
            }
        } else if !peer.any_source {
            // Its way may have changed (a NAT, another interface): a stream to where it is known to be tells.
            peer.sync.wanted |= peer.proven && peer.is_unheard(now);
            return Sender::Stranger;
        }
        if self.peers.get(&id).is_some_and(|peer| peer.proven) {
            Sender::Proven(id)
        } else {
            Sender::Stranger
        }
    }

    /// A sign of life.
    pub(super) fn alive(&mut self, id: &NodeId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(id) {
            peer.detector.report(now);
        }
    }

    /// The node at this address is the one that it says it is.
    pub(super) fn prove(&mut self, id: &NodeId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(id) else { return };
        if !peer.proven {
            peer.proven = true;
            peer.vouched = true;
            peer.unreachable = false;
            if !peer.left {
                peer.expiry = None;
            }
            peer.detector.report(now);
            peer.rewind();
            let target = peer.target;
            tracing::debug!(node = %id, "gossip peer proven");
            // Whoever had this address before is gone; its successor has a name of its own.
            for (other, peer) in &mut self.peers {
                if other != id && peer.target == target && target.is_some() {
                    peer.detector.replace();
                }
            }
        }
        self.tell(id);
        self.owe(id);
    }

    /// A known node is said to have an address that is not the known one. `direct`: by somebody who speaks from
    /// there in its name. A node that was proven keeps its address until a stream to the other one is answered, so
    /// that nobody loses its place to an impostor (weakness G16).
    pub(super) fn readdress(&mut self, id: &NodeId, addr: &[u8], version: u64, direct: bool) {
        let (now, me) = (self.now, self.addr);
        let Some(peer) = self.peers.get_mut(id) else { return };
        if *peer.addr == *addr || addr.is_empty() || addr.len() > NAME_BYTES_MAX {
            return;
        }
        let silent = !peer.proven || peer.unreachable || peer.detector.silence(now) > MOVE_AFTER;
        let newer = version > peer.keys.version();
        let target = peer::parse(addr);
        if direct && !silent {
            peer.note_rival(addr, now);
        }
        // Hearsay may be older than what is known, and the own address belongs to nobody else.
        let believed = if direct { silent || newer } else { silent && newer };
        if !believed || target == Some(me) {
            if direct {
                self.refuse(Refusal::Impostor);
            }
            return;
        }
        match target {
            Some(target) if peer.told != Told::Nothing || peer.proven => {
                peer.moving = Some((addr.into(), target));
                peer.sync.wanted = true;
                if now >= peer.sync.not_before {
                    self.streams.want(id);
                }
            }
            // A name says nothing about where it came from.
            None if !silent => {}
            _ => {
                tracing::debug!(node = %id, "gossip address changed");
                peer.addr = addr.into();
                peer.target = target;
                peer.found = (Vec::new(), 0);
                peer.resolve = target.is_none();
                (peer.proven, peer.any_source) = (false, false);
                peer.sync.wanted = true;
                (peer.probe_at, peer.probe_wait) = (now, peer::RETRY);
                self.tell(id);
            }
        }
    }

    /// What the name of a [`GossipEvent::Resolve`](super::GossipEvent::Resolve) stands for: its addresses, of which
    /// the first 16 are tried in turn until the node answers at one. Nothing happens when the node has an address by
    /// now that is no name. A name that cannot be resolved needs no call.
    pub fn handle_resolved(&mut self, now: Instant, node: &NodeId, addrs: &[SocketAddr]) {
        self.observe(now);
        let now = self.now;
        let Some(peer) = self.peers.get_mut(node) else { return };
        let others = addrs.iter().map(|addr| peer::canonical(*addr)).filter(|addr| *addr != self.addr);
        let addrs: Vec<SocketAddr> = others.take(peer::FOUND_MAX).collect();
        if peer::parse(&peer.addr).is_some() || addrs.is_empty() {
            return;
        }
        let known = addrs.iter().position(|addr| Some(*addr) == peer.target);
        peer.found = (addrs, known.unwrap_or(0));
        if known.is_some() {
            return;
        }
        peer.target = peer.found.0.first().copied();
        (peer.proven, peer.any_source) = (false, false);
        (peer.probe_at, peer.probe_wait, peer.ask) = (now, peer::RETRY, peer.vouched);
        self.owe(node);
    }

    /// Remembers a node that was not known.
    pub(super) fn insert(&mut self, id: &NodeId, addr: &[u8], vouched: bool) -> bool {
        let target = peer::parse(addr);
        if *id == self.me || addr.is_empty() || addr.len() > NAME_BYTES_MAX || target == Some(self.addr) {
            return false;
        }
        let strangers = || self.peers.values().filter(|peer| !peer.vouched).count();
        let full = self.peers.len() >= self.config.nodes_max || (!vouched && strangers() >= STRANGERS_MAX);
        if full && !self.evict(vouched) {
            self.refuse(Refusal::Full);
            return false;
        }
        let mut peer = Peer::new(addr, &self.config, self.now);
        peer.vouched = vouched;
        peer.sync.wanted = !vouched;
        // What somebody says of others must not make us send more than so much to them.
        peer.ask = vouched && self.probes_left > 0;
        if peer.ask {
            self.probes_left -= 1;
            peer.probe_at = self.now + peer.probe_wait;
        }
        self.peers.insert(id.clone(), peer);
        self.tell(id);
        self.owe(id);
        true
    }

    /// Forgets somebody who was never proven, strangers first, to make room.
    fn evict(&mut self, vouched: bool) -> bool {
        let worst = |peer: &&Peer| !peer.proven && peer.told == Told::Nothing && !peer.sync.busy;
        let find = |stranger: bool| {
            let mut all = self.peers.iter();
            all.find(|(_, peer)| worst(peer) && peer.vouched != stranger).map(|(id, _)| id.clone())
        };
        let Some(id) = find(true).or_else(|| if vouched { find(false) } else { None }) else { return false };
        self.remove(&id);
        true
    }

    pub(super) fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        let peer = self.peers.remove(id)?;
        self.state_bytes -= peer.keys.bytes();
        Some(peer)
    }

    /// Whether an unknown node may be remembered: not while its gravestone says otherwise. Every mention keeps the
    /// stone, so that it outlives all who still mention it (weakness G4).
    pub(super) fn rise(&mut self, id: &NodeId, version: u64, direct: bool) -> bool {
        let until = self.now + self.config.expiry * 2;
        match self.graves.get_mut(id) {
            None => true,
            Some(grave) if direct || version > grave.version => {
                self.graves.remove(id);
                true
            }
            Some(grave) => {
                grave.until = until;
                false
            }
        }
    }

    /// Remembers the last version of a forgotten node for longer than anybody mentions it.
    pub(super) fn bury(&mut self, id: NodeId, version: u64) {
        if self.graves.len() >= self.config.nodes_max {
            let oldest = self.graves.iter().min_by_key(|(_, grave)| grave.until).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.graves.remove(&id));
        }
        self.graves.insert(id, Grave { version, until: self.now + self.config.expiry * 2 });
    }

    /// What a proven node says of its own version. One that goes on stating less than what is known restarted
    /// without raising its versions, as Go's nodes do (weakness G5): what is known is from another life.
    fn stated(&mut self, id: &NodeId, stated: Option<u64>) {
        let now = self.now;
        let (Some(peer), Some(stated)) = (self.peers.get_mut(id), stated) else { return };
        if stated >= peer.keys.version() {
            peer.lower = None;
            return;
        }
        let (since, times) = peer.lower.unwrap_or((now, 0));
        peer.lower = Some((since, times + 1));
        if times + 1 >= LOWER_TIMES && now.since(since) >= LOWER_FOR {
            tracing::info!(node = %id, "gossip peer restarted with lower versions");
            self.restart(id);
        }
    }
}

/// The name of a node: text that is neither empty nor endless. Go takes any bytes; ours are shown in JSON, in
/// metrics and in logs, all of which want text.
pub(super) fn name(id: &[u8]) -> Option<NodeId> {
    let text = core::str::from_utf8(id).ok()?;
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then(|| NodeId::new(text))
}
