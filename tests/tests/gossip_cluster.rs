//! Clusters of real gossip nodes on one clock over a small network: spreading, leaving, dying, coming back.

use piko_core::gossip::{Config, GossipEvent, JoinFault, NodeStatus};
use piko_core::id::NodeId;
use piko_tests::model::gossip::{World, addr, id};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn cluster(n: usize) -> World {
    World::cluster(n, 7, Config::default())
}

fn settled(world: &mut World, within: Duration) -> Duration {
    let took = world.run_until(within, World::agrees);
    took.unwrap_or_else(|| panic!("no agreement within {within:?}: {}", world.dispute()))
}

#[test]
fn a_join_makes_two_nodes_known_to_each_other() {
    let mut world = World::new(2, 1, Config::default());
    world.join(1, &[addr(0)]);
    let took = settled(&mut world, ms(5));
    println!("join: {took:?}");
    assert_eq!(world.hosts[1].log, [GossipEvent::JoinEnded { joined: 1, failed: 0 }]);
}

#[test]
fn a_change_is_everywhere_within_milliseconds() {
    for n in [3, 10] {
        let mut world = cluster(n);
        let mut all = Vec::new();
        for round in 0..50u32 {
            world.run_for(ms(37));
            world.set(round as usize % n, b"endpoint:e", round.to_string().as_bytes());
            all.push(settled(&mut world, ms(50)));
        }
        all.sort();
        println!("{n} nodes: p50 {:?}, last {:?}", all[25], all[49]);
        assert!(all[25] < ms(2) && all[49] < ms(20), "{all:?}");
    }
}

#[test]
fn ten_thousand_endpoints_at_once_are_everywhere_within_a_second() {
    let mut world = cluster(3);
    let before = world.sent;
    for n in 0..10_000 {
        world.set_quietly(0, format!("endpoint:service-{n:05}").as_bytes(), b"1");
    }
    world.settle(0);
    let took = settled(&mut world, ms(1000));
    println!("10,000 at once: {took:?}, {} datagrams", world.sent.0 - before.0);
    // One by one, each looked at before the next.
    let mut world = cluster(3);
    for n in 0..10_000 {
        world.set(0, format!("endpoint:service-{n:05}").as_bytes(), b"1");
        world.run_for(Duration::from_micros(50));
    }
    let took = settled(&mut world, ms(1000));
    println!("10,000 in half a second: {took:?} after the last");
}

/// A NAT between nodes that have known each other, or a machine whose datagrams leave by another of its addresses.
#[test]
fn datagrams_from_elsewhere_are_not_believed_but_what_they_tell_of_is_asked_for() {
    let mut world = cluster(3);
    world.run_for(ms(2000));
    world.nat = true;
    world.run_for(ms(3000));
    let mut slowest = ms(0);
    for n in 0..20u32 {
        world.set(n as usize % 3, b"endpoint:e", n.to_string().as_bytes());
        slowest = slowest.max(settled(&mut world, ms(5000)));
        world.run_for(ms(700));
    }
    println!("behind a NAT: {slowest:?} at most");
    assert!(
        world.hosts.iter().all(|host| !host.log.iter().any(|e| matches!(e, GossipEvent::Unreachable(_))))
    );
}

#[test]
fn loss_and_disorder_delay_but_do_not_lie() {
    let mut world = cluster(4);
    (world.loss, world.twice, world.jitter) = (80, 40, ms(30));
    for n in 0..400u32 {
        world.set(n as usize % 4, format!("endpoint:{}", n % 50).as_bytes(), n.to_string().as_bytes());
        if n % 3 == 0 {
            world.unset(n as usize % 4, format!("endpoint:{}", n % 20).as_bytes());
        }
        world.run_for(ms(5));
    }
    let took = settled(&mut world, ms(5000));
    println!("a third lost: {took:?}");
}

#[test]
fn a_leave_is_known_at_once_and_forgotten_after_its_time() {
    let mut world = cluster(3);
    world.leave(2);
    let gone = |world: &World| (0..2).all(|n| world.status(n, &id(2)) == Some(NodeStatus::Left));
    let took = world.run_until(ms(100), gone).expect("all know");
    world.run_for(ms(10));
    assert!(!world.is_active(0, &id(2)) && !world.is_active(1, &id(2)));
    assert_eq!(world.hosts[2].log.last(), Some(&GossipEvent::LeaveEnded { told: 2 }));
    println!("leave: {took:?}");
    world.kill(2);
    world.run_for(Duration::from_secs(70));
    assert!(world.hosts[0].view.len() == 1 && world.hosts[0].node.peer(&id(2)).is_none());
    settled(&mut world, ms(1));
}

