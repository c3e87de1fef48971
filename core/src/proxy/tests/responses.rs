//! The fields of responses.

use super::*;
use alloc::format;

fn passed(fields: &str) -> String {
    let exchange = forwarding(PLAIN);
    rewritten_response(&exchange, &format!("200 Fine\r\n{fields}"), None)
}

#[test]
fn what_the_service_said_is_passed_as_received() {
    let fields = "server: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nLocation: http://127.0.0.1/\r\nx-piko-error: e\r\n\
                  ETag: t\r\nContent-Encoding: gzip\r\nX-Forwarded-For: 1\r\n";
    assert_eq!(passed(fields), fields);
    assert_eq!(passed(""), "", "no type is guessed, no server named");
}

/// Nodes act on these fields, and clients tell by them who speaks.
#[test]
fn a_service_cannot_speak_for_piko() {
    let mut exchange = Exchange::new(&Config::new(Place::Agent), PEER, T0);
    let _ = exchange.handle_request(T0, &request(PLAIN));
    for status in ["502 No", "200 OK", "103 Early"] {
        let said = format!(
            "{status}\r\nX-Piko-Error: hop=agent; cause=connect-refused\r\na: b\r\nx-piko-load: 7\r\nx-piko-error: e\r\n"
        );
        assert_eq!(rewritten_response(&exchange, &said, None), "a: b\r\n");
    }
}

#[test]
fn hop_by_hop_fields_are_removed() {
    for fields in [
        "Connection: keep-alive\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Authenticate: x\r\n",
        "Proxy-Authorization: x\r\n",
        "Proxy-Connection: x\r\n",
        "TE: x\r\n",
        "Trailer: x\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Upgrade: h2c\r\n",
        "Content-Length: 5\r\n",
        "Connection: x-hop\r\nX-Hop: 1\r\n",
        "X-Hop: 1\r\nConnection: close, X-HOP\r\n",
    ] {
        assert_eq!(passed(fields), "", "{fields}");
    }
}

#[test]
fn a_426_says_what_to_upgrade_to() {
    let out = rewritten_response(&forwarding(PLAIN), "426 Up\r\nConnection: upgrade\r\nUpgrade: a\r\n", None);
    assert_eq!(out, "Upgrade: a\r\n");
}

#[test]
fn trailers_are_announced_to_clients_that_can_have_them() {
    let chunked = "200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n";
    assert_eq!(rewritten_response(&forwarding(PLAIN), chunked, None), "Trailer: a\r\n");
    let old = forwarding("GET / HTTP/1.0\r\nHost: ep.x\r\n");
    assert_eq!(rewritten_response(&old, chunked, None), "");
}

#[test]
fn the_length_of_an_absent_body_is_kept() {
    let exchange = forwarding("HEAD / HTTP/1.1\r\nHost: ep.x\r\n");
    let mut block = BytesMut::new();
    let mut head = response("200 OK\r\nContent-Length: 5\r\n");
    head.body = BodyLength::None;
    let out = exchange.rewrite_response(&head, None, &mut block);
    assert_eq!(out.fields.first("content-length"), Some(&b"5"[..]));
    assert_eq!(
        rewritten_response(&exchange, "304 N\r\nContent-Length: 5\r\n", None),
        "Content-Length: 5\r\n"
    );
    assert_eq!(rewritten_response(&exchange, "204 N\r\nContent-Length: 5\r\n", None), "");
}

#[test]
fn a_date_is_added_to_final_responses_without_one() {
    let exchange = forwarding(PLAIN);
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    let added = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(rewritten_response(&exchange, "200 OK\r\nA: b\r\n", date), format!("A: b\r\n{added}"));
    assert_eq!(rewritten_response(&exchange, "200 OK\r\ndate: mine\r\n", date), "date: mine\r\n");
    assert_eq!(rewritten_response(&exchange, "103 Early\r\n", date), "");
    assert_eq!(rewritten_response(&exchange, "101 S\r\nUpgrade: x\r\n", date), "Upgrade: x\r\n");
}

