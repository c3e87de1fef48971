//! TCP and Unix streams as one futures-io type.

use crate::reactor::{Reactor, Source};
use futures::io::{AsyncRead, AsyncWrite};
use piko_driver::{Io, IoInfo, Probe};
use piko_sockets::{canonical, is_near};
use socket2::SockRef;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A connected TCP or Unix stream.
///
/// Every operation is tried first and waited for only when the socket has nothing (performance guide 3.7).
/// A short read means that the socket is drained, and a short write that it is full: the next attempt then
/// asks the reactor and saves the system call that would only say "would block" (3.6). Nothing is lost by
/// it: what arrives after a short read is news to the kernel and gives an event, and so does room after a
/// short write. What gives none is an end that arrived before the read; the event of the bytes has
/// announced it, and from then on only "would block" counts.
///
/// After [`Io::abort`] every operation fails with `ConnectionAborted`. Closing a connection that the peer
/// has reset is no error: what there is to say about it, reading and writing say.
#[derive(Debug)]
pub struct SmolIo {
    socket: Socket,
    /// The last read left nothing behind; read again only once the reactor says so.
    drained: bool,
    /// The peer's end has been announced: a short read means nothing any more.
    ended: bool,
    /// The last write did not fit; write again only once the reactor says so.
    full: bool,
    info: IoInfo,
}

#[derive(Debug)]
enum Socket {
    Tcp(Source<TcpStream>),
    Unix(Source<UnixStream>),
    /// `abort` was called.
    Gone,
}

impl SmolIo {
    /// Opens a TCP connection.
    pub(crate) async fn dial(reactor: &'static Reactor, to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::from(mio::net::TcpStream::connect(to)?);
        let stream = Source::new(reactor, stream)?;
        loop {
            poll_fn(|cx| stream.poll_writable(cx)).await;
            if let Some(cause) = stream.get_ref().take_error()? {
                return Err(cause);
            }
            match stream.get_ref().peer_addr() {
                // The event was about something else.
                Err(cause) if cause.kind() == io::ErrorKind::NotConnected => {}
                Err(cause) => return Err(cause),
                Ok(peer) => return Self::with_peer(stream, Some(peer)).unless_itself(),
            }
        }
    }

    /// Opens a connection to a Unix socket, which is made at once or not at all.
    pub(crate) fn dial_unix(reactor: &'static Reactor, to: &Path) -> io::Result<Self> {
        let stream = UnixStream::from(mio::net::UnixStream::connect(to)?);
        Ok(Self::unix(Source::new(reactor, stream)?))
    }

    fn unless_itself(self) -> io::Result<Self> {
        // Nobody listens there, but the kernel happened to choose the very same port for our end, and TCP
        // lets a socket meet itself.
        if self.info.local.is_some() && self.info.local == self.info.peer {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self)
    }

    /// A connection that was opened to us.
    pub(crate) fn accepted(stream: Source<TcpStream>, peer: SocketAddr) -> Self {
        Self::with_peer(stream, Some(peer))
    }

    pub(crate) fn tcp(stream: Source<TcpStream>) -> Self {
        let peer = stream.get_ref().peer_addr().ok();
        Self::with_peer(stream, peer)
    }

    fn with_peer(stream: Source<TcpStream>, peer: Option<SocketAddr>) -> Self {
        // Fails only on a connection that is dead already, which reading will tell.
        let _ = stream.get_ref().set_nodelay(true);
        let local = stream.get_ref().local_addr().ok();
        let info = IoInfo::new(local.map(canonical), peer.map(canonical));
        Self { socket: Socket::Tcp(stream), drained: false, ended: false, full: false, info }
    }

    pub(crate) fn unix(stream: Source<UnixStream>) -> Self {
        Self {
            socket: Socket::Unix(stream),
            drained: false,
            ended: false,
            full: false,
            info: IoInfo::default(),
        }
    }

    /// Takes the socket off the reactor; it stays in non-blocking mode. Only TCP can be taken.
    pub(crate) fn into_std(self) -> io::Result<TcpStream> {
        match self.socket {
            Socket::Tcp(stream) => Ok(stream.into_inner()),
            Socket::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Socket::Gone => Err(aborted()),
        }
    }

