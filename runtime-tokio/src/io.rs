//! TCP and Unix streams as one futures-io type.

use crate::UnixStream;
use futures::io::{AsyncRead, AsyncWrite};
use piko_driver::{Io, IoInfo, Probe};
use piko_sockets::{AsHandle, canonical, is_near};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// A connected TCP or Unix stream.
///
/// After [`Io::abort`] every operation fails with `ConnectionAborted`. Closing a connection that the peer
/// has reset is no error: what there is to say about it, reading and writing say. Tokio takes a short read
/// for a drained socket, so there is no extra system call that only finds nothing (performance guide 3.6).
#[derive(Debug)]
pub struct TokioIo {
    socket: Socket,
    info: IoInfo,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// `abort` was called.
    Gone,
}

impl TokioIo {
    /// A connection that we opened.
    pub(crate) fn dialled(stream: TcpStream) -> io::Result<Self> {
        let io = Self::tcp(stream);
        // Nobody listens there, but the kernel happened to choose the very same port for our end, and TCP
        // lets a socket meet itself.
        if io.info.local.is_some() && io.info.local == io.info.peer {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(io)
    }

    /// A connection that was opened to us.
    pub(crate) fn accepted(stream: TcpStream, peer: SocketAddr) -> Self {
        Self::with_peer(stream, Some(peer))
    }

    pub(crate) fn tcp(stream: TcpStream) -> Self {
        let peer = stream.peer_addr().ok();
        Self::with_peer(stream, peer)
    }

    fn with_peer(stream: TcpStream, peer: Option<SocketAddr>) -> Self {
        // Fails only on a connection that is dead already, which reading will tell.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().ok();
        Self { info: IoInfo::new(local.map(canonical), peer.map(canonical)), socket: Socket::Tcp(stream) }
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), info: IoInfo::default() }
    }

    /// Takes the socket off the runtime; it stays in non-blocking mode. Only TCP can be taken.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        match self.socket {
            Socket::Tcp(stream) => stream.into_std(),
            Socket::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Socket::Gone => Err(aborted()),
        }
    }
}

impl Io for TokioIo {
    fn info(&self) -> &IoInfo {
        &self.info
    }

    /// TCP: an RST leaves at once, and what was not sent is lost. A Unix socket knows no reset: its peer
    /// sees a plain end, unless something that it has sent was not read here (Linux then fails its read).
    fn abort(&mut self) {
        if let Socket::Tcp(stream) = &self.socket {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.socket = Socket::Gone;
    }

    fn probe(&mut self) -> Probe {
        match &self.socket {
            Socket::Tcp(stream) => peek(stream),
            Socket::Unix(stream) => peek(stream),
            Socket::Gone => Probe::Spoilt,
        }
    }

    fn is_broken(&mut self) -> bool {
        let error = match &self.socket {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
            Socket::Gone => return true,
        };
        !matches!(error, Ok(None))
    }

    fn limit_unsent(&self, bytes_max: u32) {
        if let Socket::Tcp(stream) = &self.socket {
            piko_sockets::limit_unsent(stream, bytes_max);
        }
    }

    fn unpaced_if_near(&self) {
        if let (Socket::Tcp(stream), true) = (&self.socket, is_near(self.info.local, self.info.peer)) {
            piko_sockets::unpaced(stream);
        }
    }

    fn hold_unread_if_near(&self, bytes: usize) {
        if let (Socket::Tcp(stream), true) = (&self.socket, is_near(self.info.local, self.info.peer)) {
            piko_sockets::hold_unread(stream, bytes);
        }
    }

    fn cut_at_end(&self, yes: bool) {
        if let Socket::Tcp(stream) = &self.socket {
            let _ = SockRef::from(stream).set_linger(yes.then_some(Duration::ZERO));
        }
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        if let Socket::Tcp(stream) = &self.socket {
            piko_sockets::keep_alive(stream, interval);
        }
    }
}

/// Asks the socket itself: tokio's memory of readiness lags behind until the reactor has run.
fn peek(socket: &impl AsHandle) -> Probe {
    match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Probe::Quiet,
        _ => Probe::Spoilt,
    }
}

impl AsyncRead for TokioIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Socket::Gone => Poll::Ready(Err(aborted())),
        })?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl AsyncWrite for TokioIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Gone => Poll::Ready(Err(aborted())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Gone => Poll::Ready(Err(aborted())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel sends on its own.
        Poll::Ready(match self.socket {
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
            Socket::Gone => Err(aborted()),
        })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Gone => Poll::Ready(Err(aborted())),
        }
    }
}

fn aborted() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