#[test]
fn interim_responses_go_to_clients_that_know_them() {
    let mut new = forwarding(PLAIN);
    let mut old = forwarding("GET / HTTP/1.0\r\nHost: ep.x\r\n");
    for status in ["100 C\r\n", "102 P\r\n", "103 E\r\n", "199 X\r\n"] {
        assert_eq!(new.handle_response(T0, &response(status)), Step::Forward);
        assert_eq!(old.handle_response(T0, &response(status)), Step::Nothing);
    }
    for exchange in [&mut new, &mut old] {
        assert_eq!(exchange.handle_response(T0, &response("200 OK\r\n")), Step::Forward);
        assert_eq!(exchange.handle_response(T0, &response("200 OK\r\n")), Step::Nothing, "one response");
    }
    assert_eq!(new.finish(T0).status, 200);
}

#[test]
fn any_status_is_passed_and_nonsense_refused() {
    for status in ["200 OK\r\n", "404 Nope\r\n", "599 Own\r\n", "999 \r\n"] {
        assert_eq!(forwarding(PLAIN).handle_response(T0, &response(status)), Step::Forward);
    }
    let padding = "p".repeat(4096);
    let options = format!("200 OK\r\nX: {padding}\r\nConnection: {}\r\n", "a, ".repeat(65));
    let few = options.replacen("a, ", "", 1);
    assert_eq!(forwarding(PLAIN).handle_response(T0, &response(&few)), Step::Forward);
    for text in ["99 Low\r\n", &options] {
        let step = forwarding(PLAIN).handle_response(T0, &response(text));
        assert_eq!(said(step), (502, "malformed-response".into()));
    }
}

#[test]
fn the_record_tells_what_happened() {
    let mut exchange = forwarding("POST /x HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 3\r\n");
    let at = |ms: u64| Instant::from_millis(10_000 + ms);
    exchange.handle_progress(at(1), Leg::Upstream, 100);
    exchange.handle_progress(at(2), Leg::Upstream, 3);
    exchange.handle_body(Leg::Upstream, 3);
    exchange.handle_request_end(at(2));
    assert_eq!(exchange.handle_response(at(5), &response("201 Made\r\n")), Step::Forward);
    exchange.handle_progress(at(6), Leg::Client, 40);
    exchange.handle_body(Leg::Client, 5);
    exchange.handle_body(Leg::Client, 1);
    let record = exchange.finish(at(9));
    assert_eq!(record.endpoint.as_ref().unwrap().as_bytes(), b"ep");
    assert_eq!((record.status, record.how, record.retries), (201, Ended::Complete, 0));
    assert_eq!(*record.method, *b"POST");
    assert_eq!((record.request_bytes, record.response_bytes), (3, 6));
    let head = "POST /x HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 3\r\n";
    assert_eq!(record.request_head_bytes, head.len() as u64);
    assert_eq!((record.started, record.head_at, record.ended), (T0, Some(at(5)), at(9)));
}

#[test]
fn methods_of_any_length_are_recorded() {
    for length in [0, 1, 22, 23, 300] {
        let method = "M".repeat(length);
        let exchange = forwarding(&format!("{method} / HTTP/1.1\r\nHost: ep.x\r\n"));
        assert_eq!(*exchange.finish(T0).method, *method.as_bytes());
    }
}

#[test]
fn a_node_that_asks_is_told_the_load_and_nobody_else() {
    let asks = "GET / HTTP/1.1\r\nHost: ep.x\r\nx-piko-load: ?\r\nx-piko-forward: true\r\n";
    let mut exchange = forwarding(asks);
    assert!(exchange.asks_load());
    assert!(!rewritten(&exchange, asks, true).contains("x-piko-load"), "the service is not asked");
    exchange.set_load(7);
    let answer = "200 OK\r\nA: b\r\nX-Piko-Load: 99\r\n";
    assert_eq!(rewritten_response(&exchange, answer, None), "A: b\r\nx-piko-load: 7\r\n");
    assert_eq!(rewritten_response(&exchange, "103 Early Hints\r\nA: b\r\n", None), "A: b\r\n");
    let client = "GET / HTTP/1.1\r\nHost: ep.x\r\nx-piko-load: ?\r\n";
    let exchange = forwarding(client);
    assert!(!exchange.asks_load());
    assert_eq!(rewritten_response(&exchange, answer, None), "A: b\r\n");
}
