//! The moment between an endpoint's last upstream and its next one.

use crate::cluster::{Agent, Cluster, Node, PATIENCE, endpoint, get, is_hello, post, wait_until};
use piko_tests::service::Service;
use std::thread;
use std::time::{Duration, Instant};

/// A request waits for 50 ms; what took longer to announce on a busy machine shows nothing.
const IN_TIME: Duration = Duration::from_millis(30);

fn held(node: &Node) -> u64 {
    node.metric("piko_proxy_held_total")
}

/// Runs `ask` and announces the endpoint while it waits. What it gave, if the announcement was in time.
fn while_announced<T: Send>(ask: impl FnOnce() -> T + Send, announce: impl FnOnce()) -> Option<T> {
    let start = Instant::now();
    thread::scope(|scope| {
        let asked = scope.spawn(ask);
        // So that the request is there first, usually; it is served either way.
        thread::sleep(Duration::from_millis(5));
        announce();
        let took = start.elapsed();
        let answer = asked.join().expect("an answer");
        (took < IN_TIME).then_some(answer)
    })
}

#[test]
fn a_request_waits_for_the_news_of_the_next_upstream() {
    let cluster = Cluster::start(3);
    let service = Service::start();
    let [front, second, third] = &cluster.nodes[..] else { panic!("three nodes") };
    let _agent = Agent::start(second, service.addr());
    cluster.wait_routable();
    let mut client = front.client();
    let (mut in_time, mut round) = (0, 0);
    // All four kinds of it, several times; on a busy machine many rounds show nothing.
    let end = Instant::now() + PATIENCE;
    while round < 40 || (in_time < 8 || held(front) < 4) && Instant::now() < end {
        match round % 2 {
            // Nobody is known at the time of the request.
            0 => front.peers.remote(&second.id, endpoint(), 0),
            // Somebody is, and says that it has no upstream.
            _ => {
                front.peers.remote(&third.id, endpoint(), 1);
                front.peers.remote(&second.id, endpoint(), 0);
            }
        }
        let ask = || match round % 4 {
            0 | 1 => get(&mut client, "/hello"),
            _ => post(&mut client, "/echo", b"hello\n"),
        };
        let answer = while_announced(ask, || front.peers.remote(&second.id, endpoint(), 1));
        front.peers.remote(&third.id, endpoint(), 0);
        if let Some(answer) = answer {
            in_time += 1;
            assert_eq!((answer.status(), answer.body.len), (200, 6), "round {round}: {answer:?}");
        }
        round += 1;
    }
    println!("{in_time} of {round} announcements in time, {} requests held", held(front));
    // Each of those in time was answered. Where that were none because nobody waits, the others would not be late.
    if in_time < 8 || held(front) < 4 {
        println!("SKIPPED: this machine is too busy to show anything");
        assert!(round > in_time, "all were in time, and nobody was held");
    }
}

#[test]
fn a_wait_ends_and_nobody_waits_for_what_was_never_there() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let [front, second] = &cluster.nodes[..] else { panic!("two nodes") };
    let mut client = front.client();
    let response = get(&mut client, "/hello");
    assert_eq!((response.status(), held(front)), (502, 0), "{response:?}");

    let agent = Agent::start(second, service.addr());
    cluster.wait_routable();
    front.peers.remote(&second.id, endpoint(), 0);
    let start = Instant::now();
    let response = get(&mut client, "/hello");
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!((response.status(), held(front)), (502, 1), "{response:?}");
    assert_eq!(
        response.body.text(),
        "{\"error\":\"no available upstreams\",\"hop\":\"server\",\"cause\":\"no-upstream\"}\n"
    );

    // A node that says of itself that it has nobody, and goes on saying so: the same answer, after one wait.
    drop(agent);
    wait_until("the agent is gone", || second.metric("piko_upstreams_connected_upstreams") == 0);
    front.peers.remote(&second.id, endpoint(), 1);
    let response = get(&mut client, "/hello");
    assert_eq!((response.status(), held(front)), (502, 2), "{response:?}");
    assert!(response.body.text().contains("\"no available upstreams\""), "{response:?}");
}

/// An agent that restarts has no other node to be heard of from.
#[test]
fn a_lone_node_waits_for_its_agent_too() {
    let cluster = Cluster::start(1);
    let service = Service::start();
    let [node] = &cluster.nodes[..] else { panic!("one node") };
    let agent = Agent::start(node, service.addr());
    cluster.wait_routable();
    let mut client = node.client();
    assert!(is_hello(&get(&mut client, "/hello")));
    drop(agent);
    wait_until("the agent is gone", || node.metric("piko_upstreams_connected_upstreams") == 0);
    assert_eq!(get(&mut client, "/hello").status(), 502);
    assert_eq!(held(node), 1);
    let _agent = Agent::start(node, service.addr());
    cluster.wait_routable();
    assert!(is_hello(&get(&mut client, "/hello")));
}
