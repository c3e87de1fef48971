//! Answers as they arrived.

use std::io;

use super::body::{Body, Framing, Message, Pieces, TailError};
use super::input::{Input, LINE_MAX};

/// Interim answers that one request may get before the client calls it a flood.
const INTERIM_MAX: usize = 64;

/// How an answer, or the wait for one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A body without framing of its own ended with the connection, or the connection ended between answers.
    Closed,
    /// The framing said that it was complete.
    Complete,
    /// The connection ended (FIN) before the framing said so.
    Cut,
    /// What arrived is not HTTP/1.1; the text says why.
    Malformed(String),
    /// The connection was reset.
    Reset,
    /// Nothing came for as long as the client waits.
    Timeout,
}

impl End {
    pub(crate) fn from_error(e: &io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Malformed(e.to_string()),
        }
    }

    fn from_tail(e: TailError) -> Self {
        match e {
            TailError::Cut => Self::Cut,
            TailError::Io(e) => Self::from_error(&e),
            TailError::Malformed(text) => Self::Malformed(text),
        }
    }
}

/// A status line and its fields, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status line without its line end.
    pub status_line: String,
    /// The status code.
    pub status: u16,
    /// The field lines without line ends, in the order of arrival.
    pub lines: Vec<Vec<u8>>,
}

impl Head {
    /// The values of a field, without the white space around them, one per line.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.lines, name)
    }

    /// The value of a field that appears once; `None` when it is absent or repeated.
    pub fn value(&self, name: &str) -> Option<String> {
        let mut all = self.values(name);
        if all.len() == 1 { all.pop() } else { None }
    }
}

fn values(lines: &[Vec<u8>], name: &str) -> Vec<String> {
    let of = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line).into_owned();
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches([' ', '\t']).to_owned())
    };
    lines.iter().filter_map(of).collect()
}

/// One answer, with everything that came before and with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The 1xx answers, without 101, which is final.
    pub interim: Vec<Head>,
    /// The final head, if it arrived.
    pub head: Option<Head>,
    /// The payload that arrived.
    pub body: Body,
    /// Trailer lines without line ends.
    pub trailers: Vec<Vec<u8>>,
    /// How it ended.
    pub end: End,
}

impl Response {
    /// The final status, 0 when there was none.
    pub fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |h| h.status)
    }

    /// The value of a field of the final head that appears once.
    pub fn value(&self, name: &str) -> Option<String> {
        self.head.as_ref().and_then(|h| h.value(name))
    }

    /// The values of a trailer field.
    pub fn trailer(&self, name: &str) -> Vec<String> {
        values(&self.trailers, name)
    }
}

/// Reads an answer to a request with `method`.
pub(crate) fn read(input: &mut Input, method: &str, keep: usize) -> Response {
    let mut response = Response {
        interim: Vec::new(),
        head: None,
        body: Body::default(),
        trailers: Vec::new(),
        end: End::Complete,
    };
    let head = loop {
        match read_head(input) {
            Ok(head) if (100..200).contains(&head.status) && head.status != 101 => {
                response.interim.push(head);
                if response.interim.len() > INTERIM_MAX {
                    response.end = End::Malformed("a flood of interim answers".to_owned());
                    return response;
                }
            }
            Ok(head) => break head,
            Err(end) => {
                response.end = end;
                return response;
            }
        }
    };
    let framing = framing(&head, method);
    response.head = Some(head);
    match framing {
        Ok(framing) => response.end = read_body(input, framing, keep, &mut response),
        Err(text) => response.end = End::Malformed(text),
    }
    response
}

/// RFC 9112 section 6.3, without its repairs.
fn framing(head: &Head, method: &str) -> Result<Framing, String> {
    let bodiless = head.status == 101 || head.status == 204 || head.status == 304;
    if method == "HEAD" || bodiless || (method == "CONNECT" && head.status / 100 == 2) {
        return Ok(Framing::Length(0));
    }
    let message =
        Message { lengths: head.values("content-length"), codings: head.values("transfer-encoding") };
    message.framing(Framing::Close)
}

fn read_body(input: &mut Input, framing: Framing, keep: usize, response: &mut Response) -> End {
    let mut pieces = Pieces::new(framing);
    let end = loop {
        match pieces.next(input) {
            Ok(Some(piece)) => response.body.add(piece, keep),
            Ok(None) if framing == Framing::Close => break End::Closed,
            Ok(None) => break End::Complete,
            Err(e) => break End::from_tail(e),
        }
    };
    response.body.chunks = pieces.chunks;
    response.trailers = pieces.trailers;
    end
}

/// Reads a status line and fields up to the blank line.
pub(crate) fn read_head(input: &mut Input) -> Result<Head, End> {
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let mut line = input.line().map_err(|e| End::from_error(&e))?;
        size += line.len();
        if line.is_empty() && lines.is_empty() {
            return Err(End::Closed);
        }
        if size > LINE_MAX {
            return Err(End::Malformed("a head above 1 MiB".to_owned()));
        }
        if !line.ends_with(b"\r\n") {
            let bare = line.ends_with(b"\n");
            let text = String::from_utf8_lossy(&line).into_owned();
            return Err(if bare { End::Malformed(format!("a bare LF after {text:?}")) } else { End::Cut });
        }
        line.truncate(line.len() - 2);
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(End::Malformed("a head without a status line".to_owned()));
    }
    let status_line = String::from_utf8_lossy(&lines.remove(0)).into_owned();
    let status = status_of(&status_line).ok_or_else(|| End::Malformed(status_line.clone()))?;
    if let Some(bad) = lines.iter().find(|l| !is_field(l)) {
        return Err(End::Malformed(format!("field line {:?}", String::from_utf8_lossy(bad))));
    }
    Ok(Head { status_line, status, lines })
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let (code, _reason) = rest.split_at_checked(3)?;
    let separated = matches!(rest.as_bytes().get(3), None | Some(b' '));
    let digits = code.bytes().all(|b| b.is_ascii_digit());
    if separated && digits { code.parse().ok().filter(|c| *c >= 100) } else { None }
}

/// A name of token characters, a colon right behind it, no control characters in the value.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&b| b == b':') else { return false };
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let text = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
    colon > 0 && line[..colon].iter().all(token) && line[colon + 1..].iter().all(text)
}
