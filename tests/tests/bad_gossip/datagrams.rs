//! G10 to G15 and G19: what one socket can do with datagrams.

use std::time::Duration;

use super::common::{Liar, NEWS_MAX, all_is_well, cluster, delta, digest, records, spreads};

#[test]
fn g11_a_third_address_gets_no_more_than_was_sent() {
    let cluster = cluster(3);
    let (liar, victim) = (Liar::new(), Liar::new());
    let to = cluster.members[0].gossip();
    let mut sent = 0;
    for n in 0..200 {
        let names = [format!("node-{}", n % 3), "stranger".to_owned()];
        for name in &names {
            let forged = digest(name, &victim.addr().to_string(), true, &[]);
            sent += forged.len();
            liar.send(to, &forged);
        }
    }
    let received = victim.receive(Duration::from_secs(3));
    println!("{received} bytes at an address that others named in {sent} bytes");
    assert!(received <= sent, "{received} bytes for {sent}");
    all_is_well(&cluster);
}

#[test]
fn g12_names_hold_nobody_up() {
    let cluster = cluster(2);
    let liar = Liar::new();
    for n in 0..1_000 {
        let name = format!("slow-{n}.invalid:8003");
        liar.send(cluster.members[0].gossip(), &digest(&format!("named-{n}"), &name, true, &[]));
        liar.send(cluster.members[0].gossip(), &digest("node-1", &name, true, &[]));
    }
    let took = spreads(&cluster, 1, 0);
    assert!(took < NEWS_MAX, "{took:?}");
    all_is_well(&cluster);
}

#[test]
fn g13_made_up_names_leave_nothing_behind() {
    let cluster = cluster(2);
    let liar = Liar::new();
    let addr = liar.addr().to_string();
    let before = cluster.members[0].resident_bytes();
    for n in 0..50_000 {
        let name = format!("nobody-{n}-{}", "x".repeat(200));
        liar.send(cluster.members[0].gossip(), &delta((&name, &addr), (&name, &addr), &[]));
    }
    all_is_well(&cluster);
    let grown = cluster.members[0].resident_bytes().saturating_sub(before);
    println!("50,000 made-up names: {} KiB more resident", grown / 1024);
    assert!(grown <= 16 << 20, "{grown} bytes");
}

#[test]
fn g14_bursts_make_nobody_unreachable() {
    let cluster = cluster(2);
    let liar = Liar::new();
    let from = cluster.members[0].server.as_ref().expect("it runs").process.mark();
    let by = cluster.members[1].gossip().to_string();
    for _ in 0..5 {
        for _ in 0..500 {
            liar.send(cluster.members[0].gossip(), &delta(("node-1", &by), ("node-1", &by), &[]));
        }
        // Rounds go on, and so does the detector.
        assert_eq!(liar.receive(Duration::from_millis(400)), 0);
    }
    assert_eq!(records(&cluster, 0, from, "node unreachable"), 0);
    all_is_well(&cluster);
}

#[test]
fn g19_twenty_thousand_bad_messages_are_a_few_lines() {
    let cluster = cluster(2);
    let liar = Liar::new();
    let process = &cluster.members[0].server.as_ref().expect("it runs").process;
    let from = process.mark();
    let nested: Vec<u8> = [1, 0].into_iter().chain(std::iter::repeat_n(0x91, 1_000)).collect();
    let bad: [&[u8]; 6] = [b"", b"\x01", b"\x01\x00\xc1", b"\x07\x00\x80", b"\x01\x01\x80", &nested];
    for n in 0..20_000 {
        liar.send(cluster.members[0].gossip(), bad[n % bad.len()]);
    }
    all_is_well(&cluster);
    let lines = process.lines(from);
    let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
    println!("20,000 bad messages: {} lines, {bytes} bytes of log", lines.len());
    assert!(bytes <= 512 * 1024, "{bytes} bytes");
}
