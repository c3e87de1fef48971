//! What breaks is avoided, and a request that it hit is sent elsewhere where that is safe.

use crate::cluster::{Agent, Cluster, endpoint, get, is_hello, post, wait_until};
use crate::relay::Relay;
use piko_core::id::NodeId;
use piko_tests::cluster::unused_addr;
use piko_tests::http::{Client, End};
use piko_tests::rig::scripted;
use piko_tests::service::Service;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn answer(peer: &mut Client, body: &str) -> std::io::Result<()> {
    peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    unused_addr()
}

#[test]
fn a_node_that_dies_under_load_costs_no_get_and_only_the_posts_in_flight() {
    let cluster = Cluster::start(3);
    let relay = Relay::to(cluster.nodes[1].bound.proxy);
    cluster.move_node(1, relay.addr());
    let service = Service::start();
    let _agents =
        [Agent::start(&cluster.nodes[1], service.addr()), Agent::start(&cluster.nodes[2], service.addr())];
    cluster.wait_routable();
    let front = &cluster.nodes[0];
    const CLIENTS: usize = 8;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let died = Mutex::new(None::<Instant>);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (stop, done, failed) = (&stop, &done, &failed);
            scope.spawn(move || {
                let mut connection = front.client();
                while !stop.load(Ordering::SeqCst) {
                    let is_get = client % 2 == 0;
                    let begun = Instant::now();
                    let response = if is_get {
                        get(&mut connection, "/hello")
                    } else {
                        post(&mut connection, "/hello", b"body")
                    };
                    done.fetch_add(1, Ordering::SeqCst);
                    if !is_hello(&response) {
                        let cut = response.status() == 200;
                        failed.lock().unwrap().push((is_get && !cut, begun, response.status()));
                        connection = front.client();
                    }
                }
            });
        }
        let more = |n: u64| {
            let goal = done.load(Ordering::SeqCst) + n;
            wait_until("the load goes on", || done.load(Ordering::SeqCst) >= goal);
        };
        more(500);
        relay.cut();
        *died.lock().unwrap() = Some(Instant::now());
        more(2_000);
        stop.store(true, Ordering::SeqCst);
    });
    let died = died.into_inner().unwrap().unwrap();
    let failed = failed.into_inner().unwrap();
    println!("failed of {}: {failed:?}", done.load(Ordering::SeqCst));
    assert!(failed.len() <= CLIENTS, "{failed:?}");
    assert!(failed.iter().all(|(is_get, begun, _)| !is_get && *begun <= died), "{failed:?}");
}

#[test]
fn few_requests_meet_the_one_upstream_of_three_that_hangs() {
    for hanging_node in [0, 1] {
        let cluster = Cluster::with(2, |options| {
            options.proxy.timeout = Some(Duration::from_secs(3));
            options.proxy.routing.prefer_local = false;
        });
        let met = Arc::new(AtomicU64::new(0));
        let seen = met.clone();
        let hanging = scripted(move |_, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            // Time is the subject: a service that hangs for longer than the nodes wait for it.
            thread::sleep(Duration::from_secs(10));
            Err(std::io::ErrorKind::TimedOut.into())
        });
        let service = Service::start();
        let _good = [
            Agent::start(&cluster.nodes[0], service.addr()),
            Agent::start(&cluster.nodes[1], service.addr()),
        ];
        cluster.wait_routable();
        let _bad = Agent::start(&cluster.nodes[hanging_node], hanging.addr());
        let front = &cluster.nodes[0];
        let failed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = front.client();
                    for _ in 0..1_250 {
                        if !is_hello(&get(&mut client, "/hello")) {
                            failed.fetch_add(1, Ordering::SeqCst);
                            client = front.client();
                        }
                    }
                });
            }
        });
        let met = met.load(Ordering::SeqCst);
        println!("hanging on node {hanging_node}: {met} of 10,000 met it, {failed:?} failed");
        assert!(met <= 20, "{met}");
    }
}

/// Nobody says that the node is gone: what it does not answer is all there is to know.
#[test]
fn few_requests_meet_a_node_that_stands_still() {
    stands_still(false);
}

/// The same where it is asked over a link, which takes requests as long as it has not ended.
#[test]
fn few_requests_meet_a_link_that_moves_nothing() {
    stands_still(true);
}