    /// One write of `len` bytes in whatever form `write` and its Unix twin choose.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        tcp: impl Fn(&mut &TcpStream) -> io::Result<usize>,
        unix: impl Fn(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.full {
                ready!(match &self.socket {
                    Socket::Tcp(stream) => stream.poll_writable(cx),
                    Socket::Unix(stream) => stream.poll_writable(cx),
                    Socket::Gone => Poll::Ready(()),
                });
                self.full = false;
            }
            let written = match &self.socket {
                Socket::Tcp(stream) => tcp(&mut stream.get_ref()),
                Socket::Unix(stream) => unix(&mut stream.get_ref()),
                Socket::Gone => Err(aborted()),
            };
            match written {
                Ok(n) => {
                    self.full = n > 0 && n < len;
                    return Poll::Ready(Ok(n));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => self.full = true,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
    }
}

impl Io for SmolIo {
    fn info(&self) -> &IoInfo {
        &self.info
    }

    /// TCP: an RST leaves at once, and what was not sent is lost. A Unix socket knows no reset: its peer
    /// sees a plain end, unless something that it has sent was not read here (Linux then fails its read).
    fn abort(&mut self) {
        if let Socket::Tcp(stream) = &self.socket {
            let _ = SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
        }
        self.socket = Socket::Gone;
    }

    fn probe(&mut self) -> Probe {
        match &self.socket {
            Socket::Tcp(stream) => peek(stream.get_ref()),
            Socket::Unix(stream) => peek(stream.get_ref()),
            Socket::Gone => Probe::Spoilt,
        }
    }

    fn is_broken(&mut self) -> bool {
        let error = match &self.socket {
            Socket::Tcp(stream) => stream.get_ref().take_error(),
            Socket::Unix(stream) => stream.get_ref().take_error(),
            Socket::Gone => return true,
        };
        !matches!(error, Ok(None))
    }

    fn limit_unsent(&self, bytes_max: u32) {
        if let Socket::Tcp(stream) = &self.socket {
            piko_sockets::limit_unsent(stream.get_ref(), bytes_max);
        }
    }

    fn unpaced_if_near(&self) {
        if let (Socket::Tcp(stream), true) = (&self.socket, is_near(self.info.local, self.info.peer)) {
            piko_sockets::unpaced(stream.get_ref());
        }
    }

    fn hold_unread_if_near(&self, bytes: usize) {
        if let (Socket::Tcp(stream), true) = (&self.socket, is_near(self.info.local, self.info.peer)) {
            piko_sockets::hold_unread(stream.get_ref(), bytes);
        }
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        if let Socket::Tcp(stream) = &self.socket {
            piko_sockets::keep_alive(stream.get_ref(), interval);
        }
    }
}

/// Asks the socket itself: what is known about it (`drained`) may be older than an end.
fn peek(socket: &impl AsFd) -> Probe {
    match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Probe::Quiet,
        _ => Probe::Spoilt,
    }
}

impl AsyncRead for SmolIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.drained {
                self.ended = ready!(match &self.socket {
                    Socket::Tcp(stream) => stream.poll_readable(cx),
                    Socket::Unix(stream) => stream.poll_readable(cx),
                    Socket::Gone => Poll::Ready(true),
                });
                self.drained = false;
            }
            let read = match &self.socket {
                Socket::Tcp(stream) => stream.get_ref().read(buf),
                Socket::Unix(stream) => stream.get_ref().read(buf),
                Socket::Gone => Err(aborted()),
            };
            match read {
                Ok(n) => {
                    // An end stays an end: whoever reads again gets the same answer at once.
                    self.drained = n > 0 && n < buf.len() && !self.ended;
                    return Poll::Ready(Ok(n));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
    }
}

impl AsyncWrite for SmolIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, buf.len(), |tcp| tcp.write(buf), |unix| unix.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_write_with(cx, len, |tcp| tcp.write_vectored(bufs), |unix| unix.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel sends on its own.
        Poll::Ready(match self.socket {
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
            Socket::Gone => Err(aborted()),
        })
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = match &self.socket {
            Socket::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Socket::Gone => Err(aborted()),
        };
        Poll::Ready(match closed {
            Err(cause) if cause.kind() == io::ErrorKind::NotConnected => Ok(()),
            closed => closed,
        })
    }
}

fn aborted() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
