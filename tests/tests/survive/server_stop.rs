//! A server that is asked to end.

use std::time::{Duration, Instant};

use piko_tests::http::End;
use piko_tests::process::{Agent, Line, Signal};
use piko_tests::service::Service;

use super::common::{
    BACK_WITHIN, Held, PATIENCE, admin_status, client, exit_code, is_hello, quiet, server, server_like,
    terminate, time_to_answer, wait_until,
};

#[test]
fn a_stopped_server_finishes_what_is_in_flight() {
    let service = Service::start();
    let mut old = server(&["--grace-period", "20s"]);
    let debug = ["--log.level", "debug"];
    let agent = Agent::http(&old.connect_url(), "stop", &service.addr().to_string(), &debug);
    let mut idle = client(old.proxy);
    assert!(is_hello(&idle.get("/hello", &[("x-piko-endpoint", "stop")]).expect("sent")));
    let mut fresh = client(old.proxy);
    let mut slow = client(old.proxy);
    slow.send_head("GET", "/slow?head_ms=1500&body_ms=500", &[("x-piko-endpoint", "stop")]).expect("sent");
    let held = Held::start(&old, "stop", &service, 3);
    assert_eq!(admin_status(&old, "/ready"), 200);

    terminate(&mut old.process);
    assert_eq!(idle.read_end(), End::Closed, "an idle connection ends in order");
    assert_eq!(fresh.read_end(), End::Closed, "one that never asked, too");
    assert_eq!(admin_status(&old, "/ready"), 503, "no longer ready");
    assert_eq!(admin_status(&old, "/health"), 200, "but alive");
    assert_eq!(old.process.try_wait().expect("a child"), None, "a request is open");
    // The hint: our agent looks for its next tunnel at once, while this one carries the request.
    agent.wait_lost(0, PATIENCE).expect("lost");
    assert!(
        agent.process.wait_record(0, Duration::ZERO, "tunnel over").is_err(),
        "this one carries the request"
    );

    held.finish(&service);
    let answer = slow.read_response("GET");
    assert_eq!((answer.status(), &answer.end), (200, &End::Complete));
    assert_eq!(answer.body.bytes, b"slow\n");
    assert_eq!(answer.value("connection").as_deref(), Some("close"));
    assert_eq!(slow.read_end(), End::Closed);
    assert_eq!(exit_code(&mut old.process, PATIENCE), Some(0), "{}", old.process.tail());

    // At the end go-away 2, which is what brings Go's back.
    let over = agent.process.wait_record(0, PATIENCE, "tunnel over").expect("over").1;
    let reason = over["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("went away") && reason.contains("InternalError"), "{over}");
    let _quiet = quiet();
    let new = server_like(&old);
    let took = time_to_answer(&new, "stop", PATIENCE);
    assert!(took <= BACK_WITHIN, "{took:?}\n{}", agent.process.tail());
}

#[test]
fn a_request_that_is_on_its_way_is_answered() {
    let service = Service::start();
    let mut server = server(&[]);
    let _agent = Agent::http(&server.connect_url(), "crossing", &service.addr().to_string(), &[]);
    let mut fresh = client(server.proxy);
    terminate(&mut server.process);
    server.process.wait_record(0, PATIENCE, "starting shutdown").expect("it has heard");
    for port in [server.proxy, server.upstream] {
        // A handshake that begins while the port closes is not heard, and would be begun again after a second.
        let soon = Duration::from_millis(100);
        let closed = || std::net::TcpStream::connect_timeout(&port, soon).is_err();
        wait_until(PATIENCE, "the port closes", closed);
    }
    // The client has only just connected; its request crosses the shutdown.
    let answer = fresh.request("POST", "/echo", &[("x-piko-endpoint", "crossing")], b"once").expect("sent");
    assert_eq!((answer.status(), &answer.end), (200, &End::Complete), "{answer:?}");
    assert_eq!(answer.body.bytes, b"once");
    assert_eq!(answer.value("connection").as_deref(), Some("close"));
    assert_eq!(fresh.read_end(), End::Closed);
    assert_eq!(exit_code(&mut server.process, PATIENCE), Some(0));
}

#[test]
fn an_agent_that_crosses_the_drain_is_sent_elsewhere() {
    let mut server = server(&["--drain-delay", "1s"]);
    let mut agent = client(server.upstream);
    terminate(&mut server.process);
    server.process.wait_record(0, PATIENCE, "starting shutdown").expect("it has heard");
    wait_until(PATIENCE, "not ready", || admin_status(&server, "/ready") == 503);
    let fields = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let answer = agent.get("/piko/v1/upstream/late", &fields).expect("sent");
    // One of the statuses behind which agents, Go's too, try again (wire protocol 3.4).
    assert_eq!((answer.status(), &answer.end), (503, &End::Complete), "{answer:?}");
    assert_eq!(answer.value("connection").as_deref(), Some("close"));
    assert_eq!(exit_code(&mut server.process, PATIENCE), Some(0));
}

#[test]
fn an_idle_server_stops_at_once() {
    let service = Service::start();
    // Whoever waits for the grace does not end within the patience.
    let mut server = server(&["--grace-period", "60s"]);
    let agent = Agent::http(&server.connect_url(), "idle", &service.addr().to_string(), &[]);
    let mut idle = client(server.proxy);
    assert!(is_hello(&idle.get("/hello", &[("x-piko-endpoint", "idle")]).expect("sent")));
    terminate(&mut server.process);
    assert_eq!(exit_code(&mut server.process, PATIENCE), Some(0));
    assert_eq!(idle.read_end(), End::Closed);
    agent.wait_lost(0, PATIENCE).expect("the agent says that its tunnel is lost");
}

#[test]
fn what_outlasts_the_grace_is_cut_visibly() {
    let service = Service::start();
    let mut server = server(&["--grace-period", "1s"]);
    let _agent = Agent::http(&server.connect_url(), "long", &service.addr().to_string(), &[]);
    let begin = |target: &str| {
        let mut slow = client(server.proxy);
        slow.send_head("GET", target, &[("x-piko-endpoint", "long")]).expect("sent");
        slow
    };
    let mut with_length = begin("/slow?body_ms=30000");
    assert_eq!(with_length.read_head().expect("a head").status, 200);
    let mut chunked = begin("/sse?n=1000&ms=200");
    assert_eq!(chunked.read_head().expect("a head").status, 200);
    let mut unanswered = begin("/slow?head_ms=30000");
    service.wait_counts(PATIENCE, |c| c.requests == 3).expect("the requests arrive");
    let _quiet = quiet();
    let start = Instant::now();
    terminate(&mut server.process);
    assert_eq!(exit_code(&mut server.process, PATIENCE), Some(0), "{}", server.process.tail());
    assert!(start.elapsed() >= Duration::from_millis(900), "the grace was given");
    // What is open would take half a minute.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());

    let rest = with_length.read_some(64);
    assert!(rest.is_err() || rest.is_ok_and(|bytes| bytes.len() < 5), "a cut body");
    let mut events = Vec::new();
    while let Ok(piece) = chunked.read_some(4096) {
        if piece.is_empty() {
            break;
        }
        events.extend_from_slice(&piece);
    }
    assert!(!events.is_empty() && !events.ends_with(b"0\r\n\r\n"), "no end of the body");
    let answer = unanswered.read_response("GET");
    assert!(matches!(answer.status(), 0 | 502), "{answer:?}");
}

/// A body of HTTP/1.0 ends where its connection does (RFC 9112 6.3), also when nobody is left to cut it.
#[test]
fn a_server_that_is_forced_cuts_what_only_its_end_would_complete() {
    for signals in [&[Signal::Term, Signal::Term][..], &[Signal::Kill]] {
        let service = Service::start();
        let mut server = server(&[]);
        let _agent = Agent::http(&server.connect_url(), "long", &service.addr().to_string(), &[]);
        let mut old = client(server.proxy);
        old.send(b"GET /sse?n=1000&ms=20 HTTP/1.0\r\nHost: long.test\r\n\r\n").expect("sent");
        assert_eq!(old.read_head().expect("a head").status, 200);
        assert!(!old.read_some(1).expect("an event").is_empty());
        for signal in signals {
            server.process.signal(*signal).expect("it runs");
            if signals.len() > 1 {
                let seen = |line: &Line| line.text.contains("signal");
                let _ = server.process.wait_line(0, PATIENCE, seen).expect("it was heard");
            }
        }
        server.process.wait_exit(PATIENCE).expect("the end");
        let end = loop {
            match old.read_some(4096) {
                Ok(piece) if piece.is_empty() => panic!("a clean end behind {signals:?}"),
                Ok(_) => {}
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(end, std::io::ErrorKind::ConnectionReset, "{signals:?}");
    }
}

#[test]
fn a_stopped_server_takes_no_new_connections() {
    let service = Service::start();
    let mut server = server(&[]);
    let _agent = Agent::http(&server.connect_url(), "gone", &service.addr().to_string(), &[]);
    let mut slow = client(server.proxy);
    slow.send_head("GET", "/slow?head_ms=1000", &[("x-piko-endpoint", "gone")]).expect("sent");
    service.wait_counts(PATIENCE, |c| c.requests == 1).expect("the request arrives");
    terminate(&mut server.process);
    for port in [server.proxy, server.upstream] {
        wait_until(PATIENCE, "the port closes", || std::net::TcpStream::connect(port).is_err());
    }
    assert_eq!(slow.read_response("GET").status(), 200);
    assert_eq!(exit_code(&mut server.process, PATIENCE), Some(0));
}
