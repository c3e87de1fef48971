//! Heads as values: what both connection machines hand out and take.

use super::fields::Fields;
use core::ops::Range;

/// The versions that this product speaks (RFC 9112 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim responses, one request per connection unless asked otherwise.
    Http10,
    /// HTTP/1.1, and higher minor versions (RFC 9110 2.5).
    Http11,
}

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// `Content-Length`, in bytes; zero is a body that was announced and is empty.
    Known(u64),
    /// There is no body, whatever the fields say.
    None,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// The start line and the fields of a request (RFC 9112 3). Borrows the input; never held across an await.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'i> {
    /// Any token, case-sensitive.
    pub method: &'i [u8],
    /// Origin-form, absolute-form, authority-form or `*`, as received.
    pub target: &'i [u8],
    /// As received; heads are always written as HTTP/1.1.
    pub version: Version,
    /// All fields as received, framing and hop-by-hop fields included.
    pub fields: Fields<'i>,
    /// How the body ends. Never `UntilClose`.
    pub body: BodyLength,
    /// `Expect: 100-continue` was asked for.
    pub expects_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field (HTTP/1.1 only).
    pub upgrade: bool,
}

/// The start line and the fields of a response (RFC 9112 4). Borrows the input; never held across an await.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'i> {
    /// 100 to 999.
    pub status: u16,
    /// As received, possibly empty, possibly not UTF-8.
    pub reason: &'i [u8],
    /// As received; heads are always written as HTTP/1.1.
    pub version: Version,
    /// All fields as received, framing and hop-by-hop fields included.
    pub fields: Fields<'i>,
    /// How the body ends.
    pub body: BodyLength,
}

/// What input turned into. Ranges point into the bytes just given and cover payload only, without chunk
/// framing.
#[derive(Clone, Debug)]
pub enum Part<H, F> {
    /// Payload of the body: this range of the input.
    Data(Range<usize>),
    /// The message is complete. Comes behind every head but those of interim responses and switches, also when there is no
    /// body.
    End,
    /// The head of a message.
    Head(H),
    /// The head of an interim response (1xx without 101); another head follows.
    Interim(H),
    /// Everything from here on belongs to another protocol. Said again by every further call, and never
    /// consumes anything.
    Switched,
    /// The fields behind the last chunk; `End` follows without further input.
    Trailers(F),
}

/// What a [`ServerConn`](super::ServerConn) reads.
pub type RequestPart<'i> = Part<RequestHead<'i>, Fields<'i>>;

/// What a [`ClientConn`](super::ClientConn) reads.
pub type ResponsePart<'i> = Part<ResponseHead<'i>, Fields<'i>>;
