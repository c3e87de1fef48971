//! Node to node, and the admin port of another node.

use std::process::Command;

use piko_tests::certs::Authority;
use piko_tests::flags::Way;
use piko_tests::http::{Client, Response};
use piko_tests::process::{Agent, Line, Server, binary};
use piko_tests::service::Service;
use piko_tests::tls::{TlsClient, Trust};

use crate::{NONE_SHOWN, SOON, STRANGE, Setup, TO_E, wait_for};

/// Two nodes with TLS on the proxy and admin ports, the second joined to the first.
fn nodes(setup: &Setup, more: &[(&str, &str)]) -> [Server; 2] {
    let one = setup.server(Way::Flag, &["proxy", "admin"], &[more, &[("cluster.node-id", "one")]].concat());
    let join = one.gossip().to_string();
    let of_two = [("cluster.node-id", "two"), ("cluster.join", join.as_str())];
    let two = setup.server(Way::Flag, &["proxy", "admin"], &[more, &of_two].concat());
    [one, two]
}

fn agent_at(server: &Server, service: &Service) -> Agent {
    Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &[])
}

/// `proxy.tls.client.root-cas`, `.cert`, `.key`; `admin.tls.client.*` likewise.
#[test]
fn nodes_reach_each_other_with_certificates_of_both() {
    let setup = Setup::new();
    let [cert, key] = setup.authority.issue(&["node"]).write(&setup.folder, "node");
    let mut more = Vec::new();
    let names: Vec<[String; 4]> = ["proxy", "admin"]
        .map(|port| {
            ["client-cas", "client.root-cas", "client.cert", "client.key"]
                .map(|name| format!("{port}.tls.{name}"))
        })
        .to_vec();
    for [cas, roots, own, own_key] in &names {
        more.extend([(cas.as_str(), setup.ca.as_str()), (roots, &setup.ca), (own, &cert), (own_key, &key)]);
    }
    let [one, two] = nodes(&setup, &more);
    let service = Service::start();
    let _agent = agent_at(&one, &service);
    let own = setup.authority.issue(&["client"]);
    let trust = Trust::new(&setup.authority, Some(&own), &[]);
    let connect = |addr| TlsClient::connect(addr, "localhost", &trust).expect("a handshake");
    let mut client = connect(two.proxy);
    wait_for("the route", || client.get("/hello", &TO_E).expect("an answer").0 == 200);
    // A link speaks TLS, too.
    wait_for("a request over a link", || {
        assert_eq!(client.get("/hello", &TO_E).expect("an answer").0, 200);
        let (_, metrics) = connect(two.admin).get("/metrics", &[]).expect("an answer");
        String::from_utf8_lossy(&metrics)
            .lines()
            .any(|line| line.strip_prefix("piko_links_requests_total ").is_some_and(|count| count != "0"))
    });
    // A new connection and a kept one.
    assert_eq!(client.get("/bytes?n=2000000", &TO_E).expect("an answer").1.len(), 2_000_000);
    let (status, body) =
        connect(two.admin).get("/status/cluster/nodes/local?forward=one", &[]).expect("an answer");
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("\"one\""));
}

/// When other authorities count, requests that begin go to no node over what was opened before, be it a kept connection or
/// a link; and what is under way ends well.
#[test]
fn nothing_is_kept_to_a_node_that_is_no_longer_believed() {
    let setup = Setup::new();
    let roots = setup.folder.put("roots.pem", &setup.authority.pem());
    let [one, two] = nodes(&setup, &[("proxy.tls.client.root-cas", &roots), ("log.level", "debug")]);
    let service = Service::start();
    let _agent = agent_at(&one, &service);
    let mut client = setup.client(two.proxy);
    // The first one goes over a connection that is kept, and has the link opened.
    wait_for("the route", || client.get("/hello", &TO_E).expect("an answer").0 == 200);
    two.process.wait_record(0, SOON, "link to node opened").expect("a link");
    assert_eq!(client.get("/hello", &TO_E).expect("an answer").0, 200, "over the link");
    let before = service.counts().requests;
    let addr = two.proxy;
    let mut waiting = setup.client(addr);
    let under_way =
        std::thread::spawn(move || waiting.get("/slow?head_ms=1500", &TO_E).expect("an answer").0);
    service.wait_counts(SOON, |counts| counts.requests == before + 1).expect("the request");

    let mark = two.process.mark();
    setup.folder.put("roots.pem", &Authority::new("others").pem());
    two.process.wait_record(mark, SOON, "reloaded").expect("a line");
    for _ in 0..3 {
        assert_eq!(client.get("/hello", &TO_E).expect("an answer").0, 502);
    }
    assert_eq!(service.counts().requests, before + 1, "nothing goes by the link");
    assert_eq!(under_way.join().expect("no panic"), 200, "what was under way");
    assert_eq!(
        client.get("/hello", &TO_E).expect("an answer").0,
        502,
        "not over the connection of that, either"
    );

    let mark = two.process.mark();
    setup.folder.put("roots.pem", &setup.authority.pem());
    two.process.wait_record(mark, SOON, "reloaded").expect("a line");
    assert_eq!(client.get("/hello", &TO_E).expect("an answer").0, 200);
    two.process.wait_record(mark, SOON, "link to node opened").expect("another link, at once");
}

