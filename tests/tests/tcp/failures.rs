//! Services that are down, servers that come back.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Forward, Server, Signal};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_service_that_is_down_is_heard_of_at_once() {
    let closed = unused_addr();
    let server = Server::start(&[]);
    // No limit of a program is the reason that the client hears of it: they lie behind the patience of this test.
    let args = ["--server.enabled", "--server.bind-addr", "127.0.0.1:0", "--timeout", "10m"];
    let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &closed.to_string(), &args);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &["--connect.timeout", "10m"]);
    match connect(forward.addr).read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
    let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to dial upstream").expect("a line");
    assert_eq!((&record["endpoint-id"], &record["cause"]), (&ENDPOINT.into(), &"connect-refused".into()));
    assert_eq!((&record["subsystem"], &record["addr"]), (&"proxy.tcp".into(), &closed.to_string().into()));
    assert!(record["error"].as_str().is_some_and(|error| error.contains("refused")), "{record}");
    let complaints = agent.process.lines(0).iter().filter(|line| line.text.contains("failed to")).count();
    assert_eq!(complaints, 1, "one line says it all: {}", agent.process.tail());
    let (_, record) = agent.process.wait_record(0, PATIENCE, "starting metrics server").expect("a line");
    let metrics = record["addr"].as_str().and_then(|addr| addr.parse().ok()).expect("an address");
    let counted = crate::upgrade::metric(metrics, "piko_agent_tcp_connections_failed_total");
    let line = "piko_agent_tcp_connections_failed_total{cause=\"connect-refused\",endpoint=\"db\"} 1";
    assert_eq!(counted, [line]);
}

#[test]
fn connections_end_with_their_server_and_the_next_ones_work() {
    let service = echo();
    // Ports that nobody takes while there is no server.
    let ports = [(); 2].map(|()| unused_addr().to_string());
    let bound = ["--proxy.bind-addr", &ports[0], "--upstream.bind-addr", &ports[1]];
    let mut way = Way::local_with(service.addr(), &bound);
    let forward = way.forward();
    let mut client = connect(forward.addr);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
    let mut old = way.servers.remove(0);
    old.process.signal(Signal::Kill).expect("it runs");
    let read = client.read(&mut [0; 1]);
    assert!(read.is_err(), "a cut connection looks like one: {read:?}");
    drop(old);
    // The forwarder asks on until the server is back, and the agent with it.
    let mut client = connect(forward.addr);
    let _server = Server::start(&bound);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
}

/// Connections come in all the time: one that was there is cut, and no other one is lost.
fn a_restart_costs_only_what_is_open(signal: Signal) {
    const CLIENTS: usize = 8;
    let service = echo();
    let ports = [(); 2].map(|()| unused_addr().to_string());
    let bound = [
        "--proxy.bind-addr",
        &ports[0],
        "--upstream.bind-addr",
        &ports[1],
        // What is open then is cut; it does not end by itself.
        "--grace-period",
        "100ms",
    ];
    let mut way = Way::local_with(service.addr(), &bound);
    let forward = way.forward();
    let mut kept = connect(forward.addr);
    ping(&mut kept).expect("an echo");
    let started = Instant::now();
    let (down, back) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut is_last = false;
                while !is_last {
                    // The latter when the test has failed elsewhere.
                    is_last = back.load(Ordering::SeqCst) || started.elapsed() > 2 * PATIENCE;
                    let is_down = down.load(Ordering::SeqCst);
                    let mut client = connect(forward.addr);
                    match ping(&mut client) {
                        Ok(()) => {}
                        Err(error) if is_down => panic!("a connection is lost: {error}"),
                        // It was open when its server ended, or its server took it and did not get further.
                        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "a clear end"),
                    }
                }
            });
        }
        let mut old = way.servers.remove(0);
        old.process.signal(signal).expect("it runs");
        old.process.wait_exit(PATIENCE).expect("the end");
        down.store(true, Ordering::SeqCst);
        let error = kept.read(&mut [0; 1]).expect_err("a cut connection looks like one");
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        // These find no server.
        let mut early: Vec<_> = (0..CLIENTS).map(|_| connect(forward.addr)).collect();
        for client in &mut early {
            client.write_all(b"ping").expect("sent");
        }
        way.servers.push(Server::start(&bound));
        back.store(true, Ordering::SeqCst);
        for client in &mut early {
            client.read_exact(&mut [0; 4]).expect("they have waited for it");
        }
    });
}

fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])
}

#[test]
fn a_killed_server_costs_only_what_is_open() {
    a_restart_costs_only_what_is_open(Signal::Kill);
}

#[test]
fn a_server_that_is_restarted_costs_only_what_is_open() {
    a_restart_costs_only_what_is_open(Signal::Term);
}

#[test]
fn an_agent_that_ends_lets_open_connections_finish() {
    let service = echo();
    let mut way = Way::local(service.addr());
    let forward = way.forward();
    let mut client = connect(forward.addr);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
    way.agent.process.signal(Signal::Term).expect("it runs");
    way.agent.process.wait_record(0, PATIENCE, "received shutdown signal").expect("a line");
    client.write_all(b"more").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo within the grace period");
    drop(client);
    assert!(way.agent.process.wait_exit(PATIENCE).expect("the end").success());
}

/// A node that is there for the kernel and does nothing: whoever asks through another one has an answer in time.
#[test]
fn a_node_that_hangs_is_bounded() {
    let service = echo();
    let mut way = Way::across_nodes_with(service.addr(), &["--proxy.timeout", "500ms"]);
    way.servers[1].process.signal(Signal::Stop).expect("it runs");
    let refused = crate::common::WebSocket::open(way.proxy, ENDPOINT, &[]).err();
    assert!(matches!(refused, Some(502 | 504)), "{refused:?}");
}

/// A listener whose queue is full: the kernel answers nobody any more.
fn swallows() -> (socket2::Socket, SocketAddr, Vec<TcpStream>) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    listener.listen(0).expect("it listens");
    let addr = listener.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(500)) {
        waiting.push(stream);
    }
    (listener, addr, waiting)
}

/// `--timeout` of a TCP listener: to connect.
#[test]
fn a_service_that_swallows_connections_is_bounded() {
    let (_listener, addr, _waiting) = swallows();
    let server = Server::start(&[]);
    let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &addr.to_string(), &["--timeout", "500ms"]);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    let error = connect(forward.addr).read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to dial upstream").expect("a line");
    assert_eq!(record["cause"], "connect-timeout", "{record}");
    assert_eq!(
        (&record["addr"], &record["error"]),
        (&addr.to_string().into(), &"timed out".into()),
        "{record}"
    );
}
