//! Large heads, and what the heads of answers made here say.

use std::time::{Duration, Instant};

use piko_tests::http::{Client, Response};
use piko_tests::process::{Agent, Server};
use piko_tests::rig::{ENDPOINT, HOST, PATIENCE, Rig, scripted};
use piko_tests::service::Service;

/// What the server reads beyond its limit, as Go does.
const SLACK: usize = 4096;
const MIB: usize = 1 << 20;

/// A service that answers with the number of bytes and of lines of the head.
fn measuring() -> Service {
    scripted(|peer, head| {
        let body = format!("{} bytes, {} lines", head.len(), head.lines().count());
        let length = body.len();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
    })
}

/// A request whose head has so many bytes, of which the test client and service take one MiB in a line.
fn head_of(bytes: usize, more: &str) -> String {
    let mut head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{more}");
    while bytes - head.len() > 600_000 {
        head.extend(["X-Long: ", &"x".repeat(500_000), "\r\n"]);
    }
    let last = "X-Last: ".len() + "\r\n\r\n".len();
    head.extend(["X-Last: ", &"x".repeat(bytes - head.len() - last), "\r\n\r\n"]);
    assert_eq!(head.len(), bytes);
    head
}

fn ask(server: &Server, head: &str) -> Response {
    let mut client = Client::connect(server.proxy).expect("the port takes connections");
    client.send(head.as_bytes()).expect("sent");
    client.read_response("GET")
}

