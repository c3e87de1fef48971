//! What a runtime lends to the driver: sockets, time, tasks. No protocol.

use crate::stream::Stream;
use futures::io::{AsyncRead, AsyncWrite};
use piko_core::mux::INITIAL_WINDOW_BYTES;
use piko_core::time::Instant;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// An executor with its reactor and clock. Cheap to clone; a clone means the same executor.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A connected stream: TCP or a Unix socket.
    type Tcp: Io;
    /// A listening socket.
    type Listener: Listener<Io = Self::Tcp>;
    /// A datagram socket.
    type Udp: Datagram;
    /// A one-shot timer.
    type Timer: Timer;
    /// A stream of a tunnel with the IO traits that programs on this runtime use.
    type Stream: From<Stream> + Send + Unpin + 'static;
    /// Any other byte stream of the driver with those traits.
    type Wrapped<I: Io>: From<I> + Send + Unpin + 'static;

    /// Monotonic time. Compare only with times of the same runtime.
    fn now(&self) -> Instant;
    /// A timer that is not armed.
    fn timer(&self) -> Self::Timer;
    /// Runs `task` to its end in the background.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
    /// Ready once the tasks that are ready now have run: lets a loop collect what they add before it
    /// writes. `turn` is the caller's memory between the two polls.
    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()>;
    /// Whether a task that is woken stands behind all that are ready then, so that a loop that a writer woke need not
    /// go to the end of the line once more. True of executors with one queue, first in, first out.
    fn wakes_in_order(&self) -> bool {
        false
    }
    /// All addresses of a name, in the resolver's order. Runs off the executor.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
    /// Connects, with `TCP_NODELAY` set.
    fn connect(&self, to: &Addr) -> impl Future<Output = io::Result<Self::Tcp>> + Send;
    /// Binds and listens.
    fn listen(
        &self,
        at: &Addr,
        how: ListenOptions,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;
    /// Binds a datagram socket.
    fn bind_udp(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Udp>> + Send;
    /// Takes a connection off this runtime, to move it to another thread's.
    fn detach(io: Self::Tcp) -> io::Result<std::net::TcpStream>;
    /// Takes a connection that `detach` gave.
    fn adopt(&self, tcp: std::net::TcpStream) -> io::Result<Self::Tcp>;
}

/// Whether a task has already stood at the end of the line in this turn.
#[derive(Debug, Default)]
pub struct Turn {
    waiting: bool,
}

impl Turn {
    /// The usual implementation of [`Runtime::poll_end_of_turn`] for executors whose queue is first in,
    /// first out: wake myself once, which puts me behind whoever is ready.
    pub fn poll_requeue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting {
            self.waiting = false;
            Poll::Ready(())
        } else {
            self.waiting = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

/// Where to connect or listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addr {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections that wait in the kernel. 4,096: thousands of agents come back at once after a
    /// restart, and a full queue costs each of them a second (performance guide 4.6).
    pub backlog: u32,
    /// `SO_REUSEPORT`: several threads, each with a listener of its own.
    pub reuse_port: bool,
    /// An IPv6 wildcard takes IPv4 too, as `:8000` does in Go.
    pub dual_stack: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 4096, reuse_port: false, dual_stack: true }
    }
}

/// Facts about a byte stream.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct IoInfo {
    /// Our end, where it has an address.
    pub local: Option<SocketAddr>,
    /// The other end, where it has an address.
    pub peer: Option<SocketAddr>,
    /// TLS was spoken.
    pub tls: bool,
}

impl IoInfo {
    /// Addresses of a plain connection.
    pub fn new(local: Option<SocketAddr>, peer: Option<SocketAddr>) -> Self {
        Self { local, peer, tls: false }
    }
}

/// What a quiet connection looks like without waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Neither bytes nor an end: usable.
    Quiet,
    /// Bytes nobody asked for, an end or an error: not to be reused.
    Spoilt,
}

/// What is read from one leg and written to the other at once, in bytes: as much as a stream may send before it is read,
/// which fills the outbox of a tunnel that is very fast. Every piece costs both programs a turn of its task and system calls;
/// with 68 KiB, 1 MiB took a third more CPU.
pub const CHUNK_BYTES: usize = INITIAL_WINDOW_BYTES as usize;

/// Where the bytes of one read are.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fetched {
    /// So many in the buffer that was given; zero is the end.
    Here(usize),
    /// Elsewhere; never empty.
    #[cfg(feature = "shared-reads")]
    There(bytes::Bytes),
}

impl Fetched {
    /// The bytes, of a read into `buf`.
    pub fn bytes<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Here(n) => &buf[..*n],
            #[cfg(feature = "shared-reads")]
            Self::There(bytes) => bytes,
        }
    }
}

