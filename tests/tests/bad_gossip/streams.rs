//! G1, G2, G18, and connections that say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use piko_tests::process::Signal;

use super::common::{all_is_well, cluster};

/// How much a bad message may leave behind, or take while it comes.
pub(crate) const GROWTH_BYTES_MAX: u64 = 40 << 20;

/// Writes as much as the other side takes, and waits for its end.
pub(crate) fn pour(to: SocketAddr, data: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("set");
    // The node may hang up before it has heard everything.
    let _ = stream.write_all(data);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    start.elapsed()
}

/// A join whose header has an unknown field, which holds an array, which holds an array …
pub(crate) fn nested() -> Vec<u8> {
    let mut join = vec![3, 0, 0x83, 0xa4];
    join.extend(b"evil");
    join.extend(std::iter::repeat_n(0x91, 4_500_000));
    join.push(0xc0);
    join
}

/// A join with a list of ten million nils.
pub(crate) fn nils() -> Vec<u8> {
    let mut join = vec![3, 0, 0x82, 0xa7];
    join.extend(b"node_id\xa1x\xa4addr\xaa10.0.0.1:1");
    join.extend([0xdd]);
    join.extend(10_000_000_u32.to_be_bytes());
    join.extend(std::iter::repeat_n(0xc0, 10_000_000));
    join
}

#[test]
fn g1_nested_arrays_kill_nobody() {
    let cluster = cluster(2);
    let join = nested();
    let before = cluster.members[0].resident_bytes();
    let took = pour(cluster.members[0].gossip(), &join);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let grown = cluster.members[0].resident_bytes().saturating_sub(before);
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes");
    all_is_well(&cluster);
}

#[test]
fn g2_ten_million_nils_are_not_allocated() {
    let cluster = cluster(2);
    let join = nils();
    let before = cluster.members[0].resident_bytes();
    for _ in 0..3 {
        pour(cluster.members[0].gossip(), &join);
    }
    let grown = cluster.members[0].resident_bytes().saturating_sub(before);
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes");
    println!("10 million nils, three times: {} KiB more resident", grown / 1024);
    all_is_well(&cluster);
}

#[test]
fn connections_that_say_nothing_end_within_30_s() {
    let cluster = cluster(2);
    let start = Instant::now();
    let connect = |n: usize| {
        let mut stream = TcpStream::connect(cluster.members[0].gossip()).expect("connects");
        // Half of them begin.
        if n.is_multiple_of(2) {
            stream.write_all(&[3, 0, 0x82]).expect("sent");
        }
        stream
    };
    let mut mute: Vec<TcpStream> = (0..100).map(connect).collect();
    for stream in &mut mute {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let end = stream.read(&mut [0; 16]);
        let timed_out = |e: &std::io::Error| {
            matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        };
        assert!(!end.as_ref().is_err_and(timed_out), "{end:?}");
    }
    println!("100 mute gossip connections ended within {:?}", start.elapsed());
    assert!(start.elapsed() <= Duration::from_secs(30), "{:?}", start.elapsed());
    all_is_well(&cluster);
}

#[test]
fn g18_four_mute_peers_do_not_hold_a_node_back() {
    let mut cluster = cluster(5);
    for peer in 1..5 {
        cluster.members[peer].signal(Signal::Stop);
    }
    let took = cluster.members[0].terminate();
    println!("SIGTERM with four mute peers: {took:?}");
    assert!(took <= Duration::from_secs(20), "{took:?}");
}
