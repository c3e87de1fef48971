//! The golden yamux vectors (wire protocol, section 11): the peer's frames go in, our frames are compared with
//! Go's byte for byte. Where we differ on purpose, the [`DEVIATIONS`] table says how and why.

use bytes::BytesMut;
use piko_core::id::StreamId;
use piko_core::mux::{CloseReason, Config, Event, Finish, GoAway, ReadError, Session, Side, WriteError};
use piko_core::time::Instant;
use piko_tests::vectors::{load, unhex};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Intended differences: vector, what we send in place of Go's bytes, and the reason with its section.
const DEVIATIONS: [(&str, &str, &str); 4] = [
    (
        "ack_fin",
        "000100020000000200000000000100040000000200000000",
        "FIN is a frame of its own (performance guide 2.5)",
    ),
    (
        "data_fin",
        "0000000000000002000000026869000100040000000200000000",
        "FIN is a frame of its own (performance guide 2.5)",
    ),
    (
        "data_ack",
        "0001000200000002000000000000000000000002000000026869",
        "ACK is a frame of its own, as Go sends it (4.5)",
    ),
    (
        "script_accept_after_remote_fin",
        "000100020000000200000000",
        "the ACK is sent anyway (4.5, quirk, and section 10)",
    ),
];

/// Vectors that only the encoder can make: covered by the header tests beside it, and replayed as input here.
const INPUT_ONLY: [&str; 3] = ["data_empty", "last_stream_id_server", "max_values"];

const TWO: StreamId = StreamId(2);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Both sides of a script: the server opens, the agent accepts.
struct Pair {
    now: u64,
    server: Session,
    agent: Session,
    /// What each wrote in this script.
    written: BTreeMap<&'static str, Vec<u8>>,
}

impl Pair {
    fn new(change: impl Fn(&mut Config)) -> Self {
        let mut config = Config::default();
        // Go never grants more than its one window.
        config.window_max = 0;
        config.quantum = 1 << 20;
        config.ping_after = Duration::MAX;
        change(&mut config);
        let server = Session::new(Side::Server, config.clone(), at(0));
        let agent = Session::new(Side::Client, config, at(0));
        Self { now: 0, server, agent, written: BTreeMap::new() }
    }

    fn now(&self) -> Instant {
        at(self.now)
    }

    /// One flush of a side: what came out, and delivered to the other.
    fn flush(&mut self, by: &'static str) -> Vec<u8> {
        let now = self.now();
        let (from, to) = match by {
            "server" => (&mut self.server, &mut self.agent),
            _ => (&mut self.agent, &mut self.server),
        };
        let mut all = Vec::new();
        let mut out = BytesMut::new();
        while from.poll_transmit(now, &mut out) > 0 {
            let n = out.len();
            all.extend_from_slice(&out);
            out.clear();
            from.handle_sent(now, n, true);
        }
        let _ = to.handle_input(now, &all);
        self.written.entry(by).or_default().extend_from_slice(&all);
        all
    }

    /// Stream 2, opened, accepted, with nothing left to send.
    fn connected(change: impl Fn(&mut Config)) -> Self {
        let mut pair = Self::new(change);
        assert_eq!(pair.server.open(at(0)), Ok(TWO));
        pair.flush("server");
        assert_eq!(pair.agent.accept(), Some(TWO));
        pair.flush("agent");
        pair.written.clear();
        pair
    }
}

fn vectors() -> BTreeMap<String, Value> {
    let list = load("yamux.json");
    assert_eq!(list.len(), 54);
    list.into_iter().map(|v| (v["name"].as_str().expect("a name").to_owned(), v)).collect()
}

fn hex_of<'a>(vectors: &'a BTreeMap<String, Value>, name: &str) -> &'a str {
    vectors[name]["hex"].as_str().expect("hex")
}

/// Our bytes for vector `name` equal Go's, or the entry of the deviation table.
fn expect(vectors: &BTreeMap<String, Value>, name: &str, ours: &[u8]) {
    let go = unhex(hex_of(vectors, name));
    match DEVIATIONS.iter().find(|(deviant, ..)| *deviant == name) {
        Some((_, hex, why)) => {
            assert_ne!(ours, go, "{name} is no deviation any more: {why}");
            assert_eq!(ours, unhex(hex), "{name}: {why}");
        }
        None => assert_eq!(ours, go, "{name}"),
    }
}

