//! G3, G5, G6, G10, G16 and G17: what members do to each other without meaning to.

use std::time::Duration;

use piko_tests::cluster::{Cluster, Ledger, Tunnel, agent};

use super::common::{Liar, NEWS_MAX, PATIENCE, all_is_well, cluster, delta, spreads, until_routed};

#[test]
fn g3_long_ids_work_across_nodes_and_longer_ones_are_refused() {
    let cluster = cluster(2);
    let longest = "x".repeat(1_024);
    let upstream = cluster.members[0].upstream();
    let _tunnel = Tunnel::open(upstream, &longest).expect("registered").answer();
    until_routed(&cluster, 1, &longest);
    let refused = Tunnel::open(upstream, &"y".repeat(1_025)).expect_err("too long");
    assert!(refused.to_string().contains(" 400 "), "{refused}");
    // Nothing waits behind either.
    all_is_well(&cluster);
}

#[test]
fn g5_g16_a_name_that_comes_back_elsewhere_is_reached() {
    let mut cluster = cluster(3);
    let old: Vec<_> = (0..20)
        .map(|n| {
            Tunnel::open(cluster.members[1].upstream(), &format!("old-{n}")).expect("registered").answer()
        })
        .collect();
    until_routed(&cluster, 0, "old-19");
    cluster.members[1].kill();
    drop(old);
    cluster.members[1].readdress();
    cluster.members[1].start();
    let ledger = Ledger::start();
    let url = format!("http://{}", cluster.members[1].upstream());
    let agent = agent(&url, "new", ledger.addr(), &["--access-log.disable"]);
    agent.wait_connected(0, PATIENCE).expect("connected");
    let start = std::time::Instant::now();
    for node in [0, 2] {
        until_routed(&cluster, node, "new");
    }
    println!("the same id on other ports: routed everywhere {:?} after its agent", start.elapsed());
    // Nothing of its former life is advertised.
    for node in [0, 2] {
        assert!(!piko_tests::cluster::routes(cluster.members[node].proxy(), "old-3"), "a stale endpoint");
    }
    all_is_well(&cluster);
}

#[test]
fn g6_churn_holds_no_news_back() {
    let cluster = cluster(2);
    let upstream = cluster.members[0].upstream();
    let _steady: Vec<_> =
        (0..500).map(|n| Tunnel::open(upstream, &format!("steady-{n}")).expect("registered")).collect();
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        for n in 0..200 {
            drop(Tunnel::open(upstream, &format!("churn-{round}-{n}")).expect("registered"));
        }
        slowest = slowest.max(spreads(&cluster, 0, 1));
    }
    println!("2,000 endpoints that came and went beside 500: news took at most {slowest:?}");
    assert!(slowest < NEWS_MAX, "{slowest:?}");
}

/// Without a secret strangers can lie about others; a lie about the one that hears it has no effect, and one about a
/// living member is put right by it.
#[test]
fn g10_a_forged_left_mark_does_not_last() {
    let cluster = cluster(2);
    let ledger = Ledger::start();
    let url = format!("http://{}", cluster.members[0].upstream());
    let agent = agent(&url, "truth", ledger.addr(), &["--access-log.disable"]);
    agent.wait_connected(0, PATIENCE).expect("connected");
    until_routed(&cluster, 1, "truth");
    let liar = Liar::new();
    let about = cluster.members[0].gossip().to_string();
    let lie = delta(("node-0", &about), ("node-0", &about), &[("_internal:left", "", u64::MAX / 2)]);
    liar.send(cluster.members[0].gossip(), &lie);
    liar.send(cluster.members[1].gossip(), &lie);
    let took = until_routed(&cluster, 1, "truth");
    println!("a forged left mark: routed again after {took:?}");
    all_is_well(&cluster);
    until_routed(&cluster, 1, "truth");
}

#[test]
fn g17_one_bad_seed_is_one_bad_seed() {
    let first = cluster(1);
    let good = first.members[0].gossip().to_string();
    let seeds = format!("no-such-host.invalid:8003,[::1]:9,{good}");
    let joined =
        piko_tests::process::Server::start(&["--cluster.join", &seeds, "--cluster.node-id", "second"]);
    let _tunnel = Tunnel::open(first.members[0].upstream(), "seeded").expect("registered").answer();
    let start = std::time::Instant::now();
    while !piko_tests::cluster::routes(joined.proxy, "seeded") {
        assert!(start.elapsed() < PATIENCE, "{}", joined.process.tail());
        // The node is another process, which tells nobody what it routes: it is asked.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Three nodes that speak IPv6 alone.
#[test]
fn g17_ipv6_alone() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var("CI").is_err(), "no IPv6, and CI must not skip tests");
        println!("skipped: no IPv6");
        return;
    }
    let args = ["--proxy.access-log.disable", "--drain-delay", "0s"];
    let cluster = Cluster::start_at(std::net::Ipv6Addr::LOCALHOST.into(), 3, &args);
    all_is_well(&cluster);
}