fn stands_still(links: bool) {
    const CLIENTS: u64 = 8;
    let cluster = Cluster::with(3, |options| options.proxy.timeout = Some(Duration::from_secs(3)));
    let relay = Relay::to(cluster.nodes[1].bound.proxy);
    cluster.move_node(1, relay.addr());
    let service = Service::start();
    let _agents =
        [Agent::start(&cluster.nodes[1], service.addr()), Agent::start(&cluster.nodes[2], service.addr())];
    let front = &cluster.nodes[0];
    front.peers.node_takes_links(&cluster.nodes[1].id, links);
    cluster.wait_routable();
    let (failed, slowest) = (AtomicU64::new(0), Mutex::new(Duration::ZERO));
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (relay, failed, slowest) = (&relay, &failed, &slowest);
            scope.spawn(move || {
                let mut connection = front.client();
                for n in 0..500 {
                    if client == 0 && n == 100 {
                        relay.freeze();
                    }
                    let begun = Instant::now();
                    let response = get(&mut connection, "/hello");
                    if is_hello(&response) {
                        let mut slowest = slowest.lock().unwrap();
                        *slowest = begun.elapsed().max(*slowest);
                    } else {
                        assert_eq!(response.status(), 504, "{response:?}");
                        failed.fetch_add(1, Ordering::SeqCst);
                        connection = front.client();
                    }
                }
            });
        }
    });
    println!(
        "links {links}: {failed:?} of 4,000 met the node that stands still; of the others the slowest took {slowest:?}"
    );
    // Each client has one under way when it stops, and every five seconds one more finds out whether it is back.
    let trials = begun.elapsed().as_secs() / 5 + 2;
    assert!(failed.load(Ordering::SeqCst) <= CLIENTS + trials, "{failed:?}, {trials} trials");
    let over_links = front.metric("piko_links_requests_total");
    assert!(if links { over_links > 50 } else { over_links == 0 }, "{over_links}");
}

/// When everything is broken, there is little more load than when nothing is.
#[test]
fn retries_do_not_multiply_the_load_of_an_outage() {
    let cluster = Cluster::start(1);
    let tries = Arc::new(AtomicU64::new(0));
    let services: Vec<_> = (0..3)
        .map(|_| {
            let tries = tries.clone();
            scripted(move |_, _| {
                tries.fetch_add(1, Ordering::SeqCst);
                Err(std::io::ErrorKind::ConnectionReset.into())
            })
        })
        .collect();
    let _agents: Vec<_> =
        services.iter().map(|service| Agent::start(&cluster.nodes[0], service.addr())).collect();
    let begun = Instant::now();
    let mut client = cluster.nodes[0].client();
    for _ in 0..1_000 {
        assert_eq!(get(&mut client, "/x").status(), 502);
    }
    let tries = tries.load(Ordering::SeqCst);
    // A fifth, the reserve of 100, and 10 per second.
    let retries_max = 200 + 100 + 10 * (begun.elapsed().as_secs() + 1);
    println!("{tries} tries for 1,000 requests");
    assert!(tries > 1_100 && tries <= 1_000 + retries_max, "{tries} tries");
    assert_eq!(cluster.nodes[0].metric("piko_proxy_retries_total"), tries - 1_000);
}

#[test]
fn an_agent_without_its_service_is_avoided_and_nobody_sees_it() {
    for down_at in [0, 1] {
        let cluster = Cluster::start(2);
        let service = Service::start();
        let _agents = [
            Agent::start(&cluster.nodes[down_at], nobody()),
            Agent::start(&cluster.nodes[1], service.addr()),
        ];
        wait_until("the endpoint is served", || cluster.nodes[0].get("/hello").status() == 200);
        let mut client = cluster.nodes[0].client();
        for n in 0..200 {
            let response =
                if n % 2 == 0 { get(&mut client, "/hello") } else { post(&mut client, "/hello", b"x") };
            assert!(is_hello(&response), "{n}: {response:?}");
        }
    }
}

/// The choice between the two agents is made by a server that has no other node to turn to, or was asked by one.
#[test]
fn what_no_service_saw_goes_to_the_other_agent_of_the_same_server() {
    for nodes in [1, 2] {
        let cluster = Cluster::start(nodes);
        let owner = &cluster.nodes[nodes - 1];
        let service = Service::start();
        let _agents = [Agent::start(owner, nobody()), Agent::start(owner, service.addr())];
        cluster.wait_routable();
        wait_until("both are there", || owner.metric("piko_upstreams_connected_upstreams") == 2);
        let mut client = cluster.nodes[0].client();
        for n in 0..40 {
            let response = post(&mut client, "/hello", b"hello");
            assert!(is_hello(&response), "{n} of {nodes}: {response:?}");
        }
    }
}

