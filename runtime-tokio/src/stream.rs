//! Streams of a tunnel, and connections to endpoints, with tokio's own IO traits.

use piko_driver::Io;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of a tunnel, or another byte stream of the driver, as tokio's sockets are: what takes a `TcpStream` takes
/// this.
///
/// Shutting it down ends our direction only. Dropping it without a shutdown resets it, so that what was cut
/// is never taken for complete.
#[derive(Debug)]
pub struct Stream<I = piko_driver::Stream>(I);

impl<I> Stream<I> {
    /// The stream below, with its number and its tunnel.
    pub fn get_ref(&self) -> &I {
        &self.0
    }

    /// The stream below, which has the traits of futures-io.
    pub fn into_inner(self) -> I {
        self.0
    }
}

impl<I: Io> From<I> for Stream<I> {
    fn from(stream: I) -> Self {
        Self(stream)
    }
}

impl<I: Io> AsyncRead for Stream<I> {
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

impl<I: Io> AsyncWrite for Stream<I> {
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
