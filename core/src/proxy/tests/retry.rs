//! Which requests are sent again.

use super::*;
use crate::http1::Fault;
use alloc::format;

fn with_method(method: &str) -> Exchange {
    forwarding(&format!("{method} / HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 100\r\n"))
}

const FAULT: Fault = Fault { status: 502, what: "x" };

/// Without memory for a copy, only what was never handed over is sent again.
#[test]
fn a_request_without_a_copy_is_sent_once() {
    let mut exchange = with_method("PUT");
    exchange.forgo_replay();
    assert!(!exchange.may_replay());
    assert_eq!(exchange.handle_failed(T0, Leg::Upstream, Failure::Connect("x")), Step::Retry);
    exchange.handle_progress(T0, Leg::Upstream, 1);
    assert!(matches!(exchange.handle_failed(T0, Leg::Upstream, Failure::Broken), Step::Answer(_)));
}

/// What a service does with a new connection is its word; an old one may have been closed before the request came.
#[test]
fn an_agent_keeps_copies_for_pooled_connections_only() {
    for (place, pooled, kept) in
        [(Place::Agent, false, false), (Place::Agent, true, true), (Place::Server, false, true)]
    {
        let mut exchange = Exchange::new(&Config::new(place), PEER, T0);
        let head = "PUT / HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 100\r\n";
        assert_eq!(exchange.handle_request(T0, &request(head)), Step::Forward);
        assert!(exchange.may_replay());
        exchange.handle_connected(pooled);
        assert_eq!(exchange.may_replay(), kept, "{place:?} {pooled}");
    }
}

/// Every method, amount sent, failure: the whole table.
#[test]
fn the_retry_matrix() {
    let max = 64 * 1024;
    for (method, idempotent) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("PUT", true),
        ("DELETE", true),
        ("TRACE", true),
        ("POST", false),
        ("PATCH", false),
        ("CONNECT", false),
        ("get", false),
        ("PROPFIND", false),
    ] {
        for sent in [0, 1, max, max + 1] {
            let replayable = idempotent && sent <= max;
            for (why, expected) in [
                (Failure::Connect("connect-refused"), sent == 0 || replayable),
                (Failure::Broken, replayable),
                (Failure::Stale, replayable),
                (Failure::Cut, false),
                (Failure::NoUpstream, false),
                (Failure::Protocol(FAULT), false),
            ] {
                let mut exchange = with_method(method);
                exchange.handle_progress(T0, Leg::Upstream, sent);
                assert_eq!(exchange.may_replay(), replayable, "{method} {sent}");
                let step = exchange.handle_failed(T0, Leg::Upstream, why);
                assert_eq!(step == Step::Retry, expected, "{method} {sent} {why:?}: {step:?}");
                assert_eq!(exchange.poll_timeout().is_some(), expected);
                assert_eq!(exchange.finish(T0).retries, u32::from(expected));
            }
        }
    }
}

#[test]
fn a_response_byte_ends_all_retries() {
    let mut exchange = with_method("GET");
    assert_eq!(exchange.handle_response(T0, &response("103 Early\r\n")), Step::Forward);
    assert!(!exchange.may_replay());
    let step = exchange.handle_failed(T0, Leg::Upstream, Failure::Broken);
    assert_eq!(said(step), (502, "stream-reset".into()));
    assert!(!responding(PLAIN).may_replay());
}

#[test]
fn there_are_two_retries_and_the_last_cause_is_told() {
    let mut exchange = with_method("GET");
    for _ in 0..2 {
        assert!(exchange.may_replay());
        assert_eq!(exchange.handle_failed(T0, Leg::Upstream, Failure::Broken), Step::Retry);
    }
    assert!(!exchange.may_replay());
    let step = exchange.handle_failed(T0, Leg::Upstream, Failure::Connect("connect-refused"));
    assert_eq!(said(step), (502, "connect-refused".into()));
    assert_eq!(exchange.finish(T0).retries, 2);
}

