//! A link whose other end falls silent: what is under way on it, and what comes behind.

use super::{ENDPOINT, FIELD, PATIENCE, by_link, client, get, link_up, node, until};
use piko_tests::http::Response;
use piko_tests::process::{Agent, Server, Signal};
use piko_tests::rig::scripted;
use piko_tests::service::Service;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// By then a silent peer is known to be dead, ten seconds of silence and what a busy machine takes for the rest.
const GIVEN_UP: Duration = Duration::from_secs(14);
/// Requests of each kind that are under way when the owner stops.
const UNDER_WAY: u64 = 3;

/// Asks in a thread of its own and says what came, and when.
fn ask(entry: &Server, method: &'static str) -> thread::JoinHandle<(Response, Instant)> {
    let proxy = entry.proxy;
    thread::spawn(move || {
        let answer = client(proxy).request(method, "/hello", &[FIELD], b"").expect("an answer");
        (answer, Instant::now())
    })
}

#[test]
fn what_is_under_way_on_a_silent_link_is_answered_in_time_and_new_requests_avoid_it() {
    let entry = node("entry", &[]);
    let seed = entry.gossip().to_string();
    let mut owner = node("owner", &["--cluster.join", &seed]);
    let other = node("other", &["--cluster.join", &seed]);
    // It answers until it is told not to.
    let held = Arc::new(AtomicU64::new(u64::MAX));
    let holds = Arc::clone(&held);
    let first = scripted(move |peer, _| {
        if holds.load(Ordering::SeqCst) == u64::MAX {
            return peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfirst\n");
        }
        holds.fetch_add(1, Ordering::SeqCst);
        peer.set_patience(PATIENCE)?;
        // Until the agent gives up, whose node says nothing more.
        peer.read_exact(1).map(|_| ())
    });
    let _agent = Agent::http(&owner.connect_url(), ENDPOINT, &first.addr().to_string(), &[]);
    until("the entry finds the owner", || get(entry.proxy, "/hello").status() == 200);
    link_up(entry.proxy, entry.admin);
    held.store(0, Ordering::SeqCst);
    let before = by_link(entry.admin);
    let asked: Vec<_> = (0..UNDER_WAY).flat_map(|_| [ask(&entry, "GET"), ask(&entry, "POST")]).collect();
    until("all are under way", || held.load(Ordering::SeqCst) == 2 * UNDER_WAY);
    assert_eq!(by_link(entry.admin) - before, 2 * UNDER_WAY, "over the link");
    // A second upstream of the endpoint, at a node that is well.
    let service = Service::start();
    let second = Agent::http(&other.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    second.wait_connected(0, PATIENCE).expect("connected");
    // Not by a request: before the news, it would be one more of those that nobody answers.
    until("the entry knows of it", || {
        let node = client(entry.admin).get("/status/cluster/nodes/other", &[]).expect("an answer");
        node.body.text().contains("\"ep\":1")
    });
    owner.process.signal(Signal::Stop).expect("it runs");
    let stopped = Instant::now();
    // New requests go elsewhere from the first moment, as those that wait speak against the silent one: it gets one for
    // a trial every five seconds, which is answered by the other one when the link is given up.
    let (mut new, mut slow) = (0, 0);
    while stopped.elapsed() < Duration::from_secs(3) || new < 100 {
        let begun = Instant::now();
        let answer = get(entry.proxy, "/hello");
        assert_eq!((answer.status(), &answer.body.bytes[..]), (200, &b"hello\n"[..]));
        assert!(begun.elapsed() < GIVEN_UP, "{:?}", begun.elapsed());
        slow += u32::from(begun.elapsed() > Duration::from_secs(2));
        new += 1;
    }
    println!("beside a silent link: {slow} of {new} new requests had to wait");
    assert!(slow <= 2, "{slow} of {new}");
    let (mut gets, mut posts) = (0, 0);
    for (n, asked) in asked.into_iter().enumerate() {
        let (answer, at) = asked.join().expect("an answer");
        let took = at.duration_since(stopped);
        assert!(took < GIVEN_UP, "{took:?}: {answer:?}");
        if n % 2 == 0 {
            // Sent again, to the one that is well.
            assert_eq!((answer.status(), &answer.body.bytes[..]), (200, &b"hello\n"[..]), "{answer:?}");
            gets += 1;
        } else {
            // It may have been acted on.
            assert!([502, 504].contains(&answer.status()), "{answer:?}");
            let named = answer.value("x-piko-error").unwrap_or_default();
            assert!(named.starts_with("hop=server; cause="), "{named:?}");
            println!("a POST on a silent link: {} after {took:?}, {named}", answer.status());
            posts += 1;
        }
    }
    assert_eq!((gets, posts), (UNDER_WAY, UNDER_WAY));
    owner.process.signal(Signal::Cont).expect("it runs");
    // It is back: what comes next may go there again.
    held.store(u64::MAX, Ordering::SeqCst);
    until("the first one is asked again", || get(entry.proxy, "/hello").body.bytes == b"first\n");
}