/// Requests that may be repeated, since nobody knows what the service did with them.
#[test]
fn a_response_head_that_breaks_off_or_is_none_is_told_to_nobody_while_there_is_another_service() {
    for broken in ["HTTP/1.1 200 OK\r\nConte", "nothing of the kind\r\n\r\n"] {
        for nodes in [1, 2] {
            let cluster = Cluster::start(nodes);
            let owner = &cluster.nodes[nodes - 1];
            let service = Service::start();
            let bad = scripted(move |peer, _| {
                peer.send(broken.as_bytes())?;
                Err(std::io::ErrorKind::NotConnected.into())
            });
            let _agents = [Agent::start(owner, bad.addr()), Agent::start(owner, service.addr())];
            cluster.wait_routable();
            wait_until("both are there", || owner.metric("piko_upstreams_connected_upstreams") == 2);
            let mut client = cluster.nodes[0].client();
            for n in 0..40 {
                let response = get(&mut client, "/hello");
                assert!(is_hello(&response), "{n} of {nodes}: {response:?}");
            }
            assert_eq!(owner.metric("piko_upstreams_set_aside"), 1);
        }
    }
}

#[test]
fn the_only_agent_says_itself_what_is_wrong() {
    let cluster = Cluster::start(2);
    let _agent = Agent::start(&cluster.nodes[0], nobody());
    let mut client = cluster.nodes[0].client();
    for _ in 0..20 {
        let response = get(&mut client, "/hello");
        assert_eq!(response.status(), 502);
        assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=agent; cause=connect-refused"));
    }
}

/// A node that has just lost the endpoint, in the words of both kinds.
#[test]
fn a_node_without_an_upstream_is_left_for_one_that_has() {
    let go = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\n\
              X-Content-Type-Options: nosniff\r\nContent-Length: 35\r\n\r\n\
              {\"error\":\"no available upstreams\"}\n";
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = seen.clone();
    let go_node = scripted(move |peer, head| {
        heads.lock().unwrap().push(head.to_owned());
        peer.send(go.as_bytes())
    });
    let cluster = Cluster::start(3);
    let service = Service::start();
    let _agent = Agent::start(&cluster.nodes[1], service.addr());
    cluster.wait_routable();
    let [front, _, empty] = &cluster.nodes[..] else { panic!("three nodes") };
    let liar = NodeId::new("go");
    front.peers.node_up(&liar, go_node.addr());
    // Many listeners, so that nearly every request tries them first.
    let claim = || {
        front.peers.remote(&liar, endpoint(), 0);
        front.peers.remote(&empty.id, endpoint(), 0);
        front.peers.remote(&liar, endpoint(), 400);
        front.peers.remote(&empty.id, endpoint(), 400);
    };
    let mut client = front.client();
    for n in 0..40 {
        claim();
        let response = if n % 2 == 0 {
            get(&mut client, "/hello")
        } else {
            post(&mut client, "/echo", &vec![b'x'; 1_000])
        };
        assert_eq!((response.status(), &response.end), (200, &End::Complete), "{n}: {response:?}");
        assert_eq!(response.body.len, if n % 2 == 0 { 6 } else { 1_000 });
    }
    let heads = seen.lock().unwrap();
    assert!(heads.len() >= 10);
    for head in heads.iter() {
        assert!(head.contains("\r\nx-piko-forward: true\r\n") && head.contains("x-piko-endpoint: ep\r\n"));
        assert!(!head.to_ascii_lowercase().contains("connection: close"), "{head}");
    }
    assert!(front.remote_requests(empty) >= 10);
}

/// From a tunnel to a node and back: the head is written anew, and the body comes along.
#[test]
fn a_retry_between_a_tunnel_and_a_node_takes_the_right_fields() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (here, there) = (heads.clone(), heads.clone());
    let breaks = scripted(move |_, head| {
        here.lock().unwrap().push(head.to_owned());
        Err(std::io::ErrorKind::ConnectionReset.into())
    });
    let works = scripted(move |peer, head| {
        there.lock().unwrap().push(head.to_owned());
        let body = peer.read_exact(5)?;
        answer(peer, &String::from_utf8_lossy(&body))
    });
    for (first, second) in [(0, 1), (1, 0)] {
        let cluster = Cluster::with(2, |options| options.proxy.routing.prefer_local = false);
        let _agents = [
            Agent::start(&cluster.nodes[first], breaks.addr()),
            Agent::start(&cluster.nodes[second], works.addr()),
        ];
        let front = &cluster.nodes[0];
        let fields = [("x-piko-endpoint", "ep"), ("x-piko-authorization", "Bearer t"), ("host", "a.example")];
        let put = || front.client().request("PUT", "/x", &fields, b"hello").unwrap();
        // Until the news of the other node is here, there is nobody to try after the one that breaks.
        wait_until("the one that works is known", || put().status() == 200);
        heads.lock().unwrap().clear();
        wait_until("both were tried", || {
            let response = put();
            assert_eq!((response.status(), &response.body.bytes[..]), (200, &b"hello"[..]), "{response:?}");
            heads.lock().unwrap().len() >= 4
        });
        let heads = heads.lock().unwrap();
        for head in heads.iter() {
            assert!(!head.contains("x-piko-forward") && !head.contains("x-piko-authorization"), "{head}");
        }
    }
}

