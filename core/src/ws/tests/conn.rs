use crate::rng::Rng;
use crate::ws::{Conn, End, FRONT_ROOM, Role};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use bytes::BytesMut;

const KEY: [u8; 4] = [0x7d, 0x4f, 0x9a, 0xaf];

/// A frame written byte by byte from RFC 6455 5.2, apart from the encoder under test.
fn raw(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=65_535 => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key.unwrap_or_default().iter().filter(|_| key.is_some()));
    let key = key.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    raw(first, Some(KEY), payload)
}

/// Everything a connection made of its input.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    payload: Vec<u8>,
    end: Option<End>,
    sent: Vec<u8>,
    closing: bool,
}

/// Feeds the pieces between `cuts`, and polls for output only at the end.
fn feed(role: Role, wire: &[u8], cuts: &[usize]) -> Seen {
    let mut conn = Conn::new(role);
    let mut seen = Seen::default();
    let mut start = 0;
    for end in cuts.iter().copied().chain([wire.len()]) {
        let mut piece = wire[start..end].to_vec();
        let input = conn.handle_input(&mut piece);
        seen.payload.extend(&piece[input.payload]);
        assert!(seen.end.is_none() || seen.end == input.end, "an end stays as it is");
        seen.end = input.end;
        start = end;
    }
    let mut out = BytesMut::new();
    assert_eq!(conn.wants_send(), conn.poll_transmit(&mut out, KEY) > 0);
    assert!(!conn.wants_send());
    seen.sent = out.to_vec();
    seen.closing = conn.is_closing();
    seen
}

/// The same result whole, cut in two or three anywhere, and byte by byte.
fn feed_all_ways(role: Role, wire: &[u8]) -> Seen {
    let whole = feed(role, wire, &[]);
    for first in 0..=wire.len() {
        assert_eq!(feed(role, wire, &[first]), whole, "cut at {first}");
        if wire.len() < 80 {
            for second in first..=wire.len() {
                assert_eq!(feed(role, wire, &[first, second]), whole, "cuts at {first} and {second}");
            }
        }
    }
    assert_eq!(feed(role, wire, &(0..wire.len()).collect::<Vec<_>>()), whole, "byte by byte");
    whole
}

