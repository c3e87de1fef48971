//! The fields and the target of requests, hop by hop.

use super::*;
use crate::route::Hop;
use alloc::format;
use alloc::sync::Arc;

const ENDS: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: ep.x\r\nX-Forwarded-Proto: http\r\n";

/// Fields of a GET with `fields` behind the Host, as a tunnel gets them, without Host and what is added.
fn passed(fields: &str) -> String {
    let text = format!("GET / HTTP/1.1\r\nHost: ep.x\r\n{fields}");
    let out = rewritten(&forwarding(&text), &text, true);
    let out = out.strip_prefix("GET /\r\nHost: ep.x\r\n").expect("the Host stays in front");
    out.strip_suffix(ENDS).map_or_else(|| panic!("{out}"), ToString::to_string)
}

#[test]
fn names_order_case_and_duplicates_are_as_received() {
    let fields = "x-lower: 1\r\nX-UPPER: 2\r\nAccept: b\r\nAccept: a\r\nUser-Agent: \r\nCookie: a=b\r\n";
    assert_eq!(passed(fields), fields);
    let odd =
        "Via: 1.0 a\r\nForwarded: for=b\r\nX-Real-Ip: c\r\nExpect: 100-continue\r\nx-piko-tenant-id: t\r\n";
    assert_eq!(passed(odd), odd);
    let credentials = "Authorization: Bearer x\r\nx-piko-endpoint: ep\r\n";
    assert_eq!(passed(credentials), credentials);
    assert_eq!(passed(""), "", "no User-Agent, Accept-Encoding or Connection is added");
}

#[test]
fn hop_by_hop_fields_are_removed_and_those_that_connection_names() {
    for field in [
        "Connection: close\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Proxy-Authenticate: x\r\n",
        "Proxy-Authorization: x\r\n",
        "TE: gzip\r\n",
        "Trailer: x\r\n",
        "Transfer-Encoding: identity\r\n",
        "Upgrade: websocket\r\n",
        "Content-Length: 0\r\n",
        "Connection: keep-alive, x-hop\r\nX-Hop: 1\r\n",
        "X-Hop: 1\r\nconnection: X-HOP\r\nx-hop: 2\r\n",
        "Connection: a\r\nConnection: , b ,\r\nA: 1\r\nB: 2\r\n",
        "Connection: close, x-hop\r\nX-Hop: 1\r\n",
    ] {
        assert_eq!(passed(field), "", "{field}");
    }
    assert_eq!(passed("Connection: x-ho\r\nX-Hop: 1\r\n"), "X-Hop: 1\r\n", "whole names only");
}

#[test]
fn connection_cannot_remove_what_others_trust() {
    for field in [
        "X-Real-Ip: 1",
        "Forwarded: for=1",
        "Via: 1.1 a",
        "Authorization: x",
        "Cookie: a=b",
        "x-piko-endpoint: ep",
        "x-pico-endpoint: ep",
        "x-piko-tenant-id: t",
        "X-Forwarded-Port: 1",
        "Expect: 100-continue",
    ] {
        let name = field.split_once(':').unwrap().0;
        assert_eq!(passed(&format!("Connection: {name}\r\n{field}\r\n")), format!("{field}\r\n"));
    }
    let text = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: o\r\nx-piko-authorization: t\r\n\
                Connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, host, x-piko-authorization\r\n";
    assert_eq!(
        rewritten(&forwarding(text), text, false),
        "GET /\r\nHost: ep.x\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: o\r\nx-piko-authorization: t\r\nx-piko-load: ?\r\nx-piko-forward: true\r\n"
    );
}

#[test]
fn te_keeps_only_trailers_and_trailer_only_with_chunks() {
    assert_eq!(passed("TE: gzip, Trailers\r\nConnection: TE\r\n"), "TE: trailers\r\n");
    assert_eq!(passed("Trailer: a\r\nTransfer-Encoding: chunked\r\n"), "Trailer: a\r\n");
    assert_eq!(passed("Trailer: a\r\nContent-Length: 3\r\n"), "");
}

#[test]
fn an_upgrade_keeps_its_protocol() {
    let fields = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n";
    assert_eq!(passed(fields), "Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n");
}

#[test]
fn the_first_node_adds_forwarding_fields_and_the_second_none() {
    let first = "GET / HTTP/1.1\r\nHost: ep.x:8000\r\n";
    assert_eq!(
        rewritten(&forwarding(first), first, false),
        "GET /\r\nHost: ep.x:8000\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: ep.x:8000\r\n\
         X-Forwarded-Proto: http\r\nx-piko-load: ?\r\nx-piko-forward: true\r\n"
    );
    let second = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Forwarded-For: 9.9.9.9\r\nx-piko-forward: true\r\n";
    assert_eq!(
        rewritten(&forwarding(second), second, true),
        "GET /\r\nHost: ep.x\r\nX-Forwarded-For: 9.9.9.9\r\n",
        "and the mark goes no further than the cluster"
    );
    let forged = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Piko-Forward: maybe\r\n";
    let out = rewritten(&forwarding(forged), forged, false);
    assert!(!out.contains("maybe") && out.ends_with("x-piko-forward: true\r\n"), "{out}");
}

