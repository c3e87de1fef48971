//! Links that do not come about, and links that break.

use crate::clock::Ahead;
use crate::cluster::{Agent, Cluster, get, is_hello, post, wait_until};
use crate::relay::Relay;
use piko_config::Secret;
use piko_tests::service::Service;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BY_LINK: &str = "piko_links_requests_total";

#[test]
fn a_node_that_refuses_links_is_asked_over_connections() {
    // The first node has a secret, the other one not: it shows no proof.
    let is_later = Arc::new(AtomicBool::new(false));
    let cluster = Cluster::with(2, move |options| {
        if !is_later.swap(true, Ordering::SeqCst) {
            options.cluster.secret = Some(Secret::new("the first node's alone"));
        }
    });
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    let begun = Instant::now();
    there.peers.node_takes_links(&here.id, true);
    cluster.wait_routable();
    wait_until("a link is refused", || here.metric("piko_links_refused_total") > 0);
    let mut client = there.client();
    for n in 0..200 {
        let response =
            if n % 2 == 0 { post(&mut client, "/hello", b"x") } else { get(&mut client, "/hello") };
        assert!(is_hello(&response), "{response:?}");
    }
    assert_eq!(there.metric(BY_LINK), 0);
    // Once, and again after a second, two, four.
    let tries = 1 + begun.elapsed().as_secs();
    assert!(here.metric("piko_links_refused_total") <= tries, "it is not tried with every request");
}

#[test]
fn a_link_that_breaks_is_replaced_and_one_to_a_node_that_left_is_closed() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    there.peers.node_takes_links(&here.id, true);
    let _agent = Agent::start(here, service.addr());
    let link_up = || {
        let relay = Relay::to(here.bound.proxy);
        cluster.move_node(0, relay.addr());
        cluster.wait_routable();
        let before = there.metric(BY_LINK);
        wait_until("a request goes over a link", || {
            assert!(is_hello(&there.get("/hello")));
            there.metric(BY_LINK) > before
        });
        relay
    };
    for _ in 0..3 {
        link_up().cut();
    }
    let relay = link_up();
    wait_until("the broken ones are gone", || here.metric("piko_links") == 1);
    // One that is busy while its node leaves ends with its request.
    let before = there.metric(BY_LINK);
    let requests = service.counts().requests;
    let mut slow = there.client();
    slow.send_head("GET", "/wait?n=2", &[("x-piko-endpoint", "ep")]).unwrap();
    wait_until("it is under way", || service.counts().requests > requests);
    assert_eq!(there.metric(BY_LINK), before + 1);
    there.peers.node_down(&here.id);
    assert!(is_hello(&here.get("/wait?n=2")));
    assert!(is_hello(&slow.read_response("GET")));
    wait_until("the link is closed", || here.metric("piko_links") == 0 && relay.open() == 0);
}

/// What is said in the documentation: a link ends after one to two minutes without a request, and not before.
#[test]
fn a_link_that_nobody_uses_ends_after_one_to_two_minutes() {
    let ahead = Ahead::default();
    let cluster = Cluster::ahead(2, &ahead, |options| options.proxy.timeout = None);
    let service = Service::start();
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    there.peers.node_takes_links(&here.id, true);
    let _agent = Agent::start(here, service.addr());
    cluster.wait_routable();
    let by_link = || {
        let before = there.metric(BY_LINK);
        wait_until("a request goes over a link", || {
            assert!(is_hello(&there.get("/hello")));
            there.metric(BY_LINK) > before
        });
    };
    by_link();
    let links = || here.metric("piko_links");
    // Seconds that pass one by one: behind each both nodes have answered, so that both have had their turns.
    // What a busy machine takes for that passes as well, and is counted.
    let seconds = |n: u64, until: &dyn Fn() -> bool| {
        let (begun, mut moved) = (Instant::now(), 0);
        while moved + begun.elapsed().as_secs() < n {
            ahead.pass(Duration::from_secs(1));
            moved += 1;
            there.metric(BY_LINK);
            if until() {
                return Some(moved + begun.elapsed().as_secs());
            }
        }
        None
    };
    // A request under way for four minutes, and then one every 50 s.
    let requests = service.counts().requests;
    let mut slow = there.client();
    slow.send_head("GET", "/wait?n=2", &[("x-piko-endpoint", "ep")]).unwrap();
    wait_until("it is under way", || service.counts().requests > requests);
    assert_eq!(seconds(240, &|| links() != 1), None, "{} links", links());
    assert!(is_hello(&here.get("/wait?n=2")));
    assert!(is_hello(&slow.read_response("GET")));
    let used = there.metric(BY_LINK);
    for n in 1..=4 {
        assert_eq!(seconds(50, &|| links() != 1), None, "{} links before request {n}", links());
        assert!(is_hello(&there.get("/hello")));
        assert_eq!(there.metric(BY_LINK), used + n);
    }
    let quiet = seconds(150, &|| links() == 0).expect("it ends");
    println!("a link that nobody used ended after {quiet} s");
    assert!((60..=125).contains(&quiet), "{quiet} s");
    // The next request has another one opened.
    let dials = there.dials();
    by_link();
    assert!(there.dials() > dials);
    assert_eq!(links(), 1);
}
