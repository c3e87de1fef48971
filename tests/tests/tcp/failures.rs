//! Services that are down, servers that come back.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Forward, Server};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn a_service_that_is_down_is_heard_of_at_once() {
    let closed = unused_addr();
    let server = Server::start(&[]);
    let args = ["--server.enabled", "--server.bind-addr", "127.0.0.1:0"];
    let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &closed.to_string(), &args);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    let start = Instant::now();
    let read = connect(forward.addr).read(&mut [0; 1]);
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to dial upstream").expect("a line");
    assert_eq!((&record["endpoint-id"], &record["cause"]), (&ENDPOINT.into(), &"connect-refused".into()));
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
    old.process.signal(piko_tests::process::Signal::Kill).expect("it runs");
    let read = client.read(&mut [0; 1]);
    assert!(read.is_err(), "a cut connection looks like one: {read:?}");
    drop(old);
    // The forwarder asks on until the server is back, and the agent with it.
    let mut client = connect(forward.addr);
    let _server = Server::start(&bound);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
}

#[test]
fn an_agent_that_ends_lets_open_connections_finish() {
    let service = echo();
    let mut way = Way::local(service.addr());
    let forward = way.forward();
    let mut client = connect(forward.addr);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
    way.agent.process.signal(piko_tests::process::Signal::Term).expect("it runs");
    way.agent.process.wait_record(0, PATIENCE, "received shutdown signal").expect("a line");
    client.write_all(b"more").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo within the grace period");
    drop(client);
    assert!(way.agent.process.wait_exit(PATIENCE).expect("the end").success());
}
