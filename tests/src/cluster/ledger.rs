//! A service that writes down which requests it has served, and how often.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::http::Client;
use crate::service::Service;

/// A request that the path calls slow takes this long: some are always under way when something ends.
const SLOW: Duration = Duration::from_millis(700);

/// The service: `/id/<id>` is answered with the id and, behind it, the request's body of a known length; `/slow/<id>`
/// takes its time. `/events` sends events for ever, and an upgrade is echoed. Anything else is answered with `hello`.
#[derive(Debug)]
pub struct Ledger {
    service: Service,
    seen: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Ledger {
    /// Starts on a port of the kernel's choice.
    ///
    /// # Panics
    ///
    /// When no port of 127.0.0.1 can be had.
    pub fn start() -> Self {
        let seen: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
        let own = Arc::clone(&seen);
        let service = Service::scripted(move |stream| {
            let _ = serve(stream, &own);
        });
        Self { service, seen }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.service.addr()
    }

    /// Requests with an id that were served, and how many of them more than once.
    pub fn counts(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.len(), seen.values().filter(|times| **times > 1).count())
    }

    /// How often a request was served.
    pub fn times(&self, id: u64) -> u32 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(0)
    }
}

fn serve(stream: TcpStream, seen: &Mutex<BTreeMap<u64, u32>>) -> io::Result<()> {
    let mut peer = Client::over(stream)?;
    // Kept connections may wait for long.
    peer.set_patience(Duration::from_secs(600))?;
    loop {
        let head = peer.read_raw_head()?;
        if head.is_empty() {
            return Ok(());
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let field = |name: &str| {
            let of_name =
                |line: &str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
            let line = head.lines().find(|line| of_name(line))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        if field("upgrade").is_some() {
            peer.send(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )?;
            return echo(&mut peer);
        }
        let length = field("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let body = peer.read_exact(length)?;
        if path == "/events" {
            return events(&mut peer);
        }
        let mut answer = b"hello\n".to_vec();
        if let Some((kind, id)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            if let Ok(id) = id.parse::<u64>() {
                *seen.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
                answer = format!("{id}\n").into_bytes();
                answer.extend(body);
            }
            if kind == "slow" {
                thread::sleep(SLOW);
            }
        }
        let mut message = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len()).into_bytes();
        message.extend(answer);
        peer.send(&message)?;
    }
}

fn echo(peer: &mut Client) -> io::Result<()> {
    loop {
        let piece = peer.read_some(4096)?;
        if piece.is_empty() {
            return Ok(());
        }
        peer.send(&piece)?;
    }
}

fn events(peer: &mut Client) -> io::Result<()> {
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        peer.send_chunk(b"data: tick\n\n")?;
        let _ = peer.stream().flush();
        thread::sleep(Duration::from_millis(500));
    }
}
