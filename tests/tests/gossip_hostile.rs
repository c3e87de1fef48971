//! The weaknesses of Go's gossip (wire protocol 9.1, G1 to G19), held against our nodes. Those that are about
//! spreading and restarts are in `gossip_cluster.rs`.

use piko_core::gossip::wire::{self, DigestEntry, Entry, Header, Packet, PacketWriter};
use piko_core::gossip::{
    Channel, Config, GossipEvent, Key, Node, NodeInfo, NodeStatus, PacketError, Progress, Refusal, SetError,
    StreamKind, StreamReader, Value,
};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use piko_tests::model::gossip::{WALL_MS, World, addr, id};
use std::net::SocketAddr;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Somebody with an address of its own and no manners.
fn liar() -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], 666))
}

/// Somebody who has nothing to do with all this.
fn victim() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 53))
}

fn digest(id: &str, addr: &str, request: bool, entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { node_id: id.as_bytes(), addr: addr.as_bytes() };
    let mut writer = PacketWriter::digest(&mut out, 60_000, &header, request).expect("room");
    for (id, addr, version) in entries {
        let (id, addr) = (id.as_bytes(), addr.as_bytes());
        assert!(writer.digest_entry(&DigestEntry { id, addr, version: *version, left: false }));
    }
    out
}

fn delta(by: (&str, &str), about: (&str, &str), entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let by = Header { node_id: by.0.as_bytes(), addr: by.1.as_bytes() };
    let about = Header { node_id: about.0.as_bytes(), addr: about.1.as_bytes() };
    let mut writer = PacketWriter::delta(&mut out, 60_000, &by).expect("room");
    assert!(writer.section(&about, entries.len() as u32, None));
    entries.iter().for_each(|entry| assert!(writer.entry(entry)));
    out
}

fn key<'e>(key: &'e str, value: &'e str, version: u64) -> Entry<'e> {
    let (key, value) = (key.as_bytes(), value.as_bytes());
    Entry { key, value, version, internal: key.starts_with(b"_internal"), deleted: false }
}

fn cluster() -> World {
    let mut world = World::cluster(3, 11, Config::default());
    world.run_for(ms(2_000));
    world
}

fn settled(world: &mut World, within: Duration) {
    assert!(world.run_until(within, World::agrees).is_some(), "{}", world.dispute());
}

/// The text of a host's address.
fn text(n: usize) -> String {
    addr(n).to_string()
}

#[test]
fn g1_nesting_is_bounded() {
    let bomb = |prefix: &[u8]| {
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(b"\x83\xa7node_id\xa1a\xa4addr\xa1b\xa3foo");
        bytes.resize(bytes.len() + 4_500_000, 0x91);
        bytes.push(0xc0);
        bytes
    };
    let mut reader = StreamReader::request(16 << 20);
    assert_eq!(reader.push(&bomb(&[3, 0])), Err(PacketError::Malformed));
    assert_eq!(Packet::decode(&bomb(&[1, 0])), Err(PacketError::Malformed));
    assert_eq!(wire::Request::decode(&bomb(&[3, 0])), Err(PacketError::Malformed));
}

#[test]
fn g2_lists_are_bounded() {
    for element in [0xc0u8, 0x80] {
        let mut bytes = b"\x03\x00\x82\xa7node_id\xa1a\xa4addr\xa1b\xdd\x00\x98\x96\x80".to_vec();
        bytes.resize(bytes.len() + 10_000_000, element);
        bytes.push(0x90);
        let mut reader = StreamReader::request(16 << 20);
        assert_eq!(reader.push(&bytes), Ok(Progress::Complete));
        assert_eq!(wire::Request::decode(reader.message()), Err(PacketError::Malformed));
    }
    let mut reader = StreamReader::request(1000);
    assert_eq!(reader.push(&[3, 0]), Ok(Progress::More));
    assert_eq!(reader.push(&[0x91; 999]), Err(PacketError::TooLong));
    // A string longer than all memory is not waited for with memory.
    let mut reader = StreamReader::request(1000);
    assert_eq!(reader.push(b"\x03\x00\xdb\xff\xff\xff\xff"), Ok(Progress::More));
}

