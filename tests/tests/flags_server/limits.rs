//! `--proxy.timeout` and `--proxy.http.*`.

use std::time::{Duration, Instant};

use piko_tests::flags::WAYS;
use piko_tests::http::End;

use crate::{Setup, TO_E};

#[test]
fn a_response_head_is_waited_for_as_long_as_asked() {
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.timeout", "300ms")]);
        let began = Instant::now();
        let answer = setup.client().get("/slow?head_ms=20000", &[TO_E]).expect("an answer");
        assert_eq!(answer.status(), 504);
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert!(answer.value("x-piko-error").is_some_and(|e| e.contains("hop=server")));
        // Once the head is there, the body may take longer.
        let answer = setup.client().get("/slow?body_ms=600", &[TO_E]).expect("an answer");
        assert_eq!((answer.body.text().as_str(), answer.end), ("slow\n", End::Complete));
    }
    let setup = Setup::start(WAYS[1], &[("proxy.timeout", "0")]);
    let answer = setup.client().get("/slow?head_ms=600", &[TO_E]).expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.http.idle-timeout", "300ms")]);
        let mut client = setup.client();
        assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
        let began = Instant::now();
        assert_eq!(client.read_end(), End::Closed);
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    }
    // 0 means the read timeout, as in Go.
    let both = [("proxy.http.idle-timeout", "0"), ("proxy.http.read-timeout", "300ms")];
    let setup = Setup::start(WAYS[1], &both);
    let mut client = setup.client();
    assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
    assert_eq!(client.read_end(), End::Closed);
}

/// RFC 6585 5; Go grants 4 KiB above the limit, and so do we.
#[test]
fn a_head_may_be_as_large_as_asked() {
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.http.max-header-bytes", "8KiB")]);
        let status = |bytes: usize| {
            let value = "v".repeat(bytes);
            setup.client().get("/hello", &[TO_E, ("x-filler", &value)]).expect("an answer").status()
        };
        assert_eq!(status(8 * 1024), 200);
        assert_eq!(status(12 * 1024 - 256), 200);
        assert_eq!(status(12 * 1024 + 256), 431);
        assert_eq!(status(64 * 1024), 431);
    }
}

#[test]
fn a_head_must_come_in_time() {
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.http.read-header-timeout", "300ms")]);
        let mut client = setup.client();
        client.send(b"GET /hello HTTP/1.1\r\nhost: ").expect("sent");
        let began = Instant::now();
        let answer = client.read_response("GET");
        assert!(matches!(answer.status(), 0 | 408), "{answer:?}");
        assert_ne!(answer.end, End::Timeout);
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
        // A connection that never says anything goes the same way.
        assert_eq!(setup.client().read_end(), End::Closed);
        // It is no limit for bodies.
        let mut client = setup.client();
        let fields = [TO_E, ("content-length", "2")];
        client.send_head("POST", "/echo", &fields).expect("sent");
        client.send(b"a").expect("sent");
        std::thread::sleep(Duration::from_millis(600));
        client.send(b"b").expect("sent");
        assert_eq!(client.read_response("POST").body.text(), "ab");
    }
}

#[test]
fn a_body_may_pause_as_long_as_asked() {
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.http.read-timeout", "400ms")]);
        let mut client = setup.client();
        let fields = [TO_E, ("content-length", "4")];
        client.send_head("POST", "/echo", &fields).expect("sent");
        // Slow, but never for longer than the limit: it is a limit of pauses, not of the whole.
        for piece in [b"a", b"b", b"c", b"d"] {
            std::thread::sleep(Duration::from_millis(150));
            client.send(piece).expect("sent");
        }
        assert_eq!(client.read_response("POST").body.text(), "abcd");

        let mut client = setup.client();
        client.send_head("POST", "/echo", &fields).expect("sent");
        client.send(b"a").expect("sent");
        let began = Instant::now();
        let answer = client.read_response("POST");
        assert_eq!(answer.status(), 504, "{answer:?}");
        assert!(answer.value("x-piko-error").is_some_and(|e| e.contains("request-stalled")), "{answer:?}");
        assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
        assert_eq!(client.read_end(), End::Closed);
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_in_time() {
    // More than all buffers on the way hold together.
    const BYTES: u64 = 64 << 20;
    for way in WAYS {
        let setup = Setup::start(way, &[("proxy.http.write-timeout", "400ms")]);
        let mut client = setup.client();
        client.send_head("GET", &format!("/bytes?n={BYTES}"), &[TO_E]).expect("sent");
        // The end of the exchange stands in the log before the client reads anything.
        let access = |line: &piko_tests::process::Line| {
            line.json().is_some_and(|record| record["subsystem"] == "proxy.access")
        };
        let line = setup.server.process.wait_line(0, crate::SOON, access).expect("a record");
        let record = line.json().expect("JSON");
        assert_eq!(record["request"]["cause"], "timed-out", "{record}");
        let answer = client.read_response("GET");
        assert!(matches!(answer.end, End::Cut | End::Reset), "{:?}", answer.end);
        assert!(answer.body.len < BYTES);
    }
}
