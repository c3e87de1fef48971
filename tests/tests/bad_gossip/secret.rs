//! With a secret nothing that a stranger sends has any effect but a counter.

use std::time::Duration;

use piko_tests::cluster::Tunnel;

use super::common::{Liar, all_is_well, cluster_with, delta, digest, records, until_routed};

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

#[test]
fn another_secret_is_another_cluster() {
    let cluster = cluster_with(2, &["--cluster.secret", "one"]);
    let seed = cluster.members[0].gossip().to_string();
    let args = ["--cluster.secret", "two", "--cluster.join", &seed, "--cluster.join-timeout", "2s"];
    let mut stranger = piko_tests::process::Server::start(&args);
    let status = stranger.process.wait_exit(super::common::PATIENCE).expect("it gives up");
    assert_eq!(status.code(), Some(1), "{}", stranger.process.tail());
    all_is_well(&cluster);
}
