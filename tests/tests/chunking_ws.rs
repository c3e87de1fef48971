//! Two tunnels with a WebSocket between them, cut at random: what arrives does not depend on the cuts.

use bytes::BytesMut;
use piko_core::id::{EndpointId, StreamId};
use piko_core::mux::{Config, Finish, ReadError, WriteError};
use piko_core::rng::Rng;
use piko_core::time::Instant;
use piko_core::tunnel::{Grant, Tunnel, TunnelEvent};
use piko_core::ws::{Conn, FRONT_ROOM, Role};

/// A tunnel over a WebSocket, as a driver joins them.
struct Side {
    tunnel: Tunnel,
    conn: Conn,
    /// On the wire towards the other side.
    wire: Vec<u8>,
}

impl Side {
    /// Puts one message around what the mux gives, in place.
    fn transmit(&mut self, now: Instant, rng: &mut Rng) {
        let mut out = BytesMut::new();
        let n = self.tunnel.poll_transmit(now, &mut out);
        if n > 0 {
            assert_eq!(out.len(), FRONT_ROOM + n, "the mux leaves the room that the WebSocket needs");
            assert!(out.len() <= 64 * 1024);
            let start = self.conn.frame(&mut out, (rng.next_u64() as u32).to_be_bytes());
            self.wire.extend(&out[start..]);
            self.tunnel.handle_sent(now, n, true);
        }
        let mut out = BytesMut::new();
        self.conn.poll_transmit(&mut out, (rng.next_u64() as u32).to_be_bytes());
        self.wire.extend(&out);
    }

    /// Takes a piece of at most `most` bytes of what is on the wire.
    fn receive(&mut self, now: Instant, wire: &mut Vec<u8>, most: usize) {
        let mut piece: Vec<u8> = wire.drain(..most.min(wire.len())).collect();
        let input = self.conn.handle_input(&mut piece);
        assert_eq!(input.end, None);
        if !input.payload.is_empty() {
            self.tunnel.handle_chunk(now, &piece[input.payload]).expect("no violation");
        }
    }

    /// Reads what is there; true at the clean end.
    fn read(&mut self, now: Instant, id: StreamId, into: &mut Vec<u8>) -> bool {
        loop {
            let mut stream = self.tunnel.recv(now, id);
            match stream.chunk() {
                Ok(Some(chunk)) => {
                    into.extend(chunk);
                    let n = chunk.len();
                    stream.consume(n);
                }
                Ok(None) => return true,
                Err(ReadError::Blocked) => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Sends `sent` from server to agent and back in pieces of at most `most` bytes of wire.
fn echo(sent: &[u8], most: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut now = Instant::from_millis(1);
    let mut config = Config::default();
    config.front_room = FRONT_ROOM;
    let endpoint = EndpointId::new(b"e1").expect("a good id");
    let server = Tunnel::accepted(endpoint.clone(), Grant::default(), config.clone(), now);
    let agent = Tunnel::dialled(endpoint, config, now);
    let mut server = Side { tunnel: server, conn: Conn::new(Role::Server), wire: vec![] };
    let mut agent = Side { tunnel: agent, conn: Conn::new(Role::Client), wire: vec![] };
    let id = server.tunnel.open(now).expect("a stream");
    let (mut written, mut arrived, mut answered, mut back) = (0, vec![], 0, vec![]);
    let (mut asked, mut accepted, mut done) = (false, false, false);
    for _ in 0..1_000_000 {
        now = now + core::time::Duration::from_micros(50);
        if !asked {
            match server.tunnel.send(now, id).write(&sent[written..]) {
                Ok(n) => written += n,
                Err(WriteError::Blocked) => {}
                Err(error) => panic!("{error}"),
            }
            if written == sent.len() {
                server.tunnel.send(now, id).finish(Finish::Now).expect("open");
                asked = true;
            }
        }
        accepted |= agent.tunnel.accept().is_some();
        if accepted && !done {
            let ended = agent.read(now, id, &mut arrived);
            if answered < arrived.len() {
                if let Ok(n) = agent.tunnel.send(now, id).write(&arrived[answered..]) {
                    answered += n;
                }
            } else if ended {
                agent.tunnel.send(now, id).finish(Finish::Now).expect("open");
                agent.tunnel.release(now, id);
                done = true;
            }
        }
        if server.read(now, id, &mut back) {
            assert!(back == sent, "{} of {} bytes came back as they were", back.len(), sent.len());
            return;
        }
        server.transmit(now, &mut rng);
        agent.transmit(now, &mut rng);
        let n = 1 + rng.below(most as u64) as usize;
        agent.receive(now, &mut server.wire, n);
        server.receive(now, &mut agent.wire, n);
        for side in [&mut server, &mut agent] {
            while let Some(event) = side.tunnel.poll_event() {
                assert!(!matches!(event, TunnelEvent::Closed(_)), "{event:?}");
            }
        }
    }
    panic!("stalled: {} there, {} back", arrived.len(), back.len());
}

#[test]
fn an_echo_arrives_whole_however_the_wire_is_cut() {
    let long: Vec<u8> = (0..400_000_u32).map(|i| (i ^ i >> 8) as u8).collect();
    for (seed, (len, most)) in
        [(0, 1), (1, 1), (700, 1), (5_000, 3), (70_000, 30), (400_000, 5_000), (400_000, 200_000)]
            .into_iter()
            .enumerate()
    {
        echo(&long[..len], most, seed as u64);
    }
}