#[test]
fn a_crash_is_noticed_and_the_dead_do_not_rise() {
    let mut world = cluster(3);
    world.set(2, b"endpoint:x", b"1");
    settled(&mut world, ms(50));
    world.run_for(ms(3_000));
    world.kill(2);
    let noticed = |world: &World| !world.is_active(0, &id(2)) && !world.is_active(1, &id(2));
    let took = world.run_until(Duration::from_secs(5), noticed).expect("noticed");
    println!("crash: {took:?}");
    assert!(took > ms(1500) && took < ms(3500), "{took:?}");
    for _ in 0..2_000 {
        world.run_for(ms(200));
        assert!(noticed(&world), "a zombie (weakness G4)");
    }
    assert!(world.hosts[0].node.peer(&id(2)).is_none());
}

/// Weakness G5, and the same on another port.
#[test]
fn a_restart_with_the_same_id_is_adopted() {
    for port in [8003, 9003] {
        let mut world = cluster(3);
        for n in 0..300 {
            world.set(2, format!("endpoint:old-{n}").as_bytes(), b"1");
        }
        settled(&mut world, ms(500));
        world.run_for(ms(1000));
        world.kill(2);
        world.run_for(ms(300));
        let mut back = addr(2);
        back.set_port(port);
        world.restart(2, id(2), back);
        world.set(2, b"endpoint:new", b"1");
        world.join(2, &[addr(0), addr(1)]);
        let took = settled(&mut world, ms(2000));
        println!("restart on port {port}: {took:?}");
        // An address of a former life is no second process.
        world.run_for(ms(15_000));
        assert!(world.hosts.iter().all(|host| host.node.counters().twins == 0));
    }
}

/// How often host `n` was told of a second process with its id, each time at `other`.
fn twins(world: &World, n: usize, other: usize) -> usize {
    let told = |event: &&GossipEvent| match event {
        GossipEvent::Twin { node, own, other: at } => {
            let own_host = &world.hosts[n].node;
            assert_eq!(
                (own_host.peer(node).map(|own| own.addr()), *at),
                (Some(&*own.to_string().into_bytes()), addr(other))
            );
            true
        }
        _ => false,
    };
    world.hosts[n].log.iter().filter(told).count()
}

/// However they meet: by a join of the one at the other, at a third node, or at two nodes that know each other.
#[test]
fn two_processes_of_one_id_are_both_told() {
    for (seed_of_first, seed_of_second) in [(3, 1), (0, 0), (0, 3)] {
        let mut world = World::new(4, 7, Config::default());
        world.liars = true;
        world.kill(1);
        world.kill(2);
        world.join(3, &[addr(0)]);
        settled(&mut world, ms(100));
        world.restart(1, NodeId::new("twin"), addr(1));
        world.join(1, &[addr(seed_of_first)]);
        world.run_for(ms(3_000));
        assert_eq!(world.hosts[1].node.counters().twins, 0);
        world.restart(2, NodeId::new("twin"), addr(2));
        world.join(2, &[addr(seed_of_second)]);
        let both = |world: &World| twins(world, 1, 2) == 1 && twins(world, 2, 1) == 1;
        let took = world.run_until(ms(1_000), both).expect("both are told");
        println!("seeds {seed_of_first} and {seed_of_second}: both told after {took:?}");
        for n in [1, 2] {
            assert!(world.hosts[n].node.counters().twins >= 1);
        }
        // While it goes on each hears of it now and then, and nobody else takes part in it.
        world.run_for(Duration::from_secs(300));
        for (n, other) in [(1, 2), (2, 1)] {
            let told = twins(&world, n, other);
            assert!(told <= 6, "{told} times in five minutes");
        }
        for n in [0, 3] {
            assert_eq!(world.hosts[n].node.counters().twins, 0);
        }
    }
}

#[test]
fn a_seed_with_the_own_id_is_no_node_that_was_joined() {
    let mut world = World::new(2, 3, Config::default());
    world.restart(1, id(0), addr(1));
    world.join(1, &[addr(0)]);
    world.run_for(ms(100));
    let failed = GossipEvent::JoinFailed { seed: addr(0), why: JoinFault::SameId };
    let ended = GossipEvent::JoinEnded { joined: 0, failed: 1 };
    assert!(
        world.hosts[1].log.contains(&failed) && world.hosts[1].log.contains(&ended),
        "{:?}",
        world.hosts[1].log
    );
}

