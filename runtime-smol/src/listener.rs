//! Listening sockets, TCP and Unix.

use crate::SmolIo;
use crate::reactor::{Reactor, Source};
use piko_driver::{Addr, ListenOptions, Listener};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::task::{Context, Poll, Waker, ready};

/// A [`Listener`]. An error of `poll_accept` concerns one connection or a lack of resources: the socket
/// still listens, and the caller goes on after a pause.
#[derive(Debug)]
pub struct SmolListener {
    socket: Accepts,
}

#[derive(Debug)]
enum Accepts {
    Tcp(Source<TcpListener>),
    Unix(Source<UnixListener>),
}

impl SmolListener {
    /// Errors name the address.
    pub(crate) fn open(reactor: &'static Reactor, at: &Addr, how: ListenOptions) -> io::Result<Self> {
        let socket = match at {
            Addr::Ip(addr) => {
                open_tcp(*addr, how).and_then(|socket| Source::new(reactor, socket.into())).map(Accepts::Tcp)
            }
            Addr::Unix(path) => {
                open_unix(path, how).and_then(|socket| Source::new(reactor, socket.into())).map(Accepts::Unix)
            }
        };
        let socket = socket.map_err(|cause| cannot("listen on", at, &cause))?;
        Ok(Self { socket })
    }
}

impl Listener for SmolListener {
    type Io = SmolIo;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SmolIo>> {
        Poll::Ready(Ok(match &self.socket {
            Accepts::Tcp(listener) => {
                let (stream, peer) = ready!(poll_accept(listener, cx, TcpListener::accept))?;
                stream.set_nonblocking(true)?;
                SmolIo::accepted(Source::new(listener.reactor(), stream)?, peer)
            }
            Accepts::Unix(listener) => {
                let (stream, _) = ready!(poll_accept(listener, cx, UnixListener::accept))?;
                stream.set_nonblocking(true)?;
                SmolIo::unix(Source::new(listener.reactor(), stream)?)
            }
        }))
    }

    fn accept_waiting(&mut self) -> Option<SmolIo> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            // Accepting asks the kernel before it asks the reactor.
            match self.poll_accept(&mut cx) {
                Poll::Ready(Ok(io)) => return Some(io),
                Poll::Ready(Err(cause)) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                _ => return None,
            }
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Accepts::Tcp(listener) => listener.get_ref().local_addr().ok(),
            Accepts::Unix(_) => None,
        }
    }
}

/// Tries first and waits only when nobody is there.
fn poll_accept<L: AsRawFd, S>(
    listener: &Source<L>,
    cx: &mut Context<'_>,
    accept: impl Fn(&L) -> io::Result<S>,
) -> Poll<io::Result<S>> {
    loop {
        match accept(listener.get_ref()) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                ready!(listener.poll_readable(cx));
            }
            result => return Poll::Ready(result),
        }
    }
}

fn open_tcp(at: SocketAddr, how: ListenOptions) -> io::Result<Socket> {
    with_fallback(at, how.dual_stack, |addr, only_v6| {
        let socket = socket(addr, Type::STREAM, Protocol::TCP, only_v6)?;
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        if how.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(backlog(how))?;
        Ok(socket)
    })
}

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
fn is_stale(path: &Path, addr: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        probe.connect(addr)
    };
    is_socket && refused().is_err_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

fn backlog(how: ListenOptions) -> i32 {
    i32::try_from(how.backlog).unwrap_or(i32::MAX)
}

/// A socket that does not block. `only_v6` matters to IPv6 alone; `None` leaves the system's default.
pub(crate) fn socket(
    addr: SocketAddr,
    ty: Type,
    protocol: Protocol,
    only_v6: Option<bool>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), ty, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(only_v6) = only_v6 {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

/// Opens at `at`. A dual-stack wildcard on a machine without IPv6 means IPv4, as it does in Go.
pub(crate) fn with_fallback(
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
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().map_or(addr, |v4| (v4, v6.port()).into()),
        SocketAddr::V4(_) => addr,
    }
}

/// An error that names the address, of the same kind.
pub(crate) fn cannot(what: &str, at: &impl Display, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what} {at}: {cause}"))
}
