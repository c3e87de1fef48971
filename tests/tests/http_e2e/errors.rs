//! Every answer that Piko makes itself when the upstream fails: status, JSON and the field that names the cause.

use std::io;

use piko_tests::cluster::unused_addr;
use piko_tests::http::{Client, End, Response};
use piko_tests::process::{Agent, Server};
use piko_tests::rig::{ENDPOINT, HOST, Rig, scripted};

fn assert_error(response: &Response, status: u16, error: &str, hop: &str, cause: &str) {
    let what = format!("{hop} {cause}");
    assert_eq!(response.status(), status, "{what}: {response:?}");
    assert_eq!(response.end, End::Complete, "{what}");
    let body = response.body.text();
    // These bodies end in a newline, as Go's do.
    assert_eq!(body, format!("{{\"error\":\"{error}\",\"hop\":\"{hop}\",\"cause\":\"{cause}\"}}\n"));
    assert_eq!(response.value("content-type").as_deref(), Some("application/json"), "{what}");
    assert_eq!(response.value("x-content-type-options").as_deref(), Some("nosniff"), "{what}");
    assert_eq!(response.value("x-piko-error"), Some(format!("hop={hop}; cause={cause}")), "{what}");
    assert!(response.value("date").is_some() || hop == "server", "{what}");
}

fn ask(server: &Server, host: &str) -> Response {
    let mut client = Client::connect(server.proxy).expect("a connection");
    client.get("/", &[("host", host)]).expect("sent")
}

#[test]
fn nobody_listens_on_the_endpoint() {
    let server = Server::start(&[]);
    assert_error(&ask(&server, "nobody.test"), 502, "no available upstreams", "server", "no-upstream");
    // Connections are kept, the next request may be luckier.
    let mut client = Client::connect(server.proxy).expect("a connection");
    for _ in 0..3 {
        assert_eq!(client.request("POST", "/", &[("host", "a.test")], b"body").expect("sent").status(), 502);
    }
}

#[test]
fn the_service_is_not_there() {
    let addr = unused_addr();
    let server = Server::start(&[]);
    let _agent = Agent::http(&server.connect_url(), ENDPOINT, &addr.to_string(), &[]);
    for _ in 0..2 {
        assert_error(&ask(&server, HOST), 502, "upstream unreachable", "agent", "connect-refused");
    }
}

#[test]
fn the_service_does_not_speak_http() {
    for (answer, cause) in [
        ("garbage\r\n\r\n", "malformed-response"),
        ("HTTP/2.0 200 OK\r\n\r\n", "malformed-response"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed-response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "malformed-response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "malformed-response"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "bad-upgrade"),
        ("HTTP/1.1 200 O", "cut-response"),
        ("", "stream-reset"),
    ] {
        let service = scripted(move |peer, _| {
            peer.send(answer.as_bytes())?;
            Err(io::ErrorKind::NotConnected.into())
        });
        let rig = Rig::with(service, &[], &[]);
        assert_error(&rig.get("/"), 502, "upstream unreachable", "agent", cause);
    }
}

/// Transfer-encoding wins over a length, and the connection is not used again (RFC 9112 6.3).
#[test]
fn a_response_with_both_framings_is_read_one_way() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    });
    let rig = Rig::with(service, &[], &[]);
    for n in 1..=3 {
        let response = rig.get("/");
        assert_eq!((response.body.text().as_str(), response.end.clone()), ("hello", End::Complete));
        assert_eq!(response.value("content-length"), None);
        assert_eq!(rig.service.counts().connections, n);
    }
}

fn silent() -> piko_tests::service::Service {
    scripted(|peer, _| {
        // Until the proxy gives up.
        peer.read_end();
        Err(io::ErrorKind::NotConnected.into())
    })
}

#[test]
fn the_service_does_not_answer_in_time() {
    let rig = Rig::with(silent(), &[], &["--timeout", "200ms"]);
    assert_error(&rig.get("/"), 504, "upstream timeout", "agent", "response-timeout");
    let rig = Rig::with(silent(), &["--proxy.timeout", "200ms"], &[]);
    assert_error(&rig.get("/"), 504, "upstream timeout", "server", "response-timeout");
}

/// The limit is for the head: a body takes as long as it takes.
#[test]
fn the_time_limit_does_not_cut_a_slow_body() {
    let rig = Rig::with(
        piko_tests::service::Service::start(),
        &["--proxy.timeout", "300ms"],
        &["--timeout", "300ms"],
    );
    let response = rig.get("/slow?body_ms=900");
    assert_eq!((response.body.text().as_str(), response.end), ("slow\n", End::Complete));
}

#[test]
fn the_agent_leaves_before_the_answer() {
    let service = scripted(|peer, _| {
        peer.read_end();
        Err(io::ErrorKind::NotConnected.into())
    });
    let mut rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    client.send_head("POST", "/", &[("host", HOST), ("content-length", "0")]).expect("sent");
    let arrived = rig.service.wait_counts(piko_tests::rig::PATIENCE, |c| c.connections == 1);
    assert!(arrived.is_some(), "the service sees the request");
    rig.agent.process.signal(piko_tests::process::Signal::Kill).expect("it runs");
    assert_error(&client.read_response("POST"), 502, "upstream unreachable", "server", "stream-reset");
}

/// Not the name and not the service is at fault: whoever looks for the cause is sent to the right place.
#[test]
fn an_agent_without_descriptors_says_so() {
    use piko_tests::process::{Process, binary};
    use piko_tests::rig::PATIENCE;
    use std::process::Command;

    let service = scripted(|peer, _| {
        peer.set_patience(PATIENCE)?;
        peer.read_end();
        Err(io::ErrorKind::NotConnected.into())
    });
    let server = Server::start(&[]);
    for addr in [service.addr().to_string(), format!("localhost:{}", service.addr().port())] {
        // A limit that the agent cannot raise: some descriptors are its own, the rest is for requests.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 16; exec \"$0\" \"$@\""]).arg(binary("piko-agent"));
        command.args(["http", "few", &addr, "--connect.url", &server.connect_url()]);
        let agent = Process::spawn("piko-agent", &mut command).expect("the agent starts");
        agent.wait_record(0, PATIENCE, "tunnel connected").expect("a tunnel");
        let mut open: Vec<Client> = Vec::new();
        for _ in 0..32 {
            let mut client = Client::connect(server.proxy).expect("a connection");
            client.send_head("GET", "/", &[("host", "few.test")]).expect("sent");
            open.push(client);
        }
        // Those that found a descriptor wait for the service, the others have their answer.
        let refused = open.iter_mut().rev().find_map(|client| {
            client.set_patience(std::time::Duration::from_secs(1)).expect("an option");
            client.read_head().ok()
        });
        let head = refused.expect("16 descriptors are not enough for 32 requests");
        let cause = "hop=agent; cause=out-of-descriptors";
        assert_eq!((head.status, head.value("x-piko-error").as_deref()), (502, Some(cause)), "{addr}");
    }
}
