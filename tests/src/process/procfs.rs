//! What `/proc` knows about a process: processor time, memory, children, sockets (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

/// The state of an established connection in the tables of `/proc/net`.
const ESTABLISHED: &str = "01";

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What is resident at this moment (`VmRSS`).
    pub rss_bytes: u64,
    /// The most that ever was (`VmHWM`).
    pub rss_peak_bytes: u64,
}

/// Resident memory of a process.
///
/// # Errors
///
/// When the process is gone or the kernel does not show the fields.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|k| k * 1024).ok_or_else(|| io::Error::other(format!("no {name} in status of {pid}")))
    };
    Ok(Memory { rss_bytes: field("VmRSS")?, rss_peak_bytes: field("VmHWM")? })
}

/// Time that the living threads of a process spent on a processor, user and system together.
///
/// `schedstat` counts nanoseconds, where `stat` counts hundredths of a second. Threads that have ended are
/// not in the sum, so the difference of two readings is meant for programs with a fixed set of threads.
///
/// # Errors
///
/// When the process is gone or the kernel was built without scheduler statistics.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => text,
            // The thread ended between the listing and the reading.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            // ESRCH: the same, a moment later.
            Err(e) if e.raw_os_error() == Some(3) => continue,
            Err(e) => return Err(e),
        };
        let first = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        nanos += first.ok_or_else(|| io::Error::other("schedstat holds no number"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// All descendants of a process, parents before children; the process itself is not among them.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = text.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
            for child in children {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

/// A process and its descendants.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    all.extend(descendants(pid));
    all
}

/// File descriptors of a process that are established IPv4 TCP connections from or to `port`.
///
/// # Errors
///
/// When the process is gone or belongs to somebody else.
pub fn socket_fds(pid: u32, port: u16) -> io::Result<Vec<u32>> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let inodes = established_inodes(&table, port);
    let mut fds = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        let link = link.to_string_lossy();
        let inode = link.strip_prefix("socket:[").and_then(|l| l.strip_suffix(']'));
        if inode.and_then(|i| i.parse::<u64>().ok()).is_some_and(|i| inodes.contains(&i)) {
            fds.extend(entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()));
        }
    }
    fds.sort_unstable();
    Ok(fds)
}

/// Inodes of the established connections of `/proc/net/tcp` that have `port` on one side.
fn established_inodes(table: &str, port: u16) -> BTreeSet<u64> {
    let port_of = |address: &str| {
        let (_, hex) = address.rsplit_once(':')?;
        u16::from_str_radix(hex, 16).ok()
    };
    let mut inodes = BTreeSet::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(remote), Some(&state), Some(inode)) =
            (columns.get(1), columns.get(2), columns.get(3), columns.get(9))
        else {
            continue;
        };
        if state == ESTABLISHED && (port_of(local) == Some(port) || port_of(remote) == Some(port)) {
            inodes.extend(inode.parse::<u64>().ok());
        }
    }
    inodes
}

/// What the kernel waits for on a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpTimer {
    /// Nothing: a peer that vanishes is never noticed.
    Off,
    /// The next keep-alive probe, that far away. What is on its way is acknowledged.
    KeepAlive(Duration),
    /// An acknowledgement, or another thing that passes.
    Other,
}

/// One side of an established TCP connection over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The port of this side.
    pub local_port: u16,
    /// The port of the other side.
    pub remote_port: u16,
    /// What the kernel waits for on this side.
    pub timer: TcpTimer,
}

/// Established TCP connections over IPv4, of all processes; a connection within this machine is there twice.
///
/// # Errors
///
/// When the kernel does not show its table.
pub fn tcp_connections() -> io::Result<Vec<TcpConnection>> {
    Ok(connections_of(&fs::read_to_string("/proc/net/tcp")?))
}

fn connections_of(table: &str) -> Vec<TcpConnection> {
    let port_of = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let timer_of = |text: &str| {
        let (kind, due) = text.split_once(':')?;
        Some(match kind {
            "00" => TcpTimer::Off,
            // In hundredths of a second, whatever the kernel's own clock.
            "02" => TcpTimer::KeepAlive(Duration::from_millis(10 * u64::from_str_radix(due, 16).ok()?)),
            _ => TcpTimer::Other,
        })
    };
    let connection_of = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, ESTABLISHED, _, timer, ..] = columns[..] else { return None };
        Some(TcpConnection {
            local_port: port_of(local)?,
            remote_port: port_of(remote)?,
            timer: timer_of(timer)?,
        })
    };
    table.lines().skip(1).filter_map(connection_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    #[test]
    fn memory_and_time_of_this_process_grow() {
        let me = std::process::id();
        let before = cpu_time(me).expect("schedstat");
        let block = vec![1u8; 32 << 20];
        let start = Instant::now();
        let mut sum = 0u64;
        while start.elapsed() < Duration::from_millis(50) {
            sum += block.iter().step_by(4096).map(|&b| u64::from(b)).sum::<u64>();
        }
        assert!(sum > 0);
        let spent = cpu_time(me).expect("schedstat").saturating_sub(before);
        assert!(spent >= Duration::from_millis(10), "{spent:?} of processor time in 50 ms of work");
        let memory = memory(me).expect("status");
        assert!(memory.rss_bytes >= 32 << 20, "{memory:?}");
        assert!(memory.rss_peak_bytes >= memory.rss_bytes, "{memory:?}");
    }

    #[test]
    fn sockets_are_found_by_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        let fds = socket_fds(std::process::id(), address.port()).expect("fds");
        let mut expected = vec![client.as_raw_fd() as u32, server.as_raw_fd() as u32];
        expected.sort_unstable();
        assert_eq!(fds, expected, "the two ends, and not the listener");
    }

    #[test]
    fn timers_are_read_from_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \u{20}  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0\n\
            \u{20}  1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 02:00000BB8 00000000     0        0 2 1 0 20 4\n\
            \u{20}  2: 0100007F:C350 0100007F:1F90 01 00000001:00000000 01:00000014 00000000     0        0 3 1 0 20 4\n\
            \u{20}  3: 0100007F:1F91 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4\n";
        let of = |local_port, remote_port, timer| TcpConnection { local_port, remote_port, timer };
        let found = connections_of(table);
        let due = TcpTimer::KeepAlive(Duration::from_secs(30));
        let expected =
            [of(8080, 50000, due), of(50000, 8080, TcpTimer::Other), of(8081, 50001, TcpTimer::Off)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_process_is_an_error() {
        // Process ids end at 2^22.
        assert!(memory(u32::MAX).is_err());
        assert!(cpu_time(u32::MAX).is_err());
        assert!(descendants(u32::MAX).is_empty());
    }
}
