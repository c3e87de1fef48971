//! Ports for processes that come back to them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports below this belong to well-known services.
const LOWEST: u32 = 10_000;

/// `n` ports of 127.0.0.1 that nobody uses, for TCP and UDP, and that the kernel gives to no outgoing connection: one
/// that did would keep a restarted process from its port.
///
/// # Panics
///
/// When there are too few.
pub fn free_ports(n: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let top: u32 = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
    assert!(top > LOWEST, "outgoing connections take all ports from {top} on");
    let span = top - LOWEST;
    let mut found = Vec::new();
    for _ in 0..span {
        // Test processes that run at the same time start at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (LOWEST + (process::id().wrapping_mul(97).wrapping_add(step)) % span) as u16;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        if tcp.is_ok() && udp.is_ok() {
            found.push(port);
            if found.len() == n {
                return found;
            }
        }
    }
    panic!("{} of {n} ports are free", found.len())
}

/// An address of this machine where nobody listens, and nobody will by chance: neither a listener that leaves the choice
/// to the kernel gets it nor a connection.
///
/// # Panics
///
/// As [`free_ports`].
pub fn unused_addr() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)[0]))
}
