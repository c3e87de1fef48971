//! Each path to the byte, for one node and for three.

use crate::nodes::{SOON, cluster, get, post, text, until};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server, Signal};
use piko_tests::service::Service;
use serde_json::Value;
use std::time::Instant;

fn json(server: &Server, target: &str) -> Value {
    serde_json::from_str(&text(server.admin, target)).expect("JSON")
}

/// What Go's list has of a node.
fn listed(server: &Server, id: &str, endpoints: u32, upstreams: u32) -> String {
    let (proxy, admin) = (server.proxy, server.admin);
    format!(
        "{{\"id\":\"{id}\",\"status\":\"active\",\"proxy_addr\":\"{proxy}\",\"admin_addr\":\"{admin}\",\
         \"endpoints\":{endpoints},\"upstreams\":{upstreams}}}"
    )
}

/// What Go says of one node.
fn node(server: &Server, id: &str, endpoints: &str) -> String {
    let (proxy, admin) = (server.proxy, server.admin);
    format!(
        "{{\"id\":\"{id}\",\"status\":\"active\",\"proxy_addr\":\"{proxy}\",\"admin_addr\":\"{admin}\",\
         \"endpoints\":{endpoints}}}"
    )
}

#[test]
fn a_node_alone_has_the_shapes_of_go() {
    let servers = cluster(1, &[]);
    let server = &servers[0];
    let list = get(server.admin, "/status/cluster/nodes");
    assert_eq!(list.value("content-type").as_deref(), Some("application/json; charset=utf-8"));
    assert_eq!(list.body.text(), format!("[{}]", listed(server, "n1", 0, 0)));
    for target in ["/status/cluster/nodes/local", "/status/cluster/nodes/n1", "/status/cluster/nodes/%6e1"] {
        assert_eq!(text(server.admin, target), node(server, "n1", "null"), "{target}");
    }
    assert_eq!(text(server.admin, "/status/upstream/endpoints"), "{}");
    assert_eq!(text(server.admin, "/status/upstreams"), "[]");
    let drain = "{\"draining\":false,\"nodes\":[{\"id\":\"n1\",\"draining\":false}]}";
    assert_eq!(text(server.admin, "/status/drain"), drain);

    let gossip = json(server, "/status/gossip/nodes");
    let version = gossip[0]["version"].as_u64().expect("a version");
    let members = format!(
        "\"id\":\"n1\",\"addr\":\"{}\",\"version\":{version},\"left\":false,\"unreachable\":false,\
         \"expiry\":\"0001-01-01T00:00:00Z\"",
        server.gossip()
    );
    assert_eq!(text(server.admin, "/status/gossip/nodes"), format!("[{{{members}}}]"));
    let state = text(server.admin, "/status/gossip/nodes/n1");
    let first = format!(
        "{{{members},\"Entries\":[{{\"key\":\"proxy_addr\",\"value\":\"{}\",\"version\":",
        server.proxy
    );
    assert!(state.starts_with(&first), "{state}");
    let parsed: Value = serde_json::from_str(&state).expect("JSON");
    let versions: Vec<u64> = parsed["Entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| e["version"].as_u64().unwrap())
        .collect();
    assert!(versions.is_sorted() && versions.last() == Some(&version), "{state}");

    for target in ["/status/cluster/nodes/n2", "/status/gossip/nodes/n2", "/status/gossip/nodes/local"] {
        let answer = get(server.admin, target);
        assert_eq!((answer.status(), answer.body.len), (404, 0), "{target}");
    }
    for target in
        ["/status/cluster", "/status/cluster/nodes/a/b", "/status/upstreams/1", "/status/gossip/node"]
    {
        let answer = get(server.admin, target);
        assert_eq!((answer.status(), answer.body.text().as_str()), (404, "404 page not found"), "{target}");
    }
    for target in ["/status/cluster/nodes", "/status/gossip/nodes/n1", "/status/upstreams", "/status/drain"] {
        let answer = get(server.admin, &format!("{target}/"));
        assert_eq!(answer.status(), 301, "{target}/");
        assert_eq!(answer.value("location").as_deref(), Some(target));
        let answer = get(server.admin, &format!("{target}/?a=b"));
        assert_eq!(answer.value("location"), Some(format!("{target}?a=b")));
    }
}

#[test]
fn three_nodes_tell_the_same() {
    let service = Service::start();
    let servers = cluster(3, &[]);
    let addr = service.addr().to_string();
    let on = |n: usize, endpoint: &str| Agent::http(&servers[n].connect_url(), endpoint, &addr, &[]);
    let _agents = [on(0, "a"), on(0, "b"), on(0, "a"), on(1, "12:30")];
    let all =
        [listed(&servers[0], "n1", 2, 3), listed(&servers[1], "n2", 1, 1), listed(&servers[2], "n3", 0, 0)];
    let want = format!("[{}]", all.join(","));
    for server in &servers {
        until(|| text(server.admin, "/status/cluster/nodes") == want);
        assert_eq!(
            text(server.admin, "/status/cluster/nodes/n1"),
            node(&servers[0], "n1", "{\"a\":2,\"b\":1}")
        );
        assert_eq!(text(server.admin, "/status/cluster/nodes/n2"), node(&servers[1], "n2", "{\"12:30\":1}"));
        let gossip = json(server, "/status/gossip/nodes");
        let ids: Vec<_> =
            gossip.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["n1", "n2", "n3"]);
    }
    // The log names whom a node has joined, which is not itself.
    for (n, others) in [(1, "[\"n1\"]"), (2, "[\"n1\", \"n2\"]")] {
        let (_, record) = servers[n].process.wait_record(0, SOON, "joined cluster").expect("it has joined");
        assert_eq!(
            record["node-ids"].to_string().replace("\\\"", "\"").trim_matches('"'),
            others,
            "{record}"
        );
    }
    // What one says of another is what that says of itself, once nothing changes any more.
    let state = |n: usize| text(servers[n].admin, "/status/gossip/nodes/n2");
    until(|| state(0) == state(1));
    let own = state(1);
    assert!(own.contains("{\"key\":\"endpoint:12:30\",\"value\":\"1\","), "{own}");

    let metrics = text(servers[2].admin, "/metrics");
    for line in [
        "piko_cluster_nodes{status=\"active\"} 3",
        "piko_cluster_nodes{status=\"unreachable\"} 0",
        "piko_gossip_entries{deleted=\"false\",internal=\"false\",node_id=\"n1\"} 4",
        "piko_gossip_entries{deleted=\"false\",internal=\"false\",node_id=\"n3\"} 2",
        "piko_upstreams_set_aside 0",
        "piko_upstreams_shed_total 0",
        "piko_proxy_retries_total 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    for name in ["packet_bytes", "stream_bytes", "connections", "digest_entries", "delta_entries"] {
        for way in ["inbound", "outbound"] {
            let family = format!("# TYPE piko_gossip_{name}_{way}_total counter\n");
            assert_eq!(metrics.matches(&family).count(), 1, "{family}");
        }
    }
    let bytes = metrics.lines().find_map(|l| l.strip_prefix("piko_gossip_packet_bytes_inbound_total "));
    assert!(bytes.and_then(|bytes| bytes.parse::<f64>().ok()).is_some_and(|bytes| bytes > 0.0), "{metrics}");
}

