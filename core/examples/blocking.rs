//! A whole agent on `std::net` and `std::thread`: no runtime, no async, no dependency beside `piko-core`.
//!
//! ```text
//! cargo run -p piko-core --example blocking -- http://127.0.0.1:8001 my-endpoint
//! curl -H 'x-piko-endpoint: my-endpoint' http://127.0.0.1:8000/hello
//! ```
//!
//! Prints `connected <endpoint>` for every tunnel that comes up. `GET` is answered with a greeting; the body of
//! a `POST` or `PUT` comes back while it still arrives. Each further argument is one more endpoint, on a thread
//! of its own. The machines of core do the work, this file moves bytes between them and the socket:
//!
//! ```text
//!   TcpStream ⇄ ws::Conn ⇄ Tunnel ⇄ one http1::ServerConn per stream        Reconnector ─► dial now
//! ```

#[path = "blocking/dial.rs"]
mod dial;
#[path = "blocking/service.rs"]
mod service;

use bytes::BytesMut;
use dial::dial;
use piko_core::id::{EndpointId, StreamId};
use piko_core::mux::{CloseReason, Config};
use piko_core::time::{Deadline, Instant};
use piko_core::tunnel::{Action, Backoff, Reconnector, TransportEnd, Tunnel, TunnelEvent};
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use service::Service;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const USAGE: &str = "usage: blocking http://<host>:<port> <endpoint>...";
/// Sockets cannot wait for zero time, and a deadline that is nearly over is not worth a system call.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// How long the server may refuse to take bytes: no keep-alive can run while a write blocks. Servers of Piko read
/// even while they cannot write, so that two blocked writers never wait for each other.
const WRITE_WAIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, endpoints @ ..] = args.as_slice() else { return Err(USAGE.to_owned()) };
    if endpoints.is_empty() {
        return Err(USAGE.to_owned());
    }
    std::thread::scope(|scope| {
        let start = |endpoint| scope.spawn(move || supervise(url, endpoint));
        let agents: Vec<_> = endpoints.iter().map(String::as_str).map(start).collect();
        agents.into_iter().try_for_each(|agent| agent.join().map_err(|_| "an agent panicked")?)
    })
}

/// Keeps one endpoint connected. The [`Reconnector`] says when to dial; dialling and sleeping are done here.
fn supervise(url: &str, endpoint: &str) -> Result<(), String> {
    let id = EndpointId::new(endpoint.as_bytes()).map_err(|bad| bad.to_string())?;
    let mut world = World::new().map_err(|error| format!("/dev/urandom: {error}"))?;
    let seed = u64::from_ne_bytes(world.random().map_err(|error| error.to_string())?);
    let mut reconnector = Reconnector::new(1, Backoff::default(), seed, world.now());
    loop {
        match reconnector.poll_action() {
            Some(Action::Dial { attempt, limit, .. }) => {
                match dial(&mut world, url, endpoint, limit.unwrap_or(WRITE_WAIT)) {
                    Ok((tcp, early)) => {
                        reconnector.handle_connected(world.now(), attempt);
                        println!("connected {endpoint}");
                        let ended = Agent::new(&mut world, tcp, id.clone()).run(early);
                        eprintln!("lost {endpoint}: {ended:?}");
                        reconnector.handle_lost(world.now());
                    }
                    Err((failure, why)) => {
                        eprintln!("cannot connect {endpoint}: {why}");
                        reconnector.handle_failed(world.now(), attempt, failure);
                    }
                }
            }
            Some(Action::GiveUp(failure)) => return Err(format!("{endpoint}: gave up after {failure:?}")),
            None => {
                std::thread::sleep(world.until(reconnector.poll_timeout()));
                reconnector.handle_timeout(world.now());
            }
        }
    }
}

/// One tunnel from its upgrade to its end.
struct Agent<'w> {
    world: &'w mut World,
    tcp: TcpStream,
    ws: Conn,
    tunnel: Tunnel,
    streams: BTreeMap<StreamId, Service>,
    outbox: BytesMut,
}

impl<'w> Agent<'w> {
    fn new(world: &'w mut World, tcp: TcpStream, endpoint: EndpointId) -> Self {
        let mut config = Config::default();
        config.front_room = FRONT_ROOM; // The WebSocket header is written in front of the frames, in place.
        let tunnel = Tunnel::dialled(endpoint, config, world.now());
        Self {
            world,
            tcp,
            ws: Conn::new(Role::Client),
            tunnel,
            streams: BTreeMap::new(),
            outbox: BytesMut::new(),
        }
    }

