//! Both sides of the upgrade (RFC 6455 4; values of wire protocol 3.1 to 3.3).
//!
//! The server reads requests with the HTTP machines and asks [`judge_request`]; the client needs no HTTP
//! machine: [`write_request`] and [`judge_response`] are all of it.

// What is judged here happens once for each connection: `inline(never)` keeps it out of the loops around it, for the size
// of the small agent.

use super::{json, sha1};
use crate::base64;
use crate::http1::{Fields, RequestHead, Version};
use alloc::vec::Vec;
use bytes::{BufMut, BytesMut};

/// Longest answer head that the client reads, in bytes, interim answers included.
pub const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most fields in an answer head.
const ANSWER_FIELDS_MAX: usize = 100;

/// How much of a refusal's body is searched for a message, in bytes (wire protocol 3.4).
const MESSAGE_BODY_BYTES_MAX: usize = 1024;

/// What of a plain text is told, in bytes: a sentence, not a page.
const SENTENCE_BYTES_MAX: usize = 200;

/// What the accept value is made of beside the key (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for the key as it stands in the request (RFC 6455 4.2.2).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut both = Vec::with_capacity(key.len() + GUID.len());
    both.extend_from_slice(key);
    both.extend_from_slice(GUID);
    base64::encode(&sha1::digest(&both))
}

/// Why an upgrade request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No upgrade to WebSocket version 13, or a bad key: 400 `Bad Request\n` with `Sec-WebSocket-Version: 13`
    /// (wire protocol 3.3).
    BadRequest,
    /// A browser on another site: 403 `Forbidden\n`.
    ForeignOrigin,
}

/// Server: judges an upgrade request and gives the accept value.
///
/// Wants `GET`, HTTP/1.1, `Upgrade: websocket`, `Connection: upgrade`, version 13, a key of 16 bytes, and no
/// `Origin` whose host and port differ from those asked for (RFC 6455 4.2.1; wire protocol 3.1). Offered
/// subprotocols and extensions are ignored.
pub fn judge_request(head: &RequestHead<'_>) -> Result<[u8; 28], Refusal> {
    let fields = &head.fields;
    let is_upgrade = head.method == b"GET"
        && head.version == Version::Http11
        && fields.has_token("upgrade", "websocket")
        && fields.has_token("connection", "upgrade")
        && fields.has_token("sec-websocket-version", "13");
    if !is_upgrade {
        return Err(Refusal::BadRequest);
    }
    if let Some(origin) = fields.first("origin") {
        let host = authority(head.target).or_else(|| fields.first("host")).unwrap_or_default();
        if !authority(origin).is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Err(Refusal::ForeignOrigin);
        }
    }
    match fields.first("sec-websocket-key") {
        Some(key) if base64::is_16_bytes(key) => Ok(accept_key(key)),
        _ => Err(Refusal::BadRequest),
    }
}

/// Host and port of a URL with a scheme, without user information.
fn authority(url: &[u8]) -> Option<&[u8]> {
    let scheme = url.windows(3).position(|three| three == b"://")?;
    if url[..scheme].iter().any(|byte| matches!(byte, b'/' | b'?' | b'#')) {
        return None;
    }
    let rest = &url[scheme + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest[..end].rsplit(|byte| *byte == b'@').next()
}

/// Server: appends the answer 101 with `accept` from [`judge_request`] and further `fields` (wire protocol 3.2).
pub fn write_response(accept: &[u8; 28], fields: &[(&str, &[u8])], out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    put_field(out, "Sec-WebSocket-Accept", accept);
    for (name, value) in fields {
        put_field(out, name, value);
    }
    out.put_slice(b"\r\n");
}

/// Client: what to ask.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The value of `Host`: name or address, with the port unless it is the scheme's.
    pub host: &'a [u8],
    /// Path and query, percent-encoded by the caller where it means something (a `/` inside an endpoint id).
    pub target: &'a [u8],
    /// New for each request, from a strong generator (RFC 6455 4.1).
    pub key: [u8; 16],
    /// Further fields: `User-Agent`, `Authorization`, `x-piko-tenant-id`, …
    pub fields: &'a [(&'a str, &'a [u8])],
}

/// Client: appends the upgrade request (wire protocol 3.1). No byte may follow it before the answer was read.
///
/// Configured values cannot break out of their line: in the target, bytes that may not stand there are
/// percent-encoded; in field values they become spaces; a field whose name is none is left out.
pub fn write_request(ask: &Ask<'_>, out: &mut BytesMut) {
    out.put_slice(b"GET ");
    put_target(out, ask.target);
    out.put_slice(b" HTTP/1.1\r\n");
    put_field(out, "Host", ask.host);
    for (name, value) in ask.fields {
        put_field(out, name, value);
    }
    out.put_slice(b"Connection: Upgrade\r\n");
    put_field(out, "Sec-WebSocket-Key", &encoded_key(&ask.key));
    out.put_slice(b"Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n");
}

fn encoded_key(key: &[u8; 16]) -> [u8; 24] {
    base64::encode(key)
}

