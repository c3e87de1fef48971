//! The two embedders of core that use no runtime: the example `blocking`, and the module in `wasm-agent` under
//! node. Both are built, run, and asked through a real server, and through the Go peer of `interop/go`.

#[path = "../interop/peer.rs"]
mod peer;
#[path = "../../core/examples/blocking/service.rs"]
mod service;

use bytes::BytesMut;
use peer::{FIVE_MIB, Peer, SHA_5_MIB, SHA_100_KB, pattern};
use piko_core::id::{EndpointId, StreamId};
use piko_core::mux::{Config, ReadError};
use piko_core::time::Instant;
use piko_core::tunnel::{Grant, Tunnel, TunnelEvent};
use piko_tests::cluster::unused_addr;
use piko_tests::http::Client;
use piko_tests::process::{Process, Server, need, profile_dir};
use service::Service;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An embedder, ready to be started with the URL of a server and an endpoint. Building comes first, since a server
/// that waits for its agent does not wait for a compiler; `None` when something that it needs is missing.
type Ready = fn() -> Option<Command>;

fn blocking() -> Option<Command> {
    Some(Command::new(blocking_program()))
}

fn blocking_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = target_dir();
        cargo(&["--example", "blocking", "--package", "piko-core"], &target);
        target.join("debug/examples/blocking")
    })
}

fn wasm() -> Option<Command> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let node = need("node")?;
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm-agent");
    if !has_wasm() {
        return None;
    }
    let module = BUILT.get_or_init(|| {
        let target = target_dir().join("wasm-agent");
        let manifest = place.join("Cargo.toml");
        let manifest = manifest.to_str().expect("a path in UTF-8");
        cargo(&["--target", WASM, "--release", "--manifest-path", manifest], &target);
        target.join(WASM).join("release/piko_wasm_agent.wasm")
    });
    let mut command = Command::new(node);
    command.arg(place.join("run.mjs")).arg(module);
    Some(command)
}

const WASM: &str = "wasm32-unknown-unknown";

/// Whether the standard library of the target is installed. As with tools, CI must have it.
fn has_wasm() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", WASM]).output();
    let dir = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let found = dir.is_ok_and(|dir| !dir.is_empty() && Path::new(&dir).is_dir());
    if !found {
        let strict = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
        assert!(!strict, "the target {WASM} is not installed, and CI must not skip tests");
        let _ = writeln!(io::stderr(), "skipped: the target {WASM} is not installed");
    }
    found
}

/// The directory in which this test was built.
fn target_dir() -> PathBuf {
    let exe = env::current_exe().expect("the running test has a path");
    let profile = profile_dir(&exe).expect("the test runs from a target directory");
    profile.parent().expect("a profile lies in a target directory").to_owned()
}

