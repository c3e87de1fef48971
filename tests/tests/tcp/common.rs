//! What these tests share: a way through the product, services that end in every order, a bare WebSocket client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use piko_core::ws::{Conn, End, FRONT_ROOM, Role, handshake};
use piko_tests::http::{Client, pattern};
use piko_tests::process::{Agent, Forward, Server};
use piko_tests::service::Service;

/// How long anything may take on a busy machine, before it counts as what never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The endpoint of these tests.
pub(crate) const ENDPOINT: &str = "db";

/// Servers with an agent in front of a service; requests come in at `proxy`.
pub(crate) struct Way {
    pub(crate) servers: Vec<Server>,
    pub(crate) agent: Agent,
    pub(crate) proxy: SocketAddr,
}

impl Way {
    /// Everything on one node.
    pub(crate) fn local(service: SocketAddr) -> Self {
        Self::local_with(service, &[])
    }

    /// The same with further arguments for the server.
    pub(crate) fn local_with(service: SocketAddr, args: &[&str]) -> Self {
        Self::with(service, false, args, &[])
    }

    /// The agent on another node than the one that is asked.
    pub(crate) fn across_nodes(service: SocketAddr) -> Self {
        Self::across_nodes_with(service, &[])
    }

    /// The same with further arguments for the node that is asked.
    pub(crate) fn across_nodes_with(service: SocketAddr, args: &[&str]) -> Self {
        Self::with(service, true, args, &[])
    }

    /// The same with further arguments for the node that is asked, and for the agent.
    pub(crate) fn with(service: SocketAddr, across_nodes: bool, server: &[&str], agent: &[&str]) -> Self {
        let service = service.to_string();
        if !across_nodes {
            let server = Server::start(server);
            let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &service, agent);
            return Self { proxy: server.proxy, servers: vec![server], agent };
        }
        let far = Server::start(&[]);
        let seed = far.gossip().to_string();
        let near = Server::start(&[&["--cluster.join", &seed], server].concat());
        let agent = Agent::tcp(&far.connect_url(), ENDPOINT, &service, agent);
        let way = Self { proxy: near.proxy, servers: vec![near, far], agent };
        // Gossip brings the endpoint to the other node; nothing else tells when it has.
        let deadline = Instant::now() + PATIENCE;
        while asked_plainly(way.proxy) == 502 {
            assert!(Instant::now() < deadline, "the endpoint does not come to the other node");
            std::thread::sleep(Duration::from_millis(5));
        }
        way
    }

    pub(crate) fn forward(&self) -> Forward {
        Forward::tcp(self.proxy, ENDPOINT, &[])
    }
}

/// What a request that opens nothing is answered with: 502 where the endpoint is not known.
fn asked_plainly(proxy: SocketAddr) -> u16 {
    let mut client = Client::connect(proxy).expect("the proxy port");
    client.get(&format!("/_piko/v1/tcp/{ENDPOINT}"), &[("host", "h")]).expect("an answer").status()
}

/// Connects, with patience for a loaded machine.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}

/// Ends the connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(stream);
}

/// `len` bytes that are not all alike.
pub(crate) fn body(len: usize) -> Vec<u8> {
    let mut body = vec![0; len];
    pattern(0, &mut body);
    body
}

/// Answers with all that came, once the client has ended.
pub(crate) fn echo_at_end() -> Service {
    Service::scripted(|mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() && stream.write_all(&all).is_ok() {
            let _ = stream.shutdown(Shutdown::Write);
        }
    })
}

/// Answers at once with whatever comes.
pub(crate) fn echo() -> Service {
    Service::scripted(|mut stream| {
        let mut buf = [0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    })
}

/// Says `greeting`, ends its direction, and tells what still came in the other one, and how that ended.
pub(crate) fn ends_first(greeting: &'static [u8]) -> (Service, Receiver<(usize, io::Result<()>)>) {
    let (tell, told) = channel();
    let service = Service::scripted(move |mut stream| {
        let _ = stream.write_all(greeting);
        let _ = stream.shutdown(Shutdown::Write);
        let mut all = Vec::new();
        let ended = stream.read_to_end(&mut all).map(|_| ());
        let _ = tell.send((all.len(), ended));
    });
    (service, told)
}

/// A WebSocket client with nothing but RFC 6455 to it, as those of other people are.
pub(crate) struct WebSocket {
    pub(crate) stream: TcpStream,
    conn: Conn,
    unread: Vec<u8>,
    payload: Vec<u8>,
    end: Option<End>,
}

impl WebSocket {
    /// Asks for the TCP path of the endpoint; `fields` are further ones.
    pub(crate) fn open(proxy: SocketAddr, endpoint: &str, fields: &[(&str, &[u8])]) -> Result<Self, u16> {
        let mut stream = connect(proxy);
        let key = [7; 16];
        let (target, host) = (format!("/_piko/v1/tcp/{endpoint}"), proxy.to_string());
        let mut request = BytesMut::new();
        let ask = handshake::Ask { host: host.as_bytes(), target: target.as_bytes(), key, fields };
        handshake::write_request(&ask, &mut request);
        stream.write_all(&request).expect("the request leaves");
        let mut input = Vec::new();
        loop {
            let mut buf = [0; 2048];
            let n = stream.read(&mut buf).expect("an answer");
            input.extend_from_slice(&buf[..n]);
            match handshake::judge_response(&key, &input, n == 0, &mut |_| {}) {
                handshake::Answer::Partial => {}
                handshake::Answer::Refused { status, .. } => return Err(status),
                handshake::Answer::Bad(why) => panic!("{why}: {}", input.escape_ascii()),
                handshake::Answer::Upgraded { head_bytes } => {
                    let unread = input.split_off(head_bytes);
                    let conn = Conn::new(Role::Client);
                    return Ok(Self { stream, conn, unread, payload: Vec::new(), end: None });
                }
            }
        }
    }

    /// One binary message.
    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0; FRONT_ROOM];
        frame.extend_from_slice(payload);
        let start = self.conn.frame(&mut frame, [1, 2, 3, 4]);
        self.stream.write_all(&frame[start..])
    }

    /// A close frame, or the echo of the peer's.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.conn.close(Some(1000));
        let mut frame = BytesMut::new();
        self.conn.poll_transmit(&mut frame, [1, 2, 3, 4]);
        self.stream.write_all(&frame)
    }

    /// The next `len` bytes, or fewer at the end.
    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        while self.payload.len() < len && self.read_more() {}
        let rest = self.payload.split_off(self.payload.len().min(len));
        std::mem::replace(&mut self.payload, rest)
    }

    /// Everything up to a close frame (true) or the bare end of the connection (false).
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, bool) {
        while self.read_more() {}
        (std::mem::take(&mut self.payload), matches!(self.end, Some(End::Close(_))))
    }

    /// False at the end.
    fn read_more(&mut self) -> bool {
        let mut buf = std::mem::take(&mut self.unread);
        if buf.is_empty() && self.end.is_none() {
            buf = vec![0; 64 * 1024];
            let n = self.stream.read(&mut buf).unwrap_or(0);
            buf.truncate(n);
        }
        let input = self.conn.handle_input(&mut buf);
        self.payload.extend_from_slice(&buf[input.payload]);
        self.end = input.end;
        self.end.is_none() && !buf.is_empty()
    }
}
