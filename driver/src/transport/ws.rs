//! `core::ws` over a byte stream.

use super::raw::write_out;
use super::{Received, Transport};
use crate::entropy::random_bytes;
use crate::runtime::Io;
use bytes::{Buf, BytesMut};
use piko_core::tunnel::TransportEnd;
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// One WebSocket message per turn around whatever the mux produced (performance guide 2.1, 2.2).
pub struct WsTransport<I> {
    io: I,
    conn: Conn,
    /// Bytes that came behind the handshake, in the segment of its last line.
    early: Vec<u8>,
    /// Control frames on their way; they go between messages.
    control: BytesMut,
    /// `from` carries its frame header and mask.
    framed: bool,
    /// The peer ended the WebSocket; told after the payload that came before.
    ended: Option<TransportEnd>,
}

impl<I: Io> WsTransport<I> {
    /// After the handshake; `early` are the bytes behind it.
    pub fn new(io: I, role: Role, early: Vec<u8>) -> Self {
        Self { io, conn: Conn::new(role), early, control: BytesMut::new(), framed: false, ended: None }
    }

    /// The byte stream below.
    pub fn io(&self) -> &I {
        &self.io
    }
}

impl<I: Io> Transport for WsTransport<I> {
    const FRONT_ROOM: usize = FRONT_ROOM;

    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>> {
        if let Some(end) = self.ended {
            return Poll::Ready(Ok(Received::End(end)));
        }
        let n = if self.early.is_empty() {
            let worth = self.conn.worth_reading(into.len());
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut into[..worth]))?
        } else {
            let n = self.early.len().min(into.len());
            into[..n].copy_from_slice(&self.early[..n]);
            self.early.drain(..n);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            n
        };
        if n == 0 {
            return Poll::Ready(Ok(Received::End(TransportEnd::Closed)));
        }
        let input = self.conn.handle_input(&mut into[..n]);
        self.ended = input.end.map(|end| match end {
            End::Close(_) => TransportEnd::Closed,
            _ => TransportEnd::Failed,
        });
        Poll::Ready(Ok(match (input.payload.is_empty(), self.ended) {
            (false, _) => Received::Payload(input.payload),
            (true, Some(end)) => Received::End(end),
            (true, None) => Received::Nothing,
        }))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        // Control frames only start when no message is under way, so what is left of one goes first.
        ready!(write_out(&mut self.io, cx, &mut self.control))?;
        if !from.is_empty() && !self.framed {
            // RFC 6455 10.3: a fresh key of strong entropy per frame.
            let start = self.conn.frame(from, random_bytes()?);
            from.advance(start);
            self.framed = true;
        }
        ready!(write_out(&mut self.io, cx, from))?;
        self.framed = false;
        if self.conn.wants_send() {
            self.conn.poll_transmit(&mut self.control, random_bytes()?);
        }
        ready!(write_out(&mut self.io, cx, &mut self.control))?;
        if self.control.capacity() > 0 {
            self.control = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn wants_send(&self) -> bool {
        self.conn.wants_send() || !self.control.is_empty()
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
