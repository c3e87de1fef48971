//! Ports, names of the node, its log, its end.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use piko_tests::flags::{WAYS, Way, run, server};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Line, Server, Signal};
use piko_tests::service::Service;

use crate::{SOON, Setup, TO_E};

/// Other addresses of the loopback: what is printed there was bound there.
const PORTS: &[(&str, &str)] = &[
    ("admin.bind-addr", "127.0.0.2:0"),
    ("proxy.bind-addr", "127.0.0.3:0"),
    ("upstream.bind-addr", "127.0.0.4:0"),
];

#[test]
fn each_port_is_bound_where_it_was_asked_for_and_printed() {
    for way in WAYS {
        let service = Service::start();
        let server = server(way, PORTS);
        let at = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        assert_eq!((server.admin.ip(), server.proxy.ip(), server.upstream.ip()), (at(2), at(3), at(4)));
        assert!(server.admin.port() != 0 && server.proxy.port() != 0 && server.upstream.port() != 0);

        let _agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &[]);
        let mut proxy = Client::connect(server.proxy).expect("the proxy port");
        assert_eq!(proxy.get("/hello", &[TO_E]).expect("an answer").body.text(), "hello\n");
        let mut admin = Client::connect(server.admin).expect("the admin port");
        assert_eq!(admin.get("/ready", &[]).expect("an answer").status(), 200);
    }
}

#[test]
fn a_flag_without_effect_says_so() {
    for way in WAYS {
        let server = server(way, &[("upstream.advertise-addr", "127.0.0.1:1")]);
        let notice = server.process.wait_line(0, SOON, |line| line.text.contains("no effect"));
        let named =
            if way == Way::Env { "PIKO_UPSTREAM_ADVERTISE_ADDR" } else { "--upstream.advertise-addr" };
        assert!(notice.expect("a notice").text.contains(named));
    }
}

/// `:port` is every address of both families, as in Go.
#[test]
fn a_port_alone_takes_both_families() {
    let server = Server::start(&["--proxy.bind-addr=:0"]);
    let port = server.proxy.port();
    let mut v4 = Client::connect((Ipv4Addr::LOCALHOST, port).into()).expect("IPv4");
    assert_eq!(v4.get("/", &[TO_E]).expect("an answer").status(), 502);
    if server.proxy.is_ipv6() {
        let mut v6 = Client::connect((std::net::Ipv6Addr::LOCALHOST, port).into()).expect("IPv6");
        assert_eq!(v6.get("/", &[TO_E]).expect("an answer").status(), 502);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let any = "127.0.0.1:0";
    for (flag, name) in [
        ("--proxy.bind-addr", "proxy listen"),
        ("--upstream.bind-addr", "upstream listen"),
        ("--admin.bind-addr", "admin listen"),
    ] {
        let mut args = Vec::new();
        for other in ["--proxy.bind-addr", "--upstream.bind-addr", "--admin.bind-addr"] {
            args.extend([other, if other == flag { addr.as_str() } else { any }]);
        }
        let output = run("piko-server", &args, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("failed to run server"), "{stderr}");
        assert!(stderr.contains(name) && stderr.contains(&addr) && stderr.contains("in use"), "{stderr}");
    }
}

#[test]
fn the_node_is_called_as_asked() {
    for way in WAYS {
        let id = |settings: &[(&str, &str)]| {
            let server = server(way, settings);
            let (_, record) =
                server.process.wait_record(0, SOON, "starting piko server").expect("the first record");
            record["node-id"].as_str().expect("an id").to_owned()
        };
        assert_eq!(id(&[("cluster.node-id", "n1")]), "n1");
        let made_up = id(&[("cluster.node-id-prefix", "piko-0-")]);
        assert!(made_up.starts_with("piko-0-") && made_up.len() == "piko-0-".len() + 7, "{made_up}");
        assert_eq!(id(&[("cluster.node-id", "n1"), ("cluster.node-id-prefix", "piko-0-")]), "n1");
        assert_eq!(id(&[]).len(), 7);
    }
}

#[test]
fn the_log_has_a_level_and_exceptions() {
    // The ports are found by records of level info in these three subsystems.
    let ports = ("log.subsystems", "proxy,upstream,admin");
    for way in WAYS {
        let mut server = server(way, &[("log.level", "warn"), ports]);
        server.terminate(SOON).expect("the end");
        let lines = server.process.lines(0);
        let records: Vec<_> = lines.iter().filter_map(Line::json).collect();
        assert!(!records.is_empty());
        for record in &records {
            let subsystem = record["subsystem"].as_str().unwrap_or_default();
            let named = ["admin", "proxy", "upstream"].contains(&subsystem);
            let severe = record["level"] != "info" && record["level"] != "debug";
            assert!(named || severe, "{record}");
        }
        assert!(records.iter().any(|record| record["subsystem"] == "proxy" && record["level"] == "info"));
    }
    // What debug shows and info does not: why a request was refused.
    for (level, seen) in [("debug", true), ("info", false)] {
        let mut server = server(WAYS[0], &[("log.level", level)]);
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        client.send(b"GET / HTTP/1.1\nhost: e\n\n").expect("sent");
        assert_eq!(client.read_response("GET").status(), 400);
        server.terminate(SOON).expect("the end");
        let debug = |line: &Line| line.json().is_some_and(|r| r["level"] == "debug");
        assert_eq!(server.process.lines(0).iter().any(debug), seen, "{}", server.process.tail());
    }
}

#[test]
fn the_grace_period_is_given_to_requests_and_not_exceeded() {
    for way in WAYS {
        // Longer than the request needs: the client gets its answer, and the server does not stay longer.
        let mut setup = Setup::start(way, &[("grace-period", "30s")]);
        let mut client = setup.client();
        client.send_head("GET", "/slow?head_ms=0&body_ms=700", &[TO_E]).expect("sent");
        client.read_head().expect("the head");
        assert!(setup.server.terminate(SOON).expect("the end").success());
        assert_eq!(client.read_exact(5).expect("the whole body"), b"slow\n");

        // Shorter: the request is cut, the server ends all the same.
        let mut setup = Setup::start(way, &[("grace-period", "300ms")]);
        let mut client = setup.client();
        client.send_head("GET", "/slow?head_ms=0&body_ms=60000", &[TO_E]).expect("sent");
        client.read_head().expect("the head");
        let began = Instant::now();
        assert!(setup.server.terminate(SOON).expect("the end").success());
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert!(client.read_exact(5).is_err(), "a cut body is never a complete one");
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut setup = Setup::start(WAYS[1], &[("grace-period", "10m")]);
    let mut client = setup.client();
    client.send_head("GET", "/slow?head_ms=60000", &[TO_E]).expect("sent");
    setup.agent.process.wait_line(0, Duration::ZERO, |_| true).expect("the agent's first line");
    let process = &mut setup.server.process;
    process.signal(Signal::Int).expect("sent");
    process.wait_record(0, SOON, "starting shutdown").expect("the shutdown begins");
    process.signal(Signal::Int).expect("sent");
    let status = process.wait_exit(SOON).expect("the end");
    assert_eq!(status.code(), Some(1));
}
