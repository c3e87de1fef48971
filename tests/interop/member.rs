//! A gossip node on real sockets, with one thread per socket and stream: the plainest driver that there is.

use piko_core::gossip::{
    Channel, Config, Exchanged, GossipEvent, Key, Node, NodeInfo, Progress, StreamError, StreamKind,
    StreamReader, Value,
};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

/// For one whole stream.
const STREAM_TIME: Duration = Duration::from_secs(10);
/// The longest message.
const BYTES_MAX: usize = 16 << 20;

/// A running node; dropping it stops its threads without a leave.
#[derive(Debug)]
pub(super) struct Member {
    shared: Arc<Shared>,
    pub(super) addr: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    udp: UdpSocket,
    began: std::time::Instant,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    node: Node,
    events: Vec<GossipEvent>,
}

impl Member {
    pub(super) fn start(id: &str, ip: IpAddr) -> Self {
        let (tcp, udp) = ports(ip);
        let addr = tcp.local_addr().expect("bound");
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let me = NodeInfo {
            id: NodeId::new(id),
            addr,
            wall_ms: wall.as_millis() as u64,
            first: vec![
                (Key::from("proxy_addr"), Value::from("127.0.0.1:18100")),
                (Key::from("admin_addr"), Value::from("127.0.0.1:18102")),
            ],
        };
        let node = Node::new(me, Config::default(), wall.subsec_nanos().into(), Instant::ZERO);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { node, events: Vec::new() }),
            changed: Condvar::new(),
            udp,
            began: std::time::Instant::now(),
            stop: AtomicBool::new(false),
        });
        let packets = Arc::clone(&shared);
        thread::spawn(move || packets.receive());
        let streams = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                if streams.stop.load(Ordering::Relaxed) {
                    return;
                }
                let streams = Arc::clone(&streams);
                thread::spawn(move || streams.answer(stream));
            }
        });
        Self { shared, addr }
    }

    /// Does something with the node, and then whatever follows from it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        Shared::with(&self.shared, act)
    }

    /// Waits until something holds for the node and the events so far; gives how long that took.
    pub(super) fn wait(&self, what: &str, holds: impl Fn(&Node, &[GossipEvent]) -> bool) -> Duration {
        let began = std::time::Instant::now();
        let mut state = self.shared.lock();
        while !holds(&state.node, &state.events) {
            let left = Duration::from_secs(30).checked_sub(began.elapsed());
            let left = left.unwrap_or_else(|| panic!("{what} does not happen"));
            state = self.shared.changed.wait_timeout(state, left).expect("no panic").0;
        }
        began.elapsed()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
    }
}

/// One number for both transports.
fn ports(ip: IpAddr) -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((ip, 0)).expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")) {
            return (tcp, udp);
        }
    }
    panic!("no number is free for both");
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked")
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    fn with<T>(this: &Arc<Self>, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let mut state = this.lock();
        let result = act(&mut state.node, this.now());
        loop {
            let mut bytes = Vec::new();
            let Some(transmit) = state.node.poll_transmit(this.now(), &mut bytes) else { break };
            match transmit.channel {
                Channel::Datagram => drop(this.udp.send_to(&bytes, transmit.to)),
                Channel::Stream(stream, kind) => {
                    let this = Arc::clone(this);
                    thread::spawn(move || this.ask(transmit.to, stream, kind, &bytes));
                }
            }
        }
        while let Some(event) = state.node.poll_event() {
            state.events.push(event);
        }
        this.changed.notify_all();
        result
    }

    fn receive(self: Arc<Self>) {
        let mut buffer = [0; 1500];
        while !self.stop.load(Ordering::Relaxed) {
            let deadline = self.lock().node.poll_timeout();
            let wait = deadline.map_or(Duration::from_secs(1), |d| d.at.since(self.now()));
            self.udp.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).expect("a socket");
            match self.udp.recv_from(&mut buffer) {
                Ok((n, from)) => {
                    Self::with(&self, |node, now| {
                        let _ = node.handle_packet(now, from, &buffer[..n]);
                    });
                }
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) => panic!("{error}"),
            }
            Self::with(&self, Node::handle_timeout);
        }
    }

    /// A stream of somebody else.
    fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let from = stream.peer_addr().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let Ok(reader) = read(&mut stream, StreamReader::request(BYTES_MAX)) else { return };
        let mut reply = Vec::new();
        if Self::with(&self, |node, now| node.handle_request(now, from, reader.message(), &mut reply)).is_ok()
        {
            let _ = stream.write_all(&reply);
        }
    }

    /// A stream of our own.
    fn ask(self: Arc<Self>, to: SocketAddr, stream: Exchanged, kind: StreamKind, request: &[u8]) {
        let exchange = || {
            let mut socket =
                TcpStream::connect_timeout(&to, STREAM_TIME).map_err(|_| StreamError::Connect)?;
            socket.write_all(request).map_err(|_| StreamError::Connect)?;
            read(&mut socket, StreamReader::reply(kind, BYTES_MAX)).map_err(|_| StreamError::BadReply)
        };
        let outcome = exchange();
        let outcome = outcome.as_ref().map(StreamReader::message).map_err(|error| *error);
        Self::with(&self, |node, now| {
            let _ = node.handle_reply(now, stream, outcome);
        });
    }
}

fn read(stream: &mut TcpStream, mut reader: StreamReader) -> io::Result<StreamReader> {
    stream.set_read_timeout(Some(STREAM_TIME))?;
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => match reader.push(&buffer[..n]).map_err(io::Error::other)? {
                Progress::Complete => return Ok(reader),
                Progress::More => {}
            },
        }
    }
}
