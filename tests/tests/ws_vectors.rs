//! The `ws_*` vectors: frames of a running Go agent, read by our machine and written again by it.

use bytes::BytesMut;
use piko_core::ws::handshake::{Ask, write_request};
use piko_core::ws::{Conn, FRONT_ROOM, Role};
use piko_tests::vectors::{load, unhex};
use serde_json::Value;
use std::collections::BTreeSet;

struct Frame {
    name: String,
    role: Role,
    key: [u8; 4],
    is_fragment: bool,
    payload: Vec<u8>,
    wire: Vec<u8>,
}

fn frames() -> Vec<Frame> {
    load("yamux.json").iter().filter_map(frame).collect()
}

fn frame(vector: &Value) -> Option<Frame> {
    let name = vector["name"].as_str()?;
    let fields = &vector["fields"];
    let masked = fields["masked"].as_bool()?;
    if !name.starts_with("ws_") {
        return None;
    }
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(&unhex(fields["mask_key"].as_str()?));
    }
    let payload = match &fields["payload"] {
        Value::String(hex) => unhex(hex),
        // Only the start is written down. The body is three times an 'R' and 2,000 'x'; its first 4,096 bytes
        // are one fragment, and no 'R' falls into the rest.
        long => {
            let start = unhex(long["repeat_or_start"].as_str()?);
            let is_head = start.starts_with(b"R");
            let byte = |at: u64| if is_head && at.is_multiple_of(2001) { b'R' } else { b'x' };
            let payload: Vec<u8> = (0..long["len"].as_u64()?).map(byte).collect();
            assert!(payload.starts_with(&start));
            payload
        }
    };
    Some(Frame {
        name: name.to_owned(),
        role: if masked { Role::Server } else { Role::Client },
        key,
        is_fragment: fields["opcode"] != 2 || fields["fin"] != true,
        payload,
        wire: unhex(vector["hex"].as_str()?),
    })
}

#[test]
fn frames_of_a_go_agent_are_read() {
    let frames = frames();
    assert!(frames.len() >= 11, "only {} frames among the vectors", frames.len());
    let streams: BTreeSet<_> =
        frames.iter().map(|frame| frame.name.trim_end_matches(char::is_numeric)).collect();
    for stream in streams {
        let frames: Vec<_> =
            frames.iter().filter(|frame| frame.name.trim_end_matches(char::is_numeric) == stream).collect();
        let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.wire.clone()).collect();
        let expected: Vec<u8> = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
        for piece in [1, 2, 3, 7, 100, 4096, wire.len()] {
            let mut conn = Conn::new(frames[0].role);
            let mut got: Vec<u8> = vec![];
            for piece in wire.chunks(piece) {
                let mut piece = piece.to_vec();
                let input = conn.handle_input(&mut piece);
                assert_eq!(input.end, None, "{stream}");
                got.extend(&piece[input.payload]);
            }
            assert!(got == expected, "{stream} in pieces of {piece}");
        }
    }
}

#[test]
fn the_same_payload_with_the_same_key_is_written_as_go_writes_it() {
    let mut compared = 0;
    for frame in frames().iter().filter(|frame| !frame.is_fragment) {
        let sender = if frame.role == Role::Server { Role::Client } else { Role::Server };
        let mut buf = vec![0; FRONT_ROOM];
        buf.extend(&frame.payload);
        let start = Conn::new(sender).frame(&mut buf, frame.key);
        assert_eq!(buf[start..], frame.wire, "{}", frame.name);
        compared += 1;
    }
    assert!(compared >= 9, "only {compared} whole messages among the vectors");
}

#[test]
fn our_upgrade_request_has_the_fields_of_go_agents() {
    let vectors = load("yamux.json");
    let vector = vectors.iter().find(|vector| vector["name"] == "ws_upgrade_request").expect("in the list");
    let theirs = vector["fields"]["text"].as_str().expect("a text");
    assert_eq!(unhex(vector["hex"].as_str().expect("hex")), theirs.as_bytes());
    let key =
        [0x7a, 0x23, 0x52, 0x02, 0x37, 0x5f, 0x05, 0xc8, 0x5b, 0x6c, 0xe1, 0x1a, 0x2c, 0xa8, 0x8b, 0xe9];
    let fields: &[(&str, &[u8])] = &[
        ("User-Agent", b"Go-http-client/1.1"),
        ("Authorization", b"Bearer TOKEN"),
        ("X-Piko-Tenant-Id", b"tenant-1"),
    ];
    let mut out = BytesMut::new();
    write_request(&Ask { host: b"127.0.0.1:18111", target: b"/piko/v1/upstream/e1", key, fields }, &mut out);
    let ours = String::from_utf8(out.to_vec()).expect("text");
    let lines = |text: &str| -> (String, BTreeSet<String>) {
        assert!(text.ends_with("\r\n\r\n"));
        let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
        (lines.next().expect("a request line"), lines.collect())
    };
    assert_eq!(lines(&ours), lines(theirs));
}
