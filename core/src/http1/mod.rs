//! HTTP/1 on both sides of a proxy (RFC 9110, RFC 9112): heads, bodies, keep-alive. No sockets, no proxying.

#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation

use crate::time::{Deadline, Instant};
use bytes::BufMut;
use core::ops::Range;
use core::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version { Http10, Http11 }

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength { Chunked, Known(u64), None, UntilClose }

/// A validated field block: lines `name: value CRLF` without the final blank line. Split lazily, order and case kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'i> { block: &'i [u8] }
impl<'i> Fields<'i> {
    /// The caller vouches that every line of `block` is `name ":" OWS value CRLF`, as another machine or `FieldWriter` wrote it.
    pub fn from_block(block: &'i [u8]) -> Self { Self { block } }
    pub fn block(&self) -> &'i [u8] { self.block }
    /// (name as received, value without surrounding whitespace).
    pub fn iter(&self) -> impl Iterator<Item = (&'i [u8], &'i [u8])> + use<'i> { todo!(); #[allow(unreachable_code)] core::iter::empty() }
    /// First value of a field, by case-insensitive name.
    pub fn first(&self, name: &str) -> Option<&'i [u8]> { todo!() }
    /// True when the comma-separated list of all lines `name` contains `token`, case-insensitively.
    pub fn has_token(&self, name: &str, token: &str) -> bool { todo!() }
}

#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'i> {
    pub method: &'i [u8],
    /// Origin-form, absolute-form, authority-form or `*`, as received.
    pub target: &'i [u8],
    pub version: Version,
    /// All fields as received, framing and hop-by-hop fields included.
    pub fields: Fields<'i>,
    pub body: BodyLength,
    /// `Expect: 100-continue` was asked for.
    pub expects_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field (HTTP/1.1 only).
    pub upgrade: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'i> {
    pub status: u16,
    pub reason: &'i [u8],
    pub version: Version,
    pub fields: Fields<'i>,
    pub body: BodyLength,
}

/// What input turned into. Ranges point into the bytes just given and cover payload only, without chunk framing.
#[derive(Clone, Debug)]
pub enum Part<H, F> { Data(Range<usize>), End, Head(H), Interim(H), Switched, Trailers(F) }

/// The peer broke HTTP: what it did (names the RFC section) and the status it deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault { pub status: u16, pub what: &'static str }

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused { #[error("needs {0} bytes of room")] NoRoom(usize), #[error("not in this state")] State }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next { Abort, Close, KeepAlive }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse { Discard, Reuse }

#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    pub head_bytes_max: usize,
    pub fields_max: usize,
    pub head_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}
impl Default for Config { fn default() -> Self { todo!() } }

/// Faces a client: reads requests, writes responses.
pub struct ServerConn {}
impl ServerConn {
    pub fn new(config: Config, now: Instant) -> Self { todo!() }
    pub fn handle_input<'i>(&mut self, now: Instant, input: &'i [u8]) -> Result<(usize, Option<Part<RequestHead<'i>, Fields<'i>>>), Fault> { todo!() }
    pub fn handle_eof(&mut self, now: Instant) -> Result<(), Fault> { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// The head or keep-alive deadline has passed: close without an answer.
    pub fn is_expired(&self) -> bool { todo!() }
    pub fn wants_input(&self) -> bool { todo!() }
    /// True between requests, with nothing of the next one read.
    pub fn is_idle(&self) -> bool { todo!() }
    /// The request's body has been read to its end.
    pub fn request_done(&self) -> bool { todo!() }
    /// From here on responses say `Connection: close` (drain).
    pub fn close_after_response(&mut self) { todo!() }
    /// 1xx goes out as interim; 101 switches; others start the response. Writes canonical framing and connection fields; such fields in `head.fields` are ignored.
    pub fn send_head(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> { todo!() }
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> { todo!() }
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> { todo!() }
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Next { todo!() }
    pub fn poll_timeout(&self) -> Option<Deadline> { todo!() }
}

/// Faces a service, another node, or the far end of a tunnel stream: writes requests, reads responses.
pub struct ClientConn {}
impl ClientConn {
    pub fn new(config: Config, now: Instant) -> Self { todo!() }
    /// `keep_alive`: false adds `Connection: close` (a tunnel stream carries one request).
    pub fn send_head(&mut self, head: &RequestHead<'_>, keep_alive: bool, out: &mut impl BufMut) -> Result<(), Refused> { todo!() }
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> { todo!() }
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> { todo!() }
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Result<(), Refused> { todo!() }
    pub fn handle_input<'i>(&mut self, now: Instant, input: &'i [u8]) -> Result<(usize, Option<Part<ResponseHead<'i>, Fields<'i>>>), Fault> { todo!() }
    /// `Ok(true)`: the end of a close-delimited body. `Ok(false)`: nothing was expected. `Err`: cut.
    pub fn handle_eof(&mut self, now: Instant) -> Result<bool, Fault> { todo!() }
    /// After the response's `End`: may the connection carry another request?
    pub fn reuse(&self) -> Reuse { todo!() }
    pub fn wants_input(&self) -> bool { todo!() }
}
