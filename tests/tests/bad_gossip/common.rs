//! A stranger with a socket, and what is asked of the nodes that it talks to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use piko_core::gossip::wire::{self, DigestEntry, Entry, Header, PacketWriter, StreamKind};
use piko_tests::cluster::{Cluster, Tunnel, routes};
use piko_tests::process::Line;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// News that takes longer was held up. It takes milliseconds, and a busy machine makes seconds of them; Go's nodes stand
/// still for minutes or for ever behind what is done here. The figures themselves are printed.
pub(crate) const NEWS_MAX: Duration = Duration::from_secs(5);

/// Nodes that end at once when they are asked to.
pub(crate) fn cluster(n: usize) -> Cluster {
    cluster_with(n, &[])
}

pub(crate) fn cluster_with(n: usize, more: &[&str]) -> Cluster {
    let mut args = vec!["--proxy.access-log.disable", "--drain-delay", "0s"];
    args.extend_from_slice(more);
    let cluster = Cluster::start(n, &args);
    // A node is ready when its own join is done; those it joined may record it only behind that. What a test counts
    // from here on is of what the test does.
    for member in &cluster.members {
        let process = &member.server.as_ref().expect("it runs").process;
        for other in cluster.members.iter().filter(|other| other.id != member.id) {
            let joined = |line: &Line| {
                line.is_record("node joined") && line.json().is_some_and(|json| json["node-id"] == *other.id)
            };
            process.wait_line(0, PATIENCE, joined).unwrap_or_else(|e| panic!("{}: {e}", other.id));
        }
    }
    cluster
}

/// A socket from which anything is sent.
pub(crate) struct Liar(UdpSocket);

impl Liar {
    pub(crate) fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    /// Sends to a node; a full queue of the sender is waited for. That of the receiver drops what it has no room for.
    pub(crate) fn send(&self, to: SocketAddr, data: &[u8]) {
        while self.0.send_to(data, to).is_err() {
            // The kernel says when a stream has room again, of datagrams it does not.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Becomes a member of the cluster, as a node of Go would (wire protocol 7.11).
    pub(crate) fn join(&self, name: &str, node: SocketAddr) {
        let addr = self.addr().to_string();
        let header = Header { node_id: name.as_bytes(), addr: addr.as_bytes() };
        let mut out = Vec::new();
        wire::put_request(&mut out, StreamKind::Join, &header);
        wire::put_list(&mut out, 1);
        wire::put_section(&mut out, &header, 1, None);
        let entry = Entry { key: b"color", value: b"red", version: 1, internal: false, deleted: false };
        entry.put(&mut out);
        wire::put_list(&mut out, 1);
        DigestEntry { id: header.node_id, addr: header.addr, version: 1, left: false }.put(&mut out);
        let mut stream = TcpStream::connect(node).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(&out).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.len() > 100, "what the node knows: {}", answer.escape_ascii());
    }

    /// Bytes that come within a time.
    pub(crate) fn receive(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        let mut bytes = 0;
        let mut packet = vec![0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return bytes;
            }
            self.0.set_read_timeout(Some(left)).expect("set");
            bytes += self.0.recv_from(&mut packet).map_or(0, |(n, _)| n);
        }
    }
}

pub(crate) fn digest(id: &str, addr: &str, request: bool, entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { node_id: id.as_bytes(), addr: addr.as_bytes() };
    let mut writer = PacketWriter::digest(&mut out, 60_000, &header, request).expect("room");
    for (id, addr, version) in entries {
        let (id, addr) = (id.as_bytes(), addr.as_bytes());
        assert!(writer.digest_entry(&DigestEntry { id, addr, version: *version, left: false }));
    }
    out
}

/// A delta that says it is from `by` and tells of one node; each entry is (key, value, version).
pub(crate) fn delta(by: (&str, &str), about: (&str, &str), entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let by = Header { node_id: by.0.as_bytes(), addr: by.1.as_bytes() };
    let about = Header { node_id: about.0.as_bytes(), addr: about.1.as_bytes() };
    let mut writer = PacketWriter::delta(&mut out, 60_000, &by).expect("room");
    assert!(writer.section(&about, entries.len() as u32, None));
    for (key, value, version) in entries {
        let entry = Entry {
            key: key.as_bytes(),
            value: value.as_bytes(),
            version: *version,
            internal: key.starts_with("_internal"),
            deleted: false,
        };
        assert!(writer.entry(&entry));
    }
    out
}

/// How long a new endpoint of one node takes until another node routes it: gossip is alive.
pub(crate) fn spreads(cluster: &Cluster, from: usize, to: usize) -> Duration {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let endpoint = format!("alive-{n}");
    let tunnel = Tunnel::open(cluster.members[from].upstream(), &endpoint).expect("registered").answer();
    let took = until_routed(cluster, to, &endpoint);
    drop(tunnel);
    took
}

/// Waits until a node routes an endpoint.
pub(crate) fn until_routed(cluster: &Cluster, node: usize, endpoint: &str) -> Duration {
    let start = Instant::now();
    while !routes(cluster.members[node].proxy(), endpoint) {
        assert!(start.elapsed() < PATIENCE, "node {node} does not route {endpoint}");
        // The node is another process, which tells nobody what it routes: it is asked.
        thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

/// Every node runs, is ready, and learns of news of every other one soon.
pub(crate) fn all_is_well(cluster: &Cluster) {
    for (i, member) in cluster.members.iter().enumerate() {
        assert!(piko_tests::cluster::is_ready(member.admin()), "{} is not ready", member.id);
        let other = (i + 1) % cluster.members.len();
        let took = spreads(cluster, i, other);
        assert!(took < NEWS_MAX, "news of node {i} took {took:?}");
    }
}

/// How many log records of a member say this, from the given line on.
///
/// Those that are found are printed, so that a test that wants none says which one came.
pub(crate) fn records(cluster: &Cluster, node: usize, from: usize, msg: &str) -> usize {
    let server = cluster.members[node].server.as_ref().expect("it runs");
    let lines = server.process.lines(from);
    let found = lines.iter().filter(|line| line.text.contains(msg)).inspect(|line| println!("{}", line.text));
    found.count()
}
