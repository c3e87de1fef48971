//! Connections that carry more than one request, and many at once.

use std::time::Duration;

use piko_tests::http::{Client, End};
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

/// The service hangs up on idle connections just when the agent wants to use them.
#[test]
fn a_service_that_closes_idle_connections_never_causes_an_error() {
    let idle = Duration::from_millis(40);
    let rig = Rig::with(Service::start_with(Options::default().close_idle_after(idle)), &[], &[]);
    let workers: Vec<_> = (0..4u64)
        .map(|worker| {
            let mut client = rig.client();
            std::thread::spawn(move || {
                for i in 0..40u64 {
                    let post = (i + worker) % 2 == 0;
                    let response = if post {
                        client.request("POST", "/echo", &[("host", HOST)], b"once")
                    } else {
                        client.get("/hello", &[("host", HOST)])
                    }
                    .expect("the client's connection is kept");
                    assert_eq!(
                        response.status(),
                        200,
                        "{}: {}",
                        if post { "POST" } else { "GET" },
                        response.body.text()
                    );
                    assert_eq!(response.body.text(), if post { "once" } else { "hello\n" });
                    // Around the very moment at which the service closes.
                    std::thread::sleep(Duration::from_millis(37 + (i * 7 + worker * 3) % 7));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no request failed");
    }
    assert_eq!(rig.service.counts().requests, 160, "and none was sent twice");
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
