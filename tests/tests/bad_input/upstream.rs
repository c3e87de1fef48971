//! A hostile agent towards the server.

use std::net::Shutdown;
use std::time::{Duration, Instant};
use std::{io, thread};

use piko_tests::http::Client;
use piko_tests::rig::PATIENCE;

use crate::hostile::{ACK, DATA, FIN, GO_AWAY, PING, Peer, RST, SYN, WINDOW, beside_load, many, mux};

/// Within this time a peer that broke the protocol must be gone.
const SOON: Duration = Duration::from_secs(5);

/// An upstream may not open streams: each attempt is refused by a reset, and that is all.
#[test]
fn ten_thousand_streams_of_an_upstream_are_each_refused() {
    beside_load(|rig| {
        let mut peer = Peer::agent(rig.server.upstream, "opener");
        for batch in 0..100u32 {
            let syns = many(100, |i| mux(WINDOW, SYN, (batch * 100 + i) * 2 + 1, 0));
            peer.send_mux(&syns).expect("the tunnel stays");
            let mut refused = 0;
            while refused < 100 {
                let (kind, flags, id, _) = peer.next_header().expect("the tunnel stays");
                if flags & RST != 0 {
                    assert_eq!((kind, id % 2), (WINDOW, 1));
                    refused += 1;
                }
            }
        }
        // The tunnel is still a tunnel: a ping is answered.
        peer.send_mux(&mux(PING, SYN, 0, 77)).expect("the tunnel stays");
        while let Some((kind, flags, _, value)) = peer.next_header() {
            if kind == PING && flags & ACK != 0 {
                assert_eq!(value, 77);
                return;
            }
        }
        panic!("the ping is not answered");
    });
}

/// All in one write, and nothing is read before the last is sent: no tunnel ends for it, not even this one.
#[test]
fn ten_thousand_streams_at_once_are_each_refused_and_the_tunnel_serves_on() {
    beside_load(|rig| {
        let mut peer = Peer::agent(rig.server.upstream, "burst");
        peer.send_mux(&many(10_000, |i| mux(WINDOW, SYN, i * 2 + 1, 0))).expect("the tunnel stays");
        let mut refused = 0;
        while refused < 10_000 {
            let (kind, flags, id, value) = peer.next_header().expect("the tunnel stays");
            if kind == PING {
                peer.send_mux(&mux(PING, ACK, 0, value)).expect("the tunnel stays");
                continue;
            }
            assert_eq!((kind, flags, id), (WINDOW, RST, refused * 2 + 1));
            refused += 1;
        }
        let mut client = Client::connect(rig.server.proxy).expect("a connection");
        client.send_head("GET", "/", &[("host", "burst.test")]).expect("sent");
        let id = loop {
            let (_, flags, id, _) = peer.next_header().expect("a stream is opened");
            if flags & SYN != 0 && id != 0 {
                break id;
            }
        };
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let mut frame = mux(DATA, ACK, id, answer.len() as u32).to_vec();
        frame.extend_from_slice(answer);
        peer.send_mux(&frame).expect("the tunnel stays");
        let response = client.read_response("GET");
        assert_eq!((response.status(), response.body.text().as_str()), (200, "ok"));
    });
}

/// Floods that are not read for: whatever the server does with the peer, nobody else notices.
#[test]
fn floods_of_a_hostile_agent_disturb_nobody() {
    beside_load(|rig| {
        let pings = many(1000, |i| mux(PING, SYN, 0, i));
        let pongs = many(1000, |i| mux(PING, ACK, 0, i));
        let resets = many(1000, |i| mux(WINDOW, RST, i * 2 + 1, 0));
        let even_resets = many(1000, |i| mux(WINDOW, RST, i * 2 + 2, 0));
        let syns = many(1000, |i| mux(WINDOW, SYN, i * 2 + 1, 0));
        let syn_data = many(1000, |i| mux(DATA, SYN | FIN, i * 2 + 1, 0));
        let same_syn = many(1000, |_| mux(WINDOW, SYN, 1, 0));
        let empty = many(1000, |i| mux(DATA, 0, i * 2 + 1, 0));
        let credit = many(1000, |i| mux(WINDOW, 0, i * 2 + 2, u32::MAX));
        let away = many(1000, |_| mux(GO_AWAY, 0, 0, 0));
        for (what, bytes) in [
            ("pings", pings),
            ("pongs", pongs),
            ("resets", resets),
            ("resets of streams that the server opens", even_resets),
            ("SYNs", syns),
            ("SYNs with FIN", syn_data),
            ("the same SYN", same_syn),
            ("empty frames", empty),
            ("credit", credit),
            ("go-aways", away),
        ] {
            let mut peer = Peer::agent(rig.server.upstream, "flood");
            let frame = peer.frame(2, &bytes);
            let begin = Instant::now();
            let how = peer.flood(&frame, 300);
            eprintln!("{what}: {how:?} after {:?}", begin.elapsed());
        }
        for (what, opcode, payload) in
            [("WebSocket pings", 9, 125), ("WebSocket pongs", 10, 0), ("empty messages", 2, 0)]
        {
            let mut peer = Peer::agent(rig.server.upstream, "flood");
            let frames = peer.frame(opcode, &vec![b'x'; payload]).repeat(1000);
            let how = peer.flood(&frames, 200);
            eprintln!("{what}: {how:?}");
        }
    });
}

