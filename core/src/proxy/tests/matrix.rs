//! Every event in every phase, once and twice: nothing panics, and what has ended stays ended.

use super::*;
use crate::http1::Fault;
use alloc::vec::Vec;
use core::time::Duration;

const PROXIED_UPGRADE: &str = "GET / HTTP/1.1\r\nHost: ep.x\r\nConnection: Upgrade\r\nUpgrade: a\r\n";
const TCP: &str = "GET /_piko/v1/tcp/ep HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: a\r\n";

fn phases() -> [(&'static str, Exchange); 7] {
    let mut answered = server();
    assert!(matches!(answered.handle_request(T0, &request("GET / HTTP/1.1\r\n")), Step::Answer(_)));
    let mut gone = responding(PLAIN);
    assert_eq!(gone.handle_failed(T0, Leg::Client, Failure::ClientGone), Step::Abort);
    let mut switched = forwarding(PROXIED_UPGRADE);
    assert_eq!(switched.handle_response(T0, &response("101 S\r\nUpgrade: a\r\n")), Step::Switch);
    let mut opening = server();
    assert_eq!(opening.handle_request(T0, &request(TCP)), Step::Switch);
    [
        ("idle", server()),
        ("waiting", forwarding(PROXIED_UPGRADE)),
        ("opening", opening),
        ("responding", responding(PLAIN)),
        ("switched", switched),
        ("answered", answered),
        ("gone", gone),
    ]
}

type Event = (&'static str, fn(&mut Exchange) -> Step);

const LATE: Instant = Instant::FAR;

fn events() -> Vec<Event> {
    const FAULT: Fault = Fault { status: 400, what: "x" };
    let mut events: Vec<Event> = alloc::vec![
        ("request", |e| e.handle_request(T0, &request(PLAIN))),
        ("tcp request", |e| e.handle_request(T0, &request(TCP))),
        ("response", |e| e.handle_response(T0, &response("200 OK\r\n"))),
        ("interim", |e| e.handle_response(T0, &response("100 C\r\n"))),
        ("101", |e| e.handle_response(T0, &response("101 S\r\nUpgrade: a\r\n"))),
        ("bad status", |e| e.handle_response(T0, &response("0 \r\n"))),
        ("client gone", |e| e.handle_failed(T0, Leg::Client, Failure::ClientGone)),
        ("client fault", |e| e.handle_failed(T0, Leg::Client, Failure::Protocol(FAULT))),
        ("client stale", |e| e.handle_failed(T0, Leg::Client, Failure::Stale)),
        ("broken", |e| e.handle_failed(T0, Leg::Upstream, Failure::Broken)),
        ("refused", |e| e.handle_failed(T0, Leg::Upstream, Failure::Connect("x"))),
        ("none", |e| e.handle_failed(T0, Leg::Upstream, Failure::NoUpstream)),
        ("upstream fault", |e| e.handle_failed(T0, Leg::Upstream, Failure::Protocol(FAULT))),
        ("stale", |e| e.handle_failed(T0, Leg::Upstream, Failure::Stale)),
        ("upstream gone", |e| e.handle_failed(T0, Leg::Upstream, Failure::ClientGone)),
        ("time", |e| e.handle_timeout(LATE)),
        ("early time", |e| e.handle_timeout(Instant::ZERO)),
    ];
    for leg in [Leg::Client, Leg::Upstream] {
        let (progress, blocked): (Event, Event) = match leg {
            Leg::Client => (
                ("to client", |e| {
                    e.handle_progress(T0, Leg::Client, usize::MAX);
                    Step::Nothing
                }),
                ("client blocked", |e| {
                    e.handle_blocked(T0, Leg::Client, true);
                    Step::Nothing
                }),
            ),
            Leg::Upstream => (
                ("to upstream", |e| {
                    e.handle_progress(T0, Leg::Upstream, usize::MAX);
                    Step::Nothing
                }),
                ("upstream blocked", |e| {
                    e.handle_blocked(T0, Leg::Upstream, true);
                    Step::Nothing
                }),
            ),
        };
        events.push(progress);
        events.push(blocked);
    }
    events.push(("continue", |e| {
        e.handle_continue(T0);
        Step::Nothing
    }));
    events.push(("request end", |e| {
        e.handle_request_end(T0);
        Step::Nothing
    }));
    events.push(("switched", |e| {
        e.handle_switched(T0);
        Step::Nothing
    }));
    events
}

#[test]
fn every_pair_of_events_in_every_phase() {
    let events = events();
    for at in 0..phases().len() {
        for (first_name, first) in &events {
            for (second_name, second) in &events {
                let [mut phases, again] = [phases(), phases()];
                let (name, exchange) = &mut phases[at];
                let steps = [first(exchange), second(exchange)];
                let story = alloc::format!("{name}, {first_name}, {second_name}: {steps:?}");
                check(exchange, &steps, &story);
                let finished = core::mem::replace(exchange, server()).finish(LATE);
                if matches!(*name, "answered" | "gone") {
                    let expected = again.into_iter().nth(at).unwrap().1.finish(LATE);
                    assert_eq!(finished, expected, "{story}");
                }
            }
        }
    }
}

fn check(exchange: &Exchange, steps: &[Step; 2], story: &str) {
    let answers = steps.iter().filter(|step| matches!(step, Step::Answer(_))).count();
    assert!(answers <= 1, "one answer at most: {story}");
    if answers == 1 {
        assert_eq!(exchange.poll_timeout(), None, "{story}");
        assert!(!exchange.may_replay(), "{story}");
        let after = steps.iter().skip_while(|step| !matches!(step, Step::Answer(_))).nth(1);
        assert!(matches!(after, None | Some(Step::Nothing | Step::Abort)), "{story}");
    }
    if steps[0] == Step::Abort {
        assert!(matches!(steps[1], Step::Nothing | Step::Abort), "{story}");
    }
    if let Some(deadline) = exchange.poll_timeout() {
        assert!(deadline.at >= T0 && deadline.at <= T0 + Duration::from_secs(60), "{story}");
    }
}

/// Heads as they come are rewritten in every phase without a panic, and never with framing fields.
#[test]
fn rewriting_works_in_every_phase() {
    for (name, exchange) in phases() {
        for text in [PLAIN, TCP, PROXIED_UPGRADE, "GET nonsense HTTP/1.0\r\n", "CONNECT  HTTP/1.1\r\n"] {
            for to_tunnel in [true, false] {
                let out = rewritten(&exchange, text, to_tunnel);
                assert_eq!(
                    out.matches("Host: ").count(),
                    1 + out.matches("-Host: ").count(),
                    "{name}: {out}"
                );
                assert!(!out.contains("Connection"), "{name}: {out}");
            }
        }
        assert_eq!(rewritten_response(&exchange, "200 OK\r\nConnection: a\r\nA: b\r\n", None), "", "{name}");
    }
}
