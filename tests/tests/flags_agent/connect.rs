//! `--connect.*`, `--server.*`, `--grace-period`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::unused_addr;
use piko_tests::flags::{Settings, WAYS, Way, agent};
use piko_tests::http::{Client, End};
use piko_tests::process::{Process, Server, Signal};
use piko_tests::service::Service;

use crate::{SOON, Setup, TO_E};

/// A server port that answers every upgrade with `answer` (nothing: never) and hands out the heads it got.
struct Port {
    addr: SocketAddr,
    heads: Receiver<Vec<String>>,
}

impl Port {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let (send, heads) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let send = send.clone();
                thread::spawn(move || {
                    let Some(head) = read_head(&stream) else { return };
                    // Nobody listens any more once the test is over.
                    let _ = send.send(head);
                    let mut stream = stream;
                    let _ = stream.write_all(answer.as_bytes());
                    // Stays open until the agent gives up.
                    let _ = stream.read(&mut [0; 64]);
                });
            }
        });
        Self { addr, heads }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn head(&self) -> Vec<String> {
        self.heads.recv_timeout(SOON).expect("a request")
    }
}

fn read_head(stream: &TcpStream) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        match line.ok()? {
            line if line.is_empty() => return Some(lines),
            line => lines.push(line),
        }
    }
    None
}

/// An agent whose `connect.url` is given like the other settings.
fn launch(way: Way, settings: Settings<'_>) -> Process {
    use piko_tests::process::{binary, variable};
    let mut command = std::process::Command::new(binary("piko-agent"));
    command.args(["http", "e", "127.0.0.1:1"]);
    for (name, value) in settings {
        match way {
            Way::Env => command.env(variable(name), value),
            Way::Flag => command.arg(format!("--{name}={value}")),
        };
    }
    Process::spawn("piko-agent", &mut command).expect("started")
}

const REFUSES: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 33\r\n\r\n\
                       {\"error\":\"missing authorization\"}";

#[test]
fn the_url_the_token_and_the_tenant_go_to_the_server() {
    for way in WAYS {
        let port = Port::start(REFUSES);
        let url = format!("{}/prefix", port.url());
        let settings =
            [("connect.url", url.as_str()), ("connect.token", "t0ken"), ("connect.tenant-id", "me")];
        let mut process = launch(way, &settings);
        let head = port.head();
        assert_eq!(head[0], "GET /prefix/piko/v1/upstream/e HTTP/1.1");
        let field = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        assert_eq!(field("host"), Some(port.addr.to_string().as_str()));
        assert_eq!(field("authorization"), Some("Bearer t0ken"));
        assert_eq!(field("x-piko-tenant-id"), Some("me"));
        // A status that no retry cures ends the agent, which names it and never the token.
        assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(1));
        let text: String = process.lines(0).iter().map(|line| format!("{}\n", line.text)).collect();
        assert!(text.contains("401: ") && text.contains("missing authorization"), "{text}");
        assert!(!text.contains("t0ken"), "{text}");
    }
    // Without the settings there are no such fields.
    let port = Port::start(REFUSES);
    let _process = launch(Way::Flag, &[("connect.url", &port.url())]);
    let head = port.head();
    let sent = |name: &str| head.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
    assert!(!sent("authorization:") && !sent("x-piko-tenant-id:"), "{head:?}");
}

#[test]
fn one_attempt_lasts_as_long_as_asked() {
    for way in WAYS {
        // Accepts and never answers.
        let port = Port::start("");
        let process = launch(way, &[("connect.url", &port.url()), ("connect.timeout", "300ms")]);
        port.head();
        let began = Instant::now();
        let (_, record) = process.wait_record(0, SOON, "connect failed; retrying").expect("a failed attempt");
        assert_eq!(record["error"], format!("{}: no answer: timed out", port.url()));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        // It is a limit of each attempt, not of all of them.
        port.head();
        port.head();
    }
}

#[test]
fn a_first_failure_ends_the_agent_only_when_asked() {
    // Refused at once: whoever listened there has gone.
    let dead = unused_addr();
    let url = format!("http://{dead}");
    for way in WAYS {
        let settings = [
            ("connect.url", url.as_str()),
            ("connect.exit-on-failure", "true"),
            ("connect.timeout", "500ms"),
        ];
        let mut process = launch(way, &settings);
        assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(1));
        let (_, record) = process.wait_record(0, SOON, "failed to run agent").expect("the reason");
        assert!(record["error"].as_str().is_some_and(|e| e.contains("refused")), "{record}");
    }
    let mut process = launch(Way::Flag, &[("connect.url", &url), ("connect.timeout", "200ms")]);
    let mut next = 0;
    for _ in 0..4 {
        let (at, _) = process.wait_record(next, SOON, "connect failed; retrying").expect("another attempt");
        next = at + 1;
    }
    assert!(process.try_wait().expect("known").is_none(), "it goes on trying");
    process.signal(Signal::Term).expect("sent");
    assert!(process.wait_exit(SOON).expect("the end").success());
}