/// Without the right authority no request is sent in the clear, and none gets through.
#[test]
fn a_node_that_cannot_be_verified_gets_no_requests() {
    let setup = Setup::new();
    let other = setup.folder.put("other.pem", &Authority::new("others").pem());
    let roots = [("proxy.tls.client.root-cas", other.as_str()), ("admin.tls.client.root-cas", &other)];
    let [one, two] = nodes(&setup, &roots);
    let service = Service::start();
    let _agent = agent_at(&one, &service);
    wait_for("the route", || {
        let (status, body) = setup.client(two.proxy).get("/hello", &TO_E).expect("an answer");
        status == 502 && String::from_utf8_lossy(&body).contains("\"cause\":\"tls-failed\"")
    });
    assert_eq!(service.counts().requests, 0);
    // Who has to mend it finds the reason in the log, once.
    for _ in 0..3 {
        let (status, body) = setup.client(two.admin).get("/health?forward=one", &[]).expect("an answer");
        assert_eq!(status, 502);
        assert!(String::from_utf8_lossy(&body).contains("\"cause\":\"tls-failed\""));
        assert_eq!(setup.client(two.proxy).get("/hello", &TO_E).expect("an answer").0, 502);
    }
    for port in ["proxy.http", "admin"] {
        let line = two.process.wait_line(0, SOON, |line| is_about(line, port)).expect("a reason");
        assert!(line.text.contains("UnknownIssuer") && line.text.contains("\"warn\""), "{}", line.text);
    }
    let url = format!("https://localhost:{}", two.admin.port());
    let mut command = Command::new(binary("piko"));
    command.args(["server", "status", "cluster", "nodes", "--server.url", &url, "--forward", "one"]);
    let output = command.args(["--server.tls.root-cas", &setup.ca]).output().expect("piko starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("bad status: 502: ") && told.contains("tls-failed"), "{told}");
    for port in ["proxy.http", "admin"] {
        let said = two.process.lines(0).iter().filter(|line| is_about(line, port)).count();
        assert_eq!(said, 1, "{port}");
    }
}

/// In TLS 1.3 a node says only after the handshake that it does not like the other one's certificate: requests, links and
/// questions of operators tell what it said, and the log once.
#[test]
fn a_node_that_is_refused_says_by_whom_and_why() {
    let setup = Setup::new();
    let strangers = Authority::new("strangers").issue(&["node"]);
    let [cert, key] = strangers.write(&setup.folder, "stranger");
    let own = setup.authority.issue(&["client"]);
    let trust = Trust::new(&setup.authority, Some(&own), &[]);
    for (shown, why) in [(Some((&cert, &key)), STRANGE), (None, NONE_SHOWN)] {
        let mut more = Vec::new();
        for port in ["proxy", "admin"] {
            more.push((format!("{port}.tls.client-cas"), &setup.ca));
            more.push((format!("{port}.tls.client.root-cas"), &setup.ca));
            if let Some((cert, key)) = shown {
                more.extend([
                    (format!("{port}.tls.client.cert"), cert),
                    (format!("{port}.tls.client.key"), key),
                ]);
            }
        }
        let more: Vec<(&str, &str)> =
            more.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let [one, two] = nodes(&setup, &more);
        let service = Service::start();
        let _agent = agent_at(&one, &service);
        let connect = |addr| TlsClient::connect(addr, "localhost", &trust).expect("a handshake");
        let is_told = |body: &[u8]| String::from_utf8_lossy(body).contains("\"cause\":\"tls-failed\"");
        wait_for("the route", || {
            let (status, body) = connect(two.proxy).get("/hello", &TO_E).expect("an answer");
            status == 502 && is_told(&body)
        });
        for _ in 0..3 {
            let (status, body) = connect(two.proxy).get("/hello", &TO_E).expect("an answer");
            assert!(status == 502 && is_told(&body), "{status}");
            let (status, body) = connect(two.admin).get("/health?forward=one", &[]).expect("an answer");
            assert!(status == 502 && is_told(&body), "{status}");
        }
        for port in ["proxy.http", "admin"] {
            let line = two.process.wait_line(0, SOON, |line| is_about(line, port)).expect("a reason");
            assert_eq!(line.json().expect("a record")["error"], why);
            assert!(line.text.contains("\"warn\""), "{}", line.text);
            assert_eq!(two.process.lines(0).iter().filter(|line| is_about(line, port)).count(), 1, "{port}");
        }
        assert_eq!(service.counts().requests, 0);
    }
}

/// All nodes have to agree. Where they do not, both sides say so, whichever of them has TLS.
#[test]
fn nodes_that_do_not_agree_are_told() {
    let setup = Setup::new();
    let one = Server::start(&["--cluster.node-id", "one"]);
    let join = one.gossip().to_string();
    let of_two = [("cluster.join", join.as_str()), ("proxy.tls.client.root-cas", &setup.ca)];
    let two = setup.server(Way::Flag, &["proxy"], &of_two);
    let service = Service::start();
    let addr = service.addr().to_string();
    let _agents =
        [Agent::http(&one.connect_url(), "e", &addr, &[]), Agent::http(&two.connect_url(), "f", &addr, &[])];
    wait_for("the route from TLS", || {
        setup.client(two.proxy).get("/hello", &TO_E).expect("an answer").0 == 502
    });
    let mut plain = Client::connect(one.proxy).expect("the proxy port");
    let to_f = [("x-piko-endpoint", "f")];
    // The 400 of the port with TLS is meant for the node that asked it, not for the client behind.
    let is_told =
        |answer: &Response| answer.status() == 502 && answer.body.text().contains("\"cause\":\"tls-failed\"");
    wait_for("the route to TLS", || is_told(&plain.get("/hello", &to_f).expect("an answer")));
    let posted = plain.request("POST", "/echo", &to_f, b"a body").expect("an answer");
    assert!(is_told(&posted), "{}", posted.body.text());
    for (node, why) in [
        (&two, "tls: the server does not speak TLS on this port"),
        (&one, "the node takes requests by TLS only, and the proxy port of this one is without"),
    ] {
        let line = node.process.wait_line(0, SOON, |line| is_about(line, "proxy.http")).expect("a reason");
        assert_eq!(line.json().expect("a record")["error"], why);
    }
    assert_eq!(service.counts().requests, 0);
}

fn is_about(line: &Line, port: &str) -> bool {
    line.json().is_some_and(|v| v["msg"] == "no TLS with node" && v["subsystem"] == port)
}

/// `*.tls.client.server-name`: one name for all nodes, whatever their addresses.
#[test]
fn nodes_may_share_a_name() {
    let mut setup = Setup::new();
    setup.pair = setup.authority.issue(&["localhost", "nodes.internal"]);
    setup.pair.write(&setup.folder, "server");
    let named = [
        ("proxy.tls.client.root-cas", setup.ca.as_str()),
        ("proxy.tls.client.server-name", "nodes.internal"),
        ("admin.tls.client.root-cas", &setup.ca),
        ("admin.tls.client.server-name", "nodes.internal"),
    ];
    serves(&setup, &named);
}

/// `*.tls.client.insecure-skip-verify`, which says so.
#[test]
fn nodes_may_be_careless() {
    let setup = Setup::new();
    let careless = [
        ("proxy.tls.client.insecure-skip-verify", "true"),
        ("admin.tls.client.insecure-skip-verify", "true"),
    ];
    let one = serves(&setup, &careless);
    let warned = one.process.wait_line(0, SOON, |line| line.text.contains("insecure-skip-verify"));
    assert!(warned.expect("a warning").text.contains("\"warn\""));
}

/// A request and a question reach the first node through the second. Gives the first.
fn serves(setup: &Setup, more: &[(&str, &str)]) -> Server {
    let [one, two] = nodes(setup, more);
    let service = Service::start();
    let _agent = agent_at(&one, &service);
    let mut client = setup.client(two.proxy);
    wait_for("the route", || client.get("/hello", &TO_E).expect("an answer").0 == 200);
    let (status, _) = setup.client(two.admin).get("/health?forward=one", &[]).expect("an answer");
    assert_eq!(status, 200);
    one
}