/// The bytes of a case, made for the peer that sends them.
type Bytes = Box<dyn Fn(&Peer) -> Vec<u8>>;

/// What cannot be a frame of this protocol ends the tunnel at once.
#[test]
fn broken_frames_end_the_tunnel() {
    beside_load(|rig| {
        let cases: Vec<(&str, Bytes)> = vec![
            ("a mux version", Box::new(|p| p.frame(2, &[1; 12]))),
            ("a mux type", Box::new(|p| p.frame(2, &mux(9, 0, 1, 0)))),
            ("data for a stream that is not", Box::new(|p| p.frame(2, &mux(DATA, 0, 2, u32::MAX)))),
            ("a length above 63 bits", Box::new(|p| p.header(2, u64::MAX))),
            ("a long control frame", Box::new(|p| p.header(9, 126))),
            ("a reserved opcode", Box::new(|p| p.frame(3, b""))),
            ("reserved bits", Box::new(|_| vec![0xf2, 0x80, 0, 0, 0, 0])),
            ("a continuation of nothing", Box::new(|p| p.frame(0, b"x"))),
            ("text", Box::new(|p| p.frame(1, b"hello"))),
            ("no mask", Box::new(|_| vec![0x82, 1, 0])),
            ("HTTP", Box::new(|_| b"GET / HTTP/1.1\r\n\r\n".to_vec())),
        ];
        for (what, bytes) in cases {
            let mut peer = Peer::agent(rig.server.upstream, "broken");
            let bytes = bytes(&peer);
            peer.send(&bytes).expect("sent");
            // Enough for any frame that was announced.
            let _ = peer.send(&[0; 256]);
            if what == "data for a stream that is not" {
                // Its body is read and dropped, as the protocol has it: streams may be gone already.
                continue;
            }
            assert!(peer.wait_end(SOON), "{what}: the tunnel stays");
        }
    });
}

/// Announced lengths cost nothing: memory is for bytes that are there.
#[test]
fn huge_announcements_cost_no_memory() {
    beside_load(|rig| {
        let mut peers = Vec::new();
        for _ in 0..50 {
            let mut peer = Peer::agent(rig.server.upstream, "huge");
            // A message of 2^62 bytes, and in it data of 4 GiB for a stream that is not there.
            let mut bytes = peer.header(2, 1 << 62);
            bytes.extend_from_slice(&mux(DATA, 0, 1, u32::MAX));
            bytes.extend_from_slice(&[0; 4096]);
            peer.send(&bytes).expect("sent");
            peers.push(peer);
        }
        // Each is read: this is more than fits between two sockets.
        for peer in &mut peers {
            let _ = peer.flood(&[0; 64 * 1024], 100);
        }
    });
}

/// More data than was ever granted, credit beyond all bounds, on a stream that is open.
#[test]
fn a_stream_beyond_its_window_ends_the_tunnel_and_answers_its_client() {
    beside_load(|rig| {
        for (what, frame) in
            [("data", mux(DATA, ACK, 0, 0x7fff_ffff)), ("credit", mux(WINDOW, ACK, 0, u32::MAX))]
        {
            let mut peer = Peer::agent(rig.server.upstream, "greedy");
            let mut client = Client::connect(rig.server.proxy).expect("a connection");
            client.send_head("POST", "/", &[("host", "greedy.test"), ("content-length", "0")]).expect("sent");
            let id = loop {
                let (_, flags, id, _) = peer.next_header().expect("a stream is opened");
                if flags & SYN != 0 && id != 0 {
                    break id;
                }
            };
            let mut frame = frame;
            frame[4..8].copy_from_slice(&id.to_be_bytes());
            peer.send_mux(&frame).expect("sent");
            let _ = peer.flood(&peer.frame(2, &[0; 16 * 1024]), 100);
            assert!(peer.wait_end(SOON), "{what}: the tunnel stays");
            let response = client.read_response("POST");
            assert_eq!(response.status(), 502, "{what}: {response:?}");
        }
    });
}

