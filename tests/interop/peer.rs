//! The Go peer of `go/` as a process, for the tests that hold it against this project.

#![allow(dead_code, reason = "each test program includes this file and uses a part of it")]

use piko_tests::process::{Process, Signal, need, profile_dir};
use serde_json::Value;
use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

/// How long one event may take. The peer has limits of its own, which are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// SHA-256 of the peer's pattern (byte i is i mod 251), as another program computed it.
pub(super) const SHA_100_KB: &str = "cd2df694e424bc7968cc37f47751019e5ca0cd1bdf2e479ea537c3a1c32ee1aa";
/// The same of 5 MiB.
pub(super) const SHA_5_MIB: &str = "16b632f11cf950dda67dc4c184a3f9e0aa1ffa4c18927bb8977e7da97ca25bca";
/// 5 MiB in bytes: twenty windows of a stream.
pub(super) const FIVE_MIB: usize = 5 << 20;

/// A running peer; dropping it kills it.
#[derive(Debug)]
pub(super) struct Peer {
    process: Process,
}

/// One line `result` of the peer in the role of the server.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) error: String,
}

impl Peer {
    /// As an agent: returns when its tunnel to the server at `url` is up. `None` without Go, visibly.
    pub(super) fn listen(url: &str, endpoint: &str, args: &[&str]) -> Option<Self> {
        let mut all = vec!["listen", "-url", url, "-endpoint", endpoint];
        all.extend(args);
        let peer = Self::start(&all)?;
        peer.event(0, "connected");
        Some(peer)
    }

    /// As a server: returns when its port is open, with the URL for agents. `None` without Go, visibly.
    pub(super) fn serve(args: &[&str]) -> Option<(Self, String)> {
        let mut all = vec!["serve"];
        all.extend(args);
        let peer = Self::start(&all)?;
        let listening = peer.event(0, "listening");
        let addr: SocketAddr = listening["addr"].as_str().unwrap_or_default().parse().expect("an address");
        Some((peer, format!("http://{addr}")))
    }

    /// As a forwarder: what its connections to the endpoint behind the proxy port at `url` brought back. `None` without Go,
    /// visibly.
    pub(super) fn dial(url: &str, endpoint: &str, args: &[&str]) -> Option<Vec<Outcome>> {
        let mut all = vec!["dial", "-url", url, "-endpoint", endpoint];
        all.extend(args);
        Some(Self::start(&all)?.outcomes())
    }

    /// As a member of a gossip cluster: returns when its ports are open, with their address. `None` without Go,
    /// visibly.
    pub(super) fn gossip(args: &[&str]) -> Option<(Self, SocketAddr)> {
        let mut all = vec!["gossip"];
        all.extend(args);
        let peer = Self::start(&all)?;
        let listening = peer.event(0, "listening");
        let addr = listening["addr"].as_str().unwrap_or_default().parse().expect("an address");
        Some((peer, addr))
    }

    /// As Go's status command at the admin port at `url`: what it made of each path. `None` without Go, visibly.
    pub(super) fn status(url: &str, args: &[&str], paths: &[&str]) -> Option<Vec<Value>> {
        let mut peer = Self::start(&[&["status", "-url", url], args, paths].concat())?;
        peer.event(0, "done");
        peer.wait();
        Some(peer.events("status"))
    }

    /// As a reader and writer of gossip messages: what it made of each of those in the file. `None` without Go,
    /// visibly.
    pub(super) fn messages(file: &Path) -> Option<Vec<Value>> {
        let mut peer = Self::start(&["messages", "-in", file.to_str().expect("a path of text")])?;
        peer.event(0, "done");
        assert!(peer.wait().success());
        let is_it = |value: &Value| value["event"].as_str() == Some("message");
        Some(peer.process.lines(0).iter().filter_map(piko_tests::process::Line::json).filter(is_it).collect())
    }

    /// All events of this name so far.
    pub(super) fn events(&self, name: &str) -> Vec<Value> {
        let is_it = |value: &Value| value["event"].as_str() == Some(name);
        self.process.lines(0).iter().filter_map(piko_tests::process::Line::json).filter(is_it).collect()
    }

    /// Waits for an event that `wanted` accepts.
    pub(super) fn wait_event(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let line = self.process.wait_line(0, PATIENCE, |line| line.json().is_some_and(|v| wanted(&v)));
        line.unwrap_or_else(|error| panic!("waiting for an event: {error}")).json().expect("the line was one")
    }

    fn start(args: &[&str]) -> Option<Self> {
        let mut command = Command::new(program()?);
        let process = Process::spawn("peer", command.args(args)).expect("the peer starts");
        Some(Self { process })
    }

    /// Waits for the event `name` in a line with number `from` or higher.
    pub(super) fn event(&self, from: usize, name: &str) -> Value {
        let is_it = |value: &Value| value["event"].as_str() == Some(name);
        let line = self.process.wait_line(from, PATIENCE, |line| line.json().is_some_and(|v| is_it(&v)));
        let line = line.unwrap_or_else(|error| panic!("waiting for {name}: {error}"));
        line.json().expect("the line was one")
    }

    /// Waits for the end of the peer in the role of the server, and gives the results of all its requests.
    pub(super) fn outcomes(mut self) -> Vec<Outcome> {
        self.event(0, "done");
        let exit = self.wait();
        let results: Vec<Outcome> =
            self.process.lines(0).iter().filter_map(|line| outcome(&line.json()?)).collect();
        assert!(exit.success(), "{exit}: {}", self.process.tail());
        results
    }

    /// Asks the peer to end.
    pub(super) fn terminate(&mut self) {
        self.process.signal(Signal::Term).expect("the peer runs");
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let exit: io::Result<ExitStatus> = self.process.wait_exit(PATIENCE);
        exit.expect("the peer ends")
    }
}

fn outcome(line: &Value) -> Option<Outcome> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    (line["event"].as_str() == Some("result")).then_some(Outcome {
        status: line["status"].as_u64()?,
        bytes: line["bytes"].as_u64()?,
        sha256: text("sha256")?,
        error: text("error")?,
    })
}

/// The peer's pattern, `len` bytes of it.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Builds the peer once per test process. Cheap when it is up to date, and Go keeps its own cache.
fn program() -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let go = need("go")?;
    let built = BUILT.get_or_init(|| {
        let exe = env::current_exe().expect("the running test has a path");
        let dir = profile_dir(&exe).expect("the test runs from a target directory").join("interop");
        fs::create_dir_all(&dir).expect("a directory for the peer");
        // Other test processes may run the peer at this moment, and a running program cannot be overwritten.
        let (fresh, peer) = (dir.join(format!("peer.{}", std::process::id())), dir.join("peer"));
        let mut command = Command::new(go);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/go"));
        // Without cgo: see the head of main.go.
        command.env("CGO_ENABLED", "0").args(["build", "-o"]).arg(&fresh).arg(".");
        let output = command.output().expect("go starts");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&fresh, &peer).expect("the peer in its place");
        peer
    });
    Some(built.clone())
}
