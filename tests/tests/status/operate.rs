//! What operators tell a node.

use crate::nodes::{SOON, cluster, get, post, text, until};
use piko_tests::http::Client;
use piko_tests::process::Agent;
use piko_tests::service::Service;
use serde_json::Value;

#[test]
fn every_tunnel_is_shown() {
    let service = Service::start();
    let servers = cluster(1, &[]);
    let server = &servers[0];
    let _agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &["--timeout=0"]);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.send_head("GET", "/slow?head_ms=60000", &[("x-piko-endpoint", "e")]).expect("sent");
    let one = || {
        let list: Value = serde_json::from_str(&text(server.admin, "/status/upstreams")).expect("JSON");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        list[0].clone()
    };
    // The request counts before its bytes do.
    until(|| one()["in_flight"] == 1 && one()["bytes_out"] != 0);
    let one = one();
    assert_eq!((&one["id"], &one["endpoint"], &one["draining"]), (&1.into(), &"e".into(), &false.into()));
    let addr = one["addr"].as_str().unwrap_or_default();
    assert!(addr.starts_with("127.0.0.1:"), "{one}");
    let version = one["version"].as_str().unwrap_or_default();
    assert!(version.starts_with("piko-rust/"), "{one}");
    assert!(one["caps"].as_str().is_some_and(|caps| caps.contains("drain-hint")), "{one}");
    let since = one["since"].as_str().unwrap_or_default();
    assert!(since.len() > 19 && since.ends_with('Z') && since.starts_with("20"), "{one}");
    assert!(one["bytes_out"].as_u64().is_some_and(|bytes| bytes > 0), "{one}");
}

#[test]
fn a_disconnected_upstream_comes_back_without_a_gap() {
    let service = Service::start();
    let servers = cluster(1, &[]);
    let server = &servers[0];
    let agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &["--timeout=0"]);
    let mut slow = Client::connect(server.proxy).expect("the proxy port");
    slow.send_head("GET", "/slow?head_ms=0&body_ms=2500", &[("x-piko-endpoint", "e")]).expect("sent");
    slow.read_head().expect("the head");
    let answer = post(server.admin, "/status/upstreams/1/disconnect", &[]);
    assert_eq!((answer.status(), answer.body.text().as_str()), (202, "{\"disconnecting\":true}"));
    // The next tunnel is there before this one goes, and not one request finds none.
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    until(|| {
        let answer = client.get("/hello", &[("x-piko-endpoint", "e")]).expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        let list = text(server.admin, "/status/upstreams");
        assert!(list.contains("\"endpoint\":\"e\""), "{list}");
        !list.contains("\"id\":1,")
    });
    assert_eq!(slow.read_exact(5).expect("what was under way ends"), b"slow\n");
    assert!(text(server.admin, "/status/upstreams").contains("\"id\":2,"));
    agent.wait_connected(1, SOON).expect("the second tunnel");
}

#[test]
fn a_node_is_drained_through_another_one() {
    let service = Service::start();
    let mut servers = cluster(2, &["--drain-delay=500ms"]);
    let agent = Agent::http(&servers[1].connect_url(), "e", &service.addr().to_string(), &["--timeout=0"]);
    // Under way until the test has seen what needs the node to be there.
    let mut open = Client::connect(servers[1].proxy).expect("the proxy port");
    open.send_head("GET", "/wait?n=2", &[("x-piko-endpoint", "e")]).expect("sent");
    service.wait_counts(SOON, |counts| counts.requests == 1).expect("it is under way");
    let answer = post(servers[0].admin, "/status/drain?forward=n2", &[]);
    assert_eq!((answer.status(), answer.body.text().as_str()), (202, "{\"draining\":true}"));
    until(|| get(servers[1].admin, "/ready").status() == 503);
    let both = "{\"draining\":true,\"nodes\":[{\"id\":\"n1\",\"draining\":false},{\"id\":\"n2\",\"draining\":true}]}";
    until(|| text(servers[1].admin, "/status/drain") == both);
    let told = both.replacen("true", "false", 1);
    until(|| text(servers[0].admin, "/status/drain") == told);
    assert_eq!(get(service.addr(), "/wait?n=2").status(), 200);
    let answer = open.read_response("GET");
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "hello\n"), "{answer:?}");
    assert!(servers[1].process.wait_exit(SOON).expect("the end").success(), "{}", servers[1].process.tail());
    until(|| text(servers[0].admin, "/status/cluster/nodes/n2").contains("\"status\":\"left\""));
    let left = text(servers[0].admin, "/status/gossip/nodes/n2");
    assert!(left.contains("\"left\":true,\"unreachable\":false,\"expiry\":\"20"), "{left}");
    drop(agent);
}
