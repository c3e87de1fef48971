//! HTTP/1 on both sides of a proxy (RFC 9110, RFC 9112): heads, bodies, keep-alive. No sockets, no proxying.

#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation

use crate::time::{Deadline, Instant};
use bytes::BufMut;
use core::time::Duration;

mod error;
mod fields;
mod head;

pub use error::{Fault, Refused};
pub use fields::{FieldIter, Fields, is_name, is_token, is_value, list_has, list_members, write_field};
pub use head::{BodyLength, Part, RequestHead, ResponseHead, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Abort,
    Close,
    KeepAlive,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Discard,
    Reuse,
}

#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    pub head_bytes_max: usize,
    pub fields_max: usize,
    pub head_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}
impl Default for Config {
    fn default() -> Self {
        todo!()
    }
}

/// Faces a client: reads requests, writes responses.
pub struct ServerConn {}
impl ServerConn {
    pub fn new(config: Config, now: Instant) -> Self {
        todo!()
    }
    pub fn handle_input<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<Part<RequestHead<'i>, Fields<'i>>>), Fault> {
        todo!()
    }
    pub fn handle_eof(&mut self, now: Instant) -> Result<(), Fault> {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// The head or keep-alive deadline has passed: close without an answer.
    pub fn is_expired(&self) -> bool {
        todo!()
    }
    pub fn wants_input(&self) -> bool {
        todo!()
    }
    /// True between requests, with nothing of the next one read.
    pub fn is_idle(&self) -> bool {
        todo!()
    }
    /// The request's body has been read to its end.
    pub fn request_done(&self) -> bool {
        todo!()
    }
    /// From here on responses say `Connection: close` (drain).
    pub fn close_after_response(&mut self) {
        todo!()
    }
    /// 1xx goes out as interim; 101 switches; others start the response. Writes canonical framing and connection fields; such fields in `head.fields` are ignored.
    pub fn send_head(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        todo!()
    }
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        todo!()
    }
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        todo!()
    }
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Next {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Deadline> {
        todo!()
    }
}

/// Faces a service, another node, or the far end of a tunnel stream: writes requests, reads responses.
pub struct ClientConn {}
impl ClientConn {
    pub fn new(config: Config, now: Instant) -> Self {
        todo!()
    }
    /// `keep_alive`: false adds `Connection: close` (a tunnel stream carries one request).
    pub fn send_head(
        &mut self,
        head: &RequestHead<'_>,
        keep_alive: bool,
        out: &mut impl BufMut,
    ) -> Result<(), Refused> {
        todo!()
    }
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        todo!()
    }
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        todo!()
    }
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Result<(), Refused> {
        todo!()
    }
    pub fn handle_input<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<Part<ResponseHead<'i>, Fields<'i>>>), Fault> {
        todo!()
    }
    /// `Ok(true)`: the end of a close-delimited body. `Ok(false)`: nothing was expected. `Err`: cut.
    pub fn handle_eof(&mut self, now: Instant) -> Result<bool, Fault> {
        todo!()
    }
    /// After the response's `End`: may the connection carry another request?
    pub fn reuse(&self) -> Reuse {
        todo!()
    }
    pub fn wants_input(&self) -> bool {
        todo!()
    }
}
