//! Weaknesses of Go's gossip that show with time and with many nodes (wire protocol 9.1: G4, G8, G9), held against the
//! gossip loop on real sockets, with and without a secret. A process forgets the dead after a minute and a machine can be
//! told that it is over sooner, so these nodes live in this process; `bad_gossip.rs` has what real processes show.

#[path = "gossip_sockets/member.rs"]
mod member;

use member::{Member, members, until};
use piko_core::gossip::wire::{DigestEntry, Entry, Header, PacketWriter};
use piko_core::gossip::{Config, GossipEvent, NodeStatus};
use piko_core::id::NodeId;
use piko_driver::Seal;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

const SECRET: &[u8] = b"of these nodes and nobody else";
/// For how long the dead are remembered in these tests.
const EXPIRY: Duration = Duration::from_secs(2);

fn short_lived_dead() -> Config {
    let mut config = Config::default();
    config.expiry = EXPIRY;
    config
}

fn message(seal: Option<&Seal>, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut plain = Vec::new();
    write(&mut plain);
    seal.map_or_else(|| plain.clone(), |seal| seal.seal(&plain).expect("entropy"))
}

/// What a node of Go's make says of a dead one for ever: that it is there, and all that it ever published.
fn zombie(seal: Option<&Seal>, by: &Header<'_>, dead: &Header<'_>, version: u64) -> [Vec<u8>; 2] {
    let digest = message(seal, |out| {
        let mut packet = PacketWriter::digest(out, 1_300, by, false).expect("room");
        let entry = DigestEntry { id: dead.node_id, addr: dead.addr, version, left: false };
        assert!(packet.digest_entry(&entry));
    });
    let delta = message(seal, |out| {
        let mut packet = PacketWriter::delta(out, 1_300, by).expect("room");
        assert!(packet.section(dead, 1, None));
        let entry = Entry { key: b"endpoint:zombie", value: b"1", version, internal: false, deleted: false };
        assert!(packet.entry(&entry));
    });
    [digest, delta]
}

/// Two survivors and somebody who tells them of a dead one again and again, in the name of a member.
fn the_dead_stay_dead(secret: Option<&[u8]>) {
    let seal = secret.map(Seal::new);
    let mut all = members(3, secret, &short_lived_dead());
    let dead = all.pop().expect("three");
    let (name, at) = (NodeId::new("node-2"), dead.addr.to_string());
    let version = all[0].gossip.look(|node| node.peer(&name).expect("known").version());
    let marks: Vec<usize> = all.iter().map(Member::mark).collect();
    dead.kill();
    for (member, mark) in all.iter().zip(&marks) {
        until("the silence is noticed", || member.heard(*mark, &GossipEvent::Unreachable(name.clone())));
    }
    let marks: Vec<usize> = all.iter().map(Member::mark).collect();
    let teller = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let by_addr = all[1].addr.to_string();
    let by = Header { node_id: b"node-1", addr: by_addr.as_bytes() };
    let about = Header { node_id: name.as_str().as_bytes(), addr: at.as_bytes() };
    let said = zombie(seal.as_ref(), &by, &about, version);
    // Longer than the dead are remembered and their gravestones stand.
    let end = Instant::now() + EXPIRY * 4;
    while Instant::now() < end {
        for packet in &said {
            teller.send_to(packet, all[0].addr).expect("sent");
        }
        // Go tells of it once per round.
        thread::sleep(Duration::from_millis(100));
        assert!(all.iter().all(|member| !member.takes_for_alive(&name)));
    }
    for (member, mark) in all.iter().zip(&marks) {
        assert!(member.heard(*mark, &GossipEvent::Expired(name.clone())), "forgotten");
        for risen in [GossipEvent::Joined(name.clone()), GossipEvent::Reachable(name.clone())] {
            assert!(!member.heard(*mark, &risen), "{risen:?}");
        }
        assert!(member.gossip.look(|node| node.peer(&name).is_none()), "it has left no trace");
    }
    // The node itself is welcome.
    let back = Member::start("node-2", secret, short_lived_dead());
    back.join(all[0].addr);
    for member in &all {
        until("it is back", || member.takes_for_alive(&name));
    }
}

#[test]
fn g4_no_mention_raises_the_dead() {
    the_dead_stay_dead(None);
}

#[test]
fn g4_no_mention_raises_the_dead_with_a_secret() {
    the_dead_stay_dead(Some(SECRET));
}

/// Far more than a digest has room for (26 with Go's ids), and than Go's detector takes in stride: a second for each.
const MANY: usize = 40;

fn many_nodes(secret: Option<&[u8]>) {
    let began = Instant::now();
    let mut all = members(MANY, secret, &Config::default());
    println!("{MANY} nodes know each other {:?} after the first began", began.elapsed());
    let mut spread: Vec<Duration> = (0..20)
        .map(|n| {
            let key = format!("endpoint:news-{n}");
            let began = Instant::now();
            all[n].set(&key);
            let from = all[n].id.clone();
            for member in all.iter().filter(|member| member.id != from) {
                until("the news is there", || member.knows(&from, &key));
            }
            began.elapsed()
        })
        .collect();
    spread.sort();
    println!("news is on all of them after {:?} (p50), {:?} (slowest of 20)", spread[10], spread[19]);
    // Nobody is forgotten over it, and nobody is taken for dead.
    for member in &all {
        assert_eq!(member.alive(), MANY - 1, "{}", member.id);
    }
    let dead = all.pop().expect("many");
    let name = dead.id.clone();
    let began = Instant::now();
    dead.kill();
    for member in &all {
        until("the silence is noticed", || !member.takes_for_alive(&name));
    }
    let noticed = began.elapsed();
    println!("a dead one is noticed by all after {noticed:?}");
    for member in &all {
        assert_eq!(member.status(&name), Some(NodeStatus::Unreachable));
        assert_eq!(member.alive(), MANY - 2, "{} takes the living for dead", member.id);
    }
    assert!(spread[19] < Duration::from_secs(1), "{spread:?}");
    assert!(noticed < Duration::from_secs(6), "{noticed:?}, and Go needs 39 s");
}

#[test]
fn g8_g9_many_nodes_hear_of_news_and_of_a_death() {
    many_nodes(None);
}

#[test]
fn g8_g9_many_nodes_hear_of_news_and_of_a_death_with_a_secret() {
    many_nodes(Some(SECRET));
}
