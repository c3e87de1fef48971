//! Interim responses and expectations.

use std::sync::{Mutex, mpsc};

use piko_tests::http::End;
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

#[test]
fn early_hints_reach_the_client() {
    let rig = Rig::start();
    let response = rig.get("/103");
    assert_eq!(response.interim.len(), 1, "{response:?}");
    assert_eq!(response.interim[0].status_line, "HTTP/1.1 103 Early Hints");
    assert_eq!(response.interim[0].value("link").as_deref(), Some("</style.css>; rel=preload"));
    assert_eq!((response.status(), response.body.text().as_str()), (200, "hello\n"));
}

#[test]
fn interim_responses_come_one_by_one_before_the_answer() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let service = scripted(move |peer, _| {
        for status in [102, 103, 103, 199] {
            peer.send(format!("HTTP/1.1 {status} Soon\r\nx-n: {status}\r\n\r\n").as_bytes())?;
            // The answer waits until the client has seen this one.
            wait.lock().expect("one connection").recv().expect("the test goes on");
        }
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    client.send_head("GET", "/", &[("host", HOST)]).expect("sent");
    for status in [102, 103, 103, 199] {
        let head = client.read_head().expect("an interim response");
        assert_eq!((head.status, head.value("x-n")), (status, Some(status.to_string())));
        go.send(()).expect("the service waits");
    }
    let response = client.read_response("GET");
    assert_eq!((response.status(), response.end), (200, End::Complete));
}

/// RFC 9110 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client."
#[test]
fn old_clients_see_no_interim_response() {
    let rig = Rig::start();
    let response = rig.raw(&format!("GET /103 HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!((response.interim.len(), response.status()), (0, 200), "{response:?}");
    assert_eq!(response.body.text(), "hello\n");
}

#[test]
fn a_client_that_expects_100_waits_for_the_services_word() {
    let rig = Rig::start();
    for framing in [("content-length", "5"), ("transfer-encoding", "chunked")] {
        let mut client = rig.client();
        let fields = [("host", HOST), ("expect", "100-Continue"), framing];
        client.send_head("POST", "/100", &fields).expect("sent");
        // The body is sent only after the 100, so nothing here passes by luck of timing.
        let head = client.read_head().expect("100 Continue");
        assert_eq!(head.status, 100, "{head:?}");
        if framing.1 == "5" {
            client.send(b"hello").expect("sent");
        } else {
            client.send_chunk(b"hello").expect("sent");
            client.send_last_chunk(&[]).expect("sent");
        }
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.body.text().as_str()), (200, "hello"), "{framing:?}");
        assert_eq!(response.interim, [], "{framing:?}: one 100 only");
        // The connection goes on.
        assert_eq!(client.get("/hello", &[("host", HOST)]).expect("sent").status(), 200, "{framing:?}");
    }
}

/// The service sees the expectation and no byte of a body before it has answered it.
#[test]
fn nobody_answers_100_in_the_services_place() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let service = scripted(move |peer, head| {
        peer.set_patience(std::time::Duration::from_millis(200))?;
        let early = peer.read_some(1).map_or_else(|e| e.kind().to_string(), |bytes| format!("{bytes:?}"));
        let _ = tell.lock().expect("one connection").send((head.to_owned(), early));
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        peer.set_patience(PATIENCE)?;
        let body = peer.read_exact(2)?;
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")?;
        peer.send(&body)
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    let fields = [("host", HOST), ("expect", "100-continue"), ("content-length", "2")];
    client.send_head("POST", "/", &fields).expect("sent");
    let (head, early) = told.recv_timeout(PATIENCE).expect("the service saw a head");
    assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
    assert!(
        early.contains("time") || early.contains("block") || early.contains("unavailable"),
        "a byte came early: {early}"
    );
    assert_eq!(client.read_head().expect("100").status, 100);
    client.send(b"ok").expect("sent");
    assert_eq!(client.read_response("POST").body.text(), "ok");
}

#[test]
fn a_refused_expectation_is_the_services_answer() {
    let rig = Rig::start();
    let mut client = rig.client();
    let fields = [("host", HOST), ("expect", "100-continue"), ("content-length", "5")];
    client.send_head("POST", "/100?refuse=1", &fields).expect("sent");
    let response = client.read_response("POST");
    assert_eq!((response.status(), response.interim.len(), response.end), (417, 0, End::Complete));
    assert_eq!(response.head.and_then(|h| h.value("x-piko-error")), None);
    assert_eq!(rig.service.counts().body_in, 0);
}

/// A client may stop waiting for a 100 and send its body (RFC 9110 10.1.1).
#[test]
fn a_body_without_waiting_is_taken_too() {
    let rig = Rig::start();
    let mut client = rig.client();
    let fields = [("host", HOST), ("expect", "100-continue")];
    let response = client.request("POST", "/100", &fields, b"at once").expect("sent");
    assert_eq!((response.status(), response.body.text().as_str()), (200, "at once"));
    // A service that never says 100 gets its body as well.
    let response = client.request("POST", "/echo", &fields, b"at once").expect("sent");
    assert_eq!((response.status(), response.body.text().as_str()), (200, "at once"));
}

/// RFC 9110 10.1.1: "A server that receives an Expect field value containing a member other than
/// 100-continue MAY respond with a 417".
#[test]
fn other_expectations_are_refused_here() {
    let rig = Rig::start();
    let response =
        rig.raw(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: tea\r\nContent-Length: 3\r\n\r\n"));
    assert_eq!(response.status(), 417);
    assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=server; cause=unsupported-expectation"));
    assert_eq!(rig.service.counts().requests, 0);
}