/// The frames with which `by` answers in a script's steps; bodies are patterns of zeros.
fn script(vectors: &BTreeMap<String, Value>, name: &str, by: &str) -> Vec<u8> {
    let steps = vectors[name]["fields"]["steps"].as_array().expect("steps");
    let mut all = Vec::new();
    for step in steps.iter().filter(|s| s["by"].as_str().expect("by").starts_with(by)) {
        let hex = step["hex"].as_str().expect("hex");
        match hex.strip_suffix("...") {
            Some(_) => all.resize(all.len() + step["len"].as_u64().expect("len") as usize, 0),
            None => all.extend(unhex(hex)),
        }
    }
    all
}

/// Data frames joined: Go sends a window in one frame, we send it in frames that fit the outbox (4.5 allows any).
fn summed(frames: &[u8]) -> (Vec<[u8; 12]>, usize) {
    let (mut control, mut data, mut rest) = (Vec::new(), 0, frames);
    while let Some((header, behind)) = rest.split_first_chunk::<12>() {
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        if header[1] == 0 {
            data += length;
            rest = &behind[length..];
        } else {
            control.push(*header);
            rest = behind;
        }
    }
    (control, data)
}

#[test]
fn every_single_frame_is_made_or_understood() {
    let v = vectors();
    let mut seen = Vec::new();
    let mut check = |name: &str, ours: &[u8]| {
        expect(&v, name, ours);
        seen.push(name.to_owned());
    };

    let mut p = Pair::new(|_| {});
    p.server.open(at(0)).unwrap();
    check("syn_server_first_stream", &p.flush("server"));
    p.agent.open(at(0)).unwrap();
    check("syn_client_first_stream", &p.flush("agent"));
    p.agent.accept().unwrap();
    check("ack", &p.flush("agent"));
    p.server.send(at(0), TWO).write(b"hello").unwrap();
    check("data_hello", &p.flush("server"));
    p.server.send(at(0), TWO).finish(Finish::Now).unwrap();
    check("fin", &p.flush("server"));
    p.agent.release(at(0), TWO);
    check("rst", &p.flush("agent"));

    for (name, data) in [("ack_fin", ""), ("data_ack", "hi")] {
        let mut p = Pair::new(|_| {});
        p.server.open(at(0)).unwrap();
        p.flush("server");
        p.agent.accept().unwrap();
        p.agent.send(at(0), TWO).write(data.as_bytes()).unwrap();
        if data.is_empty() {
            p.agent.send(at(0), TWO).finish(Finish::Now).unwrap();
        }
        check(name, &p.flush("agent"));
    }
    let mut p = Pair::connected(|_| {});
    p.server.send(at(0), TWO).write(b"hi").unwrap();
    p.server.send(at(0), TWO).finish(Finish::Now).unwrap();
    check("data_fin", &p.flush("server"));

    for (name, read) in [("window_update_half", 131_072), ("window_update_full", 262_144)] {
        let mut p = Pair::connected(|_| {});
        while p.server.send(at(0), TWO).write(&[0; 65_536]).is_ok() {
            p.flush("server");
        }
        p.agent.recv(at(0), TWO).read_into(&mut vec![0; read]).unwrap();
        check(name, &p.flush("agent"));
    }

    let mut p = Pair::new(|c| c.ping_after = Duration::from_secs(30));
    p.server.handle_timeout(at(30_000));
    p.now = 30_000;
    check("ping_0", &p.flush("server"));
    check("ping_0_reply", &p.flush("agent"));
    // No opaque value but the count is ever sent; the peer's is echoed.
    p.agent.handle_input(at(30_000), &unhex(hex_of(&v, "ping_opaque"))).unwrap();
    assert_eq!(p.flush("agent"), unhex("000200020000000001020304"));
    seen.push("ping_opaque".into());

    for (name, code) in [
        ("go_away_normal", GoAway::Normal),
        ("go_away_protocol_error", GoAway::ProtocolError),
        ("go_away_internal_error", GoAway::InternalError),
    ] {
        let mut p = Pair::new(|_| {});
        p.agent.close(at(0), code);
        let ours = p.flush("agent");
        expect(&v, name, &ours);
        seen.push(name.into());
        let reason = p.server.close_reason().cloned();
        assert_eq!(reason, (code != GoAway::Normal).then_some(CloseReason::GoAway(code)));
    }

    let mut p = Pair::connected(|_| {});
    for name in INPUT_ONLY {
        let result = p.agent.handle_input(at(0), &unhex(hex_of(&v, name)));
        // All flags at once on a new stream: RST wins over SYN.
        assert_eq!(result, Ok(()), "{name}");
        seen.push(name.into());
    }
    assert_eq!(p.agent.accept(), Some(StreamId(4_294_967_292)));
    assert_eq!(p.agent.recv(at(0), TWO).chunk(), Err(ReadError::Blocked));

    let plain: Vec<_> = v.keys().filter(|n| !n.starts_with("ws_") && !n.starts_with("script_")).collect();
    seen.sort();
    assert_eq!(seen.iter().collect::<Vec<_>>(), plain);
}

