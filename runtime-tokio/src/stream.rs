//! Streams of a tunnel with tokio's own IO traits.

use futures::io::{AsyncRead as _, AsyncWrite as _};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of a tunnel, as tokio's sockets are: what takes a `TcpStream` takes this.
///
/// Shutting it down ends our direction only. Dropping it without a shutdown resets it, so that what was cut
/// is never taken for complete.
#[derive(Debug)]
pub struct Stream(piko_driver::Stream);

impl Stream {
    /// The stream below, with its number and its tunnel.
    pub fn get_ref(&self) -> &piko_driver::Stream {
        &self.0
    }

    /// The stream below, which has the traits of futures-io.
    pub fn into_inner(self) -> piko_driver::Stream {
        self.0
    }
}

impl From<piko_driver::Stream> for Stream {
    fn from(stream: piko_driver::Stream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = ready!(Pin::new(&mut self.0).poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
