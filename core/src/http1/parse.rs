//! Complete heads: start lines, and the verdict on what their fields say (RFC 9112 3, 4, 6).

use super::error::{Fault, MALFORMED_HOST, MISSING_HOST};
use super::facts::{Block, Coding, Facts, Length};
use super::fields::{is_token, is_value};
use super::head::{BodyLength, RequestHead, ResponseHead, Version};
use super::scan::{Ends, Found, start_line};
use super::target::{is_host, judge_target};

/// A longer word in front of a refused request is not shown as its method.
const PEEKED_METHOD_BYTES_MAX: usize = 64;

const NOT_ONE_NUMBER: &str = "content-length is not one number (RFC 9112 6.3)";

/// What a request asks of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The connection may carry another message afterwards (RFC 9112 9.3).
    pub(super) persist: bool,
}

/// Which requests a response answers: what changes how it is read (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) connect: bool,
    pub(super) head: bool,
}

/// Parses and judges a request head that `found` says is complete. Strict: what two parsers could read
/// differently is refused. `block` is the head's, where it was read on the way.
pub(super) fn parse_request<'i>(
    input: &'i [u8],
    found: &Found,
    block: Option<Block<'i>>,
) -> Result<(RequestHead<'i>, Wish), Fault> {
    let (method, target, version) = request_line(start_line(input, found.fields_at))?;
    let Block { facts, fields } = block.map_or_else(|| Block::gather(input, found, Ends::Strict), Ok)?;
    match facts.hosts {
        0 if version == Version::Http11 => return Err(Fault::new(400, MISSING_HOST)),
        0 | 1 => {}
        _ => return Err(Fault::new(400, "several Host fields (RFC 9112 3.2)")),
    }
    if !is_host(facts.host) {
        return Err(Fault::new(400, MALFORMED_HOST));
    }
    let body = request_body(version, &facts)?;
    let connect = method == b"CONNECT";
    if connect && !matches!(body, BodyLength::None | BodyLength::Known(0)) {
        return Err(Fault::new(400, "CONNECT with content (RFC 9110 9.3.6)"));
    }
    if facts.expects_other {
        return Err(Fault::new(417, "an expectation other than 100-continue (RFC 9110 10.1.1)"));
    }
    let is_11 = version == Version::Http11;
    let head = RequestHead {
        method,
        target,
        version,
        fields,
        body,
        expects_continue: facts.expects_continue,
        upgrade: is_11 && !connect && facts.upgrade_option && facts.upgrade_field,
    };
    Ok((head, Wish { persist: persists(version, &facts) }))
}

/// Method and target of a request that was refused, for logs: what stands where they should, of a head that may be
/// incomplete or malformed. The target may be cut or no target at all, but it is one word without control characters.
pub fn peek_request_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let input = input.strip_prefix(b"\r\n").unwrap_or(input);
    let line = input.split(|&b| matches!(b, b'\r' | b'\n')).next()?;
    let mut words = line.split(|&b| b == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let plain = !target.is_empty() && !target.iter().any(u8::is_ascii_control);
    (is_token(method) && method.len() <= PEEKED_METHOD_BYTES_MAX && plain).then_some((method, target))
}

/// Judges the first line of a request whose head is incomplete or broken further on, as the complete head would
/// be: whoever speaks another protocol is not waited for.
pub(super) fn judge_request_line(line: &[u8]) -> Result<(), Fault> {
    request_line(line).map(|_| ())
}

/// RFC 9112 3: three words with one space between them.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), Fault> {
    const LINE: Fault = Fault::new(400, "the request line is not three words (RFC 9112 3)");
    let mut words = line.splitn(3, |&b| b == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(LINE);
    };
    if !is_token(method) {
        return Err(Fault::new(400, "the method is not a token (RFC 9112 3.1)"));
    }
    judge_target(method, target)?;
    let version = match version {
        b"HTTP/1.0" => Version::Http10,
        // RFC 9110 2.5: a higher minor version is read as the highest that is known.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Version::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Fault::new(505, "a major version other than 1 (RFC 9110 2.5)"));
        }
        _ => return Err(LINE),
    };
    Ok((method, target, version))
}

