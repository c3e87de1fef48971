//! Heap allocations per small request (performance guide 7): counted, since a clock on a shared machine
//! proves nothing.
//!
//! Server and agent run in this process, each on a thread of its own with its own runtime, and talk over
//! real sockets.

use futures::StreamExt;
use futures::channel::mpsc as unbounded;
use piko_config::{AccessLogOptions, AgentOptions, BindAddr, ListenerOptions, Protocol, ServerOptions};
use piko_counting_alloc::Count;
use piko_driver::{Runtime, Shutdown};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

#[global_allocator]
static ALLOC: piko_counting_alloc::Counting = piko_counting_alloc::Counting;

/// Requests before the count begins (pools and tables fill), and counted ones.
const WARM_UP: usize = 300;
const COUNTED: u64 = 2000;
/// The budget of the performance guide, 7. A table that grows or an executor's queue adds fractions.
const SERVER_MAX: f64 = 4.0;
const AGENT_MAX: f64 = 6.0;
const LARGEST_MAX: usize = 64 * 1024;

const REQUEST: &[u8] =
    b"GET /x HTTP/1.1\r\nHost: e.example.com\r\nUser-Agent: count\r\nAccept: */*\r\nAccept-Language: en\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n";

/// Asks a thread's runtime for its count, from outside.
type Ask = unbounded::UnboundedSender<mpsc::Sender<Count>>;

/// Answers [`Ask`] on the runtime's own thread.
fn answer_counts<R: Runtime>(rt: &R, mut asked: unbounded::UnboundedReceiver<mpsc::Sender<Count>>) {
    rt.spawn(async move {
        while let Some(reply) = asked.next().await {
            let _ = reply.send(piko_counting_alloc::here());
            piko_counting_alloc::reset_largest();
        }
    });
}

fn ask(ask: &Ask) -> Count {
    let (reply, count) = mpsc::channel();
    ask.unbounded_send(reply).unwrap();
    count.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn quiet() -> AccessLogOptions {
    let mut log = AccessLogOptions::default();
    log.disable = true;
    log
}

fn start_server(stop: Shutdown) -> (SocketAddr, SocketAddr, Ask) {
    let (bound, addrs) = mpsc::channel();
    let (ask, asked) = unbounded::unbounded();
    std::thread::spawn(move || {
        piko_runtime_tokio::block_on(|rt| async move {
            let mut options = ServerOptions::default();
            options.proxy.bind = BindAddr::parse("127.0.0.1:0").unwrap();
            options.upstream.bind = BindAddr::parse("127.0.0.1:0").unwrap();
            options.admin.bind = BindAddr::parse("127.0.0.1:0").unwrap();
            options.cluster.gossip.bind = BindAddr::parse("127.0.0.1:0").unwrap();
            options.drain_delay = Duration::ZERO;
            options.proxy.access_log = quiet();
            let server = piko_server::Server::bind(rt.clone(), options).await.unwrap();
            bound.send((server.bound().proxy, server.bound().upstream)).unwrap();
            answer_counts(&rt, asked);
            server.run(stop).await.unwrap();
        });
    });
    let (proxy, upstream) = addrs.recv_timeout(Duration::from_secs(20)).unwrap();
    (proxy, upstream, ask)
}

fn start_agent(upstream: SocketAddr, service: SocketAddr, stop: Shutdown) -> Ask {
    let (ask, asked) = unbounded::unbounded();
    std::thread::spawn(move || {
        piko_runtime_smol::block_on(|rt| async move {
            let mut options = AgentOptions::default();
            options.connect.url = piko_config::ConnectUrl::parse(&format!("http://{upstream}")).unwrap();
            let mut listener = ListenerOptions::new(Protocol::Http, "e", &service.to_string()).unwrap();
            listener.access_log = quiet();
            options.listeners = vec![listener];
            answer_counts(&rt, asked);
            piko_agent::Agent::new(rt, options).unwrap().run(stop).await.unwrap();
        });
    });
    ask
}

/// Keeps connections and answers each request with the same 128 bytes.
fn start_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut response = RESPONSE.to_vec();
                response.extend_from_slice(&[b'x'; 128]);
                let (mut buf, mut seen) = ([0; 4096], Vec::new());
                while let Ok(n) = stream.read(&mut buf)
                    && n > 0
                {
                    seen.extend_from_slice(&buf[..n]);
                    while let Some(at) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                        seen.drain(..at + 4);
                        stream.write_all(&response).unwrap();
                    }
                }
            });
        }
    });
    addr
}

/// One request on a kept connection; gives the status.
fn exchange(client: &mut TcpStream) -> u16 {
    client.write_all(REQUEST).unwrap();
    let (mut buf, mut seen) = ([0; 4096], Vec::new());
    loop {
        let n = client.read(&mut buf).unwrap();
        assert!(n > 0, "the connection was closed");
        seen.extend_from_slice(&buf[..n]);
        if let Some(head) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let status = std::str::from_utf8(&seen[9..12]).unwrap().parse().unwrap();
            let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
            let at = text.find("content-length: ").unwrap() + 16;
            let body: usize = text[at..].split("\r\n").next().unwrap().parse().unwrap();
            if seen.len() >= head + 4 + body {
                return status;
            }
        }
    }
}

#[test]
fn a_small_request_costs_few_allocations_and_none_is_large() {
    let stop = Shutdown::new();
    let (proxy, upstream, server) = start_server(stop.clone());
    let agent = start_agent(upstream, start_service(), stop.clone());
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The tunnel comes up within moments; until then there is no upstream.
    while exchange(&mut client) != 200 {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..WARM_UP {
        assert_eq!(exchange(&mut client), 200);
    }
    let before = (ask(&server), ask(&agent));
    for _ in 0..COUNTED {
        assert_eq!(exchange(&mut client), 200);
    }
    let after = (ask(&server), ask(&agent));
    stop.trigger();
    let per_request = |after: Count, before: Count| (after.calls - before.calls) as f64 / COUNTED as f64;
    let (on_server, on_agent) = (per_request(after.0, before.0), per_request(after.1, before.1));
    println!("allocations per small request: server {on_server:.2}, agent {on_agent:.2}");
    println!("largest allocation: server {} bytes, agent {} bytes", after.0.largest, after.1.largest);
    assert!(on_server <= SERVER_MAX, "server: {on_server} allocations per request");
    assert!(on_agent <= AGENT_MAX, "agent: {on_agent} allocations per request");
    assert!(after.0.largest <= LARGEST_MAX && after.1.largest <= LARGEST_MAX, "{after:?}");
}