#[test]
fn running_out_of_upstreams_tells_why_the_last_one_failed() {
    let mut exchange = with_method("GET");
    let gone = Failure::Connect("upstream-going-away");
    assert_eq!(exchange.handle_failed(T0, Leg::Upstream, gone), Step::Retry);
    let answer = answer(exchange.handle_failed(T0, Leg::Upstream, Failure::NoUpstream));
    assert!(answer.body.starts_with(br#"{"error":"upstream unreachable""#));
    assert!(answer.body.ends_with(b"\"cause\":\"upstream-going-away\"}\n"));
}

#[test]
fn a_post_may_move_on_while_nothing_of_it_was_sent() {
    let mut exchange = with_method("POST");
    let refused = Failure::Connect("connect-refused");
    assert_eq!(exchange.handle_failed(T0, Leg::Upstream, refused), Step::Retry);
    exchange.handle_progress(T0, Leg::Upstream, 1);
    assert_eq!(said(exchange.handle_failed(T0, Leg::Upstream, refused)).0, 502);
}

/// A first try that handed over more than is kept cannot be repeated, even if the second one sent nothing.
#[test]
fn what_is_no_longer_kept_cannot_be_sent_again() {
    let mut config = Config::new(Place::Server);
    config.replay_bytes_max = 10;
    let mut exchange = Exchange::new(&config, PEER, T0);
    assert_eq!(exchange.handle_request(T0, &request(PLAIN)), Step::Forward);
    exchange.handle_progress(T0, Leg::Upstream, 10);
    assert_eq!(exchange.handle_failed(T0, Leg::Upstream, Failure::Broken), Step::Retry);
    exchange.handle_progress(T0, Leg::Upstream, 11);
    assert!(!exchange.may_replay());
    assert_eq!(said(exchange.handle_failed(T0, Leg::Upstream, Failure::Connect("x"))), (502, "x".into()));
}

#[test]
fn an_agent_retries_stale_connections_once_and_nothing_else() {
    for (text, why, retried) in [
        (PLAIN, Failure::Stale, true),
        ("POST / HTTP/1.1\r\nHost: ep\r\n", Failure::Stale, false),
        (PLAIN, Failure::Broken, false),
        (PLAIN, Failure::Connect("connect-refused"), false),
    ] {
        let mut exchange = agent();
        assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward);
        exchange.handle_progress(T0, Leg::Upstream, 30);
        let step = exchange.handle_failed(T0, Leg::Upstream, why);
        assert_eq!(step == Step::Retry, retried, "{text} {why:?}");
        if retried {
            assert!(!exchange.may_replay());
            let step = exchange.handle_failed(T0, Leg::Upstream, why);
            assert!(answer(step).body.ends_with(b"\"hop\":\"agent\",\"cause\":\"connection-closed\"}\n"));
        }
    }
}

#[test]
fn retries_can_be_turned_off() {
    let mut config = Config::new(Place::Server);
    config.retries_max = 0;
    let mut exchange = Exchange::new(&config, PEER, T0);
    assert_eq!(exchange.handle_request(T0, &request(PLAIN)), Step::Forward);
    assert!(!exchange.may_replay());
    assert_eq!(said(exchange.handle_failed(T0, Leg::Upstream, Failure::Connect("x"))), (502, "x".into()));
}

#[test]
fn a_refused_request_is_sent_elsewhere_while_a_copy_is_kept() {
    let refused = Failure::Refused(cause::NO_UPSTREAM);
    for (method, kept) in [("GET", true), ("POST", false)] {
        let text = format!("{method} / HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 9\r\n");
        let mut exchange = forwarding(&text);
        exchange.handle_progress(T0, Leg::Upstream, 90);
        assert_eq!((exchange.may_replay(), exchange.may_retry(refused)), (kept, kept), "{method}");
        let mut exchange = forwarding(&text);
        exchange.keep_request();
        exchange.handle_progress(T0, Leg::Upstream, 90);
        assert!(exchange.may_replay() && exchange.may_retry(refused));
        assert_eq!(exchange.handle_failed(T0, Leg::Upstream, refused), Step::Retry);
        // Kept or not: what may have been acted on is sent once.
        exchange.handle_progress(T0, Leg::Upstream, 90);
        let broken = exchange.handle_failed(T0, Leg::Upstream, Failure::Broken);
        assert_eq!(broken == Step::Retry, kept, "{method}");
    }
    let mut exchange = forwarding(PLAIN);
    exchange.handle_progress(T0, Leg::Upstream, 65 * 1024);
    assert!(!exchange.may_retry(refused), "too large to keep");
    let mut exchange = responding(PLAIN);
    exchange.keep_request();
    assert!(!exchange.may_retry(refused), "the client has seen a response");
    assert!(!agent().may_retry(refused));
}
