//! The multiplexer: yamux streams over one ordered byte pipe (wire protocol, section 4).

#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation

use crate::id::StreamId;
use crate::time::{Deadline, Instant};
use bytes::BytesMut;

pub struct Session {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side { Client, Server }

#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Bytes that `poll_transmit` leaves free in front of the outbox for the transport's header.
    pub front_room: usize,
    /// Streams that a peer may have open towards us at once; 0 refuses every SYN with RST.
    pub incoming_max: usize,
    pub accept_backlog: usize,
    pub ping_after: core::time::Duration,
    pub ping_timeout: core::time::Duration,
    pub budget: alloc::sync::Arc<Budget>,
}
impl Default for Config { fn default() -> Self { todo!() } }

/// Memory shared by sessions.
#[derive(Debug)]
pub struct Budget {}
impl Budget {
    pub fn new(bytes: usize) -> Self { todo!() }
    pub fn used(&self) -> usize { todo!() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAway { Normal, ProtocolError, InternalError, Other(u32) }

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    #[error("closed by this side")] Local,
    #[error("peer closed the connection")] Eof,
    #[error("transport failed")] Transport,
    #[error("peer went away with code {0:?}")] GoAway(GoAway),
    #[error("peer did not answer the keep-alive in time")] KeepAlive,
    #[error("peer broke the protocol")] Violation,
}

#[must_use]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event { Closed(CloseReason), GoAway(GoAway), Incoming, Readable(StreamId), Slot, Writable(StreamId) }

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError { #[error("blocked")] Blocked, #[error("finished")] Finished, #[error("reset")] Reset, #[error("unknown stream")] Unknown }
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError { #[error("blocked")] Blocked, #[error("reset")] Reset, #[error("unknown stream")] Unknown }
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError { #[error("blocked")] Blocked, #[error("closed")] Closed, #[error("exhausted")] Exhausted, #[error("going away")] GoingAway }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish { Lazy, Now }

pub struct SendStream<'a> { _s: &'a mut Session }
pub struct RecvStream<'a> { _s: &'a mut Session }
pub struct FrameWriter<'a> { _s: &'a mut Session }

impl Session {
    pub fn new(side: Side, config: Config, now: Instant) -> Self { todo!() }
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<(), CloseReason> { todo!() }
    pub fn handle_eof(&mut self, now: Instant) { todo!() }
    /// The transport broke (reset, timeout): every stream ends with an error.
    pub fn handle_failure(&mut self, now: Instant) { todo!() }
    /// The transport took `bytes` of what `poll_transmit` gave (keep-alive counts it as progress).
    pub fn handle_sent(&mut self, now: Instant, bytes: usize, drained: bool) { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    pub fn open(&mut self, now: Instant) -> Result<StreamId, OpenError> { todo!() }
    pub fn accept(&mut self) -> Option<StreamId> { todo!() }
    pub fn send(&mut self, now: Instant, id: StreamId) -> SendStream<'_> { todo!() }
    pub fn recv(&mut self, now: Instant, id: StreamId) -> RecvStream<'_> { todo!() }
    /// Both halves are given up: reset when not finished, discard mode when finished but not read to the end.
    pub fn release(&mut self, now: Instant, id: StreamId) { todo!() }
    /// Queues a go-away. `Normal` stops new incoming streams and keeps the session; others end it once transmitted.
    pub fn close(&mut self, now: Instant, code: GoAway) { todo!() }
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> usize { todo!() }
    /// True when output waits whose receiver waits for it (not only lazy frames).
    pub fn wants_transmit(&self) -> bool { todo!() }
    pub fn poll_event(&mut self) -> Option<Event> { todo!() }
    pub fn poll_timeout(&self) -> Option<Deadline> { todo!() }
    pub fn close_reason(&self) -> Option<&CloseReason> { todo!() }
    /// Streams that are not gone yet.
    pub fn streams(&self) -> usize { todo!() }
    pub fn peer_going_away(&self) -> Option<GoAway> { todo!() }
}
impl SendStream<'_> {
    pub fn room(&self) -> usize { todo!() }
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> { todo!() }
    /// As `write`, gathers the slices into one frame.
    pub fn write_vectored(&mut self, parts: &[&[u8]]) -> Result<usize, WriteError> { todo!() }
    pub fn reserve(&mut self, max: usize) -> Result<FrameWriter<'_>, WriteError> { todo!() }
    pub fn finish(&mut self, when: Finish) -> Result<(), WriteError> { todo!() }
    pub fn reset(&mut self) { todo!() }
}
impl FrameWriter<'_> {
    pub fn buf(&mut self) -> bytes::buf::Limit<&mut BytesMut> { todo!() }
    pub fn commit(self) -> usize { todo!() }
}
impl RecvStream<'_> {
    pub fn chunk(&self) -> Result<Option<&[u8]>, ReadError> { todo!() }
    pub fn consume(&mut self, n: usize) { todo!() }
    pub fn stop(&mut self) { todo!() }
}
