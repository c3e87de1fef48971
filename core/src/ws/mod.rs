//! WebSocket framing and handshake without IO (RFC 6455; wire protocol, section 3).

#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation

use bytes::BytesMut;
use core::ops::Range;

/// Bytes in front of a payload that the longest frame header needs.
pub const FRONT_ROOM: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role { Client, Server }

pub struct Conn {}

/// What input turned into: the payload bytes stand, unmasked and without gaps, in `payload` of the input given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input { pub payload: Range<usize>, pub end: Option<End> }

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End { Close(Option<u16>), Text, Violation(&'static str) }

impl Conn {
    pub fn new(role: Role) -> Self { todo!() }
    /// Takes all of `input`, unmasks in place and closes the gaps between frames.
    pub fn handle_input(&mut self, input: &mut [u8]) -> Input { todo!() }
    /// Frames `buf` as one binary message: its first FRONT_ROOM bytes are free, payload follows. Returns where the frame starts.
    pub fn frame(&mut self, buf: &mut [u8], mask: [u8; 4]) -> usize { todo!() }
    /// Queue a close frame.
    pub fn close(&mut self, code: Option<u16>) { todo!() }
    pub fn wants_send(&self) -> bool { todo!() }
    /// Appends owed control frames (pong, close).
    pub fn poll_transmit(&mut self, out: &mut BytesMut, mask: [u8; 4]) -> usize { todo!() }
    /// True once a close frame was sent or the peer must be dropped after flushing.
    pub fn is_closing(&self) -> bool { todo!() }
}

/// Both sides of the upgrade. Values of wire protocol 3.1 to 3.3.
pub mod handshake {
    use crate::http1::{Fields, RequestHead};
    use alloc::vec::Vec;
    use bytes::BytesMut;

    /// The value of `Sec-WebSocket-Accept`.
    pub fn accept_key(key: &[u8]) -> [u8; 28] { todo!() }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Refusal { BadRequest, ForeignOrigin }

    /// Server: judges an upgrade request and gives the accept value.
    pub fn judge_request(head: &RequestHead<'_>) -> Result<[u8; 28], Refusal> { todo!() }

    /// Client: what to ask.
    pub struct Ask<'a> { pub host: &'a [u8], pub target: &'a [u8], pub key: [u8; 16], pub fields: &'a [(&'a str, &'a [u8])] }
    pub fn write_request(ask: &Ask<'_>, out: &mut BytesMut) { todo!() }

    /// Client: the answer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Answer { Partial, Upgraded { head_bytes: usize }, Refused { status: u16, message: Vec<u8> }, Bad(&'static str) }
    /// Judges the bytes received so far. `Refused` waits for a JSON `error` member within the first 1,024 body bytes.
    pub fn judge_response(key: &[u8; 16], input: &[u8], eof: bool, fields: &mut dyn FnMut(&Fields<'_>)) -> Answer { todo!() }
}
