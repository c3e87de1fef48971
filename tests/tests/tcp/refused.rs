//! Agents whose service is down: they take what is opened, and reset it.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, reset};
use crate::raw::port_of;
use crate::upgrade::metric;
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Forward, Server, Signal};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

const PORT: [&str; 2] = ["--proxy.tcp.ports", "127.0.0.1:0=db"];
/// So many failures in a row, and an upstream is set aside (`docs/cluster.md`).
const FAILURES_MAX: usize = 5;

/// Answers the first byte.
fn service() -> Service {
    Service::scripted(|mut stream| {
        let _ = stream.read_exact(&mut [0]);
        let _ = stream.write_all(b"!");
    })
}

fn is_served(port: SocketAddr) -> bool {
    let mut client = connect(port);
    client.write_all(b"?").is_ok() && client.read_exact(&mut [0]).is_ok()
}

fn set_aside(server: &Server) -> bool {
    match &metric(server.admin, "piko_upstreams_set_aside ")[..] {
        [line] => line.ends_with(" 1"),
        other => panic!("{other:?}"),
    }
}

/// Of two agents at `down` and `good` the first has no service. Clients come to `port` until `near` has set it aside: a few
/// have met it, and none does from then on.
fn is_noticed(near: &Server, port: SocketAddr, down: &Server, good: &Server) {
    let service = service();
    let start =
        |at: &Server, addr: SocketAddr| Agent::tcp(&at.connect_url(), ENDPOINT, &addr.to_string(), &[]);
    let _good = start(good, service.addr());
    let deadline = Instant::now() + PATIENCE;
    while !is_served(port) {
        assert!(Instant::now() < deadline, "the news of it come");
    }
    let _down = start(down, unused_addr());
    let mut failed = 0;
    while !set_aside(near) {
        assert!(Instant::now() < deadline, "it is set aside; {failed} were reset");
        failed += usize::from(!is_served(port));
    }
    assert_eq!(failed, FAILURES_MAX);
    // Within the ten seconds that it is left alone for.
    assert!((0..20).all(|_| is_served(port)), "the other one serves all");
}

/// How many were reset before the service said anything.
fn counted(server: &Server, name: &str) -> Vec<String> {
    let start = format!("{name}_connections_failed_total{{cause=\"stream-reset\"}} ");
    let lines = metric(server.admin, &start);
    lines.iter().map(|line| line[start.len()..].to_owned()).collect()
}

fn joined(first: &Server, args: &[&str]) -> Server {
    Server::start(&[&["--cluster.join", &first.gossip().to_string()], args].concat())
}

#[test]
fn an_agent_without_its_service_is_set_aside_by_its_node() {
    let good = Server::start(&[]);
    let near = joined(&good, &PORT);
    is_noticed(&near, port_of(&near, ENDPOINT), &near, &good);
    assert_eq!(["piko_proxy_port_tcp", "piko_proxy_tcp"].map(|name| counted(&near, name)), [["5"], ["5"]]);
    near.process
        .wait_record(0, PATIENCE, "upstream reset a connection before it said anything")
        .expect("a line");
}

#[test]
fn an_agent_without_its_service_is_set_aside_by_the_tcp_path() {
    let server = Server::start(&[]);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    is_noticed(&server, forward.addr, &server, &server);
    assert_eq!(counted(&server, "piko_proxy_tcp"), ["5"]);
}

/// Its own node has nobody else to ask, and goes on.
#[test]
fn an_agent_without_its_service_is_set_aside_by_other_nodes() {
    let good = Server::start(&[]);
    let down = joined(&good, &[]);
    let near = joined(&good, &PORT);
    is_noticed(&near, port_of(&near, ENDPOINT), &down, &good);
    assert_eq!(counted(&near, "piko_proxy_port_tcp"), ["5"]);
    let near = joined(&good, &[]);
    let forward = Forward::tcp(near.proxy, ENDPOINT, &[]);
    is_noticed(&near, forward.addr, &down, &good);
}

/// A service that has spoken may end as it likes, and who leaves first learns nothing.
#[test]
fn what_is_not_the_doing_of_an_agent_is_not_held_against_it() {
    let greeting = Service::scripted(|mut stream| {
        let _ = stream.write_all(b"!");
        let _ = stream.read_exact(&mut [0]);
        reset(stream);
    });
    let way = Way::local_with(greeting.addr(), &PORT);
    let server = &way.servers[0];
    let forward = way.forward();
    for port in [port_of(server, ENDPOINT), forward.addr] {
        for _ in 0..2 * FAILURES_MAX {
            let mut client = connect(port);
            client.read_exact(&mut [0]).expect("a greeting");
            client.write_all(b"?").expect("taken");
            assert!(client.read_exact(&mut [0]).is_err(), "it is over");
        }
    }
    assert!(!set_aside(server));
    let down = Server::start(&PORT);
    let mut agent = Agent::tcp(&down.connect_url(), ENDPOINT, &unused_addr().to_string(), &[]);
    // It says nothing before all of them have left.
    agent.process.signal(Signal::Stop).expect("it runs");
    let clients: Vec<TcpStream> = (0..2 * FAILURES_MAX)
        .map(|_| {
            let client = connect(port_of(&down, ENDPOINT));
            client.shutdown(Shutdown::Write).expect("it is open");
            client
        })
        .collect();
    assert!(!set_aside(&down));
    agent.process.signal(Signal::Cont).expect("it runs");
    for mut client in clients {
        assert!(client.read_exact(&mut [0]).is_err(), "it is over");
    }
    assert!(!set_aside(&down));
}
