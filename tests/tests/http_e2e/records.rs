//! What is left of a request: its line in the access log, and the metrics.

use std::io;

use piko_tests::http::{Client, End};
use piko_tests::process::{Line, Process};
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};
use serde_json::Value;

/// The records of requests in the log of a process, once there are `count` of them.
fn records(process: &Process, subsystem: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < count {
        let line = process
            .wait_line(from, PATIENCE, |line| line.json().is_some_and(|r| r["subsystem"] == subsystem))
            .unwrap_or_else(|e| panic!("{} of {count} records: {e}", found.len()));
        from = line.index + 1;
        found.extend(line.json().map(|mut record| record["request"].take()));
    }
    found
}

fn metrics(rig: &Rig) -> String {
    let mut client = Client::connect(rig.server.admin).expect("the admin port");
    client.get("/metrics", &[]).expect("sent").body.text()
}

/// Payload counts, framing does not: chunked or not, at both hops.
#[test]
fn sizes_are_those_of_the_payload() {
    let rig = Rig::start();
    let mut client = rig.client();
    let response = client.request("POST", "/echo", &[("host", HOST)], b"12345").expect("sent");
    assert_eq!((response.status(), response.body.len), (200, 5));
    client.send_head("POST", "/echo", &[("host", HOST), ("transfer-encoding", "chunked")]).expect("sent");
    for _ in 0..3 {
        client.send_chunk(b"12").expect("sent");
    }
    client.send_last_chunk(&[]).expect("sent");
    assert_eq!(client.read_response("POST").body.len, 6);
    let head = client.request("HEAD", "/hello", &[("host", HOST)], b"").expect("sent");
    assert_eq!(head.status(), 200);
    // Two that are answered here: what they say is counted too, and HEAD gets nothing of it.
    let refused = client.get("/", &[("host", "nobody.test")]).expect("sent");
    assert_eq!(refused.status(), 502);
    let silent = client.request("HEAD", "/", &[("host", "nobody.test")], b"").expect("sent");
    assert_eq!(silent.status(), 502);
    let sizes = |records: &[Value]| -> Vec<(u64, u64)> {
        let of = |record: &Value, key: &str| record[key].as_u64().expect("a number");
        records.iter().map(|r| (of(r, "request_bytes"), of(r, "response_bytes"))).collect()
    };
    let server = records(&rig.server.process, "proxy.access", 5);
    assert_eq!(sizes(&server), [(5, 5), (6, 6), (0, 0), (0, refused.body.len), (0, 0)]);
    let agent = records(&rig.agent.process, "proxy.http.access", 3);
    assert_eq!(sizes(&agent), [(5, 5), (6, 6), (0, 0)]);
    let sum = 5 + 6 + refused.body.len;
    let text = metrics(&rig);
    assert!(text.contains(&format!("piko_proxy_response_size_bytes_sum {sum}\n")), "{text}");
    // Go's request size is that of head and body together.
    let line = text.lines().find_map(|line| line.strip_prefix("piko_proxy_request_size_bytes_sum "));
    let requests: f64 = line.and_then(|sum| sum.parse().ok()).expect("a sum");
    assert!((11.0 + 5.0 * 20.0..2000.0).contains(&requests), "{requests}");
}

/// So does what comes right behind the request for an upgrade, and right behind its 101.
#[test]
fn sizes_of_upgrades_begin_with_their_first_byte() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfirst words")?;
        peer.read_exact(14)?;
        peer.send(b"last")?;
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    client.send(format!("{head}early bytes").as_bytes()).expect("sent");
    assert_eq!(client.read_head().expect("101").status, 101);
    assert_eq!(client.read_exact(11).expect("what came behind the 101"), b"first words");
    client.send(b"abc").expect("sent");
    assert_eq!(client.read_exact(4).expect("the rest"), b"last");
    assert_eq!(client.read_end(), End::Closed);
    drop(client);
    for (process, subsystem) in
        [(&rig.server.process, "proxy.access"), (&rig.agent.process, "proxy.http.access")]
    {
        let record = &records(process, subsystem, 1)[0];
        assert_eq!(
            (&record["request_bytes"], &record["response_bytes"]),
            (&14.into(), &15.into()),
            "{record}"
        );
    }
}

/// A flood of nonsense would otherwise be seen nowhere.
#[test]
fn requests_that_http_refuses_are_seen() {
    let rig = Rig::start();
    let long = format!("GET /long HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
    for (request, status, method, path) in [
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "GET", "/x"),
        ("PUT /e HTTP/1.1\r\nHost: e2e.test\r\nExpect: magic\r\n\r\n", 417, "PUT", "/e"),
        ("GET /v HTTP/2.0\r\nHost: e2e.test\r\n\r\n", 505, "GET", "/v"),
        ("\0\0\0\0\r\n\r\n", 400, "", ""),
        (&long, 431, "GET", "/long"),
    ] {
        let already = rig.server.process.mark();
        let mut client = rig.client();
        // It may be refused before all of it is taken.
        let _ = client.send(request.as_bytes());
        let response = client.read_response("GET");
        assert_eq!((response.status(), &response.end), (status, &End::Complete), "{path}");
        let is_record = |line: &Line| line.json().is_some_and(|r| r["subsystem"] == "proxy.access");
        let line = rig.server.process.wait_line(already, PATIENCE, is_record).expect("a record");
        let record = line.json().expect("an object")["request"].take();
        assert_eq!((&record["status"], &record["method"]), (&status.into(), &method.into()), "{record}");
        assert_eq!(record["path"], path, "{record}");
        assert_eq!(record["response_bytes"], response.body.len, "{record}");
        assert_eq!(record["client_ip"], "127.0.0.1", "{record}");
        assert!(record["cause"].is_string(), "{record}");
    }
    let text = metrics(&rig);
    for (method, status, count) in [("GET", 400, 1), ("GET", 431, 1), ("OTHER", 400, 1), ("PUT", 417, 1)] {
        let line = format!("piko_proxy_requests_total{{method=\"{method}\",status=\"{status}\"}} {count}");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(text.contains("piko_proxy_requests_in_flight 0"), "{text}");
}