fn cargo(args: &[&str], target: &Path) {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"));
    command.args(["build", "--locked"]).args(args).arg("--target-dir").arg(target);
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn started(mut command: Command, url: &str, endpoint: &str) -> Process {
    let process = Process::spawn("embedder", command.args([url, endpoint])).expect("the embedder starts");
    wait_connected(&process, 0, endpoint);
    process
}

fn wait_connected(process: &Process, from: usize, endpoint: &str) -> usize {
    let wanted = format!("connected {endpoint}");
    let line = process.wait_line(from, PATIENCE, |line| line.text == wanted);
    line.unwrap_or_else(|error| panic!("{error}")).index + 1
}

/// What curl printed, when it was content.
fn curl(proxy: SocketAddr, endpoint: &str, target: &str, args: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new(need("curl")?);
    command.args(["-sS", "--fail", "--max-time", "30", "-H", &format!("x-piko-endpoint: {endpoint}")]);
    let output = command.args(args).arg(format!("http://{proxy}{target}")).output().expect("curl starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn curl_reaches_the_blocking_agent() {
    through_a_server(blocking, "hello from blocking");
}

#[test]
fn curl_reaches_the_wasm_agent() {
    through_a_server(wasm, "hello from wasm");
}

fn through_a_server(ready: Ready, greeting: &str) {
    let Some(embedder) = ready() else { return };
    let server = Server::start(&[]);
    let _agent = started(embedder, &server.connect_url(), "e 1%");
    let Some(body) = curl(server.proxy, "e 1%", "/a?b=c", &[]) else { return };
    assert_eq!(String::from_utf8_lossy(&body), format!("{greeting}\nGET /a?b=c\n"));
    let head = curl(server.proxy, "e 1%", "/a", &["--head"]).expect("curl");
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());

    let sent = pattern(FIVE_MIB);
    let file = env::temp_dir().join(format!("piko-embedders-{}-{}", std::process::id(), greeting.len()));
    fs::write(&file, &sent).expect("a temporary file");
    let data = format!("@{}", file.display());
    let args = ["--data-binary", &data, "-H", "content-type: application/octet-stream"];
    let whole = curl(server.proxy, "e 1%", "/", &args).expect("curl");
    let chunked = [&args[..], &["-H", "transfer-encoding: chunked"]].concat();
    let pieces = curl(server.proxy, "e 1%", "/", &chunked).expect("curl");
    fs::remove_file(&file).expect("it was there");
    assert!(whole == sent, "{} bytes came back", whole.len());
    assert!(pieces == sent, "{} bytes came back in chunks", pieces.len());

    std::thread::scope(|scope| {
        for i in 0..50 {
            scope.spawn(move || {
                let mut client = Client::connect(server.proxy).expect("the proxy port");
                for j in 0..4 {
                    let target = format!("/{i}/{j}");
                    let answer = client.get(&target, &[("x-piko-endpoint", "e 1%")]).expect("an answer");
                    assert_eq!(answer.body.text(), format!("{greeting}\nGET {target}\n"));
                }
            });
        }
    });
}

#[test]
fn the_blocking_agent_comes_back_to_a_server_that_restarts() {
    let Some(embedder) = blocking() else { return };
    let upstream = unused_addr().to_string();
    let mut server = Server::start(&["--upstream.bind-addr", &upstream]);
    let agent = started(embedder, &server.connect_url(), "e1");
    let up = wait_connected(&agent, 0, "e1");
    server.terminate(PATIENCE).expect("the server ends");
    let server = Server::start(&["--upstream.bind-addr", &upstream]);
    wait_connected(&agent, up, "e1");
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let answer = client.get("/", &[("x-piko-endpoint", "e1")]).expect("an answer");
    assert_eq!(answer.body.text(), "hello from blocking\nGET /\n");
}

#[test]
fn the_blocking_agent_does_not_try_again_what_is_refused() {
    let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    let refuser = piko_tests::service::Service::scripted(move |mut stream| {
        let _ = io::Read::read(&mut stream, &mut [0; 1024]);
        let _ = stream.write_all(answer);
    });
    let url = format!("http://{}", refuser.addr());
    let output =
        Command::new(blocking_program()).args([url.as_str(), "e1"]).output().expect("the embedder starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("refused with 401"), "{said}");
    assert_eq!(refuser.counts().connections, 1);
}

#[test]
fn a_go_server_reaches_the_blocking_agent() {
    through_go(blocking);
}

#[test]
fn a_go_server_reaches_the_wasm_agent() {
    through_go(wasm);
}

fn through_go(ready: Ready) {
    let large = ["-requests", "3", "-method", "POST", "-size", "5242880", "-chunked"];
    let many =
        ["-requests", "200", "-concurrency", "50", "-method", "POST", "-size", "100000", "-goaway", "2"];
    for (args, count, sha256) in [(&large[..], 3, SHA_5_MIB), (&many[..], 200, SHA_100_KB)] {
        let Some(embedder) = ready() else { return };
        let Some((peer, url)) = Peer::serve(args) else { return };
        let _agent = started(embedder, &url, "e1");
        let outcomes = peer.outcomes();
        assert_eq!(outcomes.len(), count);
        for outcome in outcomes {
            let seen = (outcome.status, outcome.sha256.as_str());
            assert_eq!(seen, (200, sha256), "{} bytes: {}", outcome.bytes, outcome.error);
        }
    }
}

/// A server's tunnel and an agent's, joined by a pipe, with the example's service behind one stream.
struct Pair {
    now: Instant,
    server: Tunnel,
    agent: Tunnel,
    id: StreamId,
    service: Option<Service>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::ZERO;
        let endpoint = EndpointId::new(b"e1").expect("an endpoint id");
        let mut server = Tunnel::accepted(endpoint.clone(), Grant::default(), Config::default(), now);
        let agent = Tunnel::dialled(endpoint, Config::default(), now);
        let id = server.open(now).expect("a stream");
        Self { now, server, agent, id, service: None }
    }

    /// Writes, and lets both sides run until nothing moves. Gives what came back and whether that was the end.
    fn send(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut rest = bytes;
        let mut came = Vec::new();
        let mut ended = false;
        loop {
            let mut moved = false;
            if let Ok(n) = self.server.send(self.now, self.id).write(rest) {
                rest = &rest[n..];
                moved |= n > 0;
            }
            let mut wire = BytesMut::new();
            moved |= self.server.poll_transmit(self.now, &mut wire) > 0;
            self.agent.handle_chunk(self.now, &wire).expect("our own frames");
            self.serve();
            let mut wire = BytesMut::new();
            moved |= self.agent.poll_transmit(self.now, &mut wire) > 0;
            self.server.handle_chunk(self.now, &wire).expect("our own frames");
            while self.server.poll_event().is_some() {}
            let mut recv = self.server.recv(self.now, self.id);
            loop {
                let mut buffer = [0; 1024];
                match recv.read_into(&mut buffer) {
                    Ok(Some(n)) => came.extend_from_slice(&buffer[..n]),
                    Ok(None) | Err(ReadError::Reset | ReadError::Unknown) => ended = true,
                    Err(ReadError::Blocked) => {}
                }
                if !matches!(recv.chunk(), Ok(Some(_))) {
                    break;
                }
            }
            if !moved {
                return (came, ended);
            }
        }
    }

    fn serve(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            if event == TunnelEvent::Incoming {
                assert_eq!(self.agent.accept(), Some(self.id));
                self.service = Some(Service::new("hello", self.now));
            }
        }
        // Extra calls are harmless, which this relies on.
        if self.service.as_mut().is_some_and(|service| service.pump(self.now, &mut self.agent, self.id)) {
            self.service = None;
            self.agent.release(self.now, self.id);
        }
    }
}