    /// The loop of every embedder: deadlines, output, events, and only when all of them are quiet, input.
    fn run(&mut self, mut early: Vec<u8>) -> io::Result<CloseReason> {
        let mut buffer = vec![0; 64 * 1024];
        self.receive(&mut early);
        loop {
            self.expire();
            self.send()?;
            let mut busy = false;
            while let Some(event) = self.tunnel.poll_event() {
                busy = true;
                match event {
                    TunnelEvent::Closed(reason) => {
                        self.send()?; // A last word may be owed: a go-away, the echo of a close.
                        return Ok(reason);
                    }
                    TunnelEvent::Incoming => {
                        while let Some(id) = self.tunnel.accept() {
                            self.streams.insert(id, Service::new("hello from blocking", self.world.now()));
                            self.serve(id);
                        }
                    }
                    TunnelEvent::Readable(id) | TunnelEvent::Writable(id) => self.serve(id),
                    _ => {}
                }
            }
            if busy {
                continue; // Answers were written, and sending them makes room for more.
            }
            let wait = self.world.until(self.deadline());
            if !self.tunnel.wants_input() {
                std::thread::sleep(wait); // Too much is buffered; one of the deadlines ends that.
                continue;
            }
            self.tcp.set_read_timeout(Some(wait))?;
            match self.tcp.read(&mut buffer) {
                Ok(0) => self.tunnel.handle_end(self.world.now(), TransportEnd::Closed),
                Ok(n) => self.receive(&mut buffer[..n]),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => self.tunnel.handle_end(self.world.now(), TransportEnd::Failed),
            }
        }
    }

    /// Wire to tunnel. Both machines take all of it, so the buffer is free again afterwards.
    fn receive(&mut self, bytes: &mut [u8]) {
        let now = self.world.now();
        let input = self.ws.handle_input(bytes);
        let _ = self.tunnel.handle_chunk(now, &bytes[input.payload]); // The error comes as an event too.
        match input.end {
            None => {}
            Some(End::Close(_)) => self.tunnel.handle_end(now, TransportEnd::Closed),
            Some(_) => self.tunnel.handle_end(now, TransportEnd::Failed),
        }
    }

    /// Tunnel to wire: one WebSocket message around all that is queued, then what the WebSocket owes itself.
    fn send(&mut self) -> io::Result<()> {
        // `wants_transmit` is false while only frames wait that should ride along, such as an ACK.
        while self.tunnel.wants_transmit() && !self.ws.is_closing() {
            let n = self.tunnel.poll_transmit(self.world.now(), &mut self.outbox);
            if n == 0 {
                break;
            }
            let start = self.ws.frame(&mut self.outbox, self.world.random()?);
            self.tcp.write_all(&self.outbox[start..])?;
            self.tunnel.handle_sent(self.world.now(), n, true);
            self.outbox.clear();
        }
        if self.ws.wants_send() {
            self.ws.poll_transmit(&mut self.outbox, self.world.random()?);
            self.tcp.write_all(&self.outbox)?;
            self.outbox.clear();
        }
        Ok(())
    }

    /// The earliest deadline of all machines. With thousands of streams this would be a heap.
    fn deadline(&self) -> Option<Deadline> {
        let services = self.streams.values().map(Service::poll_timeout);
        services.fold(self.tunnel.poll_timeout(), Deadline::earliest)
    }

    fn expire(&mut self) {
        let now = self.world.now();
        if self.deadline().is_some_and(|deadline| deadline.at <= now) {
            self.tunnel.handle_timeout(now);
            let streams: Vec<StreamId> = self.streams.keys().copied().collect();
            for id in streams {
                self.serve(id);
            }
        }
    }

    fn serve(&mut self, id: StreamId) {
        let now = self.world.now();
        if self.streams.get_mut(&id).is_some_and(|service| service.pump(now, &mut self.tunnel, id)) {
            self.streams.remove(&id);
            self.tunnel.release(now, id); // Resets what was not finished.
        }
    }
}

/// What core has none of, and must not even name: a clock and chance.
#[allow(clippy::disallowed_types)]
struct World {
    epoch: std::time::Instant,
    /// Mask keys have to be unpredictable (RFC 6455 10.3). Buffered, since one is four bytes.
    urandom: BufReader<File>,
}

#[allow(clippy::disallowed_types)]
impl World {
    fn new() -> io::Result<Self> {
        Ok(Self { epoch: std::time::Instant::now(), urandom: BufReader::new(File::open("/dev/urandom")?) })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// How long to wait for a deadline; without one, a while.
    fn until(&self, deadline: Option<Deadline>) -> Duration {
        deadline.map_or(WRITE_WAIT, |deadline| deadline.at.since(self.now()).max(MIN_WAIT))
    }

    fn random<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.urandom.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
