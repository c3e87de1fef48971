//! Listening sockets and socket options, opened alike for every runtime: what is left of a runtime's sockets once the
//! waiting is taken away.

use piko_driver::{Addr, ListenOptions};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

/// What every socket of the system is.
#[cfg(unix)]
pub use std::os::fd::AsFd as AsHandle;
/// What every socket of the system is.
#[cfg(windows)]
pub use std::os::windows::io::AsSocket as AsHandle;

/// What listens, as the runtime's kind of TCP or Unix listener.
///
/// # Errors
/// Those of the system and of `tcp` or `unix`, with the address.
pub fn listen<L>(
    at: &Addr,
    how: ListenOptions,
    tcp: impl FnOnce(Socket) -> io::Result<L>,
    unix: impl FnOnce(Socket) -> io::Result<L>,
) -> io::Result<L> {
    let listener = match at {
        Addr::Ip(addr) => open_tcp(*addr, how).and_then(tcp),
        #[cfg(unix)]
        Addr::Unix(path) => open_unix(path, how).and_then(unix),
        #[cfg(not(unix))]
        Addr::Unix(_) => {
            let _ = unix;
            Err(io::ErrorKind::Unsupported.into())
        }
    };
    listener.map_err(|cause| cannot("listen on", at, &cause))
}

/// How much unsent data the kernel takes before it calls the socket full, where the platform can tell it.
pub fn limit_unsent(socket: &impl AsHandle, bytes_max: u32) {
    // Where it fails, small answers wait longer, which is all.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes_max);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, bytes_max);
}

/// How many bytes the kernel takes from the peer before they are read, at most; from then on it is no longer for the kernel
/// to judge. Kernels have a limit of their own (`net.core.rmem_max`).
pub fn hold_unread(socket: &impl AsHandle, bytes: usize) {
    // Where it fails, the kernel's own judgement stands.
    let _ = SockRef::from(socket).set_recv_buffer_size(bytes);
}

/// Whether both ends are on this machine: an address of its own is reached over loopback, too.
pub fn is_near(local: Option<SocketAddr>, peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| {
        let ip = peer.ip().to_canonical();
        ip.is_loopback() || local.is_some_and(|local| local.ip().to_canonical() == ip)
    })
}

/// Has the kernel send what the peer has room for at once. With BBR it spreads that over time, with a timer of the processor for
/// every 64 KiB, which over loopback is more work than the bytes; and nothing is lost there that an algorithm could be about.
pub fn unpaced(socket: &impl AsHandle) {
    // Reno is in every kernel. Where it cannot be set, it goes as everywhere else.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(socket).set_tcp_congestion(b"reno");
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Sets the interval of TCP's probes, or switches them off.
pub fn keep_alive(socket: &impl AsHandle, interval: Option<Duration>) {
    let socket = SockRef::from(socket);
    // Without probes a dead peer is found later, which is all that a failure costs.
    let _ = match interval {
        // The kernel counts in whole seconds, and 0 is refused.
        Some(interval) => {
            let interval = interval.max(Duration::from_secs(1));
            let probes = TcpKeepalive::new().with_time(interval).with_interval(interval);
            // The kernel's nine would take five minutes at intervals of 30 s.
            #[cfg(unix)]
            let probes = probes.with_retries(3);
            socket.set_tcp_keepalive(&probes)
        }
        None => socket.set_keepalive(false),
    };
}

/// A connection that has come already. One that its client has given up meanwhile is no reason to stop looking.
pub fn accept_now(listener: &Socket) -> Option<(Socket, SockAddr)> {
    loop {
        match listener.accept() {
            Ok((socket, peer)) => {
                socket.set_nonblocking(true).ok()?;
                return Some((socket, peer));
            }
            Err(cause)
                if matches!(cause.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(_) => return None,
        }
    }
}

/// Lets the kernel drop every segment that begins a handshake. A filter of a TCP socket sees segments from the TCP
/// header on; the flags are its byte 13 (RFC 9293 3.1). False where that is not possible.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn drop_syns(listener: &Socket) -> bool {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    listener.attach_filter(&program).is_ok()
}

/// Not possible here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn drop_syns(_: &Socket) -> bool {
    false
}

fn open_tcp(at: SocketAddr, how: ListenOptions) -> io::Result<Socket> {
    with_fallback(at, how.dual_stack, |addr, only_v6| {
        let socket = socket(addr, Type::STREAM, Protocol::TCP, only_v6)?;
        // A restart must not wait for the old connections' TIME_WAIT. On Windows it does not, and the option means
        // something else: that anybody may take the port away.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        if how.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(backlog(how))?;
        Ok(socket)
    })
}

