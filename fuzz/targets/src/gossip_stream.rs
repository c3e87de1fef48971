//! Stream messages from a hostile peer: `[role][cuts][message]`.

use crate::cuts::Cuts;
use crate::gossip_peers::{PEER, Rig, STRANGER};
use piko_core::gossip::wire::{Reply, Request};
use piko_core::gossip::{PacketError, Progress, StreamKind, StreamReader};
use std::time::Duration;

/// The longest message.
const BYTES_MAX: usize = 1 << 20;

/// Reads a message whole and in pieces, and gives it to a node as a request or as the answer to its own.
///
/// # Panics
/// When the pieces show, an answer is none, a limit is exceeded or events contradict each other.
pub fn gossip_stream(data: &[u8]) {
    let [role, cuts, wire @ ..] = data else { return };
    let fresh = || match role % 4 {
        0 | 1 => StreamReader::request(BYTES_MAX),
        2 => StreamReader::reply(StreamKind::Join, BYTES_MAX),
        _ => StreamReader::reply(StreamKind::Leave, BYTES_MAX),
    };
    let whole = read(fresh(), wire, Cuts::whole());
    let cut = read(fresh(), wire, Cuts::new(*cuts, wire));
    assert_eq!(whole.1, cut.1, "the pieces show");
    if whole.1 != Ok(Progress::Complete) {
        return;
    }
    let mut rig = Rig::new();
    let from = if role & 4 == 0 { PEER } else { STRANGER };
    match role % 4 {
        0 | 1 => request(&mut rig, from, whole.0.message(), cut.0.message()),
        _ => reply(&mut rig, *role, whole.0.message()),
    }
    rig.settle();
    // Long enough for everybody to become unreachable and to be forgotten.
    for _ in 0..80 {
        rig.now = rig.now + Duration::from_secs(1);
        rig.node.handle_timeout(rig.now);
        rig.settle();
    }
}

fn read(
    mut reader: StreamReader,
    mut wire: &[u8],
    mut cuts: Cuts,
) -> (StreamReader, Result<Progress, PacketError>) {
    let mut last = Ok(Progress::More);
    while !wire.is_empty() && last == Ok(Progress::More) {
        last = reader.push(cuts.next(&mut wire));
    }
    (reader, last)
}

fn request(rig: &mut Rig, from: std::net::SocketAddr, message: &[u8], cut: &[u8]) {
    // Bytes behind the message may or may not have come with it.
    assert_eq!(Request::decode(message), Request::decode(cut));
    let mut out = Vec::new();
    let answered = rig.node.handle_request(rig.now, from, message, &mut out);
    let Ok(request) = Request::decode(message) else {
        assert!(answered.is_err() && out.is_empty());
        return;
    };
    answered.expect("what is read is answered");
    let kind = match request {
        Request::Join { .. } => StreamKind::Join,
        Request::Leave { .. } => StreamKind::Leave,
    };
    let mut reader = StreamReader::reply(kind, BYTES_MAX);
    assert_eq!(reader.push(&out), Ok(Progress::Complete), "an answer that its reader understands");
    assert_eq!(Reply::decode(kind, &out).expect("an answer").header.node_id, b"node-1");
}

fn reply(rig: &mut Rig, role: u8, message: &[u8]) {
    if role % 4 == 2 {
        let to = if role & 4 == 0 { PEER } else { STRANGER };
        rig.node.join(rig.now, &[to]);
    } else {
        rig.node.leave(rig.now);
    }
    rig.settle();
    for (stream, _) in std::mem::take(&mut rig.streams) {
        let _ = rig.node.handle_reply(rig.now, stream, Ok(message));
        // A second answer to the same question means nothing.
        assert_eq!(rig.node.handle_reply(rig.now, stream, Ok(message)), Ok(()));
    }
}
