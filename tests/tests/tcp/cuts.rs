//! Programs that end while connections are open: each one is reset, and told with what it has carried.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use crate::raw;
use piko_tests::process::{Agent, Forward, Line, Process, Server, Signal, binary};
use piko_tests::service::Service;
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

/// Nobody is left to reset connections, so the kernel is told beforehand.
#[test]
fn clients_of_a_program_that_is_killed_are_reset() {
    let service = echo();
    let way = Way::local(service.addr());
    let mut forward = way.forward();
    let forwarded = clients(forward.addr);
    forward.process.signal(Signal::Kill).expect("it runs");
    forward.process.wait_exit(PATIENCE).expect("the end");
    assert_reset(forwarded);
    let (mut way, port) = raw::way(&service, false, &[]);
    let clients = clients(port);
    way.servers[0].process.signal(Signal::Kill).expect("it runs");
    way.servers[0].process.wait_exit(PATIENCE).expect("the end");
    assert_reset(clients);
}

/// The node in between is neither where connections end nor whose tunnel they go through; its access log has them.
#[test]
fn a_server_records_what_it_cuts_on_the_way_to_another_node() {
    let service = Service::scripted(|mut stream| {
        read_head(&mut stream);
        let _ = stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let mut question = [0; 8];
        while stream.read_exact(&mut question).is_ok() && stream.write_all(&question).is_ok() {}
    });
    let mut way = Way::across_nodes_with(service.addr(), &["--grace-period", "100ms"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(way.proxy)).collect();
    for client in &mut clients {
        let head = "GET / HTTP/1.1\r\nHost: db.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        client.write_all(head.as_bytes()).expect("sent");
        let head = read_head(client);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.write_all(b"question").expect("sent");
        client.read_exact(&mut [0; 8]).expect("an echo");
    }
    let near = &mut way.servers[0].process;
    near.signal(Signal::Term).expect("it runs");
    assert!(near.wait_exit(PATIENCE).expect("the end").success());
    assert_reset(clients);
    let lines = near.lines(0);
    let requests = lines.iter().filter(|line| line.is_record("request")).filter_map(Line::json);
    let requests: Vec<Value> = requests.map(|record| record["request"].clone()).collect();
    assert_eq!(requests.len(), CLIENTS, "one record for each: {lines:?}");
    for request in requests {
        assert_eq!(request["status"], 101, "{request}");
        assert_eq!(
            (&request["request_bytes"], &request["response_bytes"]),
            (&8.into(), &8.into()),
            "{request}"
        );
    }
}

/// A head byte by byte, so that nothing behind it is read.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