/// RFC 6585 5. The server's limit is the one that counts, on whatever way a head goes on.
#[test]
fn heads_up_to_the_limit_go_all_the_way() {
    let service = measuring();
    for (args, limit) in [(&[][..], MIB), (&["--proxy.http.max-header-bytes", "4MiB"], 4 * MIB)] {
        let far = Server::start(args);
        let seed = far.gossip().to_string();
        let near = Server::start(&[args, &["--cluster.join", &seed]].concat());
        let agent = Agent::http(&far.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
        let deadline = Instant::now() + PATIENCE;
        let small = head_of(100, "");
        while ask(&near, &small).status() != 200 {
            assert!(Instant::now() < deadline, "the endpoint does not come to the other node");
            // The node is another process, which tells nobody what it routes: it is asked.
            std::thread::sleep(Duration::from_millis(20));
        }
        // The other node gets what is longer than it came: these get a blank each, and the host is there twice.
        let tight = "a:b\r\n".repeat(limit / 50);
        for server in [&far, &near] {
            for more in ["", &tight, "Content-Length: 0\r\n", "Connection: upgrade\r\nUpgrade: x\r\n"] {
                let answer = ask(server, &head_of(limit + SLACK, more));
                let error = answer.value("x-piko-error");
                assert_eq!((answer.status(), error), (200, None), "{limit}: {}", answer.body.text());
            }
            let answer = ask(server, &head_of(limit + SLACK + 1, ""));
            assert_eq!(answer.status(), 431);
            let error = answer.value("x-piko-error");
            assert_eq!(error.as_deref(), Some("hop=server; cause=head-too-large"));
        }
        drop(agent);
    }
}

/// Of usual lines as many as fit.
#[test]
fn the_bytes_of_a_head_decide_and_not_its_lines() {
    let rig = Rig::with(measuring(), &[], &[]);
    let many: String = (0..30_000).map(|i| format!("x-{i}: {i}\r\n")).collect();
    let answer = rig.raw(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{many}\r\n"));
    assert_eq!(answer.status(), 200, "{answer:?}");
    // With those that the server adds, its start line, and the blank one.
    assert!(answer.body.text().ends_with(", 30006 lines"), "{}", answer.body.text());
    // Only lines that say nothing are too many first.
    let empty = "a:\r\n".repeat(200_000);
    let answer = rig.raw(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{empty}\r\n"));
    assert_eq!(answer.status(), 431);
}

#[test]
fn responses_may_have_large_heads_and_are_told_when_too_large() {
    let service = scripted(|peer, head| {
        let fields = match head.split(' ').nth(1) {
            Some("/lines") => (0..20_000).map(|i| format!("set-cookie: {i}=x\r\n")).collect(),
            Some("/tight") => format!("{}x-a: {}\r\n", "a:b\r\n".repeat(30_000), "x".repeat(850_000)),
            Some("/long") => format!("x-a: {}\r\n", "x".repeat(1_200_000)),
            _ => "a:\r\n".repeat(100_000),
        };
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n").as_bytes())
    });
    let rig = Rig::with(service, &[], &[]);
    for path in ["/lines", "/tight"] {
        assert_eq!(rig.get(path).status(), 200, "{path}");
    }
    for path in ["/long", "/empty-lines"] {
        let answer = rig.get(path);
        let error = answer.value("x-piko-error");
        assert_eq!(
            (answer.status(), error.as_deref()),
            (502, Some("hop=agent; cause=head-too-large")),
            "{path}"
        );
    }
}

/// What it says in Piko's name would be acted on by servers (a request is sent once more for some causes), and believed by
/// clients.
#[test]
fn a_service_cannot_speak_for_piko() {
    let service = scripted(|peer, _| {
        peer.send(
            b"HTTP/1.1 502 Bad Gateway\r\nX-Piko-Error: hop=agent; cause=connect-refused\r\nx-piko-load: 1\r\n\
              x-own: yes\r\ncontent-length: 0\r\n\r\n",
        )
    });
    let rig = Rig::with(service, &[], &[]);
    // Twice, since the second one would meet what was held against the upstream.
    for _ in 0..2 {
        let answer = rig.get("/");
        assert_eq!((answer.status(), answer.value("x-own").as_deref()), (502, Some("yes")));
        assert_eq!((answer.value("x-piko-error"), answer.value("x-piko-load")), (None, None), "{answer:?}");
    }
    assert_eq!(rig.service.counts().connections, 1, "each request was sent once, on a kept connection");
}

/// RFC 9110 6.6.1: "An origin server with a clock MUST generate a Date header field in all 2xx, 3xx, and 4xx responses".
#[test]
fn answers_made_here_have_a_date() {
    let server = Server::start(&[]);
    let ports = [
        (server.proxy, "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", 502),
        (server.proxy, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (server.proxy, "GET /_piko/v1/tcp/e/ HTTP/1.1\r\nHost: a\r\n\r\n", 301),
        (server.proxy, "GET / HTTP/1.1\r\n\r\n", 400),
        (server.admin, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (server.admin, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (server.admin, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (server.admin, "garbage\r\n\r\n", 400),
        (server.upstream, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ];
    for (port, request, status) in ports {
        let mut client = Client::connect(port).expect("the port takes connections");
        client.send(request.as_bytes()).expect("sent");
        let answer = client.read_response("GET");
        assert_eq!(answer.status(), status, "{request}");
        let date = answer.value("date").unwrap_or_default();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{request}: {answer:?}");
    }
}

/// Two ways to say the same (RFC 9110 8.6, 2.5) are said in one way to the service.
#[test]
fn one_length_is_written_and_one_version() {
    let service = scripted(|peer, head| {
        let body = peer.read_exact(3)?;
        assert_eq!(body, b"abc");
        let length = head.len();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}").as_bytes())
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    let request = format!(
        "POST / HTTP/1.2\r\nContent-Length: 3\r\nHost: {HOST}\r\nContent-Length: 3\r\nX-Forwarded-For: a\r\n\r\nabc"
    );
    client.send(request.as_bytes()).expect("sent");
    let answer = client.read_response("POST");
    assert_eq!(answer.status(), 200, "{answer:?}");
    let head = answer.body.text();
    assert!(
        head.starts_with("POST / HTTP/1.1\r\n") && head.ends_with("\r\ncontent-length: 3\r\n\r\n"),
        "{head}"
    );
    assert_eq!(head.to_ascii_lowercase().matches("content-length").count(), 1, "{head}");
}