/// RFC 9112 6.1 to 6.3 for requests.
fn request_body(version: Version, facts: &Facts<'_>) -> Result<BodyLength, Fault> {
    match (facts.coding, facts.length) {
        (Coding::Absent, Length::Absent) => Ok(BodyLength::None),
        // RFC 9110 8.6: one and the same number, however often, may be taken for one. It is written once.
        (Coding::Absent, Length::One(n)) => Ok(BodyLength::Known(n)),
        (Coding::Absent, Length::Bad) => Err(Fault::new(400, NOT_ONE_NUMBER)),
        (_, Length::Absent) if version == Version::Http10 => {
            Err(Fault::new(400, "transfer-encoding in HTTP/1.0 (RFC 9112 6.1)"))
        }
        (Coding::Chunked, Length::Absent) => Ok(BodyLength::Chunked),
        (Coding::Unknown, Length::Absent) => {
            Err(Fault::new(501, "an unknown transfer coding (RFC 9112 6.1)"))
        }
        (Coding::Bad, Length::Absent) => {
            Err(Fault::new(400, "chunked is not the one and final coding (RFC 9112 6.3)"))
        }
        (_, _) => Err(Fault::new(400, "transfer-encoding with content-length (RFC 9112 6.3)")),
    }
}

/// Judges the first bytes of a response before its head is complete, so that a service that speaks another
/// protocol is not waited for.
pub(super) fn judge_response_start(input: &[u8]) -> Result<(), Fault> {
    let start = b"HTTP/1.";
    let n = start.len().min(input.len());
    if input.get(..n) == start.get(..n) {
        Ok(())
    } else {
        Err(Fault::new(502, "the response does not start with HTTP/1. (RFC 9112 4)"))
    }
}

/// Parses and judges a response head that `found` says is complete, as above. What has one certain reading is
/// normalised.
pub(super) fn parse_response<'i>(
    input: &'i [u8],
    found: &Found,
    block: Option<Block<'i>>,
    asked: Asked,
) -> Result<(ResponseHead<'i>, Wish), Fault> {
    let (version, status, reason) = status_line(start_line(input, found.fields_at))?;
    let Block { facts, fields } = block.map_or_else(|| Block::gather(input, found, Ends::Lenient), Ok)?;
    let body = response_body(status, asked, &facts)?;
    // A length beside a transfer coding, or a coding in HTTP/1.0, may be an attempt to smuggle: this message
    // has one certain reading, but what follows it does not (RFC 9112 6.1).
    // The same holds for a 204 that announces content (RFC 9112 6.3).
    let suspicious = (facts.coding != Coding::Absent
        && (facts.length != Length::Absent || version == Version::Http10))
        || (status == 204
            && (facts.coding != Coding::Absent || !matches!(facts.length, Length::Absent | Length::One(0))));
    let persist = persists(version, &facts) && body != BodyLength::UntilClose && !suspicious;
    Ok((ResponseHead { status, reason, version, fields, body }, Wish { persist }))
}

/// RFC 9112 4. The space behind the status may be missing together with the reason.
fn status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Fault> {
    const LINE: Fault = Fault::new(502, "the status line is malformed (RFC 9112 4)");
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9', b' ', a, b, c, rest @ ..] = line
    else {
        return Err(LINE);
    };
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] if is_value(reason) => reason,
        _ => return Err(LINE),
    };
    let mut status = 0u16;
    for digit in [a, b, c] {
        if !digit.is_ascii_digit() {
            return Err(LINE);
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    if status < 100 {
        return Err(LINE);
    }
    Ok((if *minor == b'0' { Version::Http10 } else { Version::Http11 }, status, reason))
}

/// RFC 9112 6.3 for responses.
fn response_body(status: u16, asked: Asked, facts: &Facts<'_>) -> Result<BodyLength, Fault> {
    if facts.length == Length::Bad && facts.coding == Coding::Absent {
        return Err(Fault::new(502, NOT_ONE_NUMBER));
    }
    if matches!(status, 100..=199 | 204 | 304) || asked.head || (asked.connect && matches!(status, 200..=299))
    {
        return Ok(BodyLength::None);
    }
    match (facts.coding, facts.length) {
        (Coding::Absent, Length::One(n)) => Ok(BodyLength::Known(n)),
        (Coding::Absent, _) => Ok(BodyLength::UntilClose),
        (Coding::Chunked, _) => Ok(BodyLength::Chunked),
        (Coding::Bad | Coding::Unknown, _) => {
            Err(Fault::new(502, "a transfer coding other than one final chunked (RFC 9112 6.1)"))
        }
    }
}

/// RFC 9112 9.3: `close` wins; 1.1 stays by default, 1.0 only when it says so.
fn persists(version: Version, facts: &Facts<'_>) -> bool {
    !facts.close && (version == Version::Http11 || facts.keep_alive)
}
