//! Programs that end while connections are open: each one is reset, and told with what it has carried.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use crate::raw;
use piko_tests::process::{Agent, Forward, Line, Process, Server, Signal, binary};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// Enough for the end of a program to come before the last one is served.
const CLIENTS: usize = 50;

/// Clients that have been answered once.
fn clients(addr: SocketAddr) -> Vec<TcpStream> {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(addr)).collect();
    for client in &mut clients {
        client.write_all(b"question").expect("sent");
        client.read_exact(&mut [0; 8]).expect("an echo");
    }
    clients
}

/// Nobody takes a cut connection for one that is complete.
fn assert_reset(clients: Vec<TcpStream>) {
    for mut client in clients {
        let error = client.read(&mut [0; 1]).expect_err("a cut");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Ends the program, and returns what it has said of each connection.
fn end(process: &mut Process, signal: Signal) -> Vec<Value> {
    process.signal(signal).expect("it runs");
    assert!(process.wait_exit(PATIENCE).expect("the end").success());
    let lines = process.lines(0);
    lines.iter().filter(|line| line.is_record("connection closed")).filter_map(Line::json).collect()
}

fn assert_told(records: &[Value], why: &str) {
    assert_eq!(records.len(), CLIENTS, "one line for each: {records:?}");
    for record in records {
        assert_eq!((&record["bytes-in"], &record["bytes-out"]), (&8.into(), &8.into()), "{record}");
        assert_eq!((&record["endpoint-id"], &record["cut"]), (&ENDPOINT.into(), &why.into()), "{record}");
    }
}

#[test]
fn a_forwarder_that_ends_tells_what_it_cuts() {
    let service = echo();
    let way = Way::local(service.addr());
    for signal in [Signal::Term, Signal::Int] {
        let mut forward = way.forward();
        let clients = clients(forward.addr);
        let told = end(&mut forward.process, signal);
        assert_reset(clients);
        assert_told(&told, "this program ended");
        assert!(told.iter().all(|record| record["duration"].is_string()), "{told:?}");
    }
}

#[test]
fn an_agent_tells_what_its_grace_period_cuts() {
    let service = echo();
    let server = Server::start(&[]);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    let addr = service.addr().to_string();
    for grace in ["1ns", "100ms"] {
        for program in ["piko-agent", "piko"] {
            let words = if program == "piko" { &["agent", "tcp"][..] } else { &["tcp"] };
            let mut command = Command::new(binary(program));
            command.args(words).args([ENDPOINT, &addr, "--connect.url", &server.connect_url()]);
            command.args(["--grace-period", grace]);
            let process = Process::spawn(program, &mut command).expect("started");
            let mut agent = Agent { process, endpoint: ENDPOINT.to_owned() };
            agent.wait_connected(0, PATIENCE).expect("the tunnel");
            let clients = clients(forward.addr);
            let told = end(&mut agent.process, Signal::Term);
            assert_reset(clients);
            let why = told.first().and_then(|record| record["cut"].as_str()).unwrap_or("nothing");
            assert_told(&told, why);
        }
    }
}

#[test]
fn a_server_tells_what_its_grace_period_cuts() {
    let service = echo();
    let args = ["--grace-period", "100ms", "--log.subsystems", "proxy.tcp"];
    for across_nodes in [false, true] {
        let (mut way, port) = raw::way(&service, across_nodes, &args);
        let clients = clients(port);
        let told = end(&mut way.servers[0].process, Signal::Term);
        assert_reset(clients);
        assert_told(&told, "this program ended");
    }
    // The TCP path, which a tunnel of this node cuts.
    let mut way = Way::local_with(service.addr(), &args);
    let forward = way.forward();
    let clients = clients(forward.addr);
    let told = end(&mut way.servers[0].process, Signal::Term);
    assert_reset(clients);
    let why = told.first().and_then(|record| record["cut"].as_str()).unwrap_or("nothing");
    assert_told(&told, why);
}
