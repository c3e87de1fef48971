//! Two nodes that are far apart: how often a request crosses the distance.

use crate::cluster::{Agent, Cluster, get, is_hello, post, wait_until};
use piko_tests::cluster::Far;
use piko_tests::service::Service;
use std::thread;
use std::time::{Duration, Instant};

/// One way.
const DELAY: Duration = Duration::from_millis(40);
const BY_LINK: &str = "piko_links_requests_total";

fn one_round_trip(links: bool) {
    let cluster = Cluster::start(2);
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    let service = Service::start();
    let _agent = Agent::start(here, service.addr());
    there.peers.node_takes_links(&here.id, links);
    let far = Far::to(here.bound.proxy, DELAY, Duration::ZERO);
    cluster.move_node(0, far.addr());
    cluster.wait_routable();
    if links {
        wait_until("a link is up", || {
            assert!(is_hello(&there.get("/hello")));
            there.metric(BY_LINK) > 0
        });
    }
    let before = there.metric(BY_LINK);
    let (clients, requests) = (16, 20);
    let begun = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let ask = || {
            let mut client = there.client();
            let one = |n: u32| {
                let begun = Instant::now();
                let response = if n.is_multiple_of(2) {
                    get(&mut client, "/hello")
                } else {
                    post(&mut client, "/hello", b"x")
                };
                assert!(is_hello(&response), "{response:?}");
                begun.elapsed()
            };
            (0..requests).map(one).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let all = begun.elapsed();
    times.sort();
    let p50 = times[times.len() / 2];
    println!("{:?} apart, links {links}: p50 {p50:?}, {} requests in {all:?}", DELAY * 2, times.len());
    assert_eq!(there.metric(BY_LINK) - before, if links { u64::from(clients * requests) } else { 0 });
    // Nobody waits for a second crossing; judged by those that a busy machine did not hold up, as all would have waited.
    assert!(times[0] >= DELAY * 2 && times[times.len() / 4] < DELAY * 4, "{times:?}");
    // Nor behind others: one after the other would take a crossing for each request of each client.
    assert!(all < DELAY * 2 * requests * clients / 2, "{all:?}");
}

#[test]
fn a_request_to_a_node_far_away_takes_one_round_trip() {
    one_round_trip(false);
}

#[test]
fn a_request_over_a_link_to_a_node_far_away_takes_one_round_trip() {
    one_round_trip(true);
}
