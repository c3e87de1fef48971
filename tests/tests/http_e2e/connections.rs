//! Connections that carry more than one request, and many at once.

use std::time::Duration;

use piko_tests::http::{Client, End, Response};
use piko_tests::rig::{HOST, Rig};
use piko_tests::service::{Options, Service};

#[test]
fn connections_are_kept_on_both_sides() {
    let rig = Rig::start();
    let mut client = rig.client();
    for _ in 0..20 {
        let response = client.get("/hello", &[("host", HOST)]).expect("the connection is kept");
        assert_eq!((response.body.text().as_str(), response.end), ("hello\n", End::Complete));
        assert_eq!(response.head.and_then(|h| h.value("connection")), None);
    }
    let counts = rig.service.counts();
    assert_eq!(
        (counts.requests, counts.connections),
        (20, 1),
        "one connection to the service carried them all"
    );
    // A service that closes is asked on a new connection, the client notices nothing.
    for _ in 0..3 {
        assert_eq!(client.get("/close", &[("host", HOST)]).expect("kept").status(), 200);
    }
    assert_eq!(rig.service.counts().connections, 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start();
    let mut client = rig.client();
    let mut requests = Vec::new();
    for i in 0..50 {
        // The first answers are slow: order is kept by waiting, not by luck.
        let wait = if i < 2 { 50 } else { 0 };
        requests.extend_from_slice(
            format!("GET /slow?head_ms={wait}&i={i} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes(),
        );
        requests.extend_from_slice(
            format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 6\r\n\r\nno {i:03}").as_bytes(),
        );
        requests.extend_from_slice(
            format!("PUT /echo HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nch {i:03}\r\n0\r\n\r\n").as_bytes(),
        );
    }
    requests.extend_from_slice(
        format!("GET /hello HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    client.send(&requests).expect("sent");
    for i in 0..50 {
        assert_eq!(client.read_response("GET").body.text(), "slow\n", "{i}");
        assert_eq!(client.read_response("POST").body.text(), format!("no {i:03}"));
        assert_eq!(client.read_response("PUT").body.text(), format!("ch {i:03}"));
    }
    assert_eq!(client.read_response("GET").body.text(), "hello\n");
    assert_eq!(client.read_end(), End::Closed);
}

/// RFC 9112 2.2: a server should ignore at least one empty line before the request line.
#[test]
fn an_empty_line_between_requests_is_ignored() {
    let rig = Rig::start();
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(format!("\r\nGET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).expect("sent");
        assert_eq!(client.read_response("GET").body.text(), "hello\n");
    }
}

/// What four clients with a kept connection each are answered, who send `requests` each, with pauses around the very
/// moment at which the service hangs up on idle connections.
fn around_the_close(rig: &Rig, post: bool, requests: u64, close_after: Duration) -> Vec<Response> {
    let ask = |worker: u64| {
        let mut client = rig.client();
        let mut answers = Vec::new();
        for i in 0..requests {
            let answer = if post {
                client.request("POST", "/echo", &[("host", HOST)], b"hello\n")
            } else {
                client.get("/hello", &[("host", HOST)])
            };
            answers.push(answer.expect("the client's connection is kept"));
            // The pause is what is tested: from 3 ms before the close to 3 ms behind it.
            let offset = Duration::from_millis((i * 7 + worker * 3) % 7);
            std::thread::sleep(close_after - Duration::from_millis(3) + offset);
        }
        answers
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|worker| scope.spawn(move || ask(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

fn closing_after(idle: Duration) -> Rig {
    Rig::with(Service::start_with(Options::default().close_idle_after(idle)), &[], &[])
}

#[track_caller]
fn all_are_served(rig: &Rig, answers: &[Response]) {
    for answer in answers {
        assert_eq!((answer.status(), answer.body.text()), (200, "hello\n".to_owned()));
    }
    assert_eq!(rig.service.counts().requests, answers.len() as u64, "and none was sent twice");
}

/// A request that may be repeated is sent again on a fresh connection.
#[test]
fn a_service_that_closes_idle_connections_never_causes_an_error() {
    let idle = Duration::from_millis(40);
    let rig = closing_after(idle);
    all_are_served(&rig, &around_the_close(&rig, false, 40, idle));
}

/// One that may not takes no connection that was idle for a second, so that it meets no service that closes later than that:
/// with half a second to spare for a machine that has other things to do.
#[test]
fn a_service_that_closes_after_more_than_a_second_never_fails_a_post() {
    let idle = Duration::from_millis(1_500);
    let rig = closing_after(idle);
    all_are_served(&rig, &around_the_close(&rig, true, 4, idle));
}

/// Between the look at a connection and the arrival of the request the service may close it, which no proxy can tell from a
/// request that was read (RFC 9112 9.3.1): then a POST is answered with 502, and is never sent twice.
#[test]
fn a_post_that_meets_the_close_itself_is_not_repeated() {
    let idle = Duration::from_millis(40);
    let rig = closing_after(idle);
    let answers = around_the_close(&rig, true, 40, idle);
    let (served, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status() == 200);
    for answer in &failed {
        let error = answer.value("x-piko-error");
        assert_eq!(error.as_deref(), Some("hop=agent; cause=connection-closed"), "{answer:?}");
    }
    assert!(served.iter().all(|answer| answer.body.text() == "hello\n"));
    assert_eq!(rig.service.counts().requests, served.len() as u64, "each was served once or not at all");
    println!("{} of {} met the close", failed.len(), answers.len());
}

/// The service answers only when all have arrived: a single tunnel carries them side by side.
#[test]
fn a_thousand_requests_at_once_share_one_tunnel() {
    const REQUESTS: usize = 1000;
    let rig = Rig::start();
    let mut clients: Vec<Client> = (0..REQUESTS).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.set_patience(Duration::from_secs(30)).expect("an option");
        client.send_head("GET", &format!("/wait?n={REQUESTS}"), &[("host", HOST)]).expect("sent");
    }
    for (i, client) in clients.iter_mut().enumerate() {
        let response = client.read_response("GET");
        assert_eq!(
            (response.status(), response.end.clone()),
            (200, End::Complete),
            "request {i}: {response:?}"
        );
        assert_eq!(response.body.text(), "hello\n", "request {i}");
    }
}
