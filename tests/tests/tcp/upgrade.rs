//! The request for a connection: what is refused, and before what.

use crate::common::{ENDPOINT, Way, WebSocket, echo};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;

/// The lines of a port's metrics that begin with `name`.
pub(crate) fn metric(admin: std::net::SocketAddr, name: &str) -> Vec<String> {
    let mut client = Client::connect(admin).expect("the admin port");
    let response = client.get("/metrics", &[]).expect("metrics");
    response.body.text().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn what_is_no_upgrade_is_refused_before_anything_is_opened() {
    let service = echo();
    let way = Way::local(service.addr());
    let mut client = Client::connect(way.proxy).expect("the proxy port");
    let path = format!("/_piko/v1/tcp/{ENDPOINT}");
    let plain = client.get(&path, &[("host", "h")]).expect("an answer");
    assert_eq!((plain.status(), plain.body.text().as_str()), (400, "Bad Request\n"));
    assert_eq!(
        plain.head.as_ref().and_then(|head| head.value("sec-websocket-version")).as_deref(),
        Some("13")
    );
    let upgrade = [
        ("host", "h"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("origin", "http://elsewhere"),
    ];
    let foreign = client.get(&path, &upgrade).expect("an answer");
    assert_eq!(foreign.status(), 403);
    let version =
        client.get(&path, &[&upgrade[..3], &[("sec-websocket-version", "8")]].concat()).expect("an answer");
    assert_eq!(version.status(), 400);
    assert_eq!(service.counts().connections, 0, "nothing was opened");
    assert!(WebSocket::open(way.proxy, ENDPOINT, &[]).is_ok(), "and the endpoint works");
    let admin = way.servers[0].admin;
    assert_eq!(metric(admin, "piko_proxy_tcp_connections_total"), ["piko_proxy_tcp_connections_total 1"]);
}

#[test]
fn an_endpoint_without_upstream_is_a_502() {
    let server = Server::start(&[]);
    assert_eq!(WebSocket::open(server.proxy, "nobody", &[]).err(), Some(502));
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let plain = client.get("/_piko/v1/tcp/nobody", &[("host", "h")]).expect("an answer");
    assert_eq!(plain.status(), 502, "as Go says it");
    assert!(plain.body.text().starts_with("{\"error\":\"no available upstreams\""), "{}", plain.body.text());
}

/// The server does not know what an endpoint speaks (wire protocol 4.10).
#[test]
fn a_tcp_endpoint_can_be_asked_over_http() {
    let service = Service::start();
    let way = Way::local(service.addr());
    let mut client = Client::connect(way.proxy).expect("the proxy port");
    for _ in 0..3 {
        let response = client.get("/hello", &[("x-piko-endpoint", ENDPOINT)]).expect("an answer");
        assert_eq!((response.status(), response.body.text().as_str()), (200, "hello\n"));
    }
}

#[test]
fn pings_are_answered_and_early_bytes_are_not_lost() {
    use std::io::{Read, Write};
    let service = echo();
    let way = Way::local(service.addr());
    let mut stream = crate::common::connect(way.proxy);
    // The request, a masked ping, and a masked message "hi" in one segment; the mask is zero.
    let mut bytes = format!(
        "GET /_piko/v1/tcp/{ENDPOINT} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(b"\x89\x82\0\0\0\0PP\x82\x82\0\0\0\0hi");
    stream.write_all(&bytes).expect("sent");
    let mut all = Vec::new();
    while !(contains(&all, b"\x8a\x02PP") && contains(&all, b"\x82\x02hi")) {
        let mut buf = [0; 1024];
        let n = stream.read(&mut buf).expect("an answer");
        assert!(n > 0, "{}", all.escape_ascii());
        all.extend_from_slice(&buf[..n]);
    }
    let head = String::from_utf8_lossy(&all).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && !head.contains("x-piko-caps"), "{head}");
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// Any upstream that can be reached is as good as the one that was chosen first.
#[test]
fn a_node_that_died_unnoticed_does_not_matter() {
    let service = echo();
    let far = Server::start(&[]);
    let near = Server::start(&["--cluster.join", &far.gossip().to_string()]);
    let _here = Agent::tcp(&near.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    let _there = Agent::tcp(&far.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    drop(far);
    for _ in 0..10 {
        assert!(WebSocket::open(near.proxy, ENDPOINT, &[]).is_ok());
    }
}
