//! TCP ports of the server that lead to one endpoint, with no client program.

use crate::common::{ENDPOINT, PATIENCE, Way, body, connect, echo, echo_at_end, ends_first};
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Instant;

/// Where the server's port of the endpoint is.
pub(crate) fn port_of(server: &Server, endpoint: &str) -> SocketAddr {
    let is_it = |line: &piko_tests::process::Line| {
        line.json().is_some_and(|v| v["msg"] == "starting tcp port" && v["endpoint-id"] == endpoint)
    };
    let line = server.process.wait_line(0, PATIENCE, is_it).expect("a port");
    let text = line.json().expect("a record")["addr"].as_str().expect("an address").to_owned();
    text.parse().expect("an address")
}

/// A port that leads to the endpoint, on the node of the agent or on another one.
pub(crate) fn way(service: &Service, across_nodes: bool, args: &[&str]) -> (Way, SocketAddr) {
    let mut all = vec!["--proxy.tcp.ports", "127.0.0.1:0=db"];
    all.extend(args);
    let way = if across_nodes {
        Way::across_nodes_with(service.addr(), &all)
    } else {
        Way::local_with(service.addr(), &all)
    };
    let port = port_of(&way.servers[0], ENDPOINT);
    (way, port)
}

#[test]
fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    for across_nodes in [false, true] {
        let service = echo_at_end();
        let (_way, port) = way(&service, across_nodes, &[]);
        let sent = body(1 << 20);
        let mut client = connect(port);
        client.write_all(&sent).expect("it is taken");
        client.shutdown(Shutdown::Write).expect("a half close");
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("the whole answer");
        assert!(back == sent, "{across_nodes}: {} bytes came back", back.len());
    }
}

#[test]
fn a_service_that_ends_first_still_hears_the_client() {
    for across_nodes in [false, true] {
        let (service, told) = ends_first(b"hello");
        let (_way, port) = way(&service, across_nodes, &[]);
        let mut client = connect(port);
        let mut greeting = Vec::new();
        client.read_to_end(&mut greeting).expect("the greeting, and its end");
        assert_eq!(greeting, b"hello");
        client.write_all(&body(100_000)).expect("it is taken");
        client.shutdown(Shutdown::Write).expect("a half close");
        let (heard, ended) = told.recv_timeout(PATIENCE).expect("the service tells");
        assert_eq!((heard, ended.is_ok()), (100_000, true), "{across_nodes}");
    }
}

#[test]
fn an_endpoint_that_nobody_serves_is_a_reset_a_line_and_a_number() {
    let server = Server::start(&["--proxy.tcp.ports", "127.0.0.1:0=nobody"]);
    let start = Instant::now();
    let error = connect(port_of(&server, "nobody")).read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let (_, record) = server.process.wait_record(0, PATIENCE, "failed to reach endpoint").expect("a line");
    assert_eq!((&record["endpoint-id"], &record["cause"]), (&"nobody".into(), &"no-upstream".into()));
    let counted = crate::upgrade::metric(server.admin, "piko_proxy_port_tcp_connections_failed_total");
    assert_eq!(counted, ["piko_proxy_port_tcp_connections_failed_total{cause=\"no-upstream\"} 1"]);
}

#[test]
fn a_service_that_is_down_is_a_reset() {
    let closed = unused_addr();
    for across_nodes in [false, true] {
        let args = ["--proxy.tcp.ports", "127.0.0.1:0=db"];
        let way =
            if across_nodes { Way::across_nodes_with(closed, &args) } else { Way::local_with(closed, &args) };
        let mut client = connect(port_of(&way.servers[0], ENDPOINT));
        let error = client.read(&mut [0; 1]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{across_nodes}");
        way.agent.process.wait_record(0, PATIENCE, "failed to dial upstream").expect("a line");
    }
}

#[test]
fn a_port_that_is_taken_refuses_the_start_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let entry = format!("{}=db", taken.local_addr().expect("an address"));
    let args = ["--proxy.tcp.ports", &entry, "--proxy.bind-addr", "127.0.0.1:0"];
    let run = piko_tests::flags::run("piko-server", &args, &[]);
    assert!(!run.status.success(), "{run:?}");
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert!(said.contains("tcp port of db listen: 127.0.0.1:"), "{said}");
}

#[test]
fn open_connections_outlive_the_port_and_the_grace_period_waits_for_them() {
    let service = echo();
    let (mut way, port) = way(&service, false, &["--grace-period", "20s"]);
    let mut client = connect(port);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
    let server = &mut way.servers[0];
    server.process.signal(piko_tests::process::Signal::Term).expect("it runs");
    server.process.wait_record(0, PATIENCE, "starting shutdown").expect("a line");
    client.write_all(b"more").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo within the grace period");
    drop(client);
    assert!(server.process.wait_exit(PATIENCE).expect("the end").success());
}

/// A reload adds, leads elsewhere and takes away; connections that are open go on.
#[test]
fn ports_follow_the_configuration() {
    let path = std::env::temp_dir().join(format!("piko-raw-{}.yaml", std::process::id()));
    let write = |ports: &str| {
        std::fs::write(&path, format!("proxy:\n  tcp:\n    ports: {ports}\n")).expect("written");
    };
    // Free while this runs: nobody else asks for the addresses of this network.
    let at = |last: u8| SocketAddr::from(([127, 0, 77, last], 0));
    let free = [at(1), at(2)]
        .map(|addr| TcpListener::bind(addr).and_then(|port| port.local_addr()).expect("a port"));
    let [first, second] = free;
    write(&format!("[{{bind_addr: '{first}', endpoint: db}}]"));
    let service = echo();
    let server = Server::start(&["--config.path", path.to_str().expect("a path")]);
    let _agent = Agent::tcp(&server.connect_url(), "db", &service.addr().to_string(), &[]);
    let other = Service::scripted(|mut stream| drop(stream.write_all(b"other")));
    let _other = Agent::tcp(&server.connect_url(), "other", &other.addr().to_string(), &[]);
    let mut kept = connect(first);
    kept.write_all(b"ping").expect("sent");
    kept.read_exact(&mut [0; 4]).expect("an echo");

    let reloaded = |from| {
        let is_it = |line: &piko_tests::process::Line| {
            line.json().is_some_and(|v| v["msg"] == "new values count" && v["flags"] == "proxy.tcp.ports")
        };
        server.process.wait_line(from, PATIENCE, is_it).expect("a reload").index + 1
    };
    write(&format!("[{{bind_addr: '{first}', endpoint: other}}, {{bind_addr: '{second}', endpoint: db}}]"));
    let from = reloaded(0);
    let mut greeting = Vec::new();
    connect(first).read_to_end(&mut greeting).expect("the other service");
    assert_eq!(greeting, b"other");
    let mut client = connect(second);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");

    // A port that cannot be opened refuses all of it.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    write(&format!("[{{bind_addr: '{}', endpoint: db}}]", taken.local_addr().expect("an address")));
    let (_, record) =
        server.process.wait_record(from, PATIENCE, "what is new was refused; the old stays").expect("a line");
    assert!(
        record["error"].as_str().is_some_and(|error| error.contains("tcp port of db listen")),
        "{record}"
    );
    connect(second);

    write(&format!("[{{bind_addr: '{second}', endpoint: db}}]"));
    reloaded(from);
    // The listener closes behind its last handshakes.
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(first).is_ok() {
        assert!(Instant::now() < deadline, "the port stays open");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for open in [&mut kept, &mut client] {
        open.write_all(b"more").expect("sent");
        open.read_exact(&mut [0; 4]).expect("open connections go on");
    }
    let _ = std::fs::remove_file(&path);
}
