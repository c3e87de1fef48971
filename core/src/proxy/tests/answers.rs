//! Answers to the byte.

use super::*;
use crate::http1::Fault;

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

#[test]
fn both_json_forms_are_gos_with_two_members_more() {
    let answer = answer(server().handle_request(T0, &request("GET / HTTP/1.1\r\nHost: ep\r\n")));
    assert_eq!((answer.status, answer.reason, answer.close), (400, "Bad Request", false));
    assert_eq!(
        text(&answer.fields),
        "Content-Type: application/json; charset=utf-8\r\nx-piko-error: hop=server; cause=missing-endpoint-id\r\n"
    );
    assert_eq!(
        text(&answer.body),
        r#"{"error":"missing endpoint id","hop":"server","cause":"missing-endpoint-id"}"#
    );
    let rows = [
        (Answer::no_upstream(Place::Server), 502, "no available upstreams", "server", "no-upstream"),
        (Answer::unreachable(Place::Agent, "x-y"), 502, "upstream unreachable", "agent", "x-y"),
        (Answer::timeout(Place::Agent, "z"), 504, "upstream timeout", "agent", "z"),
    ];
    for (answer, status, error, hop, cause) in rows {
        assert_eq!(answer.status, status);
        assert_eq!(answer.reason, if status == 502 { "Bad Gateway" } else { "Gateway Timeout" });
        let fields = alloc::format!(
            "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nx-piko-error: hop={hop}; cause={cause}\r\n"
        );
        assert_eq!(text(&answer.fields), fields);
        let body = alloc::format!("{{\"error\":\"{error}\",\"hop\":\"{hop}\",\"cause\":\"{cause}\"}}\n");
        assert_eq!(text(&answer.body), body);
    }
}

#[test]
fn faults_are_answered_in_text_and_close() {
    let rows = [
        (400, "Bad Request", "malformed-request"),
        (417, "Expectation Failed", "unsupported-expectation"),
        (431, "Request Header Fields Too Large", "head-too-large"),
        (501, "Not Implemented", "malformed-request"),
        (505, "HTTP Version Not Supported", "unsupported-version"),
    ];
    for (status, reason, cause) in rows {
        let answer = Answer::for_fault(Place::Server, &Fault { status, what: "anything" });
        assert_eq!((answer.status, answer.reason, answer.close), (status, reason, true));
        assert_eq!(text(&answer.body), alloc::format!("{status} {reason}"));
        let fields = Fields::from_block(&answer.fields);
        assert_eq!(fields.first("content-type"), Some(&b"text/plain; charset=utf-8"[..]));
        let error = alloc::format!("hop=server; cause={cause}");
        assert_eq!(fields.first("x-piko-error"), Some(error.as_bytes()));
    }
}

#[test]
fn a_bad_host_is_named_as_go_names_it() {
    let step = server().handle_request(T0, &request("GET / HTTP/1.1\r\nHost: a b.c\r\n"));
    assert_eq!(text(&answer(step).body), "400 Bad Request: malformed Host header");
}

#[test]
fn every_failure_before_the_response_has_its_words() {
    let post = "POST / HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 1\r\n";
    let fault = Fault { status: 502, what: "x" };
    let rows = [
        (Failure::Broken, "upstream unreachable", "stream-reset"),
        (Failure::ClientGone, "upstream unreachable", "stream-reset"),
        (Failure::Connect("upstream-going-away"), "upstream unreachable", "upstream-going-away"),
        (Failure::Cut, "upstream unreachable", "cut-response"),
        (Failure::NoUpstream, "no available upstreams", "no-upstream"),
        (Failure::Protocol(fault), "upstream unreachable", "malformed-response"),
        (Failure::Stale, "upstream unreachable", "connection-closed"),
    ];
    for (why, error, cause) in rows {
        let mut exchange = forwarding(post);
        exchange.handle_progress(T0, Leg::Upstream, 10);
        let answer = answer(exchange.handle_failed(T0, Leg::Upstream, why));
        assert_eq!(answer.status, 502);
        let body = alloc::format!("{{\"error\":\"{error}\",\"hop\":\"server\",\"cause\":\"{cause}\"}}\n");
        assert_eq!(text(&answer.body), body);
        assert_eq!(exchange.poll_timeout(), None);
    }
}

#[test]
fn a_malformed_body_is_a_400_until_the_response_began() {
    let why = Failure::Protocol(Fault { status: 400, what: "bad chunk" });
    let mut early = forwarding(PLAIN);
    assert_eq!(said(early.handle_failed(T0, Leg::Client, why)), (400, "malformed-request".into()));
    let mut late = responding(PLAIN);
    assert_eq!(late.handle_failed(T0, Leg::Client, why), Step::Abort);
    assert_eq!(late.finish(T0).how, Ended::Aborted);
}

#[test]
fn a_client_that_is_gone_gets_nothing() {
    for make in [server, || forwarding(PLAIN), || responding(PLAIN)] {
        for why in [Failure::ClientGone, Failure::Broken] {
            let mut exchange = make();
            assert_eq!(exchange.handle_failed(T0, Leg::Client, why), Step::Abort);
            assert_eq!(exchange.handle_failed(T0, Leg::Client, why), Step::Abort);
            assert_eq!(exchange.poll_timeout(), None);
            assert_eq!(exchange.finish(T0).how, Ended::ClientGone);
        }
    }
}

#[test]
fn a_cut_response_is_never_completed() {
    for why in [Failure::Broken, Failure::Protocol(Fault { status: 502, what: "cut" })] {
        let mut exchange = responding(PLAIN);
        assert_eq!(exchange.handle_failed(T0, Leg::Upstream, why), Step::Abort);
        let record = exchange.finish(T0);
        assert_eq!((record.how, record.status), (Ended::Aborted, 200));
    }
}
