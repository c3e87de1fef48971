//! One end resets its connection while the other one reads nothing and every buffer between them is full: nobody on the
//! way reads the side that is gone, and yet all of it is free again soon.

use crate::common::{PATIENCE, Way, connect, reset};
use crate::upgrade::metric;
use piko_tests::process::Forward;
use piko_tests::service::Service;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long the whole way takes nothing before it counts as full. A machine that is slower than this resets a connection
/// that is not quite full, which has to come out the same.
const FULL: Duration = Duration::from_secs(1);
/// More than the sockets next to the writer hold, so that the programs behind them are what it waits for.
const AT_LEAST: usize = 1 << 20;

/// Writes until nothing is taken any more.
fn fill(stream: &mut TcpStream) {
    stream.set_write_timeout(Some(FULL)).expect("a socket option");
    let (bytes, mut taken) = (vec![b'x'; 64 * 1024], 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match stream.write(&bytes) {
            Ok(n) => taken += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if taken >= AT_LEAST {
                    return;
                }
                assert!(Instant::now() < deadline, "{taken} bytes are taken");
            }
            Err(error) => panic!("cut behind {taken} bytes: {error}"),
        }
    }
}

/// Waits, without reading, until the connection has been reset by the other side.
fn wait_for_reset(stream: &TcpStream) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            other => return Err(format!("{other:?}")),
        }
        // The error of a socket that is not read can only be asked for.
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("it stays".to_owned())
}

/// A way whose agent can be asked what it has open, with a forwarder in front.
struct Road {
    way: Way,
    agent_metrics: SocketAddr,
    forward: Forward,
}

impl Road {
    fn new(service: SocketAddr, across_nodes: bool) -> Self {
        let args = ["--server.enabled", "--server.bind-addr", "127.0.0.1:0"];
        let way = Way::with(service, across_nodes, &[], &args);
        let (_, record) =
            way.agent.process.wait_record(0, PATIENCE, "starting metrics server").expect("a line");
        let agent_metrics = record["addr"].as_str().and_then(|addr| addr.parse().ok()).expect("an address");
        let forward = way.forward();
        Self { way, agent_metrics, forward }
    }

    /// What each program counts as open connections, the servers first.
    fn open(&self) -> Vec<String> {
        // To the node that passes it on, the connection is a request that has not ended.
        let admins = self.way.servers.iter().map(|server| (server.admin, "piko_proxy_requests_in_flight"));
        let agent = (self.agent_metrics, "piko_agent_tcp_connections_open");
        admins
            .chain([agent])
            .flat_map(|(at, name)| metric(at, name))
            .map(|line| line.split(' ').next_back().unwrap_or_default().to_owned())
            .collect()
    }

    fn wait_until_free(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.open().iter().any(|open| open != "0") {
            assert!(Instant::now() < deadline, "still open: {:?}", self.open());
            // Numbers have to be asked for.
            std::thread::sleep(Duration::from_millis(20));
        }
        for process in [&self.forward.process, &self.way.agent.process] {
            let (_, record) = process.wait_record(0, PATIENCE, "connection closed").expect("a line");
            assert!(record["cut"].as_str().is_some_and(|why| !why.is_empty()), "{record}");
        }
    }
}

/// A service that says a byte, and hands its connections to the test.
fn handing_over() -> (Service, Receiver<TcpStream>) {
    let (hand, handed): (Sender<TcpStream>, _) = channel();
    let hand = Mutex::new(hand);
    let service = Service::scripted(move |mut stream| {
        let _ = stream.write_all(b"!");
        let _ = hand.lock().expect("no panic").send(stream);
    });
    (service, handed)
}

/// Client and service of one connection.
fn pair(road: &Road, handed: &Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    let mut client = connect(road.forward.addr);
    client.read_exact(&mut [0; 1]).expect("the service is there");
    let service = handed.recv_timeout(PATIENCE).expect("a connection");
    assert!(!road.open().is_empty() && road.open().iter().all(|open| open == "1"), "{:?}", road.open());
    (client, service)
}

fn a_client_that_is_gone(across_nodes: bool) {
    let (service, handed) = handing_over();
    let road = Road::new(service.addr(), across_nodes);
    let (mut client, service) = pair(&road, &handed);
    fill(&mut client);
    reset(client);
    wait_for_reset(&service).expect("the service hears of it, though it reads nothing");
    road.wait_until_free();
}

fn a_service_that_is_gone(across_nodes: bool) {
    let (service, handed) = handing_over();
    let road = Road::new(service.addr(), across_nodes);
    let (client, mut service) = pair(&road, &handed);
    fill(&mut service);
    reset(service);
    wait_for_reset(&client).expect("the client hears of it, though it reads nothing");
    road.wait_until_free();
}

#[test]
fn a_client_that_resets_a_full_connection_frees_it() {
    a_client_that_is_gone(false);
}

#[test]
fn a_client_that_resets_a_full_connection_frees_it_on_both_nodes() {
    a_client_that_is_gone(true);
}

#[test]
fn a_service_that_resets_a_full_connection_frees_it() {
    a_service_that_is_gone(false);
}

#[test]
fn a_service_that_resets_a_full_connection_frees_it_on_both_nodes() {
    a_service_that_is_gone(true);
}