#[test]
fn requests_go_on_to_the_node_that_is_meant() {
    let service = Service::start();
    let mut servers = cluster(3, &[]);
    let _agent = Agent::http(&servers[1].connect_url(), "e", &service.addr().to_string(), &[]);
    let own = |target: &str| text(servers[0].admin, target);
    assert_eq!(own("/status/upstream/endpoints?forward=n2"), "{\"e\":1}");
    assert_eq!(own("/status/upstream/endpoints?forward=%6E2"), "{\"e\":1}");
    assert_eq!(own("/status/upstream/endpoints?forward=n1"), "{}");
    let local: Value = serde_json::from_str(&own("/status/cluster/nodes/local?forward=n3")).expect("JSON");
    assert_eq!(local["id"], "n3");
    assert!(own("/metrics?forward=n2").contains("piko_upstreams_connected_upstreams 1\n"));
    assert_eq!(get(servers[0].admin, "/health?forward=n2").status(), 200);
    // As Go: whatever the path and the method.
    let nothing = get(servers[0].admin, "/nothing?forward=n2");
    assert_eq!((nothing.status(), nothing.body.text().as_str()), (404, "404 page not found"));
    for id in ["nope", "", "local", "%zz"] {
        for path in ["/status/upstream/endpoints", "/health"] {
            let answer = get(servers[0].admin, &format!("{path}?forward={id}"));
            assert_eq!((answer.status(), answer.body.len), (404, 0), "{path} {id}");
        }
    }
    // One hop: what another node sent here is answered here or not at all.
    let fields = [("x-piko-forward", "true")];
    let mut client = Client::connect(servers[0].admin).expect("a port");
    let answer = client.get("/health?forward=n2", &fields).expect("an answer");
    assert_eq!((answer.status(), answer.body.len), (404, 0));
    assert_eq!(client.get("/health?forward=n1", &fields).expect("an answer").status(), 200);

    // A node that has just died: the error is JSON, as on the proxy port.
    let third = servers.pop().expect("three");
    drop(third);
    let answer = get(servers[0].admin, "/status/upstream/endpoints?forward=n3");
    assert_eq!(answer.status(), 502);
    let body = "{\"error\":\"upstream unreachable\",\"hop\":\"server\",\"cause\":\"connect-refused\"}\n";
    assert_eq!(answer.body.text(), body);
    assert_eq!(answer.value("content-type").as_deref(), Some("application/json"));
}