fn put_target(out: &mut BytesMut, target: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if target.first() != Some(&b'/') {
        out.put_u8(b'/');
    }
    for byte in target {
        if byte.is_ascii_graphic() {
            out.put_u8(*byte);
        } else {
            out.put_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return;
    }
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    for byte in value {
        let is_control = byte.is_ascii_control() && *byte != b'\t';
        out.put_u8(if is_control { b' ' } else { *byte });
    }
    out.put_slice(b"\r\n");
}

/// RFC 9110 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Client: the answer.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not an answer to an upgrade request; says why. Worth another try, like a connection that broke.
    Bad(&'static str),
    /// More bytes are needed.
    Partial,
    /// The server said no.
    Refused {
        /// Any status but 101.
        status: u16,
        /// The member `error` of a JSON body, unescaped but not sanitised, or the printable characters of the first
        /// line of a plain text; empty when there is neither.
        message: Vec<u8>,
    },
    /// From here on frames are spoken. What follows the head belongs to them.
    Upgraded {
        /// Where in the input the first frame begins.
        head_bytes: usize,
    },
}

/// Judges the bytes received so far; `eof` says that there will be no more. `Refused` waits for a JSON
/// `error` member, or the first line of a text whose end is known, within the first 1,024 body bytes. `fields` is
/// shown the fields of an answer 101 once it is found good.
///
/// `key` is the one of the request. Interim answers (100, 103) are passed over. An extension or subprotocol
/// that nobody asked for is refused (RFC 6455 4.1).
#[inline(never)]
pub fn judge_response(
    key: &[u8; 16],
    input: &[u8],
    eof: bool,
    fields: &mut dyn FnMut(&Fields<'_>),
) -> Answer {
    let mut start = 0;
    loop {
        let mut slots = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
        let mut head = httparse::Response::new(&mut slots);
        let within = &input[start..input.len().min(ANSWER_HEAD_BYTES_MAX)];
        let head_bytes = match head.parse(within) {
            Ok(httparse::Status::Complete(len)) => start + len,
            Ok(httparse::Status::Partial) if input.len() >= ANSWER_HEAD_BYTES_MAX => {
                return Answer::Bad("answer head too long");
            }
            Ok(httparse::Status::Partial) if eof => return Answer::Bad("connection ended before the answer"),
            Ok(httparse::Status::Partial) => return Answer::Partial,
            Err(httparse::Error::TooManyHeaders) => return Answer::Bad("answer with too many fields"),
            Err(_) => return Answer::Bad("answer is not HTTP"),
        };
        match head.code.unwrap_or_default() {
            101 => {
                let Some(block) = field_block(&input[start..head_bytes]) else {
                    return Answer::Bad("answer with a bare line feed");
                };
                return match judge_switch(key, head.headers) {
                    Ok(()) => {
                        fields(&Fields::from_block(block));
                        Answer::Upgraded { head_bytes }
                    }
                    Err(why) => Answer::Bad(why),
                };
            }
            100..=199 => start = head_bytes,
            status => {
                // HTTP/1.0 does, and what other versions do nobody knows.
                let closes = head.version == Some(0);
                return refused(status, head.headers, closes, &input[head_bytes..], eof);
            }
        }
    }
}

/// RFC 6455 4.1, what the client must check.
#[inline(never)]
fn judge_switch(key: &[u8; 16], fields: &[httparse::Header<'_>]) -> Result<(), &'static str> {
    if !has_token(fields, "upgrade", b"websocket") {
        return Err("answer 101 without Upgrade: websocket");
    }
    if !has_token(fields, "connection", b"upgrade") {
        return Err("answer 101 without Connection: upgrade");
    }
    if first(fields, "sec-websocket-accept") != Some(&accept_key(&encoded_key(key))) {
        return Err("answer 101 with a wrong accept value");
    }
    if first(fields, "sec-websocket-extensions").is_some()
        || first(fields, "sec-websocket-protocol").is_some()
    {
        return Err("answer 101 with an extension or subprotocol that was not offered");
    }
    Ok(())
}

/// `closes` says that the connection ends behind the body whatever its fields say.
#[inline(never)]
fn refused(status: u16, fields: &[httparse::Header<'_>], closes: bool, body: &[u8], eof: bool) -> Answer {
    const JSON: &[u8] = b"application/json";
    let kind = first(fields, "content-type").unwrap_or_default();
    let is_json = kind.get(..JSON.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(JSON));
    let length = first(fields, "content-length");
    let length = length.and_then(|text| core::str::from_utf8(text).ok()?.parse().ok());
    let wanted = length.unwrap_or(MESSAGE_BODY_BYTES_MAX).min(MESSAGE_BODY_BYTES_MAX);
    let body = &body[..body.len().min(wanted)];
    let is_whole = eof || body.len() >= wanted;
    let message = if is_json {
        json::error_member(body)
    } else if length.is_some() || closes {
        sentence(body, is_whole)
    } else {
        // The end of such a text is that of the connection, which may never come.
        Some(Vec::new())
    };
    match message {
        None if !is_whole => Answer::Partial,
        message => Answer::Refused { status, message: message.unwrap_or_default() },
    }
}

/// The first line of a text, without what cannot be printed, once all of it is there. Nothing of a page for a browser.
#[inline(never)]
fn sentence(body: &[u8], is_whole: bool) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    for &byte in body.trim_ascii_start() {
        if byte == b'\n' || (byte == b'<' && line.is_empty()) {
            return Some(line);
        }
        if matches!(byte, b' '..=b'~') && line.len() < SENTENCE_BYTES_MAX {
            line.push(byte);
        }
    }
    is_whole.then_some(line)
}

/// The lines between the status line and the blank one, unless some line ends without a carriage return.
fn field_block(head: &[u8]) -> Option<&[u8]> {
    let is_bare = |i: usize| head[i] == b'\n' && (i == 0 || head[i - 1] != b'\r');
    if (0..head.len()).any(is_bare) {
        return None;
    }
    // Servers may send empty lines in front of the status line (RFC 9112 2.2), which httparse skips.
    let status_line = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let fields = status_line + head[status_line..].iter().position(|byte| *byte == b'\n')? + 1;
    head.get(fields..head.len().checked_sub(2)?)
}

#[inline(never)]
fn first<'f>(fields: &[httparse::Header<'f>], name: &str) -> Option<&'f [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

fn has_token(fields: &[httparse::Header<'_>], name: &str, token: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .flat_map(|field| field.value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}