#[test]
fn the_worked_example_of_a_server_syn_and_its_ack() {
    let syn = [0x82, 0x0c, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    let seen = feed_all_ways(Role::Client, &syn);
    assert_eq!(seen.payload, syn[2..]);
    let ack = masked(0x82, &[0, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert_eq!(ack[6..10], [0x7d, 0x4e, 0x9a, 0xad]);
    assert_eq!(feed_all_ways(Role::Server, &ack).payload, [0, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0]);
}

#[test]
fn fragments_pings_between_them_and_empty_messages_are_one_byte_stream() {
    let mut wire = masked(0x02, b"one ");
    wire.extend(masked(0x89, b"are you there"));
    wire.extend(masked(0x00, b""));
    wire.extend(masked(0x00, b"two "));
    wire.extend(masked(0x8a, b"unasked"));
    wire.extend(masked(0x80, b"three "));
    wire.extend(masked(0x82, b""));
    wire.extend(masked(0x82, b"four"));
    let seen = feed_all_ways(Role::Server, &wire);
    assert_eq!(seen.payload, b"one two three four");
    assert_eq!((seen.end, seen.closing), (None, false));
    assert_eq!(seen.sent, raw(0x8a, None, b"are you there"));
}

#[test]
fn every_form_of_the_length_is_read_also_when_it_is_not_the_shortest() {
    for len in [0, 1, 125, 126, 127, 300] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        assert_eq!(feed_all_ways(Role::Server, &masked(0x82, &payload)).payload, payload);
        assert_eq!(feed_all_ways(Role::Client, &raw(0x82, None, &payload)).payload, payload);
    }
    assert_eq!(feed_all_ways(Role::Client, &[0x82, 126, 0, 1, b'x']).payload, b"x");
    assert_eq!(feed_all_ways(Role::Client, &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'x']).payload, b"x");
    let long: Vec<u8> = (0..70_000_u32).map(|i| (i * 7) as u8).collect();
    for cut in [0, 1, 9, 13, 14, 15, 40_001, 65_550] {
        assert_eq!(feed(Role::Server, &masked(0x82, &long), &[cut]).payload, long);
    }
}

#[test]
fn many_frames_in_one_input_become_one_range() {
    let mut rng = Rng::new(1);
    for round in 0..200 {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..rng.below(12) {
            let len = if rng.below(2) == 0 { rng.below(20) } else { rng.below(5000) };
            let payload: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let key = (rng.next_u64() as u32).to_be_bytes();
            wire.extend(raw(0x82, Some(key), &payload));
            expected.extend(payload);
        }
        assert_eq!(feed(Role::Server, &wire, &[]).payload, expected, "round {round}");
        let cut = rng.below(wire.len() as u64 + 1) as usize;
        assert_eq!(feed(Role::Server, &wire, &[cut]).payload, expected, "round {round} cut at {cut}");
    }
}

#[test]
fn only_the_newest_ping_is_answered_and_only_once() {
    let mut wire = masked(0x89, b"old");
    wire.extend(masked(0x89, b"newer but empty after"));
    wire.extend(masked(0x89, b""));
    assert_eq!(feed_all_ways(Role::Server, &wire).sent, [0x8a, 0]);

    let mut conn = Conn::new(Role::Client);
    assert_eq!(conn.handle_input(&mut raw(0x89, None, b"p")).payload, 0..0);
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(conn.poll_transmit(&mut out, KEY), 7);
    assert_eq!(out, [b"before", &masked(0x8a, b"p")[..]].concat());
    assert_eq!(conn.poll_transmit(&mut out, KEY), 0);
}

#[test]
fn payload_in_front_of_an_end_is_delivered_and_what_follows_is_dropped() {
    for (ending, end, sent) in [
        (
            masked(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
            End::Close(Some(1000)),
            raw(0x88, None, &[0x03, 0xe8]),
        ),
        (masked(0x88, &[]), End::Close(None), raw(0x88, None, &[])),
        (masked(0x81, b"text"), End::Text, vec![]),
        (raw(0x82, None, b"x"), End::Violation("bad MASK"), raw(0x88, None, b"\x03\xeabad MASK")),
    ] {
        let mut wire = masked(0x82, b"first ");
        wire.extend(masked(0x82, b"second"));
        wire.extend(&ending);
        wire.extend(masked(0x82, b"never seen"));
        wire.extend(masked(0x89, b"never answered"));
        let seen = feed_all_ways(Role::Server, &wire);
        assert_eq!(seen.payload, b"first second");
        assert_eq!(seen.closing, end != End::Text);
        assert_eq!((seen.end, seen.sent), (Some(end), sent));
    }
}

#[test]
fn violations_close_with_1002_and_the_reason_that_go_gives() {
    let violation = |wire: &[u8], text: &str| {
        let seen = feed_all_ways(Role::Server, wire);
        let reason = [&[0x03, 0xea], text.as_bytes()].concat();
        assert_eq!(seen.sent, raw(0x88, None, &reason), "{text}");
        assert!(matches!(seen.end, Some(End::Violation(_))));
        assert!(seen.closing);
        assert!(seen.payload.is_empty());
    };
    violation(&raw(0x82, None, b"x"), "bad MASK");
    violation(&masked(0xc2, b"x"), "RSV1 set");
    violation(&masked(0xa2, b"x"), "RSV2 set");
    violation(&masked(0x92, b"x"), "RSV3 set");
    violation(&masked(0x83, b"x"), "bad opcode 3");
    violation(&masked(0x8f, b"x"), "bad opcode 15");
    violation(&masked(0x80, b"x"), "continuation after FIN");
    violation(&masked(0x00, b"x"), "continuation after FIN");
    violation(&masked(0x09, b"x"), "FIN not set on control");
    violation(&masked(0x89, &[0; 126]), "len > 125 for control");
    violation(&masked(0x88, &999_u16.to_be_bytes()), "bad close code 999");
    violation(&masked(0x88, &0_u16.to_be_bytes()), "bad close code 0");
    violation(&masked(0x88, &65_535_u16.to_be_bytes()), "bad close code 65535");
    violation(&masked(0x88, &[3]), "close frame of one byte");
    violation(&masked(0x88, &[0x03, 0xe8, 0xff]), "invalid utf8 payload in close frame");
    violation(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], "length with top bit set");

    let mut wire = masked(0x02, b"");
    wire.extend(masked(0x82, b"x"));
    violation(&wire, "data before FIN");
    let mut wire = masked(0x02, b"");
    wire.extend(masked(0x81, b"text"));
    violation(&wire, "data before FIN");

    let seen = feed_all_ways(Role::Client, &masked(0x82, b"x"));
    assert_eq!(seen.end, Some(End::Violation("bad MASK")));
    assert_eq!(seen.sent, masked(0x88, b"\x03\xeabad MASK"));
}

#[test]
fn a_violation_is_found_with_the_second_byte_of_the_frame() {
    let mut conn = Conn::new(Role::Server);
    assert_eq!(conn.handle_input(&mut [0x82]).end, None);
    assert_eq!(conn.handle_input(&mut [0x01]).end, Some(End::Violation("bad MASK")));
}

#[test]
fn every_close_code_is_echoed_or_refused() {
    for code in 0..=u16::MAX {
        let mut conn = Conn::new(Role::Client);
        let end = conn.handle_input(&mut raw(0x88, None, &code.to_be_bytes())).end;
        let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let mut out = BytesMut::new();
        conn.poll_transmit(&mut out, [0; 4]);
        if legal {
            assert_eq!(end, Some(End::Close(Some(code))));
            assert_eq!(out[6..], code.to_be_bytes());
        } else {
            assert_eq!(end, Some(End::Violation("bad close code")));
            assert_eq!(out[8..], *format!("bad close code {code}").as_bytes());
        }
    }
}

#[test]
fn a_connection_sends_one_close_and_nothing_after_it() {
    let mut conn = Conn::new(Role::Server);
    let mut out = BytesMut::new();
    let _ = conn.handle_input(&mut masked(0x89, b"ping"));
    conn.close(Some(1001));
    conn.close(Some(1000));
    assert!(conn.wants_send());
    assert!(!conn.is_closing());
    conn.poll_transmit(&mut out, KEY);
    assert_eq!(out, [raw(0x8a, None, b"ping"), raw(0x88, None, &1001_u16.to_be_bytes())].concat());
    assert!(conn.is_closing());
    // The peer may still send; its data counts, its pings and its close are not answered.
    let mut wire =
        [masked(0x82, b"late"), masked(0x89, b"p"), masked(0x88, &1001_u16.to_be_bytes())].concat();
    let input = conn.handle_input(&mut wire);
    assert_eq!(&wire[input.payload], b"late");
    assert_eq!(input.end, Some(End::Close(Some(1001))));
    conn.close(None);
    assert!(!conn.wants_send());
    assert_eq!(conn.poll_transmit(&mut out, KEY), 0);
}

#[test]
fn close_leaves_out_codes_that_may_not_be_sent() {
    for (code, payload) in [(None, vec![]), (Some(1005), vec![]), (Some(3000), vec![0x0b, 0xb8])] {
        let mut conn = Conn::new(Role::Server);
        conn.close(code);
        let mut out = BytesMut::new();
        conn.poll_transmit(&mut out, KEY);
        assert_eq!(out, raw(0x88, None, &payload));
    }
}

#[test]
fn frames_are_like_those_written_by_the_definition() {
    for len in [0, 1, 12, 125, 126, 127, 65_535, 65_536] {
        let payload: Vec<u8> = (0..len as u32).map(|i| (i * 31) as u8).collect();
        for (role, key) in [(Role::Client, Some(KEY)), (Role::Server, None)] {
            let mut buf = vec![0xee; FRONT_ROOM];
            buf.extend(&payload);
            let start = Conn::new(role).frame(&mut buf, KEY);
            assert!(buf[start..] == raw(0x82, key, &payload), "{role:?}, length {len}");
            assert!(buf[..start].iter().all(|byte| *byte == 0xee), "bytes in front stay");
        }
    }
}

#[test]
fn huge_announced_lengths_cost_nothing() {
    let mut conn = Conn::new(Role::Client);
    let mut wire = vec![0x02, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(conn.handle_input(&mut wire).payload, 0..0);
    for _ in 0..3 {
        let mut piece = [7; 1000];
        let input = conn.handle_input(&mut piece);
        assert_eq!((input.payload, input.end), (0..1000, None));
    }
}

#[test]
fn a_flood_of_frames_without_payload_ends_the_connection_and_a_patient_pinger_does_not() {
    for frame in [masked(0x89, b""), masked(0x8a, b"x"), masked(0x82, b"")] {
        let piece: Vec<u8> = frame.iter().copied().cycle().take(frame.len() * 10_000).collect();
        let mut conn = Conn::new(Role::Server);
        let calls = (1..=100).find(|_| conn.handle_input(&mut piece.clone()).end.is_some());
        assert!(matches!(calls, Some(10..=12)), "{calls:?}");
        assert!(conn.is_closing());

        let mut conn = Conn::new(Role::Server);
        for _ in 0..200_000 {
            assert_eq!(conn.handle_input(&mut frame.clone()).end, None);
        }
    }
    let mut conn = Conn::new(Role::Server);
    let mut piece: Vec<u8> = masked(0x89, b"").repeat(10_000);
    piece.extend(masked(0x82, b"x"));
    for _ in 0..100 {
        assert_eq!(conn.handle_input(&mut piece.clone()).end, None, "payload clears the count");
    }
}

#[test]
fn random_bytes_neither_panic_nor_depend_on_cuts() {
    let mut rng = Rng::new(3);
    for round in 0..4000 {
        let mut wire: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
        // Make headers likely, or nearly every input would end with its second byte.
        let role = if round % 2 == 0 { Role::Server } else { Role::Client };
        for _ in 0..3 {
            let payload: Vec<u8> = (0..rng.below(9)).map(|_| rng.next_u64() as u8).collect();
            let first = [0x82, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x81][rng.below(8) as usize];
            let key = (role == Role::Server).then_some(KEY);
            let frame = raw(first, key, &payload);
            wire = [frame, wire].concat();
        }
        let whole = feed(role, &wire, &[]);
        for cut in 0..wire.len() {
            assert_eq!(feed(role, &wire, &[cut]), whole, "round {round} cut {cut}");
        }
        assert_eq!(feed(role, &wire, &(0..wire.len()).collect::<Vec<_>>()), whole);
    }
}

/// Reads frames of so many bytes, all of which have arrived, and gives the payload that each read brought.
fn read_whole(frames: &[usize], room: usize, first: usize) -> Vec<usize> {
    let wire: Vec<u8> = frames.iter().flat_map(|&n| masked(0x82, &vec![7; n])).collect();
    let mut conn = Conn::new(Role::Server);
    let mut rest = &wire[..];
    let mut brought = Vec::new();
    while !rest.is_empty() {
        let worth = conn.worth_reading(room);
        assert!(worth <= room && worth >= room.min(64 * 1024), "{worth} of {room}");
        let n = if brought.is_empty() { first } else { worth }.min(rest.len());
        let (now, later) = rest.split_at(n);
        rest = later;
        let input = conn.handle_input(&mut now.to_vec());
        assert_eq!(input.end, None);
        brought.push(input.payload.len());
    }
    assert_eq!(brought.iter().sum::<usize>(), frames.iter().sum());
    brought
}

#[test]
fn long_frames_are_read_whole() {
    let room = 288 * 1024;
    let long = 256 * 1024 + 12;
    // However the first ones were cut.
    for first in [1, 14, 1_000, 100_000, room] {
        let brought = read_whole(&[long; 12], room, first);
        assert!(brought[3..].iter().all(|&n| n == long), "{brought:?}");
    }
    let brought = read_whole(&[65_600; 24], room, room);
    assert!(brought[2..brought.len() - 1].iter().all(|&n| n == 4 * 65_600), "{brought:?}");
    // Short ones are read as they come, also behind long ones, and those that do not fit.
    assert_eq!(read_whole(&vec![100; 10_000], room, room).len(), 10_000 * 106 / room + 1);
    let mut mixed = vec![long; 3];
    mixed.resize(100_003, 2);
    assert!(read_whole(&mixed, room, room).len() <= 8);
    read_whole(&[room; 5], room, room);
    read_whole(&[70_000; 20], 1_000, 1_000);
}

#[test]
fn a_connection_is_small() {
    let size = size_of::<Conn>();
    assert!(size <= 200, "{size} bytes");
}
