//! Two nodes that are far apart: a relay hands bytes on a while after they came. It ends TCP on both sides, so that
//! what is measured is how often a request crosses the distance, not what TCP makes of it.

use crate::cluster::{Agent, Cluster, get, is_hello, post, wait_until};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// One way.
const DELAY: Duration = Duration::from_millis(40);
const BY_LINK: &str = "piko_links_requests_total";

/// Where connections to `target` take their time. Its threads end with their connections.
fn far(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming() {
            let Ok(near) = near else { return };
            let Ok(there) = TcpStream::connect(target) else { return };
            for socket in [&near, &there] {
                socket.set_nodelay(true).unwrap();
            }
            carry(near.try_clone().unwrap(), there.try_clone().unwrap());
            carry(there, near);
        }
    });
    addr
}

/// One direction: what is read waits in a queue, so that more can be on its way at once.
fn carry(mut from: TcpStream, to: TcpStream) {
    let (sender, queue) = mpsc::channel();
    thread::spawn(move || deliver(&queue, to));
    thread::spawn(move || {
        let mut buf = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            if sender.send((Instant::now() + DELAY, buf[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}

fn deliver(queue: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (at, bytes) in queue {
        // The distance.
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn one_round_trip(links: bool) {
    let cluster = Cluster::start(2);
    let [here, there] = &cluster.nodes[..] else { panic!("two nodes") };
    let service = Service::start();
    let _agent = Agent::start(here, service.addr());
    there.peers.node_takes_links(&here.id, links);
    cluster.move_node(0, far(here.bound.proxy));
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
    // Nobody waits for a second crossing, neither alone nor behind others.
    assert!(p50 >= DELAY * 2 && p50 < DELAY * 4, "{p50:?}");
    assert!(all < DELAY * 2 * requests * 2, "{all:?}");
}

#[test]
fn a_request_to_a_node_far_away_takes_one_round_trip() {
    one_round_trip(false);
}

#[test]
fn a_request_over_a_link_to_a_node_far_away_takes_one_round_trip() {
    one_round_trip(true);
}