#[test]
fn addresses_become_one_line_in_order() {
    let text = "GET / HTTP/1.1\r\nHost: ep.x\r\nx-forwarded-for: 1.1.1.1, 2.2.2.2\r\nA: b\r\n\
                X-Forwarded-For:\r\nX-Forwarded-For: 3.3.3.3\r\n";
    assert_eq!(
        rewritten(&forwarding(text), text, true),
        "GET /\r\nHost: ep.x\r\nx-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 203.0.113.7\r\nA: b\r\n\
         X-Forwarded-Host: ep.x\r\nX-Forwarded-Proto: http\r\n"
    );
    let empty = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Forwarded-For: \r\n";
    assert_eq!(rewritten(&forwarding(empty), empty, true), format!("GET /\r\nHost: ep.x\r\n{ENDS}"));
}

#[test]
fn addresses_are_written_as_go_writes_them() {
    for (ip, text) in [
        ("1.20.255.0", "1.20.255.0"),
        ("100.10.9.99", "100.10.9.99"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let peer = Peer { ip: Some(ip.parse().unwrap()), tls: true };
        let mut exchange = Exchange::new(&Config::new(Place::Server), peer, T0);
        assert_eq!(exchange.handle_request(T0, &request(PLAIN)), Step::Forward);
        let out = rewritten(&exchange, PLAIN, true);
        assert!(out.contains(&format!("X-Forwarded-For: {text}\r\n")), "{out}");
        assert!(out.contains("X-Forwarded-Proto: https\r\n"), "{out}");
    }
    let mut exchange = Exchange::new(&Config::new(Place::Server), Peer { ip: None, tls: false }, T0);
    assert_eq!(exchange.handle_request(T0, &request(PLAIN)), Step::Forward);
    let text = "GET /x HTTP/1.1\r\nHost: ep.example.com\r\nX-Forwarded-For: 9.9.9.9\r\n";
    let out = rewritten(&exchange, text, true);
    assert!(out.contains("X-Forwarded-For: 9.9.9.9\r\n"), "a Unix socket adds nothing: {out}");
}

#[test]
fn tokens_for_piko_stay_within_the_cluster() {
    let text = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Piko-Authorization: Bearer t\r\nAuthorization: Basic u\r\n";
    let exchange = forwarding(text);
    let (to_tunnel, to_node) = (rewritten(&exchange, text, true), rewritten(&exchange, text, false));
    assert!(
        !to_tunnel.contains("Piko-Authorization") && to_tunnel.contains("\r\nAuthorization: Basic u\r\n")
    );
    assert!(to_node.contains("X-Piko-Authorization: Bearer t\r\n") && to_node.contains("Basic u\r\n"));
}

#[test]
fn a_missing_host_is_made_from_the_endpoint() {
    for (id, host) in [("ep", "ep"), ("a b", "a%20b"), ("é:1", "%C3%A9%3A1")] {
        let text = format!("GET / HTTP/1.0\r\nx-piko-endpoint: {id}\r\n");
        let out = rewritten(&forwarding(&text), &text, true);
        assert!(out.starts_with(&format!("GET /\r\nHost: {host}\r\n")), "{out}");
        assert!(!out.contains("X-Forwarded-Host"), "{out}");
    }
}

#[test]
fn the_host_of_an_absolute_target_wins() {
    let rows = [
        ("GET http://t.y:1/p?q", "GET /p?q\r\nHost: t.y:1\r\n"),
        ("GET http://t.y", "GET /\r\nHost: t.y\r\n"),
        ("GET HTTPS://t.y?q", "GET /?q\r\nHost: t.y\r\n"),
        ("GET http://t.y/?", "GET /?\r\nHost: t.y\r\n"),
        ("OPTIONS http://t.y", "OPTIONS *\r\nHost: t.y\r\n"),
        ("OPTIONS http://t.y/", "OPTIONS /\r\nHost: t.y\r\n"),
        ("CONNECT t.y:443", "CONNECT t.y:443\r\nHost: t.y:443\r\n"),
    ];
    for (line, expected) in rows {
        let text = format!("{line} HTTP/1.1\r\nHost: other.x\r\n");
        let out = rewritten(&forwarding(&text), &text, true);
        assert!(out.starts_with(expected) && !out.contains("other"), "{out}");
        let text = format!("{line} HTTP/1.0\r\n");
        let out = rewritten(&forwarding(&text), &text, true);
        assert!(out.starts_with(expected), "{out}");
    }
}

/// The connection machine refuses such heads; if one came all the same, the next hop must not choose.
#[test]
fn of_two_hosts_the_judged_one_goes_on() {
    let text = "GET / HTTP/1.1\r\nHost: a.x\r\nhost: b.x\r\n";
    let exchange = forwarding(text);
    assert_eq!(exchange.endpoint().unwrap().as_bytes(), b"a");
    assert!(!rewritten(&exchange, text, true).contains("b.x"));
}

#[test]
fn targets_go_on_byte_for_byte() {
    for target in ["/", "//a/./b/../c", "/%2F%2f*+", "/p?", "/p?a;b=%zz&c=?", "/é?\"<>"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: ep.x\r\n");
        assert!(rewritten(&forwarding(&text), &text, true).starts_with(&format!("GET {target}\r\n")));
    }
    let text = "OPTIONS * HTTP/1.1\r\nHost: ep.x\r\n";
    assert!(rewritten(&forwarding(text), text, true).starts_with("OPTIONS *\r\n"));
}

fn with_base(path: &str, query: &str) -> Exchange {
    let mut config = Config::new(Place::Agent);
    config.base_path = Some(Arc::from(path.as_bytes()));
    config.base_query = Some(Arc::from(query.as_bytes()));
    Exchange::new(&config, PEER, T0)
}

#[test]
fn an_agent_joins_its_base_with_one_slash() {
    let rows = [
        ("/base/", "k=v", "/echo?a=1", "/base/echo?k=v&a=1"),
        ("/base", "", "/echo", "/base/echo"),
        ("/base/", "", "/", "/base/"),
        ("/base", "", "//x", "/base//x"),
        ("base", "", "/x", "/base/x"),
        ("/", "", "/x?y", "/x?y"),
        ("", "", "/x?", "/x?"),
        ("", "k=v", "/x", "/x?k=v"),
        ("/", "k=v", "/x?", "/x?k=v"),
        ("/b", "k=v", "http://t.y?z", "/b/?k=v&z"),
        ("/b", "k=v", "*", "*"),
    ];
    for (path, query, target, expected) in rows {
        let text = format!("GET {target} HTTP/1.1\r\nHost: ep.x\r\n");
        let out = rewritten(&with_base(path, query), &text, false);
        assert!(out.starts_with(&format!("GET {expected}\r\n")), "{path} {query} {target}: {out}");
    }
}

#[test]
fn an_agent_adds_nothing() {
    let text = "GET / HTTP/1.1\r\nHost: ep.x\r\nX-Piko-Forward: true\r\nx-piko-authorization: t\r\n\
                X-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n";
    let mut exchange = agent();
    assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward);
    let expected = "GET /\r\nHost: ep.x\r\nX-Piko-Forward: true\r\nx-piko-authorization: t\r\n\
                    X-Forwarded-For: 9.9.9.9\r\n";
    assert_eq!(rewritten(&exchange, text, true), expected);
    assert_eq!(rewritten(&exchange, text, false), expected);
    assert_eq!(rewritten(&exchange, "GET / HTTP/1.0\r\n", true), "GET /\r\nHost: \r\n");
}

