//! Datagrams from a hostile peer or a stranger: `[source and pause][length × 2][datagram]…`.

use crate::gossip_peers::{PEER, Rig, STRANGER};
use piko_core::gossip::wire::{DigestEntry, Packet, PacketWriter};
use std::time::Duration;

/// Feeds datagrams to a node that knows one peer, and reads each of them twice.
///
/// # Panics
/// When a limit is exceeded, events contradict each other, a stranger gets more bytes than it sent, or what was
/// read is not read again from its own encoding.
pub fn gossip_datagram(mut data: &[u8]) {
    let mut rig = Rig::new();
    while let [flags, high, low, rest @ ..] = data {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (datagram, rest) = rest.split_at(len);
        data = rest;
        again(datagram);
        let from = if flags & 1 == 0 { PEER } else { STRANGER };
        let _ = rig.node.handle_packet(rig.now, from, datagram);
        let sent = rig.settle();
        if from == STRANGER {
            assert!(sent.get(&STRANGER).copied().unwrap_or(0) <= len, "more than it gave");
        }
        // Up to half a minute, so that nodes become unreachable, and some expire.
        rig.now = rig.now + Duration::from_millis(u64::from(flags >> 1) * 250);
        rig.node.handle_timeout(rig.now);
        rig.settle();
    }
}

/// What is accepted survives being written and read again.
fn again(datagram: &[u8]) {
    let Ok(packet) = Packet::decode(datagram) else { return };
    let mut out = Vec::new();
    match &packet {
        Packet::Digest { header, request, entries } => {
            let mut writer =
                PacketWriter::digest(&mut out, usize::MAX / 2, header, *request).expect("no limit");
            assert!(entries.iter().all(|entry: &DigestEntry<'_>| writer.digest_entry(entry)));
        }
        Packet::Delta { header, sections } => {
            let mut writer = PacketWriter::delta(&mut out, usize::MAX / 2, header).expect("no limit");
            for section in sections {
                let node = piko_core::gossip::wire::Header { node_id: section.id, addr: section.addr };
                let since = (section.since > 0).then_some(section.since);
                assert!(writer.section(&node, section.entries.len() as u32, since));
                assert!(section.entries.iter().all(|entry| writer.entry(entry)));
            }
        }
    }
    assert_eq!(Packet::decode(&out).as_ref(), Ok(&packet), "it is not read again");
}
