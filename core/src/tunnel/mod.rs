//! A tunnel: one mux session with its endpoint, its drain and its capabilities; and when to dial again.
#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation
use crate::id::{EndpointId, StreamId};
use crate::mux::{CloseReason, Config, GoAway, OpenError, RecvStream, SendStream};
use crate::time::{Deadline, Instant};
use bytes::BytesMut;
use core::time::Duration;

/// How the transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEnd { Closed, Failed }

/// What the server allowed this tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant { /** The tunnel ends then (token expiry). */ pub expires: Option<Instant> }

#[must_use]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEvent { Closed(CloseReason), /** The peer takes no new streams. */ GoingAway(GoAway), Incoming, Readable(StreamId), Slot, Writable(StreamId) }

pub struct Tunnel {}
impl Tunnel {
    pub fn accepted(endpoint: EndpointId, grant: Grant, config: Config, now: Instant) -> Self { todo!() }
    pub fn dialled(endpoint: EndpointId, config: Config, now: Instant) -> Self { todo!() }
    pub fn endpoint(&self) -> &EndpointId { todo!() }
    pub fn handle_chunk(&mut self, now: Instant, chunk: &[u8]) -> Result<(), CloseReason> { todo!() }
    pub fn handle_end(&mut self, now: Instant, how: TransportEnd) { todo!() }
    pub fn handle_sent(&mut self, now: Instant, bytes: usize, drained: bool) { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    /// Server: no new streams, wait for the open ones up to `grace`, go-away 2, close. Agent: go-away 0, answer what is open, close.
    pub fn drain(&mut self, now: Instant, grace: Duration) { todo!() }
    /// Ends at once: all streams fail, the session closes after a go-away.
    pub fn abort(&mut self, now: Instant, code: GoAway) { todo!() }
    pub fn is_draining(&self) -> bool { todo!() }
    pub fn open(&mut self, now: Instant) -> Result<StreamId, OpenError> { todo!() }
    pub fn accept(&mut self) -> Option<StreamId> { todo!() }
    pub fn send(&mut self, now: Instant, id: StreamId) -> SendStream<'_> { todo!() }
    pub fn recv(&mut self, now: Instant, id: StreamId) -> RecvStream<'_> { todo!() }
    pub fn release(&mut self, now: Instant, id: StreamId) { todo!() }
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> usize { todo!() }
    pub fn wants_transmit(&self) -> bool { todo!() }
    pub fn poll_event(&mut self) -> Option<TunnelEvent> { todo!() }
    pub fn poll_timeout(&self) -> Option<Deadline> { todo!() }
    pub fn close_reason(&self) -> Option<&CloseReason> { todo!() }
    pub fn streams(&self) -> usize { todo!() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action { Dial { attempt: Attempt, target: u16, limit: Option<Duration> }, GiveUp(Failure) }
/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure { /** No HTTP response, or 408, 429, 500, 502 to 504. */ Retry, /** Any other status. */ Fatal { status: u16 } }
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backoff { pub min: Duration, pub max: Duration, pub max_after_loss: Duration, pub hurry: Duration, pub hurried_attempt: Duration, pub attempt: Duration, pub exit_on_failure: bool }
impl Default for Backoff { fn default() -> Self { todo!() } }
pub struct Reconnector {}
impl Reconnector {
    pub fn new(targets: u16, backoff: Backoff, seed: u64, now: Instant) -> Self { todo!() }
    pub fn poll_action(&mut self) -> Option<Action> { todo!() }
    pub fn handle_connected(&mut self, now: Instant, attempt: Attempt) { todo!() }
    pub fn handle_failed(&mut self, now: Instant, attempt: Attempt, failure: Failure) { todo!() }
    pub fn handle_lost(&mut self, now: Instant) { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    pub fn poll_timeout(&self) -> Option<Deadline> { todo!() }
}

/// What both sides stated in `x-piko-caps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps { pub drain_hint: bool, pub half_close: bool }
impl Caps {
    pub fn ours() -> Self { todo!() }
    pub fn parse(value: &[u8]) -> Self { todo!() }
    pub fn both(&self, other: &Self) -> Self { todo!() }
    pub fn to_value(&self) -> alloc::string::String { todo!() }
}