#[test]
fn the_script_of_one_stream() {
    let v = vectors();
    let mut p = Pair::new(|_| {});
    p.server.open(at(0)).unwrap();
    expect(&v, "script_open", &p.flush("server"));
    assert!(p.flush("agent").is_empty(), "no ACK before the application accepts");
    p.agent.accept().unwrap();
    expect(&v, "script_accept", &p.flush("agent"));
    p.server.send(at(0), TWO).write(b"ping").unwrap();
    let ping = p.flush("server");
    assert_eq!(p.agent.recv(at(0), TWO).chunk(), Ok(Some(&b"ping"[..])));
    p.agent.recv(at(0), TWO).consume(4);
    p.agent.send(at(0), TWO).write(b"pong!").unwrap();
    expect(&v, "script_small_data", &[ping, p.flush("agent")].concat());
    p.server.send(at(0), TWO).finish(Finish::Now).unwrap();
    expect(&v, "script_opener_half_close", &p.flush("server"));
    assert_eq!(p.agent.recv(at(0), TWO).chunk(), Ok(None));
    p.agent.send(at(0), TWO).write(b"late").unwrap();
    expect(&v, "script_data_after_remote_fin", &p.flush("agent"));
    p.agent.send(at(0), TWO).finish(Finish::Now).unwrap();
    expect(&v, "script_acceptor_close", &p.flush("agent"));
    p.agent.release(at(0), TWO);
    p.server.release(at(0), TWO);
    assert_eq!((p.server.streams(), p.agent.streams()), (0, 0));
    assert!(p.flush("server").is_empty() && p.flush("agent").is_empty());
}

#[test]
fn the_scripts_of_pings_and_go_away() {
    let v = vectors();
    let mut p = Pair::new(|c| {
        c.ping_after = Duration::from_secs(30);
        c.ping_timeout = Duration::from_secs(10);
    });
    let mut all = Vec::new();
    p.now = 30_000;
    for (by, other) in [("agent", "server"), ("server", "agent"), ("server", "agent")] {
        p.now += 30_000;
        let now = p.now();
        let session = if by == "agent" { &mut p.agent } else { &mut p.server };
        session.handle_timeout(now);
        all.extend(p.flush(by));
        all.extend(p.flush(other));
    }
    expect(&v, "script_ping", &all);

    let mut p = Pair::new(|_| {});
    p.server.open(at(0)).unwrap();
    assert_eq!(p.server.open(at(0)), Ok(StreamId(4)));
    p.flush("server");
    let _ = (p.agent.accept(), p.agent.accept());
    p.flush("agent");
    p.agent.close(at(0), GoAway::Normal);
    expect(&v, "script_go_away", &p.flush("agent"));
    assert!(matches!(p.server.poll_event(), Some(Event::GoAway(GoAway::Normal))));
    p.server.send(at(0), StreamId(4)).write(b"still").unwrap();
    expect(&v, "script_data_after_go_away", &p.flush("server"));
    assert_eq!(p.agent.recv(at(0), StreamId(4)).chunk(), Ok(Some(&b"still"[..])));

    let mut p = Pair::new(|_| {});
    p.agent.close(at(0), GoAway::Normal);
    // The decision is there, its frame is not: the SYN crosses it.
    p.server.open(at(0)).unwrap();
    let syn = p.flush("server");
    let answer = p.flush("agent");
    assert!(answer.ends_with(&unhex("000300000000000000000000")), "the go-away itself comes behind");
    expect(&v, "script_syn_after_local_go_away", &[&syn[..], &answer[..12]].concat());

    // A session that is dropped writes nothing.
    expect(&v, "script_session_close", &[]);
}

