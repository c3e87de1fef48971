//! A reliable ordered pipe of chunks, under a tunnel.

mod raw;
#[cfg(feature = "tungstenite")]
mod tungstenite;
mod ws;

pub use raw::RawTransport;
#[cfg(feature = "tungstenite")]
pub use tungstenite::TungsteniteTransport;
pub use ws::WsTransport;

use bytes::BytesMut;
use piko_core::tunnel::TransportEnd;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll};

/// Raw TCP, a WebSocket, or memory. Built with the bytes that came behind the handshake; hands them out first.
pub trait Transport: Send + Unpin + 'static {
    /// Bytes that must be free in front of what [`Self::poll_send`] gets (`mux::Config::front_room`).
    const FRONT_ROOM: usize;

    /// Reads into `into` (the thread's buffer). A WebSocket unmasks and closes the gaps between frames in place.
    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>>;

    /// Frames `from` at first sight and remembers what is left: the caller neither appends nor swaps
    /// until it is empty. `from` starts with `FRONT_ROOM` free bytes; an empty one sends only what the
    /// transport itself owes. Ready when all has been handed to the kernel.
    fn poll_send(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>>;

    /// True when the transport itself owes something (a pong, a close) though the outbox is empty.
    fn wants_send(&self) -> bool;

    /// Ends the sending direction.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends at once, visibly.
    fn abort(&mut self);

    /// How many bytes the kernel may hold unsent: [`crate::runtime::Io::limit_unsent`] of the connection below, where
    /// it is known.
    fn limit_unsent(&self, bytes_max: u32) {
        let _ = bytes_max;
    }

    /// [`crate::runtime::Io::unpaced_if_near`] of the connection below, where it is known.
    fn unpaced_if_near(&self) {}
}

/// What a read turned into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The pipe ended; nothing follows.
    End(TransportEnd),
    /// Bytes were read that carry no payload (part of a header, a ping).
    Nothing,
    /// Payload at this place of the buffer.
    Payload(Range<usize>),
}
