//! Datagrams out. What is owed is state of the peer it is owed to; bytes exist only when the wire takes them.

use super::codec::{self, DigestEntry, Entry, Header, PacketWriter};
use super::node::Node;
use super::peer::{RETRY, RETRY_MAX};
use super::types::{Channel, KeyView, Transmit};
use crate::id::NodeId;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Packets of one burst to a peer of ours: what every socket buffer can hold.
const BURST_PACKETS: u32 = 8;
/// For so long after a confirmation a lower one counts as late; afterwards the peer forgot what it knew.
const STALE: Duration = Duration::from_millis(200);
/// No datagram holds as many entries, so that counting may end here.
const COUNT_MAX: usize = 4096;

impl Node {
    /// Appends one message to `out`, which the caller empties between calls, and says where it goes. `None`:
    /// nothing is owed to anybody.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        self.observe(now);
        if core::mem::take(&mut self.own_changed) {
            let ours: Vec<NodeId> =
                self.peers.iter().filter(|(_, peer)| peer.ours).map(|(id, _)| id.clone()).collect();
            ours.iter().for_each(|id| self.owe(id));
        }
        if let Some(to) = self.write_to_stranger(out) {
            return Some(self.datagram(to, out.len()));
        }
        while let Some(id) = self.ready.pop_front() {
            let before = out.len();
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.in_ready = false;
            }
            if let Some(to) = self.write_to_peer(&id, out) {
                self.owe(&id);
                return Some(self.datagram(to, out.len() - before));
            }
        }
        self.poll_stream(out)
    }

    fn datagram(&mut self, to: SocketAddr, bytes: usize) -> Transmit {
        self.counters.packets_out += 1;
        self.counters.packet_bytes_out += bytes as u64;
        Transmit { to, channel: Channel::Datagram }
    }

    /// Answers a stranger with no more bytes than it sent (weakness G11).
    fn write_to_stranger(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let mut stranger = self.stranger.take()?;
        let (before, me) = (out.len(), self.header());
        let max = stranger.allowance.min(self.config.packet_bytes_max);
        if !stranger.delta_sent {
            stranger.delta_sent = true;
            PacketWriter::delta(out, max, &me)?;
        } else {
            stranger.request.then_some(())?;
            stranger.request = false;
            let mut writer = PacketWriter::digest(out, max, &me, false)?;
            writer.digest_entry(&self.own_entry());
        }
        stranger.allowance -= out.len() - before;
        let to = stranger.to;
        self.stranger = Some(stranger);
        Some(to)
    }

    /// Writes the next datagram that is owed to a peer.
    fn write_to_peer(&mut self, id: &NodeId, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let peer = self.peers.get_mut(id)?;
        let Some(to) = peer.target else {
            (peer.answer, peer.ask) = (None, false);
            return None;
        };
        if let Some(mut answer) = peer.answer.take() {
            let delta = !answer.delta_sent;
            answer.delta_sent = true;
            if delta {
                self.write_delta(id, &answer.digest, out)?;
                if let Some(peer) = self.peers.get_mut(id).filter(|_| answer.request) {
                    peer.answer = Some(answer);
                }
            } else {
                self.write_digest(id, false, out)?;
            }
            return Some(to);
        }
        if core::mem::take(&mut peer.ask) {
            self.write_digest(id, true, out)?;
            return Some(to);
        }
        self.write_push(id, out).then_some(to)
    }

    /// What the peer lacks of the nodes in its digest, in the order of the digest. What cannot be told in
    /// datagrams at all asks for a stream.
    fn write_delta(&mut self, to: &NodeId, digest: &[(NodeId, u64)], out: &mut Vec<u8>) -> Option<()> {
        let max = self.config.packet_bytes_max;
        let ours = self.peers.get(to).is_some_and(|peer| peer.ours);
        let mut writer = PacketWriter::delta(out, max, &self.header())?;
        let room = writer.room();
        let (mut written, mut too_large) = (0, false);
        for (id, version) in digest {
            let (header, keys) = if *id == self.me {
                (self.header(), &self.own)
            } else if let Some(peer) = self.peers.get(id).filter(|peer| id != to && peer.is_told_of()) {
                (Header { node_id: id.as_str().as_bytes(), addr: &peer.addr }, &peer.keys)
            } else {
                continue;
            };
            let Some(first) = keys.after(*version).next() else { continue };
            let pending = keys.pending(*version, COUNT_MAX);
            let since = ours.then_some(*version);
            let least = header.delta_len(pending as u32) + codec::since_len(since) + entry(&first).len();
            if least > writer.room() {
                too_large |= least > room;
                continue;
            }
            writer.section(&header, pending as u32, since);
            let sent = keys.after(*version).take_while(|key| writer.entry(&entry(key))).count();
            written += sent;
            if sent < pending {
                break;
            }
        }
        self.counters.delta_entries_out += written as u64;
        if let Some(peer) = self.peers.get_mut(to).filter(|_| too_large) {
            peer.sync.wanted = true;
        }
        Some(())
    }

    /// The digest: the own entry, that of the receiver, which confirms what it pushed, and the others shuffled, as
    /// far as there is room.
    fn write_digest(&mut self, to: &NodeId, request: bool, out: &mut Vec<u8>) -> Option<()> {
        let mut others: Vec<&NodeId> =
            self.peers.iter().filter(|(id, peer)| *id != to && peer.is_told_of()).map(|(id, _)| id).collect();
        for at in (1..others.len()).rev() {
            others.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        let mut writer = PacketWriter::digest(out, self.config.packet_bytes_max, &self.header(), request)?;
        let mut written = u64::from(writer.digest_entry(&self.own_entry()));
        let rival = self.peers.get(to).and_then(|peer| Some((peer.rival(self.now)?, peer)));
        for id in core::iter::once(to).chain(others) {
            let Some(peer) = self.peers.get(id) else { continue };
            let (id, addr) = (id.as_str().as_bytes(), &*peer.addr);
            if !writer.digest_entry(&DigestEntry { id, addr, version: peer.keys.version(), left: peer.left })
            {
                break;
            }
            written += 1;
            // Behind the entry that confirms what it pushed. Go's make nothing of it.
            if let Some((addr, peer)) = rival.filter(|_| id == to.as_str().as_bytes()) {
                let entry = DigestEntry { id, addr, version: peer.keys.version(), left: false };
                written += u64::from(writer.digest_entry(&entry));
            }
        }
        self.counters.digest_entries_out += written;
        Some(())
    }

    pub(super) fn own_entry(&self) -> DigestEntry<'_> {
        let me = self.header();
        DigestEntry { id: me.node_id, addr: me.addr, version: self.own.version(), left: self.leaving }
    }

    /// The next packet of a burst to a peer of ours, or the question that ends it.
    fn write_push(&mut self, to: &NodeId, out: &mut Vec<u8>) -> bool {
        let (newest, now, stream_from) = (self.own.version(), self.now, self.config.stream_from);
        let Some(peer) = self.peers.get_mut(to) else { return false };
        let push = &mut peer.push;
        let waits = push.until.is_some() || peer.sync.busy || push.known >= newest;
        if waits || !peer.ours || !peer.proven || peer.unreachable || peer.left {
            return false;
        }
        if push.packets == 0
            && now >= peer.sync.not_before
            && self.own.pending(push.known, stream_from) >= stream_from
        {
            peer.sync.wanted = true;
            self.streams.want(to);
            return false;
        }
        let from = push.sent.max(push.known);
        if push.packets < BURST_PACKETS && from < newest {
            push.packets += 1;
            if let Some(sent) = self.write_own(from, out) {
                if let Some(peer) = self.peers.get_mut(to) {
                    peer.push.sent = sent;
                }
                return true;
            }
        }
        let Some(peer) = self.peers.get_mut(to) else { return false };
        let wait = RETRY.saturating_mul(1 << peer.push.lost.min(8)).min(RETRY_MAX);
        peer.push.until = Some(now + wait);
        peer.push.lost += 1;
        self.write_digest(to, true, out).is_some()
    }

    /// Own keys above a version; says up to which.
    fn write_own(&mut self, from: u64, out: &mut Vec<u8>) -> Option<u64> {
        let me = self.header();
        let pending = self.own.pending(from, COUNT_MAX);
        let mut writer = PacketWriter::delta(out, self.config.packet_bytes_max, &me)?;
        let mut last = None;
        if writer.section(&me, pending as u32, Some(from)) {
            let fits = |key: &KeyView<'_>| writer.entry(&entry(key));
            last = self.own.after(from).take_while(fits).map(|key| key.version).last();
            let written =
                last.map_or(0, |last| self.own.pending(from, COUNT_MAX) - self.own.pending(last, COUNT_MAX));
            self.counters.delta_entries_out += written as u64;
        }
        // A limit below every entry leaves a sign of life.
        Some(last.unwrap_or(from))
    }

    /// A digest of a peer says which own version it has. `answer`: it is an answer to our question.
    pub(super) fn confirm(&mut self, id: &NodeId, entries: &[DigestEntry<'_>], answer: bool) {
        let me = self.me.as_str().as_bytes();
        let version = entries.iter().find(|entry| entry.id == me).map(|entry| entry.version);
        let (own, from, now) = (&self.own, self.config.stream_from_go, self.now);
        let Some(peer) = self.peers.get_mut(id) else { return };
        // Ours name the receiver always; Go's may have had no room for it.
        let Some(version) = version.or(peer.ours.then_some(0)) else { return };
        let push = &mut peer.push;
        let progress = version > push.known || version >= own.version();
        if progress {
            push.progress_at = now;
        } else if now.since(push.progress_at) < STALE {
            // An older digest that was overtaken. Taking its word would send everything again, and the digests
            // that follow from it once more.
            return;
        }
        push.known = version;
        if progress && (answer || version >= push.sent) {
            push.lost = 0;
            (push.sent, push.packets, push.until) = (0, 0, None);
        }
        if !peer.ours && own.pending(version, from) >= from {
            peer.sync.wanted = true;
        }
        let wanted = peer.sync.wanted;
        if wanted {
            self.streams.want(id);
        }
        self.owe(id);
    }
}

/// A stored key as it goes out.
pub(super) fn entry<'k>(key: &KeyView<'k>) -> Entry<'k> {
    let KeyView { key, value, version, internal, deleted } = *key;
    Entry { key, value, version, internal, deleted }
}