#[test]
fn a_restart_after_a_leave_is_adopted() {
    let mut world = cluster(3);
    world.leave(1);
    world.run_for(ms(200));
    world.kill(1);
    world.run_for(ms(200));
    world.restart(1, id(1), addr(1));
    world.join(1, &[addr(2)]);
    let took = settled(&mut world, ms(2000));
    println!("back after a leave: {took:?}");
}

/// A second process of an id was a mistake: once it has left, the first one is not away until that leave is forgotten.
#[test]
fn the_leave_of_a_namesake_does_not_stick_to_the_living() {
    let mut world = World::new(4, 7, Config::default());
    (1..3).for_each(|n| world.join(n, &[addr(0)]));
    world.set(2, b"endpoint:x", b"1");
    world.run_for(ms(2_000));
    let mut other = addr(2);
    other.set_port(9003);
    world.kill(3);
    world.restart(3, id(2), other);
    world.join(3, &[addr(0)]);
    world.run_for(ms(3_000));
    world.leave(3);
    let known = |world: &World| (0..2).all(|n| world.status(n, &id(2)) == Some(NodeStatus::Left));
    world.run_until(ms(2_000), known).expect("the leave counts at first");
    world.kill(3);
    let back = |world: &World| {
        let has = |n: usize| {
            world.hosts[n].view.get(&id(2)).is_some_and(|view| view.keys.contains_key(&b"endpoint:x"[..]))
        };
        (0..2).all(|n| world.is_active(n, &id(2)) && has(n))
    };
    let took = world.run_until(Duration::from_secs(30), back).expect("back before the leave is forgotten");
    println!("back after the leave of a namesake: {took:?}");
    world.run_for(ms(5_000));
    assert!(back(&world));
}

/// However long it was away, whoever finds the other, and whenever the next round is: nobody waited for it meanwhile.
#[test]
fn who_comes_back_after_a_leave_is_not_taken_for_unreachable() {
    for away in (0..20).map(|n| ms(10_000 + 7 * n)) {
        for (asks, asked) in [(1, 0), (0, 1)] {
            let mut world = cluster(2);
            world.run_for(ms(1_000));
            world.leave(1);
            world.run_for(ms(200));
            world.kill(1);
            world.run_for(away);
            world.restart(1, id(1), addr(1));
            world.join(asks, &[addr(asked)]);
            let back = |world: &World| world.is_active(0, &id(1));
            world.run_until(ms(2_000), back).expect("back");
            for step in 0..400 {
                assert!(back(&world), "away {away:?}, {asks} asked: away again after {step} steps");
                world.run_for(ms(5));
            }
        }
    }
}

/// Go's default is a new id with every start: the old one is gone as soon as the new one answers in its place.
#[test]
fn a_new_id_at_an_old_address_ends_the_old_one() {
    let mut world = cluster(3);
    world.run_for(ms(1000));
    world.kill(2);
    world.run_for(ms(50));
    world.restart(2, NodeId::new("fresh"), addr(2));
    world.join(2, &[addr(0)]);
    let took = settled(&mut world, ms(2000));
    println!("new id: {took:?}");
    assert!(took < ms(500), "{took:?}");
}

/// A clock that runs behind after a restart: the versions are below what peers remember.
#[test]
fn a_restart_with_a_clock_that_went_back_heals() {
    let mut world = cluster(3);
    for n in 0..2_000 {
        // More than 256 changes per millisecond would be needed to outrun the clock; a jump does it as well.
        world.set_quietly(2, b"endpoint:n", n.to_string().as_bytes());
    }
    world.settle(2);
    settled(&mut world, ms(500));
    world.kill(2);
    let later = world.now;
    // The new process begins an hour before the old one did.
    world.now = piko_core::time::Instant::from_millis(1);
    world.restart(2, id(2), addr(2));
    world.now = later;
    world.join(2, &[addr(0)]);
    let took = settled(&mut world, Duration::from_secs(15));
    println!("clock behind: {took:?}");
}

#[test]
fn a_partition_heals() {
    let mut world = cluster(4);
    world.run_for(ms(2000));
    world.partition(&[0, 1], &[2, 3], true);
    world.run_for(ms(10_000));
    assert!(world.is_active(0, &id(1)) && !world.is_active(0, &id(2)));
    world.set(0, b"endpoint:a", b"1");
    world.set(3, b"endpoint:b", b"1");
    world.partition(&[0, 1], &[2, 3], false);
    let took = settled(&mut world, ms(5000));
    println!("healed: {took:?}");
    // Longer than anybody is remembered: only the seeds bring them together again.
    world.partition(&[0, 1], &[2, 3], true);
    world.run_for(Duration::from_secs(200));
    assert_eq!(world.hosts[0].view.len(), 1);
    world.partition(&[0, 1], &[2, 3], false);
    world.join(2, &[addr(0), addr(1)]);
    let took = settled(&mut world, ms(5000));
    println!("joined again: {took:?}");
}

