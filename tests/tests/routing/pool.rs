//! Kept connections between nodes.

use crate::cluster::{Agent, Cluster, get, is_hello, post, wait_until};
use crate::relay::Relay;
use piko_tests::service::Service;
use std::thread;

const CLIENTS: usize = 8;

#[test]
fn ten_thousand_requests_need_no_more_connections_than_clients() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    let before = there.dials();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = there.client();
                for n in 0..1_250 {
                    let response = if n % 5 == 0 {
                        post(&mut client, "/hello", b"x")
                    } else {
                        get(&mut client, "/hello")
                    };
                    assert!(is_hello(&response), "{response:?}");
                }
            });
        }
    });
    let dials = there.dials() - before;
    assert!(dials <= 2 * CLIENTS as u64, "{dials} connections");
    assert_eq!(there.remote_requests(here) - 1, 10_000);
}

#[test]
fn connections_are_closed_when_their_node_leaves() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let relay = Relay::to(cluster.nodes[0].bound.proxy);
    cluster.move_node(0, relay.addr());
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    wait_until("a connection is kept", || relay.open() == 1);
    there.peers.node_down(&here.id);
    wait_until("it is closed", || relay.open() == 0);
    there.peers.node_up(&here.id, relay.addr());
    assert!(is_hello(&there.get("/hello")));
    // One that is busy while its node leaves ends with its request.
    let mut slow = there.client();
    slow.send_head("GET", "/wait?n=2", &[("x-piko-endpoint", "ep")]).unwrap();
    wait_until("it is under way", || service.counts().requests >= 4);
    there.peers.node_down(&here.id);
    assert!(is_hello(&here.get("/wait?n=2")));
    assert!(is_hello(&slow.read_response("GET")));
    wait_until("nothing is kept", || relay.open() == 0);
}

#[test]
fn a_kept_connection_that_has_ended_is_not_used() {
    let cluster = Cluster::with(2, |options| {
        options.proxy.http.idle_timeout = Some(std::time::Duration::from_millis(50));
    });
    let service = Service::start();
    let relay = Relay::to(cluster.nodes[0].bound.proxy);
    cluster.move_node(0, relay.addr());
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    for n in 0..20 {
        let mut client = cluster.nodes[1].client();
        if n % 2 == 0 {
            // Either side may come first, and this one may be repeated when it was the node.
            assert!(is_hello(&get(&mut client, "/hello")), "request {n}");
            // All of them: an earlier one may end only now.
            wait_until("the node has closed it", || relay.ended() as u64 == cluster.nodes[1].dials());
        } else {
            assert!(is_hello(&post(&mut client, "/hello", b"once")), "request {n}");
        }
    }
}
