//! A connection that may carry TLS.

#[cfg(feature = "tls")]
use crate::TlsIo;
use crate::runtime::{Io, IoInfo, Probe};
use futures::io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A byte stream as it is, or under TLS.
///
/// The plain one costs nothing beside the bare stream: TLS is behind a pointer, for which the stream's own type has
/// room. Without the feature `tls` there is only the plain one.
#[derive(Debug)]
pub enum MaybeTls<I> {
    /// As it is.
    Plain(I),
    /// Under TLS.
    #[cfg(feature = "tls")]
    Tls(Box<TlsIo<I>>),
}

#[cfg(feature = "tls")]
impl<I> MaybeTls<I> {
    /// [`TlsIo::version`]; a plain one is never outdated.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self {
            Self::Plain(_) => u32::MAX,
            Self::Tls(io) => io.version(),
        }
    }
}

macro_rules! each {
    ($conn:expr, $io:ident => $work:expr) => {
        match $conn {
            MaybeTls::Plain($io) => $work,
            #[cfg(feature = "tls")]
            MaybeTls::Tls($io) => $work,
        }
    };
}

impl<I: Io> AsyncRead for MaybeTls<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl<I: Io> AsyncWrite for MaybeTls<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_close(cx))
    }
}

impl<I: Io> Io for MaybeTls<I> {
    fn info(&self) -> &IoInfo {
        each!(self, io => io.info())
    }

    fn abort(&mut self) {
        each!(self, io => io.abort());
    }

    fn probe(&mut self) -> Probe {
        each!(self, io => io.probe())
    }

    fn is_broken(&mut self) -> bool {
        each!(self, io => io.is_broken())
    }

    fn write_hint(&self) -> usize {
        each!(self, io => io.write_hint())
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        each!(self, io => io.poll_room(cx))
    }

    fn give_back(&mut self) {
        each!(self, io => io.give_back());
    }

    fn finish_lazily(&mut self) {
        each!(self, io => io.finish_lazily());
    }

    fn limit_unsent(&self, bytes_max: u32) {
        each!(self, io => io.limit_unsent(bytes_max));
    }

    fn unpaced_if_near(&self) {
        each!(self, io => io.unpaced_if_near());
    }

    fn hold_unread_if_near(&self, bytes: usize) {
        each!(self, io => io.hold_unread_if_near(bytes));
    }

    fn cut_at_end(&self, yes: bool) {
        each!(self, io => io.cut_at_end(yes));
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        each!(self, io => io.keep_alive(interval));
    }
}
