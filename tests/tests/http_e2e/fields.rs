//! Heads as the service and as the client see them, byte for byte.

use std::sync::{Mutex, mpsc};

use piko_tests::http::{Client, End};
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

/// A rig whose service passes every head on to the test and answers with `answer`.
fn watched(answer: &'static str) -> (Rig, mpsc::Receiver<String>) {
    let (heads, seen) = mpsc::channel();
    let heads = Mutex::new(heads);
    let service = scripted(move |peer, head| {
        let _ = heads.lock().expect("no test panics here").send(head.to_owned());
        peer.send(answer.as_bytes())
    });
    (Rig::with(service, &[], &[]), seen)
}

fn seen(heads: &mpsc::Receiver<String>) -> String {
    heads.recv_timeout(PATIENCE).expect("the service sees a request")
}

#[test]
fn a_request_keeps_its_names_order_and_target() {
    let (rig, heads) = watched("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let response = rig.raw(concat!(
        "PATCH /a//b/./../%2f%2F*+?q=a;b&%zz&x=%C3%A9? HTTP/1.1\r\n",
        "x-lower: a\r\n",
        "hOsT: e2e.test:8000\r\n",
        "X-DUP: 1\r\n",
        "x-dup: 2\r\n",
        "Connection: keep-alive, X-Named\r\n",
        "Connection: x-also-named\r\n",
        "X-Named: gone\r\n",
        "X-Also-Named: gone\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Proxy-Authorization: Basic eA==\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "TE: deflate, trailers\r\n",
        "Upgrade: nothing-asked\r\n",
        "Trailer: x-late\r\n",
        "X-Piko-Authorization: Bearer secret\r\n",
        "X-Piko-Endpoint: e2e\r\n",
        "Authorization: Basic eTp6\r\n",
        "Cookie: a=b\r\n",
        "X-Empty:\r\n",
        "X-Spaces:  \t inner  spaces \t \r\n",
        "X-Raw: \u{e9}\r\n",
        "User-Agent: t\r\n",
        "\r\n",
    ));
    assert_eq!(response.status(), 200, "{response:?}");
    let head = seen(&heads);
    let expected = concat!(
        "PATCH /a//b/./../%2f%2F*+?q=a;b&%zz&x=%C3%A9? HTTP/1.1\r\n",
        "x-lower: a\r\n",
        "hOsT: e2e.test:8000\r\n",
        "X-DUP: 1\r\n",
        "x-dup: 2\r\n",
        "TE: trailers\r\n",
        "X-Piko-Endpoint: e2e\r\n",
        "Authorization: Basic eTp6\r\n",
        "Cookie: a=b\r\n",
        "X-Empty: \r\n",
        "X-Spaces: inner  spaces\r\n",
        "X-Raw: \u{e9}\r\n",
        "User-Agent: t\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Forwarded-Host: e2e.test:8000\r\n",
        "X-Forwarded-Proto: http\r\n",
    );
    // TE may only be sent together with its connection option (RFC 9110 10.1.4).
    let (fields, framing) = head.split_at(expected.len().min(head.len()));
    assert_eq!(fields, expected);
    assert_eq!(framing.to_ascii_lowercase(), "connection: te\r\n\r\n");
}