const REQUESTS: &[u8] = b"GET /one HTTP/1.1\r\nhost: x\r\n\r\n\
    POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n\
    HEAD /two HTTP/1.1\r\nhost: x\r\n\r\n\
    PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nthird\
    DELETE / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nno\
    GET /three HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[test]
fn the_service_answers_all_requests_of_a_kept_connection() {
    let (answers, ended) = Pair::new().send(REQUESTS);
    let text = String::from_utf8_lossy(&answers);
    assert!(ended, "{text}");
    let status = |code: &str| text.matches(&format!("HTTP/1.1 {code}")).count();
    assert_eq!((status("200"), status("405")), (5, 1), "{text}");
    let expected =
        ["hello\nGET /one\n", "5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n", "third", "hello\nGET /three\n"];
    let mut at = 0;
    for body in expected {
        at += text[at..].find(body).unwrap_or_else(|| panic!("no {body:?} behind byte {at} of {text}"))
            + body.len();
    }
    assert_eq!(at, text.len(), "nothing may follow the last answer");
    assert!(!text.contains("HEAD /two"), "an answer to HEAD has no body");
}

#[test]
fn how_a_request_is_cut_does_not_matter_to_the_service() {
    let mut pair = Pair::new();
    let mut answers = Vec::new();
    let mut ended = false;
    for &byte in REQUESTS {
        let (came, end) = pair.send(&[byte]);
        answers.extend(came);
        ended |= end;
    }
    let text = String::from_utf8_lossy(&answers);
    assert!(ended, "{text}");
    assert!(text.contains("1\r\nf\r\n1\r\ni\r\n"), "the echo comes while the body arrives: {text}");
    assert!(text.ends_with("hello\nGET /three\n"), "{text}");
}

#[test]
fn the_service_asks_for_a_body_that_waits_to_be_asked() {
    let mut pair = Pair::new();
    let (came, _) =
        pair.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
    assert!(came.starts_with(b"HTTP/1.1 100"), "{}", came.escape_ascii());
    let (came, ended) = pair.send(b"hi");
    assert!(came.ends_with(b"hi") && !ended, "{}", came.escape_ascii());
}

#[test]
fn the_service_says_what_was_wrong_and_ends() {
    let (came, ended) = Pair::new().send(b"GET / HTTP/1.1\r\nno-host: x\r\n\r\n");
    assert!(came.starts_with(b"HTTP/1.1 400"), "{}", came.escape_ascii());
    assert!(ended);
}

#[test]
fn the_service_does_not_wait_for_ever_for_a_head() {
    let mut pair = Pair::new();
    pair.send(b"GET / HTT");
    let deadline = pair.service.as_ref().and_then(Service::poll_timeout).expect("a deadline");
    assert!(deadline.at.since(pair.now) <= Duration::from_secs(60), "{deadline:?}");
    pair.now = deadline.at;
    let (came, ended) = pair.send(b"");
    assert!(came.is_empty() && ended, "{}", came.escape_ascii());
}
