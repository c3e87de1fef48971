//! Agents that are stopped, or hang: their tunnels stand, and nothing comes of what is opened through them.

use crate::common::{ENDPOINT, PATIENCE, Way, WebSocket, connect};
use crate::raw::port_of;
use crate::upgrade::metric;
use piko_tests::process::{Agent, Forward, Server, Signal};
use piko_tests::service::Service;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

const PORT: [&str; 2] = ["--proxy.tcp.ports", "127.0.0.1:0=db"];
/// More than the tries behind which routing sees by itself that an agent says nothing.
const CLIENTS: usize = 12;

/// Answers the first byte with its own.
fn named(name: u8) -> Service {
    Service::scripted(move |mut stream| {
        let _ = stream.read_exact(&mut [0]);
        let _ = stream.write_all(&[name]);
    })
}

/// Who answers at a port.
fn ask(port: SocketAddr) -> io::Result<u8> {
    let mut client = connect(port);
    client.write_all(b"?")?;
    let mut name = [0];
    client.read_exact(&mut name).map(|()| name[0])
}

/// Two agents at these servers, of which the first is stopped once both have been heard at `port`.
fn stop_one_of_two(first: &Server, second: &Server, port: SocketAddr) -> [Agent; 2] {
    let agents = [(first, b'1'), (second, b'2')].map(|(server, name)| {
        let service = named(name);
        let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
        (agent, service)
    });
    let deadline = Instant::now() + PATIENCE;
    let (mut one, mut two) = (false, false);
    while !(one && two) {
        assert!(Instant::now() < deadline, "both take turns");
        match ask(port) {
            Ok(b'1') => one = true,
            Ok(_) => two = true,
            // The news has not come yet.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    let [(mut stopped, _), (well, service)] = agents;
    stopped.process.signal(Signal::Stop).expect("it runs");
    // It serves to the end of the test.
    std::mem::forget(service);
    [stopped, well]
}

/// All at once, and then one by one; nobody is cut by the keep-alive of the tunnel, which takes longer than a try.
fn everybody_is_served(ask: impl Fn() -> io::Result<u8> + Sync) {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(&ask)).collect();
        for asked in asked {
            assert_eq!(asked.join().expect("no panic").expect("an answer"), b'2');
        }
    });
    assert_eq!(ask().expect("an answer"), b'2');
}

#[test]
fn an_agent_that_is_stopped_is_passed_over_at_ports() {
    let server = Server::start(&PORT);
    let port = port_of(&server, ENDPOINT);
    let _agents = stop_one_of_two(&server, &server, port);
    everybody_is_served(|| ask(port));
    server.process.wait_record(0, PATIENCE, "agent does not answer; trying another").expect("a line");
}

#[test]
fn an_agent_that_is_stopped_is_passed_over_by_the_tcp_path() {
    let server = Server::start(&PORT);
    let _agents = stop_one_of_two(&server, &server, port_of(&server, ENDPOINT));
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    everybody_is_served(|| ask(forward.addr));
}

#[test]
fn an_agent_that_is_stopped_is_passed_over_across_nodes() {
    let first = Server::start(&[]);
    let seed = ["--cluster.join", &first.gossip().to_string()].map(str::to_owned);
    let seed: Vec<&str> = seed.iter().map(String::as_str).collect();
    let second = Server::start(&seed);
    let near = Server::start(&[&seed[..], &PORT].concat());
    let port = port_of(&near, ENDPOINT);
    let _agents = stop_one_of_two(&first, &second, port);
    let forward = Forward::tcp(near.proxy, ENDPOINT, &[]);
    everybody_is_served(|| ask(port));
    everybody_is_served(|| ask(forward.addr));
}

/// With nobody else to ask, a client hears of it after `proxy.timeout`.
#[test]
fn the_only_agent_is_waited_for_as_long_as_the_timeout_says() {
    for across_nodes in [false, true] {
        let service = named(b'1');
        let mut way =
            Way::with(service.addr(), across_nodes, &[&PORT[..], &["--proxy.timeout", "1s"]].concat(), &[]);
        let near = &way.servers[0];
        let port = port_of(near, ENDPOINT);
        assert_eq!(ask(port).expect("an answer"), b'1');
        way.agent.process.signal(Signal::Stop).expect("it runs");
        let error = ask(port).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{across_nodes}");
        let (_, record) = near.process.wait_record(0, PATIENCE, "failed to reach endpoint").expect("a line");
        assert_eq!((&record["endpoint-id"], &record["cause"]), (&ENDPOINT.into(), &"connect-timeout".into()));
        let counted = metric(near.admin, "piko_proxy_port_tcp_connections_failed_total");
        assert_eq!(counted, ["piko_proxy_port_tcp_connections_failed_total{cause=\"connect-timeout\"} 1"]);
        assert_eq!(WebSocket::open(way.proxy, ENDPOINT, &[]).err(), Some(504), "{across_nodes}");
        // What waits for it is served when it goes on.
        way.agent.process.signal(Signal::Cont).expect("it is stopped");
        let deadline = Instant::now() + PATIENCE;
        while ask(port).ok() != Some(b'1') {
            assert!(Instant::now() < deadline, "it serves again");
        }
    }
}