#[test]
fn the_scripts_of_limits_and_timeouts() {
    let v = vectors();
    let mut p = Pair::new(|c| c.accept_backlog = 2);
    for _ in 0..3 {
        p.server.open(at(0)).unwrap();
    }
    let syns = p.flush("server");
    expect(&v, "script_backlog_exceeded", &[syns, p.flush("agent")].concat());

    let mut p = Pair::connected(|c| c.close_timeout = Duration::from_millis(100));
    p.server.send(at(0), TWO).finish(Finish::Now).unwrap();
    let mut all = p.flush("server");
    p.now = 100;
    p.server.handle_timeout(at(100));
    all.extend(p.flush("server"));
    expect(&v, "script_close_timeout", &all);
    // The server's direction had ended cleanly before; the agent's is cut.
    assert_eq!(p.agent.recv(at(100), TWO).chunk(), Ok(None));
    assert_eq!(p.agent.send(at(100), TWO).write(b"x"), Err(WriteError::Reset));

    let mut p = Pair::new(|_| {});
    p.server.open(at(0)).unwrap();
    let mut all = p.flush("server");
    p.server.send(at(0), TWO).finish(Finish::Now).unwrap();
    all.extend(p.flush("server"));
    expect(&v, "script_open_close_before_accept", &all);
    p.agent.accept().unwrap();
    expect(&v, "script_accept_after_remote_fin", &p.flush("agent"));
    p.agent.send(at(0), TWO).write(b"x").unwrap();
    expect(&v, "script_write_after_accept_after_remote_fin", &p.flush("agent"));
    p.agent.send(at(0), TWO).finish(Finish::Now).unwrap();
    expect(&v, "script_close_after_accept_after_remote_fin", &p.flush("agent"));
}

#[test]
fn the_scripts_of_a_full_window() {
    let v = vectors();
    let mut p = Pair::connected(|_| {});
    let body = vec![0; 600_000];
    let mut written = 0;
    let mut fill = |p: &mut Pair| {
        loop {
            let now = p.now();
            match p.server.send(now, TWO).write(&body[written..]) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(_) if p.flush("server").is_empty() => break,
                Err(_) => {}
            }
        }
        p.flush("server");
        p.written.remove("server").unwrap_or_default()
    };
    let read = |p: &mut Pair, n: usize| {
        let got = p.agent.recv(at(0), TWO).read_into(&mut vec![1; n]);
        assert_eq!(got, Ok(Some(n)));
        p.flush("agent")
    };
    let same =
        |name: &str, ours: &[u8]| assert_eq!(summed(ours), summed(&script(&v, name, "server")), "{name}");
    same("script_window_fill", &fill(&mut p));
    assert_eq!(read(&mut p, 131_071), script(&v, "script_window_read_131071", "agent"));
    assert_eq!(read(&mut p, 1), script(&v, "script_window_read_131072", "agent"));
    same("script_window_read_131072", &fill(&mut p));
    let mut updates = read(&mut p, 262_144);
    same("script_window_rest", &fill(&mut p));
    updates.extend(read(&mut p, 206_784));
    assert_eq!(updates, script(&v, "script_window_rest", "agent"));

    let mut p = Pair::connected(|_| {});
    let result = p.agent.handle_input(at(0), &script(&v, "script_window_exceeded", "server"));
    assert_eq!(result, Err(CloseReason::Violation));
    assert_eq!(p.flush("agent"), script(&v, "script_window_exceeded", "agent"));
}

#[test]
fn every_vector_of_the_mux_is_replayed_here() {
    let source = include_str!("mux_vectors.rs");
    for name in vectors().keys().filter(|name| !name.starts_with("ws_")) {
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not replayed");
    }
}
