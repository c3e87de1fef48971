//! Chunking is invisible: every split point of every vector gives the same replies, events and bytes.

use bytes::BytesMut;
use piko_core::id::StreamId;
use piko_core::mux::{Config, Session, Side};
use piko_core::time::Instant;
use piko_tests::vectors::{load, unhex};

const NOW: Instant = Instant::from_millis(1);

/// All that an observer can see after `pieces`: results, events, replies, and what each stream holds.
fn observe(pieces: &[&[u8]]) -> String {
    let mut session = Session::new(Side::Client, Config::default(), NOW);
    // Streams 2 and 4 are there and accepted, so that the vectors' frames meet something.
    let preface = unhex("000100010000000200000000000100010000000400000000");
    session.handle_input(NOW, &preface).expect("two plain streams");
    let ids = [session.accept(), session.accept()];
    let mut seen = String::new();
    drain(&mut session, &mut seen);
    seen.clear();
    let mut result = Ok(());
    for piece in pieces {
        result = session.handle_input(NOW, piece);
    }
    seen += &format!("{result:?} {:?} {}\n", session.close_reason(), session.streams());
    let mut readable = Vec::new();
    while let Some(event) = session.poll_event() {
        readable.push(format!("{event:?}"));
    }
    seen += &format!("{readable:?}\n");
    drain(&mut session, &mut seen);
    let accepted: Vec<_> = std::iter::from_fn(|| session.accept()).collect();
    for id in ids.into_iter().flatten().chain(accepted) {
        read(&mut session, id, &mut seen);
    }
    drain(&mut session, &mut seen);
    seen
}

/// Every block of a stream: also their borders may not depend on the chunks.
fn read(session: &mut Session, id: StreamId, seen: &mut String) {
    loop {
        let mut stream = session.recv(NOW, id);
        let n = match stream.chunk() {
            Ok(Some(bytes)) => {
                *seen += &format!(
                    "{id:?} {} {:?}\n",
                    bytes.len(),
                    bytes.iter().map(|b| u64::from(*b)).sum::<u64>()
                );
                bytes.len()
            }
            other => {
                let end = format!("{id:?} {other:?}");
                *seen += &format!("{end} room {}\n", session.send(NOW, id).room(4_000));
                return;
            }
        };
        stream.consume(n);
    }
}

fn drain(session: &mut Session, seen: &mut String) {
    let mut out = BytesMut::new();
    while session.poll_transmit(NOW, &mut out) > 0 {
        *seen += &format!("{out:?}\n");
        out.clear();
    }
}

/// The bytes of every mux vector, abbreviated bodies filled with zeros; also what Go refuses.
fn inputs() -> Vec<(String, Vec<u8>)> {
    let mut list = Vec::new();
    for vector in load("yamux.json") {
        let name = vector["name"].as_str().expect("a name").to_owned();
        if name.starts_with("ws_") {
            continue;
        }
        let mut bytes = Vec::new();
        match vector["fields"]["steps"].as_array() {
            Some(steps) => {
                for step in steps {
                    let hex = step["hex"].as_str().expect("hex");
                    match hex.strip_suffix("...") {
                        Some(_) => bytes.resize(bytes.len() + step["len"].as_u64().expect("len") as usize, 0),
                        None => bytes.extend(unhex(hex)),
                    }
                }
            }
            None => bytes = unhex(vector["hex"].as_str().expect("hex")),
        }
        list.push((name, bytes));
    }
    for (name, hex) in [
        ("bad version", "010000000000000200000000"),
        ("bad type", "000400000000000200000000"),
        ("second FIN", "000100040000000200000000000100040000000200000000"),
        ("data, FIN and RST", "000000040000000200000003616263000100080000000200000000"),
        ("SYN with data", "00000001000000080000000361626300000000000000080000000164"),
        ("unknown stream", "000000000000000a0000000361626300000000000000020000000164"),
    ] {
        list.push((name.into(), unhex(hex)));
    }
    list
}

#[test]
fn every_split_point_gives_the_same() {
    let mut points = 0;
    for (name, bytes) in inputs() {
        let whole = observe(&[&bytes]);
        // Bodies of hundreds of KiB: every point near a border of frames or blocks, and a sample between.
        let near = |i: &usize| {
            bytes.len() < 4096 || i % 16_384 < 14 || i % 16_384 > 16_370 || i.is_multiple_of(4_099)
        };
        for i in (0..=bytes.len()).filter(near) {
            let (a, b) = bytes.split_at(i);
            assert_eq!(observe(&[a, b]), whole, "{name} split at {i}");
            points += 1;
        }
    }
    assert!(points > 1000, "{points} split points");
}

#[test]
fn one_byte_at_a_time_gives_the_same() {
    for (name, bytes) in inputs() {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(observe(&pieces), observe(&[&bytes]), "{name}");
    }
}

#[test]
fn an_observer_can_tell_different_inputs_apart() {
    let (a, b) = (unhex("0000000000000002000000026869"), unhex("0000000000000002000000026868"));
    assert_ne!(observe(&[&a]), observe(&[&b]));
    assert_ne!(observe(&[&a]), observe(&[&a[..13]]));
}