/// Go's limit is 15 s.
#[test]
fn a_node_that_hangs_is_waited_for_15_seconds() {
    let mut servers = cluster(2, &[]);
    servers[1].process.signal(Signal::Stop).expect("it runs");
    let begun = Instant::now();
    let mut client = Client::connect(servers[0].admin).expect("a port");
    client.set_patience(SOON * 2).expect("an option");
    let answer = client.get("/status/upstream/endpoints?forward=n2", &[]).expect("an answer");
    assert_eq!(answer.status(), 504, "{answer:?}");
    let body = "{\"error\":\"upstream timeout\",\"hop\":\"server\",\"cause\":\"response-timeout\"}\n";
    assert_eq!(answer.body.text(), body);
    // Not before, and on a busy machine a while after.
    assert!((14..35).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // Gossip has noticed meanwhile.
    let nodes = text(servers[0].admin, "/status/cluster/nodes/n2");
    assert!(nodes.contains("\"status\":\"unreachable\""), "{nodes}");
    let gossip = text(servers[0].admin, "/status/gossip/nodes/n2");
    assert!(gossip.contains("\"unreachable\":true,\"expiry\":\"20"), "{gossip}");
    assert!(text(servers[0].admin, "/metrics").contains("piko_cluster_nodes{status=\"unreachable\"} 1\n"));
    servers[1].process.signal(Signal::Cont).expect("it hangs");
    until(|| text(servers[0].admin, "/status/cluster/nodes/n2").contains("\"status\":\"active\""));
}

#[test]
fn pages_of_others_cannot_order_anything() {
    let servers = cluster(1, &[]);
    for target in ["/status/drain", "/status/upstreams/1/disconnect"] {
        let answer = post(servers[0].admin, target, &[("origin", "http://evil.example")]);
        assert_eq!((answer.status(), answer.body.len), (403, 0), "{target}");
    }
    for target in ["/status/upstreams/1/disconnect", "/status/upstreams/x/disconnect"] {
        assert_eq!(post(servers[0].admin, target, &[]).status(), 404, "{target}");
    }
    assert_eq!(post(servers[0].admin, "/status/upstreams", &[]).body.text(), "404 page not found");
    assert_eq!(get(servers[0].admin, "/ready").status(), 200);
}
