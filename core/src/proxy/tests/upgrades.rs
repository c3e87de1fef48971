//! Upgrades and TCP connections.

use super::*;
use alloc::format;

fn asked(protocol: &str) -> Exchange {
    forwarding(&format!("GET / HTTP/1.1\r\nHost: ep.x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"))
}

fn answered(mut exchange: Exchange, fields: &str) -> (Step, Exchange) {
    let step = exchange.handle_response(T0, &response(&format!("101 S\r\nConnection: Upgrade\r\n{fields}")));
    (step, exchange)
}

#[test]
fn a_101_to_what_was_asked_for_switches_and_waits_no_more() {
    for (request, response) in
        [("websocket", "WebSocket"), ("FOO/2", "foo/2"), ("h2c, websocket", "websocket"), ("a", "a, A")]
    {
        let (step, mut exchange) = answered(asked(request), &format!("Upgrade: {response}\r\n"));
        assert_eq!(step, Step::Switch, "{request} {response}");
        exchange.handle_blocked(T0, Leg::Client, true);
        assert_eq!(exchange.poll_timeout(), None);
        let record = exchange.finish(T0);
        assert_eq!((record.how, record.status), (Ended::Switched, 101));
        assert!(record.head_at.is_some());
    }
}

#[test]
fn any_other_101_is_a_bad_upgrade() {
    let bad = (502, "bad-upgrade".into());
    for fields in ["Upgrade: other\r\n", "", "Upgrade: websocket, other\r\n", "Upgrade: \r\n"] {
        assert_eq!(said(answered(asked("websocket"), fields).0), bad, "{fields}");
    }
    assert_eq!(said(answered(forwarding(PLAIN), "Upgrade: websocket\r\n").0), bad, "nobody asked");
    let step = answered(asked("websocket"), "Upgrade: x\r\n").0;
    assert_eq!(
        answer(step).body,
        br#"{"error":"upstream unreachable","hop":"server","cause":"bad-upgrade"}
"#
    );
    let text = "GET / HTTP/1.1\r\nHost: ep.x\r\nConnection: Upgrade\r\nUpgrade: w\u{e9}b\r\n";
    assert_eq!(said(server().handle_request(T0, &request(text))), bad, "not printable");
}

#[test]
fn an_upgrade_may_be_declined() {
    let mut exchange = asked("websocket");
    assert_eq!(exchange.handle_response(T0, &response("403 No\r\n")), Step::Forward);
    assert_eq!(exchange.finish(T0).how, Ended::Complete);
}

const TCP: &str =
    "GET /_piko/v1/tcp/ep HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx-a: b\r\n";

fn opening() -> Exchange {
    let mut exchange = server();
    assert_eq!(exchange.handle_request(T0, &request(TCP)), Step::Switch);
    exchange
}

#[test]
fn a_tcp_connection_fails_with_an_answer_until_it_is_open() {
    let none = opening().handle_failed(T0, Leg::Upstream, Failure::NoUpstream);
    assert_eq!(said(none), (502, "no-upstream".into()));
    let mut refused = opening();
    for _ in 0..2 {
        let step = refused.handle_failed(T0, Leg::Upstream, Failure::Connect("connect-refused"));
        assert_eq!(step, Step::Retry);
    }
    let step = refused.handle_failed(T0, Leg::Upstream, Failure::Connect("connect-refused"));
    assert_eq!(said(step), (502, "connect-refused".into()));
    let mut slow = opening();
    assert_eq!(said(slow.handle_timeout(slow.poll_timeout().unwrap().at)), (504, "response-timeout".into()));
    let mut open = opening();
    open.handle_switched(T0);
    open.handle_switched(T0);
    assert_eq!(open.poll_timeout(), None);
    assert_eq!(open.handle_failed(T0, Leg::Upstream, Failure::Broken), Step::Abort);
    assert_eq!(open.finish(T0).how, Ended::Switched);
}

#[test]
fn a_tcp_connection_of_another_node_is_an_upgrade() {
    let mut exchange = opening();
    let out = rewritten(&exchange, TCP, false);
    assert!(out.starts_with("GET /_piko/v1/tcp/ep\r\nHost: h\r\nUpgrade: websocket\r\nx-a: b\r\n"), "{out}");
    assert!(out.ends_with("x-piko-forward: true\r\n"));
    let step = exchange.handle_response(T0, &response("101 S\r\nUpgrade: websocket\r\n"));
    assert_eq!((step, exchange.poll_timeout()), (Step::Switch, None));
    let mut refused = opening();
    assert_eq!(refused.handle_response(T0, &response("502 Bad\r\n")), Step::Forward);
}

#[test]
fn only_a_tcp_request_can_be_switched_by_the_driver() {
    let mut exchange = forwarding(PLAIN);
    exchange.handle_switched(T0);
    assert!(exchange.poll_timeout().is_some());
}

#[test]
fn a_connect_that_is_granted_is_a_switch() {
    let text = "CONNECT ep.x:443 HTTP/1.1\r\nHost: ep.x:443\r\n";
    let mut exchange = forwarding(text);
    assert_eq!(exchange.handle_response(T0, &response("204 Fine\r\n")), Step::Switch);
    assert_eq!(exchange.poll_timeout(), None);
    let record = exchange.finish(T0);
    assert_eq!((record.how, record.status), (Ended::Switched, 204));
    let mut refused = forwarding(text);
    assert_eq!(refused.handle_response(T0, &response("403 No\r\n")), Step::Forward);
}