#[test]
fn metrics_are_served_where_asked() {
    for way in WAYS {
        let settings = [("server.enabled", "true"), ("server.bind-addr", "127.0.0.5:0")];
        let setup = Setup::start(way, &settings);
        let (_, record) =
            setup.agent.process.wait_record(0, SOON, "starting metrics server").expect("the port");
        let addr: SocketAddr = record["addr"].as_str().expect("an address").parse().expect("an address");
        assert!(addr.ip().to_string() == "127.0.0.5" && addr.port() != 0, "{addr}");
        assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
        let mut client = Client::connect(addr).expect("the metrics port");
        let answer = client.get("/metrics", &[]).expect("an answer");
        assert!(answer.value("content-type").is_some_and(|t| t.starts_with("text/plain; version=0.0.4")));
        let text = answer.body.text();
        for (name, kind) in [
            ("piko_agent_request_latency_seconds", "histogram"),
            ("piko_agent_request_size_bytes", "histogram"),
            ("piko_agent_requests_in_flight", "gauge"),
            ("piko_agent_requests_total", "counter"),
            ("piko_agent_response_size_bytes", "histogram"),
        ] {
            assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}\n{text}");
        }
        let total =
            text.lines().find(|line| line.starts_with("piko_agent_requests_total{")).expect("a count");
        for label in ["status=\"200\"", "method=\"GET\"", "endpoint=\"e\""] {
            assert!(total.contains(label), "{total}");
        }
        assert!(total.ends_with(" 1"), "{total}");
        assert_eq!(client.get("/health", &[]).expect("an answer").status(), 404);
    }
    // Off by default, and the port that is taken is named.
    let setup = Setup::start(Way::Flag, &[]);
    assert!(!setup.agent.process.lines(0).iter().any(|line| line.is_record("starting metrics server")));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let mut process = launch(Way::Flag, &[("server.enabled", "true"), ("server.bind-addr", &addr)]);
    assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(1));
    let (_, record) = process.wait_record(0, SOON, "failed to run agent").expect("the reason");
    assert!(record["error"].as_str().is_some_and(|e| e.contains(&addr) && e.contains("in use")), "{record}");
}

#[test]
fn the_grace_period_is_given_to_requests_and_not_exceeded() {
    for way in WAYS {
        let mut setup = Setup::start(way, &[("grace-period", "30s")]);
        let mut client = setup.client();
        client.send_head("GET", "/slow?body_ms=700", &[TO_E]).expect("sent");
        client.read_head().expect("the head");
        setup.agent.process.signal(Signal::Term).expect("sent");
        assert!(setup.agent.process.wait_exit(SOON).expect("the end").success());
        assert_eq!(client.read_exact(5).expect("the whole body"), b"slow\n");

        let mut setup = Setup::start(way, &[("grace-period", "300ms")]);
        let mut client = setup.client();
        client.send_head("GET", "/slow?body_ms=60000", &[TO_E]).expect("sent");
        client.read_head().expect("the head");
        let began = Instant::now();
        setup.agent.process.signal(Signal::Term).expect("sent");
        setup.agent.process.wait_exit(SOON).expect("the end");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert!(client.read_exact(5).is_err(), "a cut body is never a complete one");
    }
}

/// After the drain has begun no new request gets in, and a second signal does not wait.
#[test]
fn a_second_signal_ends_the_agent_at_once() {
    let mut setup = Setup::start(Way::Flag, &[("grace-period", "10m")]);
    let mut client = setup.client();
    client.send_head("GET", "/slow?body_ms=60000", &[TO_E]).expect("sent");
    client.read_head().expect("the head");
    let process = &mut setup.agent.process;
    process.signal(Signal::Int).expect("sent");
    process.wait_record(0, SOON, "received shutdown signal").expect("the first");
    process.signal(Signal::Int).expect("sent");
    assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(1));
    // The client sees a transfer that was cut, not one that ended.
    let end = client.read_end();
    assert!(!matches!(end, End::Complete | End::Timeout), "{end:?}");
}

/// An agent may be started before its server, and comes back when its server does.
#[test]
fn the_agent_waits_for_its_server_and_finds_it_again() {
    let service = Service::start();
    let port = unused_addr().to_string();
    let agent = agent(Way::Flag, &format!("http://{port}"), "e", &service.addr().to_string(), &[]);
    agent.process.wait_record(0, SOON, "connect failed; retrying").expect("an attempt");
    let bind = format!("--upstream.bind-addr={port}");
    let mut next = 0;
    for _ in 0..2 {
        let server = Server::start(&[&bind]);
        next = agent.wait_connected(next, SOON).expect("the tunnel");
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").body.text(), "hello\n");
        drop(server);
        next = agent.wait_lost(next, SOON).expect("the loss is told");
    }
}
