//! Requests that are refused, each with the sentence that says so, and heads that do not come.

use std::time::{Duration, Instant};

use piko_tests::http::{Client, End};
use piko_tests::process::Server;
use piko_tests::rig::{HOST, Rig};
use piko_tests::service::Service;

/// What is wrong, the request, the status, and the sentence.
const REFUSED: &[(&str, &str, u16)] = &[
    // RFC 9112 6.1: "A server MAY reject a request that contains both Content-Length and Transfer-Encoding".
    (
        "both framings",
        "POST / HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    // RFC 9112 6.3: an invalid Content-Length in a request is answered by 400 and a close.
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        400,
    ),
    ("no number", "POST / HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: +3\r\n\r\nabc", 400),
    // RFC 9112 6.1: an unknown transfer coding is answered by 501.
    ("unknown coding", "POST / HTTP/1.1\r\nHost: e2e.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    // RFC 9112 6.3: chunked must be the final coding of a request.
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: e2e.test\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        400,
    ),
    // RFC 9112 5.1: "No whitespace is allowed between the field name and colon."
    ("space before the colon", "GET / HTTP/1.1\r\nHost : e2e.test\r\n\r\n", 400),
    // RFC 9112 5.2: "A server that receives an obs-fold in a request message … MUST either reject the message".
    ("folding", "GET / HTTP/1.1\r\nHost: e2e.test\r\nX-A: b\r\n c\r\n\r\n", 400),
    // RFC 9112 2.2: a bare CR is invalid; a lone LF as line end is refused since it is read in two ways.
    ("bare LF", "GET / HTTP/1.1\nHost: e2e.test\n\n", 400),
    ("bare CR", "GET / HTTP/1.1\r\nHost: e2e.test\r\nX-A: b\rc\r\n\r\n", 400),
    // RFC 9112 3.2: an invalid request-line.
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: e2e.test\r\n\r\n", 400),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: e2e.test\r\n\r\n", 400),
    ("no slash", "GET a HTTP/1.1\r\nHost: e2e.test\r\n\r\n", 400),
    ("control in a value", "GET / HTTP/1.1\r\nHost: e2e.test\r\nX-A: \u{1}\r\n\r\n", 400),
    ("no field name", "GET / HTTP/1.1\r\nHost: e2e.test\r\n: x\r\n\r\n", 400),
    ("no version", "GET /\r\nHost: e2e.test\r\n\r\n", 400),
    // RFC 9110 15.6.6.
    // RFC 9110 2.5: only minor versions are compatible.
    ("another version", "GET / HTTP/2.0\r\nHost: e2e.test\r\n\r\n", 505),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
];

#[test]
fn requests_that_two_parsers_could_read_differently_are_refused() {
    let rig = Rig::start();
    for &(what, request, status) in REFUSED {
        let mut client = rig.client();
        client.send(request.as_bytes()).expect("sent");
        let response = client.read_response("GET");
        assert_eq!(response.status(), status, "{what}: {response:?}");
        assert_eq!(response.value("connection").as_deref(), Some("close"), "{what}");
        assert_eq!(response.value("content-type").as_deref(), Some("text/plain; charset=utf-8"), "{what}");
        assert!(response.body.text().starts_with(&status.to_string()), "{what}: {}", response.body.text());
        assert!(
            response.value("x-piko-error").is_some_and(|v| v.starts_with("hop=server; cause=")),
            "{what}"
        );
        assert_eq!(client.read_end(), End::Closed, "{what}");
    }
    assert_eq!(rig.service.counts().requests, 0, "none of them reached the service");
}

/// RFC 9112 7.1: a chunk that is none cannot be passed on; nothing was answered yet.
#[test]
fn malformed_chunks_are_refused() {
    let rig = Rig::start();
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5\nhello\n0\n\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let mut client = rig.client();
        client.send_head("POST", "/echo", &[("host", HOST), ("transfer-encoding", "chunked")]).expect("sent");
        client.send(body.as_bytes()).expect("sent");
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.end.clone()), (400, End::Complete), "{body:?}: {response:?}");
        assert_eq!(client.read_end(), End::Closed, "{body:?}");
    }
}

/// RFC 6585 5.
#[test]
fn heads_above_the_limit_are_refused() {
    let rig = Rig::with(Service::start(), &["--proxy.http.max-header-bytes", "20000"], &[]);
    let head = |n: usize| format!("GET /hello HTTP/1.1\r\nHost: {HOST}\r\nX-Long: {}\r\n\r\n", "x".repeat(n));
    assert_eq!(rig.raw(&head(19_000)).status(), 200);
    let mut client = rig.client();
    client.send(head(40_000).as_bytes()).expect("sent");
    let response = client.read_response("GET");
    assert_eq!((response.status(), response.end.clone()), (431, End::Complete));
    assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=server; cause=head-too-large"));
    assert_eq!(response.body.text().trim(), "431 Request Header Fields Too Large");
    assert_eq!(client.read_end(), End::Closed);
}

/// A fresh connection has as long for its first head, a used one for the next.
#[test]
fn slow_heads_are_cut_silently() {
    let rig = Rig::with(Service::start(), &["--proxy.http.read-header-timeout", "400ms"], &[]);
    let silent = rig.client();
    let mut slow = rig.client();
    let begin = Instant::now();
    let mut stop = None;
    // One byte now and then, never a whole head.
    for byte in b"GET /hello HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
        if slow.send(&[*byte]).is_err() || begin.elapsed() > Duration::from_secs(10) {
            stop = Some(begin.elapsed());
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let stop = stop.expect("the loop ends");
    assert!(stop < Duration::from_secs(8), "cut after {stop:?}");
    let mut silent = silent;
    assert_eq!(silent.read_end(), End::Closed, "no byte at all, no answer at all");
    // A connection between two requests is idle, which is another limit.
    let mut client = rig.client();
    assert_eq!(client.get("/hello", &[("host", HOST)]).expect("sent").status(), 200);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.get("/hello", &[("host", HOST)]).expect("still open").status(), 200);
}

#[test]
fn the_upstream_port_judges_as_strictly() {
    let server = Server::start(&[]);
    for addr in [server.upstream, server.admin] {
        let mut client = Client::connect(addr).expect("a connection");
        client.send(b"GET / HTTP/1.1\nHost: x\n\n").expect("sent");
        assert_eq!(client.read_response("GET").status(), 400);
        let mut client = Client::connect(addr).expect("a connection");
        assert_eq!(client.get("/nothing/here", &[]).expect("sent").status(), 404);
    }
    // An upgrade without its key is answered in words.
    let mut client = Client::connect(server.upstream).expect("a connection");
    let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(client.get("/piko/v1/upstream/x", &fields).expect("sent").status(), 400);
}
