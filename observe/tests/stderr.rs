//! The access log and the log on a real stderr: read, closed, and stuck. The test starts itself as a child.

use piko_core::http1::{BodyLength, Fields, RequestHead, ResponseHead, Version};
use piko_core::proxy::{Config, Exchange, Failure, Leg, Peer, Place, Record, Step};
use piko_core::time::Instant as Now;
use piko_observe::access::{AccessLog, AccessOptions};
use piko_observe::log::{self, Level};
use piko_observe::metrics::HttpMetrics;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set for the child; the value is how many requests it logs.
const CHILD: &str = "PIKO_OBSERVE_TEST_REQUESTS";
/// Longer than anything here takes when it works.
const PATIENCE: Duration = Duration::from_secs(30);

fn request() -> RequestHead<'static> {
    RequestHead {
        method: b"GET",
        target: b"/path?query",
        version: Version::Http11,
        fields: Fields::from_block(b"Host: h\r\nx-piko-endpoint: ep\r\nAccept: */*\r\n"),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: false,
    }
}

fn response(status: u16, block: &[u8]) -> ResponseHead<'_> {
    ResponseHead {
        status,
        reason: b"",
        version: Version::Http11,
        fields: Fields::from_block(block),
        body: BodyLength::None,
    }
}

/// A real exchange that ends with `status`, 5 ms after it began.
fn exchange(end: impl FnOnce(&mut Exchange, Now)) -> Record {
    let config = Config::new(Place::Server);
    let peer = Peer { ip: None, tls: false };
    let mut exchange = Exchange::new(&config, peer, Now::from_millis(1));
    assert_eq!(exchange.handle_request(Now::from_millis(1), &request()), Step::Forward);
    end(&mut exchange, Now::from_millis(3));
    exchange.finish(Now::from_millis(6))
}

fn complete() -> Record {
    exchange(|exchange, now| {
        let step = exchange.handle_response(now, &response(200, b""));
        assert_eq!(step, Step::Forward);
    })
}

/// What the child does: a log line, the requests, a log line.
#[test]
fn child() {
    let Some(requests) = std::env::var(CHILD).ok().and_then(|text| text.parse::<u32>().ok()) else { return };
    log::init(log::Options { level: Level::Info, subsystems: Vec::new() }).expect("the first log");
    let access = AccessLog::new(AccessOptions::new("proxy.access"));
    tracing::info!(target: "main", { "node-id" = %"n" }, "start");
    let record = complete();
    let start = Instant::now();
    for n in 0..requests {
        let mut note = access.note(None, &request()).expect("the log is on");
        note.response(&response(200, b"content-length: 0\r\n"));
        access.write(note, &record);
        if n % 1000 == 999 {
            tracing::warn!(target: "proxy", n, "between");
        }
    }
    let longest = start.elapsed();
    drop(access);
    println!("took {} ms", longest.as_millis());
}

fn start(requests: u32) -> Child {
    Command::new(std::env::current_exe().expect("the path of this test"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, requests.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// Waits for the child's end and gives what it printed.
fn ended(mut child: Child) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            let mut out = String::new();
            let mut stdout = child.stdout.take().expect("piped");
            stdout.read_to_string(&mut out).expect("UTF-8");
            assert!(status.success(), "{status} {out}");
            assert!(out.contains("took "), "{out}");
            return out;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the child hangs");
        }
        // The standard library waits for a child without a limit only: looking again is how the limit holds.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_gets_every_line_whole() {
    let mut child = start(2500);
    let mut text = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
    ended(child);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("{\"level\":\"") && line.ends_with('}')), "{text}");
    assert!(lines[0].ends_with(r#""subsystem":"main","msg":"start","node-id":"n"}"#), "{}", lines[0]);
    let requests: Vec<_> = lines.iter().filter(|line| line.contains("\"proxy.access\"")).collect();
    assert_eq!(requests.len(), 2500);
    let end = r#""status":200,"duration":"5ms","endpoint_id":"ep","request_bytes":0,"response_bytes":0}}"#;
    assert!(requests.iter().all(|line| line.ends_with(end)), "{}", requests[0]);
    assert_eq!(lines.iter().filter(|line| line.contains("\"between\"")).count(), 2);
    assert_eq!(lines.len(), 2503);
}

#[test]
fn a_reader_that_comes_late_gets_every_line_whole() {
    // More than a pipe holds, so that the child must wait at its end.
    let mut child = start(2500);
    // Lateness is the subject: nothing outside tells that the child waits.
    std::thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
    ended(child);
    assert_eq!(text.lines().count(), 2503);
    assert!(text.lines().all(|line| line.ends_with('}')), "{:?}", text.lines().last());
}

#[test]
fn a_closed_stderr_harms_nobody() {
    let mut child = start(5000);
    drop(child.stderr.take());
    ended(child);
}

#[test]
fn a_stuck_stderr_holds_up_nobody() {
    // Far more than a pipe and the bound hold, while nobody reads.
    let mut child = start(20_000);
    let stderr = child.stderr.take();
    ended(child);
    drop(stderr);
}

#[test]
fn records_of_real_exchanges_are_counted() {
    let metrics = HttpMetrics::new("piko_proxy", None);
    let failed = exchange(|exchange, _| {
        let step = exchange.handle_failed(Now::from_millis(2), Leg::Upstream, Failure::NoUpstream);
        assert!(matches!(step, Step::Answer(_)), "{step:?}");
    });
    let gone = exchange(|exchange, now| {
        let step = exchange.handle_failed(now, Leg::Client, Failure::ClientGone);
        assert_eq!(step, Step::Abort);
    });
    for record in [&complete(), &failed, &gone] {
        metrics.begin();
        metrics.record(record);
    }
    let mut out = String::new();
    metrics.render(&mut out);
    for want in [
        "piko_proxy_requests_in_flight 0\n",
        "piko_proxy_requests_total{method=\"GET\",status=\"0\"} 1\n",
        "piko_proxy_requests_total{method=\"GET\",status=\"200\"} 1\n",
        "piko_proxy_requests_total{method=\"GET\",status=\"502\"} 1\n",
        "piko_proxy_request_latency_seconds_bucket{method=\"GET\",status=\"200\",le=\"0.005\"} 1\n",
        "piko_proxy_request_latency_seconds_sum{method=\"GET\",status=\"200\"} 0.005\n",
    ] {
        assert!(out.contains(want), "{want} {out}");
    }
}
