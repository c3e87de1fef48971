//! Servers that know each other.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::{Client, Response};
use piko_tests::process::Server;

/// How long anything may take that happens at once on a quiet machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Nodes `n1`, `n2`, …, each of which knows all.
pub(crate) fn cluster(count: usize, args: &[&str]) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for n in 1..=count {
        let id = format!("n{n}");
        let join = servers.first().map(|first| first.gossip().to_string());
        let mut all = vec!["--cluster.node-id", id.as_str()];
        all.extend(join.iter().flat_map(|addr| ["--cluster.join", addr.as_str()]));
        all.extend_from_slice(args);
        servers.push(Server::start(&all));
    }
    for server in &servers {
        until(|| {
            get(server.admin, "/status/cluster/nodes").body.text().matches("\"active\"").count() == count
        });
    }
    servers
}

/// One `GET` on a connection of its own.
pub(crate) fn get(addr: SocketAddr, target: &str) -> Response {
    Client::connect(addr).expect("a port").get(target, &[]).expect("an answer")
}

/// One `POST` without a body.
pub(crate) fn post(addr: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Response {
    Client::connect(addr).expect("a port").request("POST", target, fields, b"").expect("an answer")
}

/// The body of a path that is there.
pub(crate) fn text(addr: SocketAddr, target: &str) -> String {
    let answer = get(addr, target);
    assert_eq!(answer.status(), 200, "{target}: {answer:?}");
    answer.body.text()
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "it does not come to that");
        thread::sleep(Duration::from_millis(5));
    }
}