#[test]
fn forwarding_fields_are_extended_or_kept() {
    let (rig, heads) = watched("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let ask = |lines: &str| {
        assert_eq!(rig.raw(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")).status(), 200);
        seen(&heads)
    };
    let plain = "GET / HTTP/1.1\r\nHost: e2e.test\r\n";
    assert_eq!(
        ask(
            "X-Forwarded-For: 9.9.9.9\r\nx-forwarded-for: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b\r\n"
        ),
        format!(
            "{plain}X-Forwarded-For: 9.9.9.9, 8.8.8.8, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b\r\n\r\n"
        )
    );
    // Nothing is invented, and what other proxies said passes.
    assert_eq!(
        ask("Forwarded: for=1.2.3.4\r\nVia: 1.1 x\r\nX-Real-IP: 4.4.4.4\r\n"),
        format!(
            "{plain}Forwarded: for=1.2.3.4\r\nVia: 1.1 x\r\nX-Real-IP: 4.4.4.4\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: e2e.test\r\nX-Forwarded-Proto: http\r\n\r\n"
        )
    );
    // No Accept-Encoding, no User-Agent, no Content-Length is added. What names the hop goes no further.
    let head = ask("x-piko-forward: false\r\n");
    assert_eq!(
        head,
        format!(
            "{plain}X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: e2e.test\r\nX-Forwarded-Proto: http\r\n\r\n"
        )
    );
    // A node that forwards has added its fields already, but this is none: the server knows no other one.
    assert_eq!(
        ask("x-piko-forward: true\r\nX-Forwarded-For: 7.7.7.7\r\n"),
        format!(
            "{plain}X-Forwarded-For: 7.7.7.7, 127.0.0.1\r\nX-Forwarded-Host: e2e.test\r\nX-Forwarded-Proto: http\r\n\r\n"
        )
    );
}

/// RFC 9110 7.6.1 and the protection of fields that other hops rely on.
#[test]
fn connection_cannot_remove_what_others_rely_on() {
    let (rig, heads) = watched("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let request = format!(
        "GET / HTTP/1.1\r\nConnection: close, X-Forwarded-For, Authorization, Cookie, Host\r\nHost: {HOST}\r\nCookie: c\r\nAuthorization: a\r\n\r\n"
    );
    let mut client = rig.client();
    client.send(request.as_bytes()).expect("sent");
    let response = client.read_response("GET");
    assert_eq!((response.status(), response.value("connection").as_deref()), (200, Some("close")));
    assert_eq!(client.read_end(), End::Closed);
    assert_eq!(
        seen(&heads),
        "GET / HTTP/1.1\r\nHost: e2e.test\r\nCookie: c\r\nAuthorization: a\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: e2e.test\r\nX-Forwarded-Proto: http\r\n\r\n"
    );
}

#[test]
fn a_response_keeps_its_names_order_and_reason() {
    let answer = concat!(
        "HTTP/1.1 299 Quite  Fine, thanks\r\n",
        "x-lower: a\r\n",
        "Set-Cookie: a=1\r\n",
        "set-cookie: b=2\r\n",
        "Connection: X-Named\r\n",
        "X-Named: gone\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "Upgrade: h2c\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Location: http://other/\r\n",
        "X-Raw: \u{e9}\r\n",
        "Content-Length: 2\r\n",
        "\r\n",
        "ok",
    );
    let (rig, _heads) = watched(answer);
    let mut client = rig.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).expect("sent");
    let head = String::from_utf8(client.read_raw_head().expect("a head")).expect("what was sent");
    let expected = concat!(
        "HTTP/1.1 299 Quite  Fine, thanks\r\n",
        "x-lower: a\r\n",
        "Set-Cookie: a=1\r\n",
        "set-cookie: b=2\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Location: http://other/\r\n",
        "X-Raw: \u{e9}\r\n",
    );
    let (fields, framing) = head.split_at(expected.len().min(head.len()));
    assert_eq!(fields, expected);
    assert_eq!(framing.to_ascii_lowercase(), "content-length: 2\r\n\r\n");
    assert_eq!(client.read_exact(2).expect("a body"), b"ok");
}

/// RFC 9110 6.6.1. Nothing else is added: no type is guessed, nothing is compressed.
#[test]
fn only_a_date_is_added_to_a_response() {
    let (rig, heads) = watched("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>x</html>\n");
    let response = rig.get("/");
    let head = response.head.expect("a head");
    let names: Vec<_> = head
        .lines
        .iter()
        .map(|l| String::from_utf8_lossy(l).split(':').next().unwrap_or_default().to_ascii_lowercase())
        .collect();
    assert_eq!(names, ["date", "content-length"]);
    let date = head.value("date").expect("a date");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert_eq!(response.body.text(), "<html>x</html>\n");
    assert!(!seen(&heads).to_ascii_lowercase().contains("accept-encoding"));
}

#[test]
fn compressed_bodies_pass_untouched() {
    let (rig, heads) =
        watched("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip");
    let response = rig.raw(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: br\r\n\r\n"));
    assert_eq!(response.value("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(response.value("content-length").as_deref(), Some("8"));
    assert_eq!(response.body.text(), "not gzip");
    assert!(seen(&heads).contains("\r\nAccept-Encoding: br\r\n"));
}

/// RFC 9112 5.2: "A proxy or gateway that receives an obs-fold in a response message … MUST … replace each
/// received obs-fold with one or more SP octets".
#[test]
fn a_folded_response_field_becomes_one_line() {
    let (rig, _heads) = watched("HTTP/1.1 200 OK\r\nx-folded: a\r\n  b\r\n\tc\r\ncontent-length: 0\r\n\r\n");
    let response = rig.get("/");
    assert_eq!(response.status(), 200, "{response:?}");
    let value = response.value("x-folded").expect("the field");
    assert_eq!(value.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// RFC 9112 5.1: "A proxy MUST remove any such whitespace from a response message before forwarding".
#[test]
fn whitespace_before_a_colon_of_a_response_goes_no_further() {
    let (rig, _heads) = watched(concat!(
        "HTTP/1.1 200 OK\r\n",
        "X-A : a\r\n",
        "X-B :b\r\n",
        "X-C\t \t: c : d\r\n",
        "Connection : X-Named\r\n",
        "X-Named : gone\r\n",
        "Date : Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Trailer: X-Late\r\n",
        "\r\n",
        "2\r\nok\r\n0\r\nX-Late : e\r\n\r\n",
    ));
    let mut client = rig.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\n\r\n").as_bytes()).expect("sent");
    let head = String::from_utf8(client.read_raw_head().expect("a head")).expect("what was sent");
    let expected = concat!(
        "HTTP/1.1 200 OK\r\n",
        "X-A: a\r\n",
        "X-B: b\r\n",
        "X-C: c : d\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
    );
    assert!(head.starts_with(expected), "{head}");
    assert!(!head.contains(" :") || head.matches(" :").count() == 1, "only the value's: {head}");
    assert!(head.ends_with("transfer-encoding: chunked\r\n\r\n"), "{head}");
    let body = b"2\r\nok\r\n0\r\nX-Late: e\r\n\r\n";
    assert_eq!(client.read_exact(body.len()).expect("a body"), body);
}

#[test]
fn a_404_without_body_stays_as_it_is() {
    let (rig, _heads) = watched("HTTP/1.1 404 Nope\r\ncontent-length: 0\r\n\r\n");
    let mut client: Client = rig.client();
    for _ in 0..2 {
        let response = client.get("/", &[("host", HOST)]).expect("sent");
        assert_eq!((response.status(), response.body.len, response.end), (404, 0, End::Complete));
    }
}
