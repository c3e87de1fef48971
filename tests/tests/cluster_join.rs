//! Joins that do not go as they should: a second process of one id, seeds that are mute or dead, an end in between.

use piko_tests::http::Client;
use piko_tests::process::{Process, Server, Signal, binary};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SAME_ID: &str =
    "another process has this node's id; every process needs a --cluster.node-id of its own";

fn text(node: &Server, target: &str) -> String {
    let mut client = Client::connect(node.admin).expect("the port is open");
    client.get(target, &[]).expect("an answer").body.text()
}

fn same_id_total(node: &Server) -> u64 {
    let value = |line: &str| line.strip_prefix("piko_gossip_same_id_total ")?.parse().ok();
    text(node, "/metrics").lines().find_map(value).expect("the counter")
}

/// Whether both say, with both addresses, that there are two of them.
fn both_tell(one: &Server, two: &Server) {
    for (node, other) in [(one, two), (two, one)] {
        let (_, record) = node.process.wait_record(0, PATIENCE, SAME_ID).expect("told");
        assert_eq!(record["level"], "warn");
        assert_eq!(record["node-id"], "twin");
        assert_eq!(record["addr"], node.gossip().to_string());
        assert_eq!(record["other-addr"], other.gossip().to_string());
        assert!(same_id_total(node) >= 1);
    }
}

#[test]
fn two_processes_of_one_id_say_so() {
    let one = Server::start(&["--cluster.node-id", "twin"]);
    let seed = one.gossip().to_string();
    // A node that meets nobody but its double is no part of a cluster.
    let mut two = Server::start(&[
        "--cluster.node-id",
        "twin",
        "--cluster.join",
        &seed,
        "--cluster.join-timeout",
        "1s",
    ]);
    both_tell(&one, &two);
    assert_eq!(two.process.wait_exit(PATIENCE).expect("it gives up").code(), Some(1));
    let tail = two.process.tail();
    assert!(tail.contains(&format!("cluster join: {seed}: a node with the id of this one")), "{tail}");
    // It met its double at least twice, and both said it once.
    for node in [&one, &two] {
        let lines = node.process.lines(0);
        assert_eq!(lines.iter().filter(|line| line.text.contains(SAME_ID)).count(), 1, "{lines:?}");
    }
}

#[test]
fn two_processes_of_one_id_that_share_a_third_node_say_so() {
    let third = Server::start(&["--cluster.node-id", "third"]);
    let seed = third.gossip().to_string();
    let twin = || Server::start(&["--cluster.node-id", "twin", "--cluster.join", &seed]);
    let (one, two) = (twin(), twin());
    both_tell(&one, &two);
    assert_eq!(same_id_total(&third), 0);
}

/// A node whose seed takes connections and never answers, before it is ready.
fn hanging(seed: &str, args: &[&str]) -> Process {
    let mut command = Command::new(binary("piko-server"));
    for port in ["proxy", "upstream", "admin", "cluster.gossip"] {
        command.args([format!("--{port}.bind-addr"), "127.0.0.1:0".to_owned()]);
    }
    command.args(["--cluster.join", seed]).args(args);
    Process::spawn("piko-server", &mut command).expect("it starts")
}

#[test]
fn a_node_that_was_never_ready_ends_at_once() {
    // The kernel accepts, nobody answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = mute.local_addr().expect("bound").to_string();
    for signal in [Signal::Term, Signal::Int] {
        // The drain delay is the default of 3 s.
        let mut node = hanging(&seed, &[]);
        node.wait_record(0, PATIENCE, "starting gossip").expect("it begins");
        // Its question has arrived, so the join is under way.
        let (_asked, _) = mute.accept().expect("a connection");
        let begun = Instant::now();
        node.signal(signal).expect("sent");
        let status = node.wait_exit(PATIENCE).expect("the end");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}: {}", node.tail());
        assert_eq!(status.code(), Some(0), "{}", node.tail());
        node.wait_record(0, PATIENCE, "shutdown complete").expect("in order");
    }
}

#[test]
fn a_dead_seed_beside_a_good_one_does_not_hold_a_node_back() {
    let good = Server::start(&["--cluster.node-id", "good"]);
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seeds = format!("{},{}", mute.local_addr().expect("bound"), good.gossip());
    let begun = Instant::now();
    let node = Server::start(&["--cluster.node-id", "node", "--cluster.join", &seeds]);
    node.process.wait_record(0, PATIENCE, "starting proxy server").expect("it serves");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "a join in all takes 10 s: {took:?}");
    node.process.wait_record(0, PATIENCE, "joined cluster").expect("it says so");
    while text(&node, "/status/cluster/nodes").matches("\"active\"").count() < 2 {
        assert!(begun.elapsed() < PATIENCE, "they do not know each other");
        // Until the news has come, a datagram or two later.
        thread::sleep(Duration::from_millis(10));
    }
}
