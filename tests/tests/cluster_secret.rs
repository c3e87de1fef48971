//! A cluster whose nodes share a secret: who takes part, and whose word counts.

use piko_tests::http::Client;
use piko_tests::process::{Agent, Server};
use piko_tests::rig::scripted;
use piko_tests::service::Service;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn node(id: &str, args: &[&str]) -> Server {
    let mut all = vec!["--cluster.node-id", id];
    all.extend_from_slice(args);
    Server::start(&all)
}

fn status(node: &Server, endpoint: &str, more: &[(&str, &str)]) -> u16 {
    let mut client = Client::connect(node.proxy).expect("the port is open");
    let mut fields = vec![("x-piko-endpoint", endpoint)];
    fields.extend_from_slice(more);
    client.get("/hello", &fields).expect("an answer").status()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        // What is waited for shows in other processes, which tell nobody: they are asked.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn metric(node: &Server, name: &str) -> u64 {
    let mut client = Client::connect(node.admin).expect("the port is open");
    let text = client.get("/metrics", &[]).expect("metrics").body.text();
    let value = |line: &str| line.strip_prefix(name)?.trim().parse::<f64>().ok();
    text.lines().filter_map(value).map(|value| value as u64).sum()
}

/// Why a node was not let in, as its log says.
fn refusal(node: &Server) -> String {
    let (_, record) = node.process.wait_record(0, PATIENCE, "failed to join cluster").expect("is not let in");
    record["error"].as_str().expect("a reason").to_owned()
}

/// A file of its own for the test, removed with it.
struct Secret(PathBuf);

