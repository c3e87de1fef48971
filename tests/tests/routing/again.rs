//! What is sent once more and what is not: up to which size, and after which end of a connection.

use crate::cluster::{Agent, Cluster, endpoint, get, is_hello, post};
use piko_core::id::NodeId;
use piko_tests::cluster::free_ports;
use piko_tests::http::{Client, Response};
use piko_tests::rig::scripted;
use piko_tests::service::Service;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How often each target was asked for.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, u32>>>);

impl Seen {
    fn count(&self, head: &str) {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        *self.0.lock().unwrap().entry(target).or_default() += 1;
    }

    fn times(&self, target: &str) -> u32 {
        self.0.lock().unwrap().get(target).copied().unwrap_or(0)
    }
}

/// A service that reads whole requests and then either answers or breaks off, and counts all of them.
fn service(seen: &Seen, breaks: bool) -> Service {
    let seen = seen.clone();
    scripted(move |peer, head| {
        seen.count(head);
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        peer.read_exact(length.unwrap_or(0))?;
        if breaks {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n")
    })
}

/// 64 KiB of a request are kept, its head among them (`piko_core::proxy::Config`). Both ways round: a tunnel that breaks
/// before a node, and a node before a tunnel.
#[test]
fn what_was_kept_is_sent_again_and_what_is_larger_fails_once() {
    for broken_at in [0, 1] {
        let cluster = Cluster::with(2, |options| options.proxy.routing.prefer_local = false);
        let seen = Seen::default();
        let (breaks, works) = (service(&seen, true), service(&seen, false));
        let _agents = [
            Agent::start(&cluster.nodes[1 - broken_at], works.addr()),
            Agent::start(&cluster.nodes[broken_at], breaks.addr()),
        ];
        let front = &cluster.nodes[0];
        let put = |target: &str, bytes: usize| -> Response {
            let body = vec![b'x'; bytes];
            front.client().request("PUT", target, &[("x-piko-endpoint", "ep")], &body).unwrap()
        };
        // Until one of each kind has met what breaks; after five failures in a row nobody does, for a while.
        let (mut again, mut failed) = (0, 0);
        for n in 0..200 {
            let (small, large) = (format!("/small/{n}"), format!("/large/{n}"));
            if again < 2 {
                let response = put(&small, 60_000);
                assert!(is_hello(&response), "{response:?}");
                again += seen.times(&small) - 1;
            }
            if failed < 2 {
                let response = put(&large, 70_000);
                assert_eq!(seen.times(&large), 1, "{response:?}");
                assert!(is_hello(&response) || response.status() == 502, "{response:?}");
                failed += u32::from(response.status() == 502);
            }
            if again >= 2 && failed >= 2 {
                break;
            }
        }
        assert!(again >= 1 && failed >= 1, "broken at {broken_at}: {again} again, {failed} failed");
    }
}

/// Two addresses where nobody listens: a node that moves from one to the other is not yet distrusted there.
fn nobody() -> [SocketAddr; 2] {
    let ports = free_ports(2);
    [ports[0], ports[1]].map(|port| (Ipv4Addr::LOCALHOST, port).into())
}

/// Requests that may not be repeated, for an endpoint of which a node that is asked first takes no connection.
#[test]
fn a_post_that_reached_nobody_goes_to_another_node() {
    let cluster = Cluster::start(2);
    let seen = Seen::default();
    let works = service(&seen, false);
    let _agent = Agent::start(&cluster.nodes[1], works.addr());
    cluster.wait_routable();
    let (front, gone, addrs) = (&cluster.nodes[0], NodeId::new("gone"), nobody());
    let before = front.dials();
    let mut client = front.client();
    for n in 0..40 {
        front.peers.node_up(&gone, addrs[n % 2]);
        // Told anew, with nothing held against it, and many listeners, so that nearly every request tries it first.
        front.peers.remote(&gone, endpoint(), 0);
        front.peers.remote(&gone, endpoint(), 400);
        let target = format!("/{n}");
        let response = post(&mut client, &target, b"once");
        assert!(is_hello(&response), "{n}: {response:?}");
        assert_eq!(seen.times(&target), 1);
    }
    assert!(front.dials() - before >= 20, "it was tried first");
    assert!(front.metric("piko_proxy_retries_total") >= 20);
}

/// It takes connections and ends them: nobody can say what became of a request that was written there.
#[test]
fn behind_a_node_that_hangs_up_gets_go_on_and_posts_are_never_doubled() {
    let hangs_up = Service::scripted(drop);
    let cluster = Cluster::start(2);
    let seen = Seen::default();
    let works = service(&seen, false);
    let _agent = Agent::start(&cluster.nodes[1], works.addr());
    cluster.wait_routable();
    let (front, bad) = (&cluster.nodes[0], NodeId::new("bad"));
    front.peers.node_up(&bad, hangs_up.addr());
    let trusted = || {
        // Forgiven by moving away and back.
        front.peers.node_up(&bad, nobody()[0]);
        front.peers.node_up(&bad, hangs_up.addr());
        front.peers.remote(&bad, endpoint(), 0);
        front.peers.remote(&bad, endpoint(), 400);
    };
    let mut lost = 0;
    for n in 0..40 {
        trusted();
        let target = format!("/get/{n}");
        let response = get(&mut front.client(), &target);
        assert!(is_hello(&response), "{n}: {response:?}");
        trusted();
        let target = format!("/post/{n}");
        let response = post(&mut front.client(), &target, b"once");
        match response.status() {
            200 => assert_eq!(seen.times(&target), 1),
            502 => {
                assert_eq!(seen.times(&target), 0, "it was lost where it was sent to");
                lost += 1;
            }
            _ => panic!("{n}: {response:?}"),
        }
    }
    println!("{lost} of 40 POSTs were lost, no GET");
}

/// Every node has a budget of its own, and what a node sends to another one is tried again by both.
#[test]
fn retries_on_both_hops_do_not_multiply_the_load_of_an_outage() {
    let cluster = Cluster::start(3);
    let tries = Arc::new(AtomicU64::new(0));
    let broken = || {
        let tries = Arc::clone(&tries);
        scripted(move |_: &mut Client, _| {
            tries.fetch_add(1, Ordering::SeqCst);
            Err(std::io::ErrorKind::ConnectionReset.into())
        })
    };
    let services = [broken(), broken(), broken(), broken()];
    let _agents: Vec<_> = services
        .iter()
        .zip([1, 1, 2, 2])
        .map(|(service, node)| Agent::start(&cluster.nodes[node], service.addr()))
        .collect();
    let begun = Instant::now();
    let mut client = cluster.nodes[0].client();
    for _ in 0..1_000 {
        assert_eq!(get(&mut client, "/x").status(), 502);
    }
    let tries = tries.load(Ordering::SeqCst);
    let passed = begun.elapsed().as_secs() + 1;
    // A fifth, the reserve of 100, and 10 per second: of the entry, and of the owners together on top of that.
    let first = 1_000 + 200 + 100 + 10 * passed;
    let all = first + first / 5 + 2 * (100 + 10 * passed);
    println!("{tries} tries for 1,000 requests over two hops, {all} at most");
    assert!(tries > 1_000 && tries <= all, "{tries} tries, {all} at most");
}