/// A pause is no death: it comes back with all that it had.
#[test]
fn a_suspended_node_comes_back() {
    let mut world = cluster(3);
    world.run_for(ms(2000));
    world.hosts[1].up = false;
    let took =
        world.run_until(Duration::from_secs(5), |w| !w.is_active(0, &id(1)) && !w.is_active(2, &id(1)));
    println!("suspended: noticed after {took:?}");
    world.run_for(ms(20_000));
    world.set(0, b"endpoint:a", b"1");
    world.hosts[1].up = true;
    let took = settled(&mut world, ms(5000));
    println!("resumed: {took:?}");
}

/// Weakness G6: churn that goes on and on does not keep a new endpoint from being seen.
#[test]
fn churn_does_not_stop_the_news() {
    let mut world = cluster(3);
    for n in 0..1_000 {
        world.set_quietly(0, format!("endpoint:stays-{n}").as_bytes(), b"1");
    }
    world.settle(0);
    settled(&mut world, ms(1000));
    for n in 0..5_000 {
        world.set(0, format!("endpoint:goes-{n}").as_bytes(), b"1");
        world.run_for(ms(2));
        world.unset(0, format!("endpoint:goes-{n}").as_bytes());
        world.run_for(ms(2));
    }
    let took = settled(&mut world, ms(500));
    let kept = world.hosts[1].node.peer(&id(0)).expect("known").entries().count();
    println!("churn: {took:?}, {kept} entries kept");
    assert!(kept < 3_000, "tombstones are compacted");
}

#[test]
fn idle_nodes_say_little() {
    let mut world = cluster(3);
    world.run_for(ms(1000));
    let before = world.sent;
    world.run_for(ms(10_000));
    let (packets, bytes) = (world.sent.0 - before.0, world.sent.1 - before.1);
    println!("idle: {} datagrams and {} bytes per node and second", packets / 30, bytes / 30);
    assert!(packets / 30 < 120 && bytes / 30 < 20_000);
}

#[test]
fn a_large_cluster_agrees() {
    let mut world = World::new(40, 3, Config::default());
    for n in 1..40 {
        world.join(n, &[addr(n - 1), addr(0)]);
        world.run_for(ms(20));
    }
    let took = settled(&mut world, ms(10_000));
    println!("40 nodes: {took:?}");
    world.set(17, b"endpoint:x", b"1");
    let took = settled(&mut world, ms(200));
    println!("40 nodes, one change: {took:?}");
    world.run_for(Duration::from_secs(30));
    settled(&mut world, ms(1));
}

/// Weakness G9: a node among many is missed as soon as one of three.
#[test]
fn a_death_among_many_is_noticed_as_soon_as_among_few() {
    for n in [3, 40] {
        let mut world = World::new(n, 3, Config::default());
        for at in 1..n {
            world.join(at, &[addr(0)]);
            world.run_for(ms(20));
        }
        // The mean intervals are those of a cluster of this size.
        (0..150).for_each(|_| world.run_for(ms(100)));
        let before = world.sent;
        (0..50).for_each(|_| world.run_for(ms(100)));
        let per_node = |all: usize| all / 5 / n;
        let (packets, bytes) = (per_node(world.sent.0 - before.0), per_node(world.sent.1 - before.1));
        println!("{n} nodes: idle, {packets} datagrams and {bytes} bytes per node and second");
        let dead = id(n - 1);
        assert!((0..n - 1).all(|at| world.is_active(at, &dead)), "{n} nodes, and nobody is missed");
        world.kill(n - 1);
        let noticed = |world: &World| (0..n - 1).all(|at| !world.is_active(at, &dead));
        let mut rounds = 0;
        while !noticed(&world) {
            assert!(rounds < 60, "{n} nodes do not notice within 6 s");
            world.run_for(ms(100));
            rounds += 1;
        }
        println!("{n} nodes: a dead one is missed by all after {} ms", rounds * 100);
        (0..50).for_each(|_| world.run_for(ms(100)));
        for at in 0..n - 1 {
            assert!((0..n - 1).all(|other| at == other || world.is_active(at, &id(other))), "{at} of {n}");
        }
    }
}
