//! Clusters under random schedules against the reference model, and planted faults that it must find.

use piko_core::gossip::Config;
use piko_core::id::NodeId;
use piko_core::rng::Rng;
use piko_tests::model::gossip::{Fault, World, addr, id};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const HOSTS: usize = 4;

/// One step of a schedule; one that makes no sense does nothing.
fn step(world: &mut World, (kind, who, which, span): (u8, u8, u8, u16)) {
    let n = usize::from(who) % HOSTS;
    let key = format!("endpoint:{}", which % 12);
    let running = world.hosts[n].up && world.hosts[n].alive;
    match kind % 32 {
        0..=8 if running => world.set(n, key.as_bytes(), &span.to_le_bytes()),
        9..=13 if running => world.unset(n, key.as_bytes()),
        14 if running => {
            // Enough tombstones for a compaction.
            for k in 0..120 {
                world.set_quietly(n, format!("endpoint:many-{k}").as_bytes(), b"1");
            }
            world.settle(n);
            for k in 0..120 {
                world.unset(n, format!("endpoint:many-{k}").as_bytes());
            }
        }
        15 if running => world.kill(n),
        16..=18 if !world.hosts[n].alive => {
            // The same name and address, another port, or another name.
            let host = &world.hosts[n];
            let mut at = host.addr;
            at.set_port(8003 + which as u16 % 2);
            let name = if which % 3 == 0 { NodeId::new(&format!("again-{span}")) } else { host.id.clone() };
            world.restart(n, name, at);
        }
        19 => world.hosts[n].up = !world.hosts[n].up && world.hosts[n].alive,
        20 => world.partition(&[n], &others(n), true),
        21 | 22 => world.cuts.clear(),
        23 => drop(world.cuts.insert((addr(n), addr(usize::from(which) % HOSTS)))),
        24 => world.loss = which,
        25 if running => join(world, n),
        _ => world.run_for(Duration::from_millis(u64::from(span) % 700)),
    }
}

fn others(n: usize) -> Vec<usize> {
    (0..HOSTS).filter(|other| *other != n).collect()
}

/// Asks everybody, as a driver does that resolves its seeds again and again.
fn join(world: &mut World, n: usize) {
    let seeds: Vec<SocketAddr> = world.hosts.iter().map(|host| host.addr).collect();
    world.join(n, &seeds);
}

/// Runs a schedule, heals all, and says what is wrong at the end. Panics where a step breaks a rule.
fn run(seed: u64, fault: Option<Fault>, ops: &[(u8, u8, u8, u16)]) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut config = Config::default();
    // Every world has limits of its own.
    config.packet_bytes_max = 400 + rng.below(1_000) as usize;
    config.stream_from = 1 + rng.below(200) as usize;
    config.expiry = Duration::from_millis(2_000 + rng.below(60_000));
    let mut world = World::new(HOSTS, seed, config);
    world.fault = fault;
    (world.loss, world.twice) = (rng.below(100) as u8, rng.below(100) as u8);
    world.jitter = Duration::from_micros(rng.below(50_000));
    for n in 1..HOSTS {
        join(&mut world, n);
    }
    for op in ops {
        step(&mut world, *op);
    }
    world.cuts.clear();
    world.loss = world.loss.min(100);
    for n in 0..HOSTS {
        world.hosts[n].up = world.hosts[n].alive;
    }
    world.run_for(Duration::from_millis(500));
    for n in 0..HOSTS {
        if world.hosts[n].alive {
            join(&mut world, n);
        }
    }
    // A stream into a partition is given up after 10 s, and versions are raised once in as many.
    let agreed = world.run_until(Duration::from_secs(40), World::agrees);
    agreed.map(drop).ok_or_else(|| world.dispute())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_ends_in_agreement(
        seed in any::<u64>(),
        ops in prop::collection::vec(any::<(u8, u8, u8, u16)>(), 10..80),
    ) {
        if let Err(why) = run(seed, None, &ops) {
            prop_assert!(false, "{}", why);
        }
    }
}

/// What a run of the property found: a successor at the very instant of its predecessor's last word gave the same
/// versions to other keys. No process restarts within a millisecond; one that takes longer is heard by all.
#[test]
fn a_successor_elsewhere_is_heard_by_all() {
    let ops = [(0, 181, 0, 0), (25, 237, 0, 0), (15, 153, 0, 0), (16, 69, 139, 0), (0, 89, 1, 0)];
    let idle = [(0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (16, 0, 0, 0), (0, 0, 0, 0)];
    assert_eq!(run(0, None, &[ops, idle].concat()), Ok(()));
}

/// What 10 schedules say about the fault; without it all of them pass.
fn exposed(fault: Fault) -> usize {
    let found = |seed: &u64| {
        let mut rng = Rng::new(*seed);
        let ops: Vec<_> = (0..60)
            .map(|_| {
                let raw = rng.next_u64().to_le_bytes();
                (raw[0], raw[1], raw[2], u16::from_le_bytes([raw[3], raw[4]]))
            })
            .collect();
        run(*seed, None, &ops).unwrap_or_else(|why| panic!("sound without the fault, but {why}"));
        !matches!(catch_unwind(AssertUnwindSafe(|| run(*seed, Some(fault), &ops))), Ok(Ok(())))
    };
    (0..10).filter(found).count()
}

#[test]
fn finds_an_invented_value() {
    assert!(exposed(Fault::InventedValue) > 5);
}

#[test]
fn finds_a_swallowed_end_of_a_key() {
    assert!(exposed(Fault::SwallowedUnset) > 2);
}

/// The same seed is the same universe.
#[test]
fn a_world_repeats() {
    let trace = |seed: u64| {
        let mut world = World::cluster(3, seed, Config::default());
        world.run_for(Duration::from_secs(3));
        (world.sent, world.now)
    };
    assert_eq!(trace(4), trace(4));
    assert_ne!(trace(4), trace(5));
    assert_eq!(id(3), NodeId::new("node-3"));
}