#[test]
fn g3_an_oversized_entry_is_refused_and_blocks_nobody() {
    let mut world = cluster();
    let long = format!("endpoint:{}", "e".repeat(1_500));
    let node = &mut world.hosts[0].node;
    assert_eq!(node.set(&Key::new(&long), &Value::from("1")), Err(SetError::Oversized));
    assert_eq!(node.set(&Key::from("_internal:left"), &Value::from("1")), Err(SetError::Reserved));
    let longest = format!("endpoint:{}", "e".repeat(1_024));
    world.set(0, longest.as_bytes(), b"1000");
    world.set(0, b"endpoint:next", b"1");
    settled(&mut world, ms(20));
}

/// One that Go publishes: it came over a stream, and must not keep what stands behind it from others.
#[test]
fn g3_an_oversized_entry_of_another_node_is_relayed_over_streams() {
    let mut world = World::new(2, 5, Config::default());
    world.liars = true;
    let (long, go) = ("e".repeat(1_500), liar().to_string());
    let join = {
        let mut out = Vec::new();
        let me = Header { node_id: b"go", addr: go.as_bytes() };
        wire::put_request(&mut out, StreamKind::Join, &me);
        wire::put_list(&mut out, 1);
        wire::put_section(&mut out, &me, 4, None);
        for entry in
            [key("proxy_addr", "a:1", 1), key("admin_addr", "a:2", 2), key(&long, "1", 3), key("e", "1", 4)]
        {
            entry.put(&mut out);
        }
        wire::put_list(&mut out, 1);
        DigestEntry { id: b"go", addr: go.as_bytes(), version: 4, left: false }.put(&mut out);
        out
    };
    let now = world.now;
    world.hosts[0].node.handle_request(now, liar(), &join, &mut Vec::new()).expect("a join");
    world.inject(liar(), 0, digest("go", &go, false, &[("go", &go, 4)]));
    world.run_for(ms(200));
    assert_eq!(world.status(0, &NodeId::new("go")), Some(NodeStatus::Active));
    world.join(1, &[addr(0)]);
    world.run_for(ms(1_500));
    let seen = world.hosts[1].node.peer(&NodeId::new("go")).expect("known").version();
    assert_eq!(seen, 4, "the entry behind the long one");
}

#[test]
fn g4_no_mention_raises_the_dead() {
    let mut world = cluster();
    let version = world.hosts[0].node.peer(&id(2)).expect("known").version();
    world.kill(2);
    for second in 0..400 {
        world.run_for(ms(1_000));
        // What a node of Go's make does: it tells of the dead, and has all that they ever said.
        let (by, about) = (text(1), text(2));
        world.inject(addr(1), 0, digest("node-1", &by, false, &[("node-2", &about, version)]));
        let old = [key("endpoint:zombie", "1", version)];
        world.inject(addr(1), 0, delta(("node-1", &by), ("node-2", &about), &old));
        assert!(second < 5 || !world.is_active(0, &id(2)), "second {second}");
    }
    assert!(world.hosts[0].node.peer(&id(2)).is_none());
    // The node itself is welcome.
    world.restart(2, id(2), addr(2));
    world.join(2, &[addr(0)]);
    settled(&mut world, ms(2_000));
}

#[test]
fn g10_a_stranger_changes_nothing() {
    let mut world = cluster();
    let (me, about) = (liar().to_string(), text(2));
    for version in [1, u64::MAX >> 8, u64::MAX] {
        let lies =
            [key("_internal:left", "", version), key("endpoint:stolen", "9", version.saturating_add(1))];
        world.inject(liar(), 0, delta(("evil", &me), ("node-2", &about), &lies));
        // With the name of a member, from elsewhere.
        world.inject(liar(), 0, delta(("node-1", &text(1)), ("node-2", &about), &lies));
        world.inject(liar(), 0, delta(("node-2", &me), ("node-2", &me), &lies));
        world.inject(liar(), 0, digest("evil", &me, true, &[("ghost", "10.7.7.7:1", 5)]));
        world.run_for(ms(200));
        assert!(world.agrees(), "{}", world.dispute());
    }
    assert!(world.hosts[0].node.peer(&NodeId::new("ghost")).is_none());
    let refused = world.hosts[0].node.counters().refused.iter().sum::<u64>();
    assert!(refused >= 6, "both lies in the name of a member are counted each time, not {refused} in all");
}

