//! The admin port: health, readiness, metrics, status, and what is not there.

use std::collections::BTreeSet;

use piko_tests::flags::{Way, server};
use piko_tests::http::{Client, Response};
use piko_tests::process::{Agent, Signal};
use piko_tests::service::Service;

use crate::{SOON, Setup, TO_E};

fn get(addr: std::net::SocketAddr, target: &str) -> Response {
    Client::connect(addr).expect("the admin port").get(target, &[]).expect("an answer")
}

#[test]
fn paths_that_exist_and_paths_that_do_not() {
    let server = server(Way::Flag, &[]);
    let at = |target: &str| get(server.admin, target);
    for path in ["/health", "/ready"] {
        let answer = at(path);
        assert_eq!((answer.status(), answer.body.len), (200, 0), "{path}");
    }
    for path in ["/", "/healthz", "/status", "/status/upstream", "/status/upstream/endpoints/x", "/METRICS"] {
        let answer = at(path);
        assert_eq!((answer.status(), answer.body.text().as_str()), (404, "404 page not found"), "{path}");
        assert_eq!(answer.value("content-type").as_deref(), Some("text/plain"), "{path}");
    }
    for path in ["/health", "/ready", "/metrics", "/status/upstream/endpoints"] {
        let answer = at(&format!("{path}/"));
        assert_eq!(answer.status(), 301, "{path}/");
        assert_eq!(answer.value("location").as_deref(), Some(path));
        // A query changes nothing.
        assert_eq!(at(&format!("{path}?x=1")).status(), 200, "{path}?x=1");
        for method in ["HEAD", "POST", "PUT", "DELETE"] {
            let mut client = Client::connect(server.admin).expect("the admin port");
            let answer = client.request(method, path, &[], b"").expect("an answer");
            assert_eq!(answer.status(), 404, "{method} {path}");
        }
    }
    // One connection serves them all.
    let mut client = Client::connect(server.admin).expect("the admin port");
    for path in ["/health", "/nothing", "/metrics", "/ready"] {
        client.get(path, &[]).expect("an answer on a kept connection");
    }
}

#[test]
fn readiness_ends_where_the_shutdown_begins() {
    let mut setup = Setup::start(Way::Flag, &[("grace-period", "30s")]);
    let mut client = setup.client();
    client.send_head("GET", "/slow?body_ms=1500", &[TO_E]).expect("sent");
    client.read_head().expect("the head");
    assert_eq!(get(setup.server.admin, "/ready").status(), 200);
    setup.server.process.signal(Signal::Term).expect("sent");
    setup.server.process.wait_record(0, SOON, "starting shutdown").expect("the shutdown begins");
    // The record stands a moment before the flag: the answer changes once and stays.
    let mut status = 200;
    while status == 200 {
        status = get(setup.server.admin, "/ready").status();
    }
    assert_eq!(status, 503);
    assert_eq!(get(setup.server.admin, "/health").status(), 200);
    assert_eq!(client.read_exact(5).expect("the whole body"), b"slow\n");
    assert!(setup.server.process.wait_exit(SOON).expect("the end").success());
}

#[test]
fn endpoints_are_listed_with_their_listeners() {
    let service = Service::start();
    let server = server(Way::Flag, &[]);
    let list = || {
        let answer = get(server.admin, "/status/upstream/endpoints");
        assert_eq!(answer.value("content-type").as_deref(), Some("application/json; charset=utf-8"));
        answer.body.text()
    };
    assert_eq!(list(), "{}");
    let addr = service.addr().to_string();
    let agents =
        ["b", "a", "b", "quo\"te"].map(|endpoint| Agent::http(&server.connect_url(), endpoint, &addr, &[]));
    assert_eq!(list(), r#"{"a":1,"b":2,"quo\"te":1}"#);
    let [_, mut a, ..] = agents;
    a.process.signal(Signal::Term).expect("sent");
    assert!(a.process.wait_exit(SOON).expect("the end").success());
    // The agent ends once the server has closed its tunnel; the server forgets it in the same turn.
    let deadline = std::time::Instant::now() + SOON;
    while list().contains("\"a\"") {
        assert!(std::time::Instant::now() < deadline, "{}", list());
    }
}

/// Go's names that mean something on one node (behaviour of operations, 1), so that dashboards go on working.
const NAMES: [(&str, &str); 8] = [
    ("piko_proxy_request_latency_seconds", "histogram"),
    ("piko_proxy_request_size_bytes", "histogram"),
    ("piko_proxy_requests_in_flight", "gauge"),
    ("piko_proxy_requests_total", "counter"),
    ("piko_proxy_response_size_bytes", "histogram"),
    ("piko_upstreams_connected_upstreams", "gauge"),
    ("piko_upstreams_registered_endpoints", "gauge"),
    ("piko_upstreams_upstream_requests_total", "counter"),
];

#[test]
fn metrics_have_the_names_of_go() {
    let setup = Setup::start(Way::Flag, &[]);
    assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
    assert_eq!(setup.client().get("/status?code=503", &[TO_E]).expect("an answer").status(), 503);
    assert_eq!(setup.client().get("/", &[("x-piko-endpoint", "none")]).expect("an answer").status(), 502);
    let answer = get(setup.server.admin, "/metrics");
    assert_eq!(answer.status(), 200);
    assert!(answer.value("content-type").is_some_and(|t| t.starts_with("text/plain; version=0.0.4")));
    let text = answer.body.text();
    for (name, kind) in NAMES {
        assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}\n{text}");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
    }
    for line in [
        "piko_proxy_requests_total{status=\"200\",method=\"GET\"} 1",
        "piko_proxy_requests_total{status=\"503\",method=\"GET\"} 1",
        "piko_proxy_requests_total{status=\"502\",method=\"GET\"} 1",
        "piko_proxy_requests_in_flight 0",
        "piko_upstreams_connected_upstreams 1",
        "piko_upstreams_registered_endpoints 1",
        "piko_upstreams_upstream_requests_total 2",
    ] {
        let labels = |text: &str| -> BTreeSet<String> {
            // The order of labels means nothing.
            text.split(['{', '}', ',', ' ']).map(str::to_owned).collect()
        };
        assert!(text.lines().any(|l| labels(l) == labels(line)), "{line}\n{text}");
    }
    // Every sample belongs to a family that was announced once, and is a number.
    let mut families = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, _) = rest.split_once(' ').expect("a type");
            assert!(families.insert(name.to_owned()), "{name} twice");
        } else if !line.starts_with('#') && !line.is_empty() {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = sample.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
            let known = families.contains(name) || family.is_some_and(|family| families.contains(family));
            assert!(known, "{line}");
        }
    }
}