#[test]
fn too_many_connection_options_are_refused() {
    let head =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: ep.x\r\nConnection: {}\r\n", "a,".repeat(count));
    forwarding(&head(64));
    let text = head(65);
    for mut exchange in [server(), agent()] {
        assert_eq!(said(exchange.handle_request(T0, &request(&text))), (400, "malformed-request".into()));
    }
}

#[test]
fn trailers_lose_what_frames_routes_or_names() {
    let block = b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\nHost: h\r\nConnection: a\r\nTrailer: a\r\n\
        Authorization: x\r\nx-piko-endpoint: e\r\nX-Forwarded-For: 1\r\nX-Forwarded-Port: 1\r\nCookie: c\r\n\
        Set-Cookie: c\r\nContent-Type: t\r\nUpgrade: u\r\nTE: t\r\nKeep-Alive: k\r\nProxy-Authorization: p\r\n\
        x-checksum: 1\r\nETag: e\r\nDate: d\r\nGrpc-Status: 0\r\n";
    let mut out = BytesMut::from(&b"kept\r\n"[..]);
    fields::rewrite_trailers(&Fields::from_block(block), &mut out);
    assert_eq!(&out[..], b"kept\r\nx-checksum: 1\r\nETag: e\r\nDate: d\r\nGrpc-Status: 0\r\n");
}

#[test]
fn an_admin_port_adds_the_address_and_forbids_a_second_hop() {
    let text =
        "GET /status/x?forward=n2 HTTP/1.1\r\nHost: localhost:8002\r\nX-Piko-Authorization: Bearer t\r\n";
    let mut exchange = Exchange::new(&Config::new(Place::Admin), PEER, T0);
    assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward);
    assert_eq!((exchange.endpoint(), exchange.hop()), (None, Hop::First));
    let out = rewritten(&exchange, text, false);
    let want = "GET /status/x?forward=n2\r\nHost: localhost:8002\r\nX-Piko-Authorization: Bearer t\r\n";
    assert!(out.starts_with(want), "{out}");
    assert!(out.contains("X-Forwarded-For: "), "{out}");
    assert!(out.ends_with("x-piko-forward: true\r\n") && !out.contains("x-piko-load"), "{out}");

    let again = "GET / HTTP/1.1\r\nHost: x\r\nX-Piko-Forward: true\r\n";
    let mut exchange = Exchange::new(&Config::new(Place::Admin), PEER, T0);
    assert_eq!(exchange.handle_request(T0, &request(again)), Step::Forward);
    assert_eq!(exchange.hop(), Hop::Forwarded);
}