/// A member that lies, or a source that is forged: the owner moves above what is said of it.
#[test]
fn g10_a_lie_about_a_member_is_overtaken_by_its_owner() {
    let mut world = cluster();
    world.liars = true;
    let known = world.hosts[0].node.peer(&id(2)).expect("known").version();
    let lies = [key("proxy_addr", "6.6.6.6:666", known + 1_000), key("_internal:left", "", known + 1_001)];
    let now = world.now;
    let lie = delta(("node-1", &text(1)), ("node-2", &text(2)), &lies);
    world.hosts[0].node.handle_packet(now, addr(1), &lie).expect("well-formed");
    assert_eq!(world.status(0, &id(2)), Some(NodeStatus::Left));
    world.settle(0);
    let truthful = |world: &World| {
        let node = world.hosts[0].node.peer(&id(2)).expect("known");
        let proxy = node.entries().find(|entry| entry.key == b"proxy_addr").expect("it has one");
        node.status() == NodeStatus::Active && proxy.value == b"10.0.0.2:8000"
    };
    let took = world.run_until(Duration::from_secs(15), truthful).expect("the owner heals it");
    println!("healed after {took:?}");
    // Beyond what any clock justifies nothing is taken at all.
    let freeze = [key("endpoint:frozen", "1", u64::MAX)];
    let lie = delta(("node-1", &text(1)), ("node-2", &text(2)), &freeze);
    let now = world.now;
    world.hosts[0].node.handle_packet(now, addr(1), &lie).expect("well-formed");
    assert!(world.hosts[0].node.peer(&id(2)).expect("known").version() < u64::MAX);
}

#[test]
fn g11_nobody_gets_more_than_was_sent() {
    let mut world = cluster();
    for n in 0..200 {
        world.set(0, format!("endpoint:{n}").as_bytes(), b"1");
    }
    world.run_for(ms(1_000));
    assert!(world.astray.is_empty());
    let (me, them) = (liar().to_string(), victim().to_string());
    let mut came = 0;
    for n in 0..50 {
        let name = format!("ghost-{n}");
        let forged = [
            digest("evil", &them, true, &[]),
            digest("node-1", &them, true, &[("node-0", &text(0), 0)]),
            digest(&name, &them, true, &[(&name, &them, 1), ("node-0", &text(0), 0)]),
        ];
        for packet in forged {
            came += packet.len();
            world.inject(liar(), 0, packet);
            world.run_for(ms(20));
        }
    }
    world.run_for(ms(5_000));
    assert_eq!(world.astray.get(&victim()), None, "nothing goes to an address that only a message names");
    let (bytes, packets) = world.astray[&liar()];
    println!("{came} bytes came, {bytes} went in {packets} datagrams");
    assert!(bytes <= came, "{bytes} of {came}");
    // A forged source gets no more either, whatever it claims to be.
    let mut came = 0;
    for n in 0..50 {
        let name = format!("other-{n}");
        let packet = digest(&name, &them, true, &[(&name, &them, 1)]);
        let other = digest(&name, &me, false, &[]);
        came += packet.len() + other.len();
        world.inject(victim(), 0, packet);
        world.inject(victim(), 0, other);
        world.run_for(ms(20));
    }
    world.run_for(ms(20_000));
    let (bytes, packets) = world.astray[&victim()];
    println!("{came} bytes came, {bytes} went; {packets} messages, streams among them");
    assert!(bytes <= came, "{bytes} of {came}");
    world.astray.clear();
    world.run_for(ms(60_000));
    assert!(world.astray.is_empty(), "{:?}", world.astray);
    assert!(world.agrees(), "{}", world.dispute());
}

#[test]
fn g12_names_are_somebody_elses_business() {
    let mut world = World::new(1, 5, Config::default());
    let mut out = Vec::new();
    let me = Header { node_id: b"named", addr: b"peer.example:8003" };
    wire::put_request(&mut out, StreamKind::Join, &me);
    wire::put_list(&mut out, 1);
    wire::put_section(&mut out, &me, 1, None);
    key("proxy_addr", "a:1", 1).put(&mut out);
    wire::put_list(&mut out, 0);
    let now = world.now;
    let node = &mut world.hosts[0].node;
    node.handle_request(now, liar(), &out, &mut Vec::new()).expect("a join");
    let named = NodeId::new("named");
    let event = GossipEvent::Resolve { node: named.clone(), addr: b"peer.example:8003"[..].into() };
    assert_eq!(node.poll_event(), Some(event));
    assert_eq!(node.poll_event(), None);
    assert_eq!(node.poll_transmit(now, &mut Vec::new()), None);
    node.handle_resolved(now, &named, &[liar()]);
    // Who it is has to be seen: it is asked over a stream.
    let asked = world.run_until(ms(500), |world| world.astray.contains_key(&liar()));
    assert!(asked.is_some());
}