/// A service that reads the request and closes: the request may have been acted on.
#[test]
fn a_post_that_may_have_been_acted_on_is_never_sent_twice() {
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let count = |head: &str, seen: &Mutex<BTreeMap<String, u32>>| {
        let id = head.lines().next().unwrap_or_default().to_owned();
        *seen.lock().unwrap().entry(id).or_default() += 1;
    };
    let (broken, good) = (seen.clone(), seen.clone());
    let breaks = scripted(move |peer, head| {
        count(head, &broken);
        peer.read_exact(2)?;
        Err(std::io::ErrorKind::ConnectionReset.into())
    });
    let works = scripted(move |peer, head| {
        count(head, &good);
        peer.read_exact(2)?;
        answer(peer, "ok")
    });
    let cluster = Cluster::with(2, |options| options.proxy.routing.prefer_local = false);
    let _agents = [
        Agent::start(&cluster.nodes[0], breaks.addr()),
        Agent::start(&cluster.nodes[0], works.addr()),
        Agent::start(&cluster.nodes[1], breaks.addr()),
        Agent::start(&cluster.nodes[1], works.addr()),
    ];
    wait_until("the other node is known", || {
        cluster.nodes[1].peers.remote(&cluster.nodes[0].id, endpoint(), 2);
        true
    });
    let mut answered = [0, 0];
    for n in 0..300 {
        let mut client = cluster.nodes[n % 2].client();
        let response = post(&mut client, &format!("/{n}"), b"hi");
        match response.status() {
            200 => answered[0] += 1,
            502 => answered[1] += 1,
            _ => panic!("{response:?}"),
        }
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 300);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert!(answered[0] > 200 && answered[1] > 0, "{answered:?}: what breaks is avoided");
}

#[test]
fn nothing_fails_while_agents_come_and_go() {
    let cluster = Cluster::start(2);
    let service = Service::start();
    let _staying = Agent::start(&cluster.nodes[1], service.addr());
    cluster.wait_routable();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for at in 0..4 {
            let (stop, done, node) = (&stop, &done, &cluster.nodes[at % 2]);
            scope.spawn(move || {
                let mut client = node.client();
                while !stop.load(Ordering::SeqCst) {
                    let response =
                        if at < 2 { get(&mut client, "/hello") } else { post(&mut client, "/hello", b"x") };
                    if !is_hello(&response) {
                        stop.store(true, Ordering::SeqCst);
                        panic!("{response:?}");
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for n in 0..6 {
            let leaving = Agent::start(&cluster.nodes[n % 2], service.addr());
            let goal = done.load(Ordering::SeqCst) + 200;
            while done.load(Ordering::SeqCst) < goal && !stop.load(Ordering::SeqCst) {
                // The clients count what was answered, and wake nobody for it: the count is looked at.
                thread::sleep(Duration::from_millis(2));
            }
            leaving.leave();
        }
        stop.store(true, Ordering::SeqCst);
    });
}
