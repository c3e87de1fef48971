//! Which endpoint a request asks for: every row of the table of hosts, and the TCP path.

use super::*;
use crate::proxy::endpoint::{first_label, host_name};
use crate::route::Hop;
use alloc::format;

const LONG: usize = 1024;

/// What a host says about the endpoint.
#[derive(Debug, PartialEq, Eq)]
enum Label<'i> {
    Malformed,
    Missing,
    Named(&'i [u8]),
}

fn label(host: &[u8]) -> Label<'_> {
    match host_name(host) {
        None => Label::Malformed,
        Some(name) => name.and_then(first_label).map_or(Label::Missing, Label::Named),
    }
}

#[test]
fn hosts_name_their_first_label() {
    let rows: [(&str, Label<'_>); 31] = [
        ("ep.example.com", Label::Named(b"ep")),
        ("ep.example.com:8000", Label::Named(b"ep")),
        ("ep.x:", Label::Named(b"ep")),
        ("ep.", Label::Named(b"ep")),
        ("EP.example.com", Label::Named(b"EP")),
        ("e_p.x", Label::Named(b"e_p")),
        ("1.2.3", Label::Named(b"1")),
        ("999.1.1.1", Label::Named(b"999")),
        ("01.2.3.4", Label::Named(b"01")),
        ("127.0.0.1.x", Label::Named(b"127")),
        ("", Label::Missing),
        (":80", Label::Missing),
        ("ep", Label::Missing),
        ("ep:8000", Label::Missing),
        ("localhost:8000", Label::Missing),
        (".ep", Label::Missing),
        ("127.0.0.1", Label::Missing),
        ("127.0.0.1:8000", Label::Missing),
        ("[::1]", Label::Missing),
        ("[::1]:8000", Label::Missing),
        ("[fe80::1%25eth0]:1", Label::Missing),
        ("[v1.a:b]", Label::Malformed),
        ("[v1.ab]", Label::Missing),
        ("ep.x:abc", Label::Malformed),
        ("ep.x:1:2", Label::Malformed),
        ("[ep.x]:80", Label::Malformed),
        ("[::1", Label::Malformed),
        ("[::1]80", Label::Malformed),
        ("::1", Label::Malformed),
        ("user@ep.x", Label::Malformed),
        ("é.x", Label::Malformed),
    ];
    for (host, expected) in rows {
        assert_eq!(label(host.as_bytes()), expected, "{host}");
    }
}

#[test]
fn every_short_host_is_judged_without_a_panic() {
    let letters = b"a.:[]1%@ ";
    for len in 0u32..5 {
        for number in 0..letters.len().pow(len) {
            let mut left = number;
            let host: alloc::vec::Vec<u8> = (0..len)
                .map(|_| {
                    let letter = letters[left % letters.len()];
                    left /= letters.len();
                    letter
                })
                .collect();
            if let Label::Named(name) = label(&host) {
                assert!(!name.is_empty() && host.starts_with(name) && host[name.len()] == b'.');
            }
        }
    }
}

#[test]
fn fields_beat_hosts_and_targets_beat_both_hosts() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: a\r\nx-pico-endpoint: b\r\n", "a"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-pico-endpoint: b\r\nX-PIKO-ENDPOINT: a\r\n", "a"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-pico-endpoint: b\r\n", "b"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint:  \r\nx-pico-endpoint: b\r\n", "b"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint:\r\n", "h"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: a, B\r\nx-piko-endpoint: c\r\n", "a, B"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx-piko-endpoint: a\r\n", "a"),
        ("GET http://t.y/p HTTP/1.1\r\nHost: h.x\r\n", "t"),
        ("GET http://t.y HTTP/1.1\r\nHost: h.x\r\n", "t"),
        ("GET http://t.y:80?q HTTP/1.1\r\nHost: h.x\r\n", "t"),
        ("GET http://t.y/p HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: a\r\n", "a"),
        ("CONNECT c.z:443 HTTP/1.1\r\nHost: h.x\r\n", "c"),
        ("OPTIONS * HTTP/1.1\r\nHost: h.x\r\n", "h"),
        ("GET / HTTP/1.0\r\nx-piko-endpoint: a\r\n", "a"),
        ("POST /_piko/v1/tcp/t HTTP/1.1\r\nHost: h.x\r\n", "h"),
        ("GET /_piko/v1/tcp HTTP/1.1\r\nHost: h.x\r\n", "h"),
        ("GET /_piko/v1/tcp/ HTTP/1.1\r\nHost: h.x\r\n", "h"),
        ("GET /_piko/v1/tcp// HTTP/1.1\r\nHost: h.x\r\n", "h"),
        ("GET /_piko/v1/other HTTP/1.1\r\nHost: h.x\r\n", "h"),
    ];
    for (text, expected) in rows {
        let exchange = forwarding(text);
        assert_eq!(exchange.endpoint().unwrap().as_bytes(), expected.as_bytes(), "{text}");
    }
}