/// A name may stand for an IPv4 and an IPv6 address, of which one leads nowhere.
#[test]
fn every_address_of_a_name_is_tried() {
    for at in 0..3 {
        let mut world = World::new(2, 5, Config::default());
        world.liars = true;
        let named = NodeId::new("named");
        world.restart(1, named.clone(), addr(1));
        let mut out = Vec::new();
        let me = Header { node_id: b"named", addr: b"peer.example:8003" };
        wire::put_request(&mut out, StreamKind::Join, &me);
        wire::put_list(&mut out, 0);
        wire::put_list(&mut out, 0);
        let now = world.now;
        let node = &mut world.hosts[0].node;
        node.handle_request(now, liar(), &out, &mut Vec::new()).expect("a join");
        let mut addrs = vec![victim(), liar()];
        addrs.insert(at, addr(1));
        node.handle_resolved(now, &named, &addrs);
        world.settle(0);
        let took = world.run_until(ms(10_000), |world| world.is_active(0, &named));
        println!("the {}. of three addresses answers: known after {took:?}", at + 1);
        assert!(took.is_some(), "at {at}");
    }
}

#[test]
fn g13_made_up_ids_leave_no_trace() {
    let mut world = cluster();
    for n in 0..20_000 {
        let name = format!("made-up-{n}");
        world.inject(liar(), 0, delta((&name, "10.1.1.1:1"), (&name, "10.1.1.1:1"), &[]));
    }
    world.run_for(ms(100));
    assert_eq!(world.hosts[0].node.peers().count(), 3);
}

#[test]
fn g14_bursts_make_nobody_nervous() {
    let mut world = cluster();
    let beat = delta(("node-1", &text(1)), ("node-1", &text(1)), &[]);
    for _ in 0..200 {
        world.inject(addr(1), 0, beat.clone());
    }
    for _ in 0..50 {
        world.run_for(ms(100));
        assert!(world.agrees(), "{}", world.dispute());
    }
}

#[test]
fn g15_a_ghost_without_an_address_is_none() {
    let mut world = cluster();
    let by = text(1);
    for bad in ["", "0.0.0.0:1", "1.2.3.4:0", "[::]:5", "224.0.0.1:8003"] {
        world.inject(addr(1), 0, digest("node-1", &by, false, &[("ghost", bad, 1), ("", "1.2.3.4:5", 1)]));
        world.inject(addr(1), 0, delta(("node-1", &by), ("", "1.2.3.4:5"), &[key("a", "b", 1)]));
    }
    // The own address belongs to nobody else.
    world.inject(addr(1), 0, digest("node-1", &by, false, &[("double", &text(0), 1)]));
    world.run_for(ms(1_000));
    assert!(world.hosts[0].node.peer(&NodeId::new("double")).is_none());
    assert!(world.hosts[0].node.peers().all(|peer| !peer.id().as_str().is_empty()));
    assert!(world.agrees() && world.astray.is_empty(), "{:?}", world.astray);
}

#[test]
fn g17_one_bad_seed_is_one_bad_seed() {
    let mut world = World::new(2, 9, Config::default());
    world.join(1, &[victim(), addr(1), addr(0), addr(0)]);
    settled(&mut world, ms(100));
    let ended = GossipEvent::JoinEnded { joined: 2, failed: 1 };
    assert!(world.run_until(ms(100), |world| world.hosts[1].log.contains(&ended)).is_some());
    world.join(0, &[]);
    assert_eq!(world.hosts[0].log, [GossipEvent::JoinEnded { joined: 0, failed: 0 }]);
}

fn node(addr: SocketAddr) -> Node {
    let me = NodeInfo { id: NodeId::new("me"), addr, wall_ms: WALL_MS, first: Vec::new() };
    Node::new(me, Config::default(), 1, Instant::ZERO)
}

#[test]
fn g18_a_leave_waits_for_nobody_in_particular() {
    let mut world = World::cluster(6, 2, Config::default());
    world.run_for(ms(1_000));
    for n in 1..6 {
        world.hosts[n].up = false;
    }
    let now = world.now;
    let node = &mut world.hosts[0].node;
    node.leave(now);
    let mut streams = 0;
    let mut out = Vec::new();
    while let Some(transmit) = node.poll_transmit(now, &mut out) {
        streams += usize::from(matches!(transmit.channel, Channel::Stream(_, StreamKind::Leave)));
        out.clear();
    }
    assert_eq!(streams, 4, "all at once");
}

