//! A request at any node reaches the endpoint on another, and one hop is all.

use crate::cluster::{Agent, Cluster, ENDPOINT, endpoint, get, is_hello, post};
use piko_tests::http::{End, checksum_of, pattern};
use piko_tests::service::Service;

#[test]
fn three_nodes_serve_an_endpoint_of_one() {
    let cluster = Cluster::start(3);
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    for node in &cluster.nodes {
        let mut client = node.client();
        for n in [1, 4_000, 300_000] {
            let mut body = vec![0; n];
            pattern(0, &mut body);
            let echo = post(&mut client, "/echo", &body);
            assert_eq!((echo.status(), &echo.end), (200, &End::Complete));
            assert_eq!(echo.body.checksum, checksum_of(n as u64));
            let sent = get(&mut client, &format!("/bytes?n={n}&framing=chunked"));
            assert_eq!((sent.status(), sent.body.checksum), (200, checksum_of(n as u64)));
        }
    }
    let [here, there, _] = &cluster.nodes[..] else { panic!("three nodes") };
    assert!(there.remote_requests(here) >= 7);
    assert_eq!(here.remote_requests(there), 0);
    assert!(here.metric("piko_upstreams_upstream_requests_total") >= 21);
}

#[test]
fn the_service_sees_the_same_request_through_one_node_and_through_two() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    let seen = |node: usize| {
        let fields =
            [("x-piko-endpoint", ENDPOINT), ("host", "a.example"), ("x-piko-authorization", "Bearer t")];
        let response = cluster.nodes[node].client().get("/headers?a=%2F", &fields).unwrap();
        assert!(response.value("x-piko-load").is_none(), "nodes tell each other, not clients");
        String::from_utf8(response.body.bytes).unwrap()
    };
    assert_eq!(seen(0), seen(1));
    assert!(seen(1).contains("X-Forwarded-For: 127.0.0.1\r\n"), "{}", seen(1));
}

#[test]
fn an_upgrade_passes_through_a_node() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[0], service.addr());
    cluster.wait_routable();
    let mut client = cluster.nodes[1].client();
    let fields = [
        ("x-piko-endpoint", ENDPOINT),
        ("connection", "upgrade"),
        ("upgrade", "rot13"),
        ("host", "a.example"),
    ];
    client.send_head("GET", "/upgrade", &fields).unwrap();
    assert_eq!(client.read_head().unwrap().status, 101);
    for text in [&b"first"[..], b"and second"] {
        client.send(text).unwrap();
        assert_eq!(client.read_exact(text.len()).unwrap(), text);
    }
    client.finish().unwrap();
    assert_eq!(client.read_end(), End::Closed, "the half close went there and back");
}

#[test]
fn nodes_that_name_each_other_do_not_send_a_request_round() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    a.peers.remote(&b.id, endpoint(), 1);
    b.peers.remote(&a.id, endpoint(), 1);
    for node in [a, b] {
        let response = node.get("/hello");
        assert_eq!(response.status(), 502);
        assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=server; cause=no-upstream"));
    }
    // Once, and once more behind the wait for news of an upstream that came back.
    assert_eq!((a.remote_requests(b), b.remote_requests(a)), (2, 2));
    // A client that claims to be a node is taken at its word, which costs it the other nodes.
    let fields = [("x-piko-endpoint", ENDPOINT), ("x-piko-forward", "true")];
    assert_eq!(a.client().get("/hello", &fields).unwrap().status(), 502);
    assert_eq!(a.remote_requests(b), 2);
}

#[test]
fn what_gossip_says_holds_for_the_next_request() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    let _agent = Agent::start(b, service.addr());
    cluster.wait_routable();
    a.peers.node_down(&b.id);
    assert_eq!(a.get("/hello").status(), 502);
    a.peers.node_up(&b.id, b.bound.proxy);
    assert!(is_hello(&a.get("/hello")), "its listeners are remembered");
    a.peers.node_draining(&b.id, true);
    assert!(is_hello(&a.get("/hello")), "there is no better choice");
    a.peers.node_forget(&b.id);
    a.peers.node_up(&b.id, b.bound.proxy);
    assert_eq!(a.get("/hello").status(), 502);
}
