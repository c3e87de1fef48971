//! With a secret nothing that a stranger sends has any effect but a counter.

use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::Tunnel;
use piko_tests::http::Client;

use super::common::{Liar, PATIENCE, all_is_well, cluster_with, delta, digest, records, until_routed};
use super::streams::{GROWTH_BYTES_MAX, nested, nils, pour};

#[test]
fn with_a_secret_strangers_are_not_heard() {
    let cluster = cluster_with(3, &["--cluster.secret", "of three nodes and nobody else"]);
    let tunnel = Tunnel::open(cluster.members[1].upstream(), "kept").expect("registered").answer();
    until_routed(&cluster, 0, "kept");
    let from = cluster.members[0].server.as_ref().expect("it runs").process.mark();
    let liar = Liar::new();
    let about = cluster.members[1].gossip().to_string();
    let to = cluster.members[0].gossip();
    for version in [1_000, u64::MAX / 2, u64::MAX] {
        liar.send(to, &delta(("node-1", &about), ("node-1", &about), &[("_internal:left", "", version)]));
        liar.send(to, &delta(("node-1", &about), ("node-1", &about), &[("endpoint:kept", "0", version)]));
    }
    for n in 0..1_000 {
        let ghost = format!("ghost-{n}");
        liar.send(to, &digest("node-1", &about, true, &[(&ghost, "127.0.0.1:9", 1)]));
        liar.send(to, &digest(&ghost, &liar.addr().to_string(), true, &[]));
    }
    assert_eq!(liar.receive(Duration::from_secs(1)), 0, "no answer");
    all_is_well(&cluster);
    assert!(piko_tests::cluster::routes(cluster.members[0].proxy(), "kept"));
    for msg in ["node leave", "node joined", "node unreachable"] {
        assert_eq!(records(&cluster, 0, from, msg), 0, "{msg}");
    }
    drop(tunnel);
}

/// What kills, fills, floods or misleads Go's nodes (G1, G2, G11 to G15, G19, ghosts), all of it at one node.
#[test]
fn with_a_secret_the_worst_has_no_effect_but_a_counter() {
    let cluster = cluster_with(2, &["--cluster.secret", "of two nodes and nobody else"]);
    let (node, to) = (&cluster.members[0], cluster.members[0].gossip());
    let process = &node.server.as_ref().expect("it runs").process;
    let (from, before) = (process.mark(), node.resident_bytes());
    let refused = || {
        let mut client = Client::connect(node.admin()).expect("the port is open");
        let text = client.get("/metrics", &[]).expect("metrics").body.text();
        let count = |line: &str| {
            line.strip_prefix("piko_gossip_refused_total{")?.split_once("} ")?.1.parse::<f64>().ok()
        };
        text.lines().filter_map(count).sum::<f64>() as u64
    };
    let counted = refused();
    let (liar, victim) = (Liar::new(), Liar::new());
    let (own, third) = (liar.addr().to_string(), victim.addr().to_string());
    let mut sent = 0;
    for n in 0..5_000 {
        let (ghost, other) = (format!("ghost-{n}"), cluster.members[1].gossip().to_string());
        for message in [
            digest("node-1", &third, true, &[]),
            digest(&ghost, "slow.invalid:8003", true, &[(&ghost, "", 1)]),
            delta((&ghost, &own), (&ghost, &own), &[("endpoint:made-up", "1", 1)]),
            delta(("node-1", &other), ("node-1", &other), &[("_internal:left", "", u64::MAX)]),
        ] {
            liar.send(to, &message);
            sent += 1;
        }
        // The kernel drops what a busy node leaves in its queue, so that it is waited for before that is full.
        if n % 25 == 24 {
            let begun = Instant::now();
            while refused() < counted + sent {
                assert!(begun.elapsed() < PATIENCE, "{} of {sent}", refused() - counted);
                // What waits is a question to the node that has the work.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    pour(to, &nested());
    pour(to, &nils());
    assert_eq!((liar.receive(Duration::from_secs(1)), victim.receive(Duration::from_millis(10))), (0, 0));
    all_is_well(&cluster);
    let (grown, counted) = (node.resident_bytes().saturating_sub(before), refused() - counted);
    let log: usize = process.lines(from).iter().map(|line| line.text.len() + 1).sum();
    println!(
        "with a secret: {counted} of {sent} refused, {} KiB more resident, {log} bytes of log",
        grown / 1024
    );
    // And the two streams.
    assert!(counted >= sent, "{counted} of {sent}");
    assert!(grown <= GROWTH_BYTES_MAX && log <= 512 * 1024, "{grown} bytes of memory, {log} of log");
    for msg in ["node leave", "node joined", "node unreachable"] {
        assert_eq!(records(&cluster, 0, from, msg), 0, "{msg}");
    }
}

#[test]
fn another_secret_is_another_cluster() {
    let cluster = cluster_with(2, &["--cluster.secret", "one"]);
    let seed = cluster.members[0].gossip().to_string();
    let args = ["--cluster.secret", "two", "--cluster.join", &seed, "--cluster.join-timeout", "2s"];
    let mut stranger = piko_tests::process::Server::start(&args);
    let status = stranger.process.wait_exit(PATIENCE).expect("it gives up");
    assert_eq!(status.code(), Some(1), "{}", stranger.process.tail());
    all_is_well(&cluster);
}