/// A file that a process left behind is replaced, one of a living process is not.
#[cfg(unix)]
fn open_unix(path: &Path, how: ListenOptions) -> io::Result<Socket> {
    let addr = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Err(cause) = socket.bind(&addr) {
        if cause.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &addr) {
            return Err(cause);
        }
        std::fs::remove_file(path)?;
        socket.bind(&addr)?;
    }
    socket.listen(backlog(how))?;
    Ok(socket)
}

/// Whether `path` is the socket of a process that is gone. Anything but a plain refusal counts as life (a
/// full queue, missing rights), and a file of another kind is nobody's to remove.
#[cfg(unix)]
fn is_stale(path: &Path, addr: &SockAddr) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        // Of another type than what may listen there, so that it tells life from death (EPROTOTYPE, ECONNREFUSED) and
        // connects to nobody: whoever lives would take a connection for a client's.
        let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        probe.set_nonblocking(true)?;
        probe.connect(addr)
    };
    is_socket && refused().is_err_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

fn backlog(how: ListenOptions) -> i32 {
    i32::try_from(how.backlog).unwrap_or(i32::MAX)
}

/// A socket that does not block. `only_v6` matters to IPv6 alone; `None` leaves the system's default.
///
/// # Errors
/// Those of the system.
pub fn socket(addr: SocketAddr, ty: Type, protocol: Protocol, only_v6: Option<bool>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), ty, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(only_v6) = only_v6 {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

/// Opens at `at`. A dual-stack wildcard on a machine without IPv6 means IPv4, as it does in Go.
///
/// # Errors
/// Those of `open`.
pub fn with_fallback(
    at: SocketAddr,
    dual_stack: bool,
    open: impl Fn(SocketAddr, Option<bool>) -> io::Result<Socket>,
) -> io::Result<Socket> {
    if !at.is_ipv6() || !at.ip().is_unspecified() {
        return open(at, None);
    }
    match open(at, Some(!dual_stack)) {
        // `EAFNOSUPPORT` has no `ErrorKind`, so the question is whether IPv6 exists at all.
        Err(_) if dual_stack && Socket::new(Domain::IPV6, Type::DGRAM, None).is_err() => {
            open((Ipv4Addr::UNSPECIFIED, at.port()).into(), None)
        }
        result => result,
    }
}

/// An IPv4 peer of a dual-stack socket is shown as what it is.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().map_or(addr, |v4| (v4, v6.port()).into()),
        SocketAddr::V4(_) => addr,
    }
}

/// An error that names the address, of the same kind.
pub fn cannot(what: &str, at: &impl Display, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what} {at}: {cause}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn only_the_file_of_a_dead_socket_is_replaced_and_a_living_one_notices_nothing() {
        let dir = std::env::temp_dir().join(format!("piko-sockets-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let [alive, dead, datagrams, file] =
            ["alive", "dead", "datagrams", "file"].map(|name| dir.join(name));
        let listener = UnixListener::bind(&alive).expect("bound");
        listener.set_nonblocking(true).expect("an option");
        drop(UnixListener::bind(&dead).expect("bound"));
        let _datagrams = UnixDatagram::bind(&datagrams).expect("bound");
        fs::write(&file, "mine").expect("written");
        let open = |path: &Path| open_unix(path, ListenOptions::default());
        for path in [&alive, &datagrams, &file] {
            assert_eq!(open(path).expect_err("taken").kind(), io::ErrorKind::AddrInUse, "{}", path.display());
        }
        let came = listener.accept().expect_err("nobody connects");
        assert_eq!(came.kind(), io::ErrorKind::WouldBlock);
        let _replaced = open(&dead).expect("replaced");
        std::os::unix::net::UnixStream::connect(&dead).expect("somebody listens");
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn whoever_is_reached_over_loopback_is_near() {
        let near = |local: &str, peer: &str| {
            let [local, peer] =
                [local, peer].map(|ip| Some(SocketAddr::new(ip.parse().expect("an address"), 1)));
            is_near(local, peer)
        };
        assert!(near("127.0.0.1", "127.0.0.1") && near("::1", "::1") && near("127.0.0.1", "127.9.9.9"));
        assert!(near("10.0.0.7", "10.0.0.7") && near("::ffff:10.0.0.7", "10.0.0.7"));
        assert!(!near("10.0.0.7", "10.0.0.8") && !near("fd00::1", "fd00::2"));
        assert!(!is_near(None, None));
    }
}