#[test]
fn what_names_no_endpoint_is_refused() {
    let long = format!("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: {}\r\n", "a".repeat(LONG + 1));
    let rows = [
        ("GET / HTTP/1.1\r\nHost: ep\r\n", 400, "missing-endpoint-id"),
        ("GET / HTTP/1.1\r\nHost: \r\n", 400, "missing-endpoint-id"),
        ("GET / HTTP/1.0\r\n", 400, "missing-endpoint-id"),
        ("GET http://10.0.0.1/ HTTP/1.1\r\nHost: h.x\r\n", 400, "missing-endpoint-id"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: a/b\r\n", 400, "bad-endpoint-id"),
        (&long, 400, "bad-endpoint-id"),
        ("GET / HTTP/1.1\r\nHost: h.x:1:2\r\n", 400, "malformed-request"),
        ("GET http://u@h.x/ HTTP/1.1\r\nHost: h.x\r\n", 400, "malformed-request"),
        ("GET http:///p HTTP/1.1\r\nHost: h.x\r\n", 400, "malformed-request"),
        ("GET nonsense HTTP/1.1\r\nHost: h.x\r\n", 400, "malformed-request"),
        ("GET * HTTP/1.1\r\nHost: ep\r\n", 400, "missing-endpoint-id"),
        ("GET / HTTP/1.1\r\nHost: h.x\r\nExpect: magic\r\n", 417, "unsupported-expectation"),
    ];
    for (text, status, cause) in rows {
        let mut exchange = server();
        assert_eq!(said(exchange.handle_request(T0, &request(text))), (status, cause.into()), "{text}");
        assert_eq!(exchange.endpoint(), None);
        assert_eq!(exchange.poll_timeout(), None);
        assert_eq!(exchange.finish(T0).how, Ended::Answered);
    }
    let longest = format!("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: {}\r\n", "a".repeat(LONG));
    assert_eq!(forwarding(&longest).endpoint().unwrap().as_bytes().len(), LONG);
}

#[test]
fn expectations_are_for_http_1_1_and_in_any_case() {
    forwarding("GET / HTTP/1.1\r\nHost: h.x\r\nExpect: 100-Continue\r\n");
    forwarding("GET / HTTP/1.0\r\nHost: h.x\r\nExpect: magic\r\n");
}

#[test]
fn only_the_exact_word_marks_a_forwarded_request() {
    for (value, hop) in
        [("true", Hop::Forwarded), ("True", Hop::First), ("1", Hop::First), ("true, true", Hop::First)]
    {
        let text = format!("GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-forward: {value}\r\n");
        assert_eq!(forwarding(&text).hop(), hop, "{value}");
    }
    assert_eq!(forwarding(PLAIN).hop(), Hop::First);
    let twice = "GET / HTTP/1.1\r\nHost: h.x\r\nx-piko-forward: no\r\nx-piko-forward: true\r\n";
    assert_eq!(forwarding(twice).hop(), Hop::First, "the first line counts");
}

#[test]
fn the_tcp_path_names_its_endpoint() {
    let get = |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nHost: h.x\r\nx-piko-endpoint: other\r\n");
        let mut exchange = server();
        let step = exchange.handle_request(T0, &request(&text));
        (step, exchange.endpoint().map(ToString::to_string))
    };
    for (path, endpoint) in [
        ("/_piko/v1/tcp/ep", "ep"),
        ("/_piko/v1/tcp/ep?x=1", "ep"),
        ("/_piko/v1/tcp/a%20b", "a b"),
        ("/_piko/v1/tcp/%c3%A9", "é"),
        ("http://h.x/_piko/v1/tcp/ep", "ep"),
    ] {
        assert_eq!(get(path), (Step::Switch, Some(endpoint.into())), "{path}");
    }
    for (path, location) in
        [("/_piko/v1/tcp/ep/", "/_piko/v1/tcp/ep"), ("/_piko/v1/tcp/a%20b/?q=1", "/_piko/v1/tcp/a%20b?q=1")]
    {
        let answer = answer(get(path).0);
        assert_eq!(answer.status, 301);
        assert_eq!(Fields::from_block(&answer.fields).first("location"), Some(location.as_bytes()));
    }
    for (path, status) in [
        ("/_piko/v1/tcp/a%2Fb", 404),
        ("/_piko/v1/tcp/a/b", 404),
        ("/_piko/v1/tcp/a/b/", 404),
        ("/_piko/v1/tcp/a%2", 400),
        ("/_piko/v1/tcp/a%zz", 400),
    ] {
        assert_eq!(said(get(path).0), (status, "bad-endpoint-id".into()), "{path}");
    }
    let long = format!("/_piko/v1/tcp/{}", "a".repeat(LONG + 1));
    assert_eq!(said(get(&long).0), (400, "bad-endpoint-id".into()));
}

#[test]
fn an_agent_forwards_everything() {
    for text in [
        "GET /_piko/v1/tcp/ep HTTP/1.1\r\nHost: ep\r\n",
        "GET / HTTP/1.1\r\nHost: ep\r\nExpect: magic\r\n",
        "GET nonsense HTTP/1.0\r\n",
    ] {
        let mut exchange = agent();
        assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward);
        assert_eq!((exchange.endpoint(), exchange.hop()), (None, Hop::First));
    }
}