impl Secret {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("piko-secret-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a writable place");
        Self(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nodes_with_the_secret_serve_each_other_and_others_have_no_part() {
    let file = Secret::new("same", "a secret of some length\n");
    let from_file = file.0.to_str().expect("text");
    let a = node("a", &["--cluster.secret", "a secret of some length"]);
    let seed = a.gossip().to_string();
    let b = node("b", &["--cluster.secret-file", from_file, "--cluster.join", &seed]);
    let service = Service::start();
    let _agent = Agent::http(&a.connect_url(), "shared", &service.addr().to_string(), &[]);
    wait_for("b finds the way to a", || status(&b, "shared", &[]) == 200);

    // Whoever says that a node forwarded its request is believed with the proof only.
    let forward = ("x-piko-forward", "true");
    assert_eq!(status(&b, "shared", &[forward]), 200, "the word of a client does not keep a request here");
    assert_eq!(status(&b, "shared", &[forward, ("x-piko-node", "1.29000000.00")]), 200);

    // Without the secret, and with another one.
    let tries = ["--cluster.join-timeout", "5s", "--cluster.abort-if-join-fails=false"];
    let mut stranger = vec!["--cluster.join", &seed];
    stranger.extend(tries);
    let c = node("c", &stranger);
    let mut other = vec!["--cluster.join", &seed, "--cluster.secret", "another secret"];
    other.extend(tries);
    let d = node("d", &other);
    for (node, why) in [
        (&c, "the peer has a cluster secret, and this node speaks without one"),
        (&d, "the peer does not share this node's cluster secret"),
    ] {
        assert_eq!(refusal(node), format!("{seed}: {why}"), "{}", node.process.tail());
    }
    // Their operators may look at a as well: what came over the streams is counted.
    wait_for("a counts what it refused", || {
        metric(&a, "piko_gossip_refused_total{reason=\"malformed\"}") >= 2
    });
    // What they send to a by datagram has no effect either.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for _ in 0..100 {
        socket.send_to(&[1, 0, 0x83], a.gossip()).expect("sent");
        socket.send_to(&[0xA1; 200], a.gossip()).expect("sent");
    }
    assert_eq!(status(&c, "shared", &[]), 502);
    assert_eq!(status(&d, "shared", &[]), 502);
    assert_eq!(status(&b, "shared", &[]), 200);
    assert!(metric(&b, "piko_upstreams_remote_requests_total{node_id=\"a\"}") >= 4, "all went by a");
    for node in [&a, &b] {
        let stranger = |line: &str| {
            line.contains("\"node joined\"") && !line.contains("\"a\"") && !line.contains("\"b\"")
        };
        let lines = node.process.lines(0);
        assert!(!lines.iter().any(|line| stranger(&line.text)), "{}", node.process.tail());
    }
}

/// By the secret a request is a node's, but by the clock its proof is old: it goes no further, or two such nodes would
/// send it to and fro; and it is not believed, since it may be somebody who repeats what he read.
#[test]
fn a_node_whose_clock_is_wrong_sends_nothing_in_circles() {
    let a = node("a", &["--cluster.secret", "of both"]);
    let seed = a.gossip().to_string();
    let b = node("b", &["--cluster.secret", "of both", "--cluster.join", &seed]);
    let service = Service::start();
    let _agent = Agent::http(&a.connect_url(), "clock", &service.addr().to_string(), &[]);
    wait_for("b finds the way to a", || status(&b, "clock", &[]) == 200);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let members = piko_driver::Members::new(b"of both");
    let proof = |at: u64| String::from_utf8(members.proof(at).to_vec()).expect("text");
    let forward = ("x-piko-forward", "true");
    for old in [now - 400, now + 400, now - 1_000_000] {
        assert_eq!(status(&b, "clock", &[forward, ("x-piko-node", &proof(old))]), 502, "it stays at b");
        assert_eq!(status(&a, "clock", &[forward, ("x-piko-node", &proof(old))]), 200);
    }
    let (_, record) = b.process.wait_record(0, PATIENCE, "clocks of nodes differ").expect("it is told");
    assert!(record["minutes"].as_u64().is_some_and(|minutes| (5..=7).contains(&minutes)), "{record}");
    // What shows who is a node is shown to nobody else.
    assert_eq!(status(&a, "clock", &[forward, ("x-piko-node", &proof(now))]), 200);
    let shown = |line: &str| line.contains("X-Piko-Node") && line.contains("[redacted]");
    wait_for("the access log has it", || a.process.lines(0).iter().any(|line| shown(&line.text)));
    assert!(!a.process.lines(0).iter().any(|line| line.text.contains(&proof(now))), "a proof in the log");
}

#[test]
fn without_a_secret_a_client_can_keep_its_request_here_as_in_go() {
    let a = node("a", &[]);
    let b = node("b", &["--cluster.join", &a.gossip().to_string()]);
    let service = Service::start();
    let _agent = Agent::http(&a.connect_url(), "open", &service.addr().to_string(), &[]);
    wait_for("b finds the way to a", || status(&b, "open", &[]) == 200);
    assert_eq!(status(&b, "open", &[("x-piko-forward", "true")]), 502);
}

/// A connection from this address of the machine.
fn client_from(ip: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("the port is open");
    Client::over(socket.into()).expect("a socket option")
}

/// What a service is told of a client does not depend on what that client claims to be.
#[test]
fn without_a_secret_only_the_addresses_of_nodes_are_believed() {
    const CLAIM: [(&str, &str); 4] = [
        ("x-piko-endpoint", "open"),
        ("x-piko-forward", "true"),
        ("x-piko-load", "?"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let service = scripted(|peer, head| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        peer.send(answer.as_bytes())
    });
    let heard = |mut client: Client, fields: &[(&str, &str)]| {
        let answer = client.get("/", fields).expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        (answer.body.text().to_ascii_lowercase(), answer.value("x-piko-load").is_some())
    };
    let a = node("a", &[]);
    let _agent = Agent::http(&a.connect_url(), "open", &service.addr().to_string(), &[]);
    let stranger = |ip| {
        let (head, load) = heard(client_from(ip, a.proxy), &CLAIM);
        let ip = ip.map(|part| part.to_string()).join(".");
        let told = format!("x-forwarded-for: 203.0.113.9, {ip}\r\n");
        assert!(head.contains(&told) && head.contains("x-forwarded-host: "), "{head}");
        assert!(head.contains("x-forwarded-proto: http\r\n") && !load, "{head}");
    };
    // A node that knows no other one believes nobody.
    stranger([127, 0, 0, 1]);
    let b = node("b", &["--cluster.join", &a.gossip().to_string()]);
    wait_for("b finds the way to a", || status(&b, "open", &[]) == 200);
    // Both ways between nodes: a link, and a connection for what has a large body.
    for length in ["0", "20000"] {
        let mut client = client_from([127, 0, 0, 3], b.proxy);
        client
            .send_head("POST", "/", &[("x-piko-endpoint", "open"), ("content-length", length)])
            .expect("sent");
        let answer = client.read_response("POST");
        let head = answer.body.text().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-for: 127.0.0.3\r\n"), "{head}");
    }
    stranger([127, 0, 0, 2]);
    // A node is known by the address of its proxy port.
    let (head, load) = heard(client_from([127, 0, 0, 1], a.proxy), &CLAIM);
    assert!(head.contains("x-forwarded-for: 203.0.113.9\r\n") && load, "{head}");
    assert!(!head.contains("x-forwarded-host"), "{head}");
}

#[test]
fn a_node_whose_seed_has_no_secret_ends_and_says_so() {
    let a = node("a", &[]);
    let seed = a.gossip().to_string();
    // Its second try comes after a second or a little more.
    let args = ["--cluster.join", &seed, "--cluster.secret", "mine alone", "--cluster.join-timeout", "3s"];
    let mut b = node("b", &args);
    let why = format!("{seed}: the peer speaks without a cluster secret, and this node has one");
    assert_eq!(refusal(&b), why);
    assert_eq!(b.process.wait_exit(PATIENCE).expect("it gives up").code(), Some(1));
    assert!(b.process.tail().contains(&format!("cluster join: {why}")), "{}", b.process.tail());
    // Once, however often it tried; and an operator of a hears that somebody comes with something else.
    let warned = b.process.lines(0).iter().filter(|line| line.text.contains("a seed is not of this")).count();
    assert_eq!(warned, 1, "{}", b.process.tail());
    a.process.wait_record(0, PATIENCE, "refused messages").expect("told");
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let missing = piko_tests::process::binary("piko-server");
    for (args, says) in [
        (vec!["--cluster.secret-file", "/nonexistent/secret"], "/nonexistent/secret"),
        (
            vec!["--cluster.secret", "x", "--cluster.secret-file", "y"],
            "secret and secret-file cannot both be set",
        ),
    ] {
        let output = std::process::Command::new(&missing)
            .args(["--proxy.bind-addr=127.0.0.1:0", "--upstream.bind-addr=127.0.0.1:0"])
            .args(["--admin.bind-addr=127.0.0.1:0", "--cluster.gossip.bind-addr=127.0.0.1:0"])
            .args(&args)
            .output()
            .expect("runs");
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(says), "{text}");
    }
}

/// Anybody who reaches an open gossip port may join: an operator hears of it, where somebody else can reach it.
#[test]
fn an_open_gossip_port_is_warned_of() {
    const WARNING: &str = "gossip is open to everybody who reaches its port; --cluster.secret-file closes it";
    let everywhere = ["--cluster.gossip.bind-addr", "0.0.0.0:0"];
    let secret = ["--cluster.secret", "a secret of some length"];
    let cases: [(&[&str], bool); 3] =
        [(&everywhere, true), (&[], false), (&[everywhere, secret].concat(), false)];
    for (args, warned) in cases {
        let node = node("alone", args);
        node.process.wait_record(0, Duration::from_secs(20), "starting gossip").expect("it starts");
        // The warning would come next, ahead of the node's being ready.
        wait_for("it is ready", || {
            let mut client = Client::connect(node.admin).expect("the port is open");
            client.get("/ready", &[]).is_ok_and(|answer| answer.status() == 200)
        });
        let said = node.process.lines(0).iter().any(|line| line.is_record(WARNING));
        assert_eq!(said, warned, "{args:?}: {}", node.process.tail());
    }
}
