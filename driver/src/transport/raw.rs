//! Any byte stream as it is.

use super::{Received, Transport};
use crate::runtime::Io;
use bytes::{Buf, BytesMut};
use piko_core::tunnel::TransportEnd;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A byte stream without framing: yamux straight over TCP, or over memory in tests.
#[derive(Debug)]
pub struct RawTransport<I> {
    io: I,
}

impl<I: Io> RawTransport<I> {
    /// Over `io`.
    pub fn new(io: I) -> Self {
        Self { io }
    }
}

impl<I: Io> Transport for RawTransport<I> {
    const FRONT_ROOM: usize = 0;

    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>> {
        let n = ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        Poll::Ready(Ok(if n == 0 { Received::End(TransportEnd::Closed) } else { Received::Payload(0..n) }))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        write_out(&mut self.io, cx, from)
    }

    fn wants_send(&self) -> bool {
        false
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }

    fn abort(&mut self) {
        self.io.abort();
    }

    fn limit_unsent(&self, bytes_max: u32) {
        self.io.limit_unsent(bytes_max);
    }

    fn unpaced_if_near(&self) {
        self.io.unpaced_if_near();
    }
}

/// Writes until `from` is empty.
pub(super) fn write_out<I: Io>(
    io: &mut I,
    cx: &mut Context<'_>,
    from: &mut BytesMut,
) -> Poll<io::Result<()>> {
    while !from.is_empty() {
        let n = ready!(Pin::new(&mut *io).poll_write(cx, from))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        from.advance(n);
    }
    Poll::Ready(Ok(()))
}
