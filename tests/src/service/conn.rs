//! One connection of the service: reads requests, keeps the connection, writes bytes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, gone, routes};
use crate::http::{Framing, Input, Message, Pieces, TailError, abort};

/// No test leaves a connection alone for longer.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A request head as it came.
pub(super) struct Request {
    pub(super) method: String,
    /// The path without the query.
    pub(super) path: String,
    query: String,
    pub(super) target: String,
    /// All bytes of the head, blank line included.
    pub(super) raw: Vec<u8>,
    fields: Vec<(String, String)>,
    pub(super) framing: Framing,
}

impl Request {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The value of a query parameter.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='))
    }

    /// A query parameter that is a number.
    pub(super) fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.param(name).and_then(|v| v.parse().ok()).unwrap_or(otherwise)
    }

    fn parse(raw: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let mut start = lines.next()?.split(' ');
        let (method, target, version) = (start.next()?, start.next()?, start.next()?);
        if start.next().is_some() || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        let mut fields = Vec::new();
        for line in lines.take_while(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        let of = |name: &str| {
            let matching = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            matching.map(|(_, v)| v.clone()).collect::<Vec<_>>()
        };
        let message = Message { lengths: of("content-length"), codings: of("transfer-encoding") };
        let framing = message.framing(Framing::Length(0)).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query, target) =
            (method.to_owned(), path.to_owned(), query.to_owned(), target.to_owned());
        Some(Self { method, path, query, target, raw, fields, framing })
    }
}

/// What becomes of the connection after an answer.
pub(super) enum Then {
    Abort,
    Close,
    Keep,
}

/// The connection as routes see it.
pub(super) struct Conn<'s> {
    pub(super) input: Input,
    pub(super) shared: &'s Shared,
}

impl Conn<'_> {
    /// Writes bytes that are not payload.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.stream().write_all(bytes)
    }

    /// Writes payload, and counts what the socket took.
    pub(super) fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.input.stream().write(rest)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.shared.body_out.fetch_add(n as u64, Ordering::SeqCst);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Writes one chunk in one go.
    pub(super) fn write_chunk(&mut self, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk)?;
        self.shared.body_out.fetch_add(data.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    /// The next piece of a request's body, as a copy that the caller owns.
    pub(super) fn piece(&mut self, pieces: &mut Pieces) -> io::Result<Option<Vec<u8>>> {
        match pieces.next(&mut self.input) {
            Ok(Some(piece)) => {
                self.shared.body_in.fetch_add(piece.len() as u64, Ordering::SeqCst);
                Ok(Some(piece.to_vec()))
            }
            Ok(None) => Ok(None),
            Err(TailError::Cut) => Err(io::ErrorKind::ConnectionAborted.into()),
            Err(TailError::Io(e)) => Err(e),
            Err(TailError::Malformed(text)) => Err(io::Error::new(io::ErrorKind::InvalidData, text)),
        }
    }

    /// Reads and forgets a body, so that the next request starts where it should.
    pub(super) fn skip_body(&mut self, framing: Framing) -> io::Result<()> {
        let mut pieces = Pieces::new(framing);
        while self.piece(&mut pieces)?.is_some() {}
        Ok(())
    }
}

/// Serves a connection to its end. Faults of the peer end it; nobody is told, because tests look at the
/// client's side.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut conn = Conn { input: Input::new(stream), shared };
    let mut idle = IDLE_MAX;
    let then = loop {
        match turn(&mut conn, idle) {
            // Only a connection that was used is idle: one whose first request is late is not hung up on.
            Ok(Then::Keep) => idle = conn.shared.options.close_idle_after.unwrap_or(IDLE_MAX),
            Ok(then) => break then,
            Err(e) => {
                // A request that cannot be read is answered, so that a broken proxy shows in its logs.
                if e.kind() == io::ErrorKind::InvalidData && !gone(&e) {
                    let _ = conn
                        .write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
                break Then::Close;
            }
        }
    };
    if matches!(then, Then::Abort) {
        let _ = abort(conn.input.into_stream());
    }
}

/// One request and its answer.
fn turn(conn: &mut Conn<'_>, idle: Duration) -> io::Result<Then> {
    conn.input.stream().set_read_timeout(Some(idle))?;
    let Some(raw) = read_head(conn)? else { return Ok(Then::Close) };
    conn.input.stream().set_read_timeout(Some(IDLE_MAX))?;
    conn.shared.requests.fetch_add(1, Ordering::SeqCst);
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no request");
    let request = Request::parse(raw).ok_or_else(invalid)?;
    let then = routes::answer(conn, &request)?;
    let last = request.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok(if last && matches!(then, Then::Keep) { Then::Close } else { then })
}

/// The bytes of the next head, `None` at the end of the connection.
fn read_head(conn: &mut Conn<'_>) -> io::Result<Option<Vec<u8>>> {
    let mut raw = Vec::new();
    loop {
        let line = conn.input.line()?;
        if line.is_empty() {
            return Ok(None);
        }
        raw.extend_from_slice(&line);
        if line == b"\r\n" {
            return Ok(Some(raw));
        }
        if raw.len() > crate::http::LINE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head above 1 MiB"));
        }
    }
}