#[test]
fn g19_a_flood_of_bad_messages_is_a_handful_of_events() {
    let mut node = node(addr(0));
    let mut events = 0;
    for n in 0..20_000u64 {
        let now = Instant::from_millis(n);
        let bad: [&[u8]; 4] = [b"", b"\x01\x00\xc1", b"\x07\x00\x80", b"\x01\x01\x80"];
        assert!(node.handle_packet(now, liar(), bad[n as usize % 4]).is_err());
        while let Some(event) = node.poll_event() {
            let GossipEvent::Refused { why, count } = event else { panic!("{event:?}") };
            assert!([Refusal::Malformed, Refusal::Unknown].contains(&why) && count > 0);
            events += 1;
        }
    }
    assert!(events <= 6, "{events} events in 20 seconds");
    assert_eq!(node.counters().refused.iter().sum::<u64>(), 20_000);
}

/// 20,000 ghosts from a member: they neither stall the spreading nor fill the memory.
#[test]
fn ghosts_do_not_stall_the_living() {
    let mut world = cluster();
    let by = text(1);
    for n in 0..20_000u32 {
        let (name, at) =
            (format!("ghost-{n}"), SocketAddr::from(([10, 200, (n >> 8) as u8, n as u8], 1)).to_string());
        world.inject(addr(1), 0, digest("node-1", &by, false, &[(&name, &at, 1)]));
        let keys: Vec<String> = (0..10).map(|k| format!("endpoint:{k}-{}", "x".repeat(1_000))).collect();
        let entries: Vec<_> = keys.iter().zip(2..).map(|(k, version)| key(k, "1", version)).collect();
        world.inject(addr(1), 0, delta(("node-1", &by), (&name, &at), &entries));
        if n % 100 == 0 {
            world.run_for(ms(10));
        }
    }
    world.set(1, b"endpoint:living", b"1");
    world.set(0, b"endpoint:too", b"1");
    let told = |world: &World| {
        let has = |n: usize, of: usize, key: &[u8]| world.hosts[n].view[&id(of)].keys.contains_key(key);
        has(0, 1, b"endpoint:living") && has(2, 1, b"endpoint:living") && has(1, 0, b"endpoint:too")
    };
    let took = world.run_until(ms(200), told).expect("the living speak");
    let known = world.hosts[0].node.peers().count();
    println!("{took:?} with {known} nodes");
    assert!(known <= 1_025);
    let charged: usize = world.hosts[0]
        .node
        .peers()
        .flat_map(|peer| peer.entries())
        .map(|e| e.key.len() + e.value.len())
        .sum();
    assert!(charged <= 32 << 20, "{charged} bytes");
    let probes: usize = world.astray.values().map(|(_, messages)| messages).sum();
    println!("{probes} probes of ghosts in {:?}", world.now);
    // And all of them are forgotten.
    world.run_for(Duration::from_secs(200));
    assert_eq!(world.hosts[0].node.peers().count(), 3);
    settled(&mut world, ms(100));
}

/// A process of the same name at another address, both alive: it is refused and counted, and takes nothing over.
#[test]
fn a_second_process_with_a_name_of_the_cluster_is_refused() {
    let mut world = cluster();
    let me = liar().to_string();
    for n in 0..100 {
        world.inject(liar(), 0, digest("node-2", &me, true, &[("node-2", &me, n)]));
        world.inject(liar(), 0, digest("node-0", &me, true, &[("node-0", &me, n)]));
        world.run_for(ms(50));
        assert!(world.agrees(), "{}", world.dispute());
    }
    let at = Refusal::ALL.iter().position(|why| *why == Refusal::Impostor).expect("a kind");
    assert!(world.hosts[0].node.counters().refused[at] >= 100);
}

#[test]
fn ipv6_and_ipv4_in_its_form_are_understood() {
    let mut node = node("[fd00::1]:8003".parse().expect("an address"));
    let now = Instant::from_millis(1);
    node.join(
        now,
        &["[::ffff:10.0.0.7]:8003".parse().expect("an address"), "[fd00::2]:8003".parse().expect("one")],
    );
    let mut out = Vec::new();
    let mut targets = Vec::new();
    while let Some(transmit) = node.poll_transmit(now, &mut out) {
        targets.push(transmit.to.to_string());
    }
    assert_eq!(targets, ["10.0.0.7:8003", "[fd00::2]:8003"]);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("[fd00::1]:8003"), "the own address has its brackets");
}