/// An agent whose answers are no HTTP, or never end.
#[test]
fn hostile_answers_reach_only_their_own_client() {
    beside_load(|rig| {
        let long_line = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 << 20));
        let many_lines = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(100_000));
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50_000);
        for (what, answer, wanted) in [
            ("a head line of 2 MiB", long_line.as_str(), Some(502)),
            ("100,000 fields", many_lines.as_str(), Some(502)),
            ("garbage", "\0\0\0\0\r\n\r\n", Some(502)),
            ("50,000 interim responses", interim.as_str(), None),
            (
                "a chunk of 16 EiB",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
                None,
            ),
        ] {
            let mut peer = Peer::agent(rig.server.upstream, "liar");
            let mut client = Client::connect(rig.server.proxy).expect("a connection");
            client.send_head("GET", "/", &[("host", "liar.test")]).expect("sent");
            let id = loop {
                let (_, flags, id, _) = peer.next_header().expect("a stream is opened");
                if flags & SYN != 0 && id != 0 {
                    break id;
                }
            };
            // An answer that is passed on has a client that takes it.
            let drain = wanted.is_none().then(|| {
                let mut stream = client.stream().try_clone().expect("a descriptor");
                thread::spawn(move || io::copy(&mut stream, &mut io::sink()))
            });
            let mut granted = 256 * 1024;
            for piece in answer.as_bytes().chunks(8192) {
                // As much as the window allows: this peer keeps the mux's rules.
                while granted < piece.len() {
                    match peer.next_header() {
                        Some((WINDOW, flags, of, more)) if of == id && flags & RST == 0 => {
                            granted += more as usize;
                        }
                        Some((_, flags, of, _)) if of == id && flags & RST != 0 => break,
                        // On a slow machine this takes as long as silence may.
                        Some((PING, SYN, _, value)) => {
                            peer.send_mux(&mux(PING, ACK, 0, value)).expect("the tunnel stays");
                        }
                        Some(_) => {}
                        None => panic!("{what}: the whole tunnel was ended for one answer"),
                    }
                }
                if granted < piece.len() {
                    break;
                }
                granted -= piece.len();
                let mut frame = mux(DATA, ACK, id, piece.len() as u32).to_vec();
                frame.extend_from_slice(piece);
                peer.send_mux(&frame).expect("the tunnel stays");
            }
            if let Some(status) = wanted {
                let response = client.read_response("GET");
                assert_eq!(response.status(), status, "{what}: {:?}", response.end);
            }
            let _ = client.stream().shutdown(Shutdown::Both);
            drop(client);
            if let Some(drain) = drain {
                let _ = drain.join().expect("no panic");
            }
            peer.send_mux(&mux(PING, SYN, 0, 5)).expect("the tunnel stays");
            loop {
                let (kind, flags, _, value) =
                    peer.next_header().unwrap_or_else(|| panic!("{what}: the tunnel ended"));
                if kind == PING && flags & ACK != 0 && value == 5 {
                    break;
                }
            }
        }
    });
}

/// A peer that is gone without a word is noticed within 12 s, and connections that never ask end as well.
#[test]
fn silent_peers_are_dropped() {
    beside_load(|rig| {
        let begin = Instant::now();
        let mut mute: Vec<_> = (0..20).map(|_| Peer::agent(rig.server.upstream, "mute")).collect();
        let mut empty: Vec<_> =
            (0..20).map(|_| Client::connect(rig.server.upstream).expect("a connection")).collect();
        for peer in &mut mute {
            assert!(peer.wait_end(PATIENCE), "a mute agent is kept");
        }
        assert!(begin.elapsed() < Duration::from_secs(12), "noticed after {:?}", begin.elapsed());
        for client in &mut empty {
            client.set_patience(PATIENCE).expect("an option");
            assert_eq!(client.read_end(), piko_tests::http::End::Closed);
        }
        // The endpoint is gone with them.
        let mut client = Client::connect(rig.server.proxy).expect("a connection");
        assert_eq!(client.get("/", &[("host", "mute.test")]).expect("sent").status(), 502);
    });
}
