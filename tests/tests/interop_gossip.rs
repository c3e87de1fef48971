//! Our gossip against ugorji/go/codec: its reading of our messages, and a cluster with a member of Go's pace.

#[path = "../interop/member.rs"]
mod member;
#[path = "../interop/peer.rs"]
mod peer;

use member::Member;
use peer::Peer;
use piko_core::gossip::wire::{self, DigestEntry, Entry, Header, PacketWriter};
use piko_core::gossip::{GossipEvent, Key, Node, StreamKind, Value};
use piko_core::id::NodeId;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A message, what it is called, and what Go is to make of it when that is something else.
type Message = (&'static str, Vec<u8>, Option<Vec<u8>>);

const ME: Header<'static> = Header { node_id: b"n1", addr: b"127.0.0.1:8003" };

fn entries(n: u64) -> Vec<(String, u64)> {
    // Every width of a version, and strings on both sides of 32 bytes.
    (0..n).map(|n| (format!("endpoint:{}", "e".repeat(n as usize % 40)), 1 << (n % 63))).collect()
}

fn put_entries(out: &mut Vec<u8>, all: &[(String, u64)]) {
    for (n, (key, version)) in all.iter().enumerate() {
        let (internal, deleted) = (n % 3 == 0, n % 5 == 0);
        Entry { key: key.as_bytes(), value: b"1", version: *version, internal, deleted }.put(out);
    }
}

fn list(out: &mut Vec<u8>, all: &[(String, u64)], since: Option<u64>) {
    wire::put_list(out, 2);
    wire::put_section(out, &ME, all.len(), since);
    put_entries(out, all);
    wire::put_section(out, &Header { node_id: b"n2", addr: b"[::1]:8003" }, 0, since);
}

fn digest(request: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PacketWriter::digest(&mut out, 1400, &ME, request).expect("room");
    for (n, (id, version)) in entries(20).iter().enumerate() {
        let entry =
            DigestEntry { id: id.as_bytes(), addr: b"10.0.0.1:8003", version: *version, left: n % 2 == 0 };
        assert!(writer.digest_entry(&entry));
    }
    out
}

fn delta(since: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    let all = entries(20);
    let mut writer = PacketWriter::delta(&mut out, 60_000, &ME).expect("room");
    assert!(writer.section(&ME, all.len() as u32, since));
    put_entries(&mut out, &all);
    out
}

fn stream(kind: StreamKind, since: Option<u64>, n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_request(&mut out, kind, &ME);
    list(&mut out, &entries(n), since);
    if kind == StreamKind::Join {
        wire::put_list(&mut out, 1);
        DigestEntry { id: b"n1", addr: b"127.0.0.1:8003", version: 7, left: false }.put(&mut out);
    }
    out
}

fn reply(since: Option<u64>, n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    ME.put_stream(&mut out);
    list(&mut out, &entries(n), since);
    out
}

#[test]
fn go_reads_what_we_write_and_writes_the_same() {
    let mut header = Vec::new();
    ME.put_stream(&mut header);
    let mut messages: Vec<Message> = vec![
        ("digest", digest(true), None),
        ("digest", digest(false), None),
        ("delta", delta(None), None),
        // The field that only ours understand is passed over.
        ("delta", delta(Some(70_000)), Some(delta(None))),
        ("leave_reply", header, None),
    ];
    for n in [0, 1, 15, 16, 17, 200] {
        messages.push(("join", stream(StreamKind::Join, None, n), None));
        messages.push((
            "join",
            stream(StreamKind::Join, Some(n), n),
            Some(stream(StreamKind::Join, None, n)),
        ));
        messages.push(("leave", stream(StreamKind::Leave, None, n), None));
        messages.push(("join_reply", reply(None, n), None));
        messages.push(("join_reply", reply(Some(1), n), Some(reply(None, n))));
    }
    let mut text = String::new();
    for (kind, bytes, _) in &messages {
        writeln!(text, "{kind} {}", hex(bytes)).expect("memory");
    }
    let file = std::env::temp_dir().join(format!("piko-gossip-messages-{}", std::process::id()));
    std::fs::write(&file, text).expect("a file");
    let read = Peer::messages(&file);
    std::fs::remove_file(&file).expect("it was there");
    let Some(read) = read else { return };
    assert_eq!(read.len(), messages.len());
    for ((kind, bytes, wanted), go) in messages.iter().zip(read) {
        assert_eq!(go["node"], "n1", "{kind}: {go}");
        assert_eq!(go["hex"], hex(wanted.as_ref().unwrap_or(bytes)), "{kind}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("memory");
        out
    })
}

fn keys(node: &Node, id: &str, prefix: &str) -> usize {
    let Some(peer) = node.peer(&NodeId::new(id)) else { return 0 };
    peer.entries().filter(|entry| !entry.deleted && entry.key.starts_with(prefix.as_bytes())).count()
}

/// Two of ours and one of Go's make: keys both ways, much at once both ways, no flapping, a leave both ways.
#[test]
fn a_cluster_of_both_kinds() {
    let one = Member::start("one", LOCAL);
    let two = Member::start("two", LOCAL);
    two.with(|node, now| node.join(now, &[one.addr]));
    let join = one.addr.to_string();
    let args = ["-id", "go", "-join", &join, "-set", "endpoint:mine=1", "-many", "5000"];
    let Some((mut go, _)) = Peer::gossip(&args) else { return };
    for member in [&one, &two] {
        member.wait("Go's key", |node, _| keys(node, "go", "endpoint:mine") == 1);
    }
    go.event(0, "set");
    let took = two.wait("5,000 keys of Go's", |node, _| keys(node, "go", "endpoint:go-") == 5_000);
    println!("5,000 endpoints of Go's: {took:?}");
    one.wait("5,000 keys of Go's", |node, _| keys(node, "go", "endpoint:go-") == 5_000);

    let began = std::time::Instant::now();
    two.with(|node, _| {
        for n in 0..5_000 {
            node.set(&Key::new(format!("endpoint:ours-{n}")), &Value::from("1")).expect("small");
        }
    });
    go.wait_event(|event| event["entry"]["key"] == "endpoint:ours-4999");
    println!("5,000 endpoints of ours: {:?}", began.elapsed());
    let mut all = Vec::new();
    for n in 0..20 {
        let began = std::time::Instant::now();
        let key = format!("endpoint:single-{n}");
        one.with(|node, _| node.set(&Key::new(&key), &Value::from("1"))).expect("small");
        two.wait("a key", |node, _| keys(node, "one", &key) == 1);
        all.push(began.elapsed());
        go.wait_event(|event| event["entry"]["key"] == key);
        thread::sleep(Duration::from_millis(20));
    }
    all.sort();
    println!("one key from ours to ours on real sockets: p50 {:?}, last {:?}", all[10], all[19]);
    assert!(all[10] < Duration::from_millis(20), "{all:?}");

    // Five more seconds of nothing: nobody takes anybody for dead, and Go could read all.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(go.events("liveness").len(), 0, "{:?}", go.events("liveness"));
    assert_eq!(go.events("bad").len(), 0, "{:?}", go.events("bad"));
    for member in [&one, &two] {
        member.with(|node, _| assert_eq!(node.counters().refused, [0; 6]));
        let lost = |events: &[GossipEvent]| events.iter().any(|e| matches!(e, GossipEvent::Unreachable(_)));
        member.wait("nobody is lost", |_, events| !lost(events));
    }

    two.with(Node::leave);
    go.wait_event(|event| event["event"] == "left" && event["id"] == "two");
    two.wait("the end of the leave", |_, events| events.contains(&GossipEvent::LeaveEnded { told: 2 }));
    go.terminate();
    one.wait("Go's leave", |_, events| events.contains(&GossipEvent::Left(NodeId::new("go"))));
    assert!(go.wait().success());
}

/// A crash of either kind is seen by the other.
#[test]
fn a_crash_is_seen_both_ways() {
    let one = Member::start("one", LOCAL);
    let two = Member::start("two", LOCAL);
    let Some((go, at)) = Peer::gossip(&["-id", "go"]) else { return };
    for member in [&one, &two] {
        member.with(|node, now| node.join(now, &[at]));
    }
    for member in [&one, &two] {
        member
            .wait("all three", |_, e| e.iter().filter(|e| matches!(e, GossipEvent::Joined(_))).count() == 2);
    }
    drop(two);
    let gone = |event: &serde_json::Value| event["event"] == "liveness" && event["id"] == "two";
    go.wait_event(gone);
    let event = GossipEvent::Unreachable(NodeId::new("two"));
    one.wait("the silence of ours", |_, events| events.contains(&event));
    drop(go);
    let event = GossipEvent::Unreachable(NodeId::new("go"));
    let took = one.wait("the silence of Go's", |_, events| events.contains(&event));
    println!("Go's crash: {took:?}");
}

/// Weakness G5 from our side: Go's versions begin at 1 with every start, below what is remembered.
#[test]
fn a_go_node_that_restarts_with_its_id_is_adopted() {
    let one = Member::start("one", LOCAL);
    let two = Member::start("two", LOCAL);
    two.with(|node, now| node.join(now, &[one.addr]));
    let join = one.addr.to_string();
    let Some((go, at)) = Peer::gossip(&["-id", "go", "-join", &join, "-many", "300"]) else { return };
    for member in [&one, &two] {
        member.wait("the keys of the first life", |node, _| keys(node, "go", "endpoint:go-") == 300);
    }
    drop(go);
    let at = at.to_string();
    let args = ["-id", "go", "-addr", &at, "-join", &join, "-set", "endpoint:second=1"];
    let Some((_go, _)) = Peer::gossip(&args) else { return };
    for member in [&one, &two] {
        let took = member.wait("the second life", |node, _| {
            keys(node, "go", "endpoint:second") == 1 && keys(node, "go", "endpoint:go-") == 0
        });
        println!("Go's restart: {took:?}");
    }
}

/// The same over IPv6, where Go's own code cannot dial what it resolves but literals work.
#[test]
fn a_cluster_on_ipv6() {
    let local = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    if std::net::UdpSocket::bind((local, 0)).is_err() {
        println!("SKIPPED: no IPv6 here");
        return;
    }
    let one = Member::start("one", local);
    let two = Member::start("two", local);
    two.with(|node, now| node.join(now, &[one.addr]));
    let join = one.addr.to_string();
    let Some((go, _)) = Peer::gossip(&["-id", "go", "-addr", "[::1]:0", "-join", &join]) else { return };
    for member in [&one, &two] {
        member
            .wait("all three", |_, e| e.iter().filter(|e| matches!(e, GossipEvent::Joined(_))).count() == 2);
    }
    go.wait_event(|event| event["event"] == "node" && event["id"] == "two");
}

/// The goals on real sockets, among ours alone.
#[test]
fn ten_thousand_endpoints_reach_three_of_ours_within_a_second() {
    let all: Vec<Member> = (0..3).map(|n| Member::start(&format!("node-{n}"), LOCAL)).collect();
    for member in &all[1..] {
        member.with(|node, now| node.join(now, &[all[0].addr]));
    }
    for member in &all {
        member
            .wait("all three", |_, e| e.iter().filter(|e| matches!(e, GossipEvent::Joined(_))).count() == 2);
    }
    let began = std::time::Instant::now();
    // One by one, as upstreams connect, each told at once.
    for n in 0..10_000 {
        let key = Key::new(format!("endpoint:service-{n:05}"));
        all[0].with(|node, _| node.set(&key, &Value::from("1"))).expect("small");
    }
    let set = began.elapsed();
    for member in &all[1..] {
        member.wait("10,000 keys", |node, _| keys(node, "node-0", "endpoint:service-") == 10_000);
    }
    println!("10,000 one by one: set in {set:?}, everywhere after {:?}", began.elapsed());
    assert!(began.elapsed() < set + Duration::from_secs(1));
    let began = std::time::Instant::now();
    all[1].with(|node, _| {
        for n in 0..10_000 {
            let key = Key::new(format!("endpoint:other-{n:05}"));
            node.set(&key, &Value::from("1")).expect("small");
        }
    });
    for member in [&all[0], &all[2]] {
        member.wait("10,000 more", |node, _| keys(node, "node-1", "endpoint:other-") == 10_000);
    }
    println!("10,000 at once: everywhere after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1));
}
