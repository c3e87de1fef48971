//! Which endpoint a request reaches.

use piko_tests::http::{Client, End};
use piko_tests::process::Server;
use piko_tests::rig::{agent_of, scripted};

/// A server with an agent on each of these endpoints. The service answers with the endpoint it was reached by.
struct Endpoints {
    server: Server,
    _agent: piko_tests::process::Process,
    _service: piko_tests::service::Service,
}

fn endpoints(ids: &[&str]) -> Endpoints {
    let service = scripted(|peer, head| {
        // The agent's base path says which endpoint it was, the line behind it which Host came along.
        let path = head.split(' ').nth(1).unwrap_or_default();
        let id = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let host = head
            .split("\r\n")
            .find_map(|l| Some(l.split_once(':')?.1).filter(|_| l[..5].eq_ignore_ascii_case("host:")));
        let body = format!("{id}|{}", host.unwrap_or_default().trim());
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
    });
    let server = Server::start(&[]);
    let list: Vec<_> = ids.iter().map(|id| format!("{id}/http://{}/{id}", service.addr())).collect();
    let agent = agent_of(&server.connect_url(), &list);
    Endpoints { server, _agent: agent, _service: service }
}

impl Endpoints {
    fn ask(&self, request: &str) -> (u16, String, Option<String>, End) {
        self.ask_bytes(request.as_bytes())
    }

    fn ask_bytes(&self, request: &[u8]) -> (u16, String, Option<String>, End) {
        let mut client = Client::connect(self.server.proxy).expect("a connection");
        client.send(request).expect("a request is sent");
        let response = client.read_response("GET");
        let end = if response.end == End::Complete && response.value("connection").as_deref() == Some("close")
        {
            client.read_end()
        } else {
            response.end.clone()
        };
        (response.status(), response.body.text(), response.value("content-type"), end)
    }
}

#[test]
fn the_host_names_the_endpoint() {
    let endpoints = endpoints(&["ep", "EP", "1", "999"]);
    for (host, wanted) in [
        ("ep.example.com", "ep"),
        ("ep.example.com:8000", "ep"),
        ("ep.", "ep"),
        ("EP.example.com", "EP"),
        ("1.2.3", "1"),
        ("999.1.1.1", "999"),
    ] {
        let (status, body, _, _) = endpoints.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((status, body), (200, format!("{wanted}|{host}")), "Host: {host}");
    }
    for host in [
        "ep",
        "ep:8000",
        "localhost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "[fe80::1%25eth0]:1",
        ".ep",
        "",
    ] {
        let (status, body, kind, end) = endpoints.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let json = r#"{"error":"missing endpoint id","hop":"server","cause":"missing-endpoint-id"}"#;
        assert_eq!((status, body.as_str()), (400, json), "Host: {host}");
        assert_eq!(kind.as_deref(), Some("application/json; charset=utf-8"), "Host: {host}");
        assert_eq!(end, End::Complete, "Host: {host}");
    }
}

/// RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
/// that lacks a Host header field and to any request message that contains more than one Host header field
/// line or a Host header field with an invalid field value."
#[test]
fn malformed_hosts_are_refused_and_the_connection_is_closed() {
    let endpoints = endpoints(&["ep"]);
    let refused = |lines: &[u8]| {
        let mut request = b"GET / HTTP/1.1\r\n".to_vec();
        request.extend_from_slice(lines);
        request.extend_from_slice(b"\r\n");
        let (status, body, kind, end) = endpoints.ask_bytes(&request);
        let shown = String::from_utf8_lossy(lines);
        assert_eq!(status, 400, "{shown}");
        assert!(body.starts_with("400 Bad Request"), "{shown}: {body}");
        assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"), "{shown}");
        assert_eq!(end, End::Closed, "{shown}");
    };
    refused(b"");
    refused(b"Host: ep.a\r\nHost: ep.a\r\n");
    refused(b"Host: ep.a\r\nhost: ep.b\r\n");
    for host in ["ep.x:abc", "[ep.x]:80", "ep.x:1:2", "::1", "ep x.test", "a@ep.test", "ep.test/x", "e\tp.x"]
    {
        refused(format!("Host: {host}\r\n").as_bytes());
    }
    refused(b"Host: \xc3\xa9p.test\r\n");
}

#[test]
fn fields_name_the_endpoint_before_the_host() {
    let endpoints = endpoints(&["ep", "EP", "other"]);
    for (lines, wanted) in [
        ("x-piko-endpoint: ep\r\nHost: other.test\r\n", "ep|other.test"),
        ("X-PIKO-Endpoint:   EP  \r\nHost: ep.test\r\n", "EP|ep.test"),
        ("x-piko-endpoint: ep\r\nx-piko-endpoint: other\r\nHost: EP.test\r\n", "ep|EP.test"),
        ("x-piko-endpoint: ep\r\nHost: 127.0.0.1:80\r\n", "ep|127.0.0.1:80"),
        ("x-piko-endpoint: ep\r\nHost:\r\n", "ep|"),
        ("x-pico-endpoint: ep\r\nHost: other.test\r\n", "ep|other.test"),
        ("x-pico-endpoint: other\r\nx-piko-endpoint: ep\r\nHost: EP.test\r\n", "ep|EP.test"),
        ("x-piko-endpoint:\r\nHost: other.test\r\n", "other|other.test"),
    ] {
        let (status, body, _, _) = endpoints.ask(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        assert_eq!((status, body.as_str()), (200, wanted), "{lines}");
    }
    let nobody =
        |id: &str| endpoints.ask(&format!("GET / HTTP/1.1\r\nHost: x\r\nx-piko-endpoint: {id}\r\n\r\n"));
    for id in ["ep,other", "a b", "%65p", &"x".repeat(1024)] {
        let (status, body, _, _) = nobody(id);
        assert_eq!(status, 502, "{id}: {body}");
        assert!(body.contains("no available upstreams"), "{id}: {body}");
    }
    for id in ["a/b", "/", &"x".repeat(1025)] {
        let (status, body, _, end) = nobody(id);
        assert_eq!(status, 400, "{id}: {body}");
        assert!(body.contains("bad-endpoint-id"), "{id}: {body}");
        assert_eq!(end, End::Complete, "{id}");
    }
}

/// RFC 9112 3.2.2: "a server MUST ignore the received Host header field (if any) and instead use the host
/// information of the request-target."
#[test]
fn the_target_beats_the_host() {
    let endpoints = endpoints(&["ep", "other"]);
    for (target, host, wanted) in [
        ("http://ep.test/a", "other.test", "ep|ep.test"),
        ("http://ep.test:81", "other.test", "ep|ep.test:81"),
        ("HTTP://ep.test/?x", "", "ep|ep.test"),
        ("//ep.test/a", "other.test", "other|other.test"),
    ] {
        let (status, body, _, _) = endpoints.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((status, body.as_str()), (200, wanted), "{target}");
    }
    let (status, body, _, _) = endpoints.ask("OPTIONS * HTTP/1.1\r\nHost: ep.test\r\n\r\n");
    assert_eq!(status, 200, "OPTIONS * is for the endpoint: {body}");
}

/// HTTP/1.0 has no Host; the service speaks HTTP/1.1 and is told the endpoint.
#[test]
fn an_old_request_without_host_gets_the_endpoint_as_host() {
    let endpoints = endpoints(&["ep"]);
    let (status, body, _, _) = endpoints.ask("GET / HTTP/1.0\r\nx-piko-endpoint: ep\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, "ep|ep"));
    let (status, body, _, _) = endpoints.ask("GET / HTTP/1.0\r\nHost: ep.test\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, "ep|ep.test"));
}