/// Every byte stream the product handles: TCP, TLS over it, a Unix socket, a tunnel stream, memory.
/// Nothing outside the runtimes names a socket type.
///
/// `poll_write_vectored` must be real: head and body leave in one system call through it.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Addresses and TLS facts.
    fn info(&self) -> &IoInfo;
    /// Reads as `poll_read` does, up to as many bytes as `buf` has room for, which need not go there.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Fetched>> {
        Pin::new(self).poll_read(cx, buf).map_ok(Fetched::Here)
    }
    /// Ends the connection so that the peer cannot take it for a clean end: RST instead of FIN.
    fn abort(&mut self);
    /// Looks without waiting and without consuming.
    fn probe(&mut self) -> Probe;
    /// True when the connection has been reset or given up, although bytes that came before may still be unread: for
    /// whoever cannot read at the moment. May be told once only.
    fn is_broken(&mut self) -> bool {
        false
    }
    /// How many bytes are worth reading from the other leg for one write. Zero: [`Self::poll_room`] says.
    fn write_hint(&self) -> usize {
        CHUNK_BYTES
    }
    /// Waits until a write would be taken, and says how much of it: so nothing is read from the other leg that
    /// would have to wait here. Room that is not used is given back by [`Self::give_back`]. An error is left for
    /// the write to tell.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let _ = cx;
        Poll::Ready(CHUNK_BYTES)
    }
    /// There was nothing to write into the room that [`Self::poll_room`] found.
    fn give_back(&mut self) {}
    /// A clean end of the sending direction that nobody waits for: it may ride along with later output.
    fn finish_lazily(&mut self) {}
    /// Behind the end of what is read: ready once the connection is known to be over in both directions, so that
    /// nothing more can be written. Where the peer's end says nothing about the other direction it stays pending.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }
    /// For a connection that carries a tunnel: how many bytes the kernel may hold unsent before it calls the socket
    /// full, so that a ping or a small answer does not stand behind megabytes (`TCP_NOTSENT_LOWAT`, where the platform
    /// has it). Best effort.
    fn limit_unsent(&self, bytes_max: u32) {
        let _ = bytes_max;
    }
    /// For a connection that carries a tunnel: has the kernel send at once what the peer has room for, where both ends are on
    /// one machine (no pacing, `TCP_CONGESTION`). Best effort.
    fn unpaced_if_near(&self) {}
    /// How many bytes of the peer the kernel takes before they are read, where it would begin with few and judge for itself
    /// what more is good for (`SO_RCVBUF`), where both ends are on one machine. Best effort.
    fn hold_unread_if_near(&self, bytes: usize) {
        let _ = bytes;
    }
    /// Whether the end of the process, or a drop, is to look like [`Self::abort`] from here on: for as long as a clean end
    /// would make what was sent look complete. Best effort.
    fn cut_at_end(&self, yes: bool) {
        let _ = yes;
    }
    /// Has the kernel ask a peer that is silent for `interval` whether it is still there, and give up when it
    /// does not answer (TCP keep-alive, RFC 9293 3.8.4); `None` asks never. Best effort; means nothing where
    /// there is no TCP.
    fn keep_alive(&self, interval: Option<Duration>) {
        let _ = interval;
    }
}

/// Accepts connections.
pub trait Listener: Send + Unpin + 'static {
    /// What it accepts.
    type Io: Io;
    /// The next connection, with `TCP_NODELAY` set.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>>;
    /// Lets no further handshake begin, where the platform knows how; those under way go on. Says whether it did.
    fn stop_handshakes(&mut self) -> bool;
    /// A connection that the kernel has ready at this moment, whether or not the runtime has heard of it; `None`
    /// when there is none. For the last look before the listener is dropped, which resets what still waits in it.
    fn accept_waiting(&mut self) -> Option<Self::Io>;
    /// The address really bound, port 0 resolved. `None` for a Unix socket.
    fn local_addr(&self) -> Option<SocketAddr>;
}

/// A datagram socket.
pub trait Datagram: Send + Unpin + 'static {
    /// One datagram; what does not fit into `buf` is cut.
    fn poll_recv_from(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;
    /// Sends one datagram.
    fn poll_send_to(&mut self, cx: &mut Context<'_>, data: &[u8], to: SocketAddr) -> Poll<io::Result<usize>>;
    /// The address really bound.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A one-shot timer.
pub trait Timer: Send + Unpin + 'static {
    /// Ready once `at` has passed, never later; may be ready early. Re-arms only when `at` is *earlier*
    /// than what is armed, so moving a deadline away costs nothing. `None` is never ready.
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()>;
}
