//! Peers that write raw frames, and what runs beside them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use piko_core::ws::{Conn, Role, handshake};
use piko_tests::http::Client;
use piko_tests::process::Process;
use piko_tests::rig::{HOST, Load, PATIENCE, Rig};

/// What any bad input may cost above the memory of an idle process, in bytes.
const ABOVE_IDLE: u64 = 64 << 20;
/// Connections of the load beside each case.
pub(crate) const CONNECTIONS: usize = 64;

/// The memory of a process when nothing has happened yet.
pub(crate) struct Idle {
    rss: u64,
}

impl Idle {
    pub(crate) fn of(process: &Process) -> Self {
        Self { rss: process.memory().expect("it runs").rss_bytes }
    }

    /// The most that the process ever held is within the bound.
    pub(crate) fn check(&self, process: &Process) {
        let peak = process
            .memory()
            .unwrap_or_else(|e| panic!("{} is gone: {e}\n{}", process.name(), process.tail()))
            .rss_peak_bytes;
        let above = peak.saturating_sub(self.rss);
        eprintln!("{}: {} KiB above idle", process.name(), above / 1024);
        assert!(above <= ABOVE_IDLE, "{}: {} KiB above idle", process.name(), above / 1024);
    }
}

/// Runs a case while a load goes through the same server, agent and service.
pub(crate) fn beside_load(case: impl FnOnce(&Rig)) {
    let rig = Rig::start();
    let (server, agent) = (Idle::of(&rig.server.process), Idle::of(&rig.agent.process));
    let load = Load::start(rig.server.proxy, HOST, CONNECTIONS);
    load.round();
    case(&rig);
    load.round();
    assert!(load.stop() >= 4 * CONNECTIONS as u64);
    server.check(&rig.server.process);
    agent.check(&rig.agent.process);
}

/// How a flood went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// The other side ended the connection.
    Ended,
    /// All of it was taken.
    Taken,
}

/// The far end of a tunnel, with no manners of its own.
pub(crate) struct Peer {
    stream: TcpStream,
    ws: Conn,
    role: Role,
    /// Payload that was read and not looked at.
    pub(crate) payload: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream, role: Role) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self { stream, ws: Conn::new(role), role, payload: Vec::new() }
    }

    /// Registers at the upstream port as an agent would.
    pub(crate) fn agent(upstream: SocketAddr, endpoint: &str) -> Self {
        let mut client = Client::connect(upstream).expect("the upstream port takes connections");
        let mut out = BytesMut::new();
        let target = format!("/piko/v1/upstream/{endpoint}");
        let ask = handshake::Ask { host: b"server", target: target.as_bytes(), key: [9; 16], fields: &[] };
        handshake::write_request(&ask, &mut out);
        client.send(&out).expect("sent");
        assert_eq!(client.read_head().expect("an answer").status, 101);
        // Nothing follows the 101 until a stream is opened, so no byte is lost with the client's buffer.
        Self::new(client.stream().try_clone().expect("a copy"), Role::Client)
    }

    /// Answers an agent's upgrade as a server would; `head` is its request.
    pub(crate) fn server(mut stream: TcpStream, head: &str) -> Self {
        let key = head.split("\r\n").find_map(|l| l.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let mut out = BytesMut::new();
        handshake::write_response(&handshake::accept_key(key.as_bytes()), &[], &mut out);
        stream.write_all(&out).expect("sent");
        Self::new(stream, Role::Server)
    }

    /// One WebSocket frame around `payload`, masked with zeros where a mask must be.
    pub(crate) fn frame(&self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.header(opcode, payload.len() as u64);
        frame.extend_from_slice(payload);
        frame
    }

    /// The header of a frame that announces `len` bytes.
    pub(crate) fn header(&self, opcode: u8, len: u64) -> Vec<u8> {
        let mask = if self.role == Role::Client { 0x80 } else { 0 };
        let mut header = vec![0x80 | opcode];
        match len {
            0..=125 => header.push(mask | len as u8),
            126..=65_535 => {
                header.push(mask | 126);
                header.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                header.push(mask | 127);
                header.extend_from_slice(&len.to_be_bytes());
            }
        }
        if mask != 0 {
            header.extend_from_slice(&[0; 4]);
        }
        header
    }

    /// Sends these bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends mux bytes in one binary message.
    pub(crate) fn send_mux(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frame = self.frame(2, bytes);
        self.send(&frame)
    }

    /// Sends `bytes` again and again and reads nothing. A peer that stops reading for ever fails the test.
    pub(crate) fn flood(&mut self, bytes: &[u8], times: usize) -> Flood {
        for _ in 0..times {
            match self.send(bytes) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    panic!("the flood is not read any more, and not ended either")
                }
                Err(_) => return Flood::Ended,
            }
        }
        Flood::Taken
    }

    /// Reads until at least `n` bytes of mux payload are there; false when the connection ends first.
    pub(crate) fn read_payload(&mut self, n: usize) -> bool {
        let mut buf = vec![0; 64 * 1024];
        while self.payload.len() < n {
            match self.stream.read(&mut buf) {
                Ok(0) | Err(_) => return false,
                Ok(read) => {
                    let input = self.ws.handle_input(&mut buf[..read]);
                    self.payload.extend_from_slice(&buf[input.payload]);
                    if input.end.is_some() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Waits for the end of the connection, at most `within`, and drops what arrives.
    pub(crate) fn wait_end(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut buf = vec![0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).expect("an option");
            match self.stream.read(&mut buf) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    /// The next whole mux header that arrived, with the bytes of data frames skipped.
    pub(crate) fn next_header(&mut self) -> Option<(u8, u16, u32, u32)> {
        if !self.read_payload(12) {
            return None;
        }
        let h: Vec<u8> = self.payload.drain(..12).collect();
        let word = |at: usize| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let header = (h[1], u16::from_be_bytes([h[2], h[3]]), word(4), word(8));
        if header.0 == DATA && header.3 > 0 {
            let n = header.3 as usize;
            if !self.read_payload(n) {
                return None;
            }
            self.payload.drain(..n);
        }
        Some(header)
    }
}

pub(crate) const DATA: u8 = 0;
pub(crate) const WINDOW: u8 = 1;
pub(crate) const PING: u8 = 2;
pub(crate) const GO_AWAY: u8 = 3;
pub(crate) const SYN: u16 = 1;
pub(crate) const ACK: u16 = 2;
pub(crate) const FIN: u16 = 4;
pub(crate) const RST: u16 = 8;

/// A mux header (wire protocol 4.2).
pub(crate) fn mux(kind: u8, flags: u16, id: u32, length: u32) -> [u8; 12] {
    let (f, i, l) = (flags.to_be_bytes(), id.to_be_bytes(), length.to_be_bytes());
    [0, kind, f[0], f[1], i[0], i[1], i[2], i[3], l[0], l[1], l[2], l[3]]
}

/// Many mux headers in one run, made by their number.
pub(crate) fn many(n: u32, header: impl Fn(u32) -> [u8; 12]) -> Vec<u8> {
    (0..n).flat_map(header).collect()
}
