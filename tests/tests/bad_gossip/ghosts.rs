//! Nodes that a member made up: G8, G13 and G15.

use std::time::Duration;

use super::common::{Liar, NEWS_MAX, cluster, delta, digest, spreads};

/// What ghosts may take of a node's memory, however many there are.
const GHOSTS_BYTES_MAX: u64 = 64 << 20;

#[test]
fn twenty_thousand_ghosts_neither_stall_nor_fill_a_node() {
    let cluster = cluster(3);
    let liar = Liar::new();
    let by = liar.addr().to_string();
    let to = cluster.members[0].gossip();
    liar.join("liar", to);
    let before = cluster.members[0].resident_bytes();
    let mut slowest = Duration::ZERO;
    for n in 0..20_000_u32 {
        let name = format!("ghost-{n}");
        // Discard, where nobody listens, and every hundredth without an address (G15).
        let at = if n % 100 == 0 { String::new() } else { format!("127.1.{}.{}:9", (n >> 8) as u8, n as u8) };
        liar.send(to, &digest("liar", &by, false, &[(&name, &at, 1)]));
        let key = format!("endpoint:{}", "x".repeat(1_000));
        liar.send(
            to,
            &delta(("liar", &by), (&name, &at), &[("proxy_addr", "127.0.0.1:9", 1), (&key, "1", 2)]),
        );
        // Time is the subject: the kernel drops what the node has no room for, and says nothing of it.
        if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if n % 4_000 == 2_000 {
            slowest = slowest.max(spreads(&cluster, 1, 0)).max(spreads(&cluster, 0, 2));
        }
    }
    slowest = slowest.max(spreads(&cluster, 1, 0)).max(spreads(&cluster, 0, 2)).max(spreads(&cluster, 2, 1));
    // A member asks, and is told of ghosts: the node has taken them for members.
    liar.send(to, &digest("liar", &by, true, &[]));
    let told = liar.receive(Duration::from_millis(300));
    assert!(told > 1_000, "{told} bytes");
    let grown = cluster.members.iter().map(|member| member.resident_bytes().saturating_sub(before)).max();
    let grown = grown.unwrap_or_default();
    println!("20,000 ghosts: news took at most {slowest:?}, {} KiB more resident", grown / 1024);
    assert!(slowest < NEWS_MAX, "{slowest:?}");
    assert!(grown <= GHOSTS_BYTES_MAX, "{grown} bytes");
}
