//! A raw, blocking HTTP/1.1 client for tests (RFC 9112).
//!
//! It reports exactly what arrived: lines as they came, and how the answer ended. It follows no redirect,
//! repairs nothing, and never guesses that a body which broke off was complete.

mod body;
mod input;
mod response;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub use body::{Body, Checksum, checksum_of, pattern};
pub(crate) use body::{Framing, Message, Pieces, TailError};
pub use input::abort;
pub(crate) use input::{Input, LINE_MAX};
pub use response::{End, Head, Response};

/// How long the client waits for bytes, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body that are kept, unless told otherwise; the checksum covers all of it.
const KEEP: usize = 1 << 20;

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    input: Input,
    keep: usize,
}

impl Client {
    /// Connects; every wait on the connection lasts at most 10 s.
    ///
    /// # Errors
    ///
    /// Those of connecting.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE)?)
    }

    /// Takes a connection that exists, such as one that a scripted service was given.
    ///
    /// # Errors
    ///
    /// Those of setting the options of the socket.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut client = Self { input: Input::new(stream), keep: KEEP };
        client.set_patience(PATIENCE)?;
        Ok(client)
    }

    /// Changes how long a read or a write may wait.
    ///
    /// # Errors
    ///
    /// Those of setting the options of the socket.
    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.input.stream().set_read_timeout(Some(patience))?;
        self.input.stream().set_write_timeout(Some(patience))
    }

    /// Changes how many bytes of each body are kept (1 MiB at first).
    pub fn keep(&mut self, bytes: usize) {
        self.keep = bytes;
    }

    /// The socket, for what this type does not do.
    pub fn stream(&self) -> &TcpStream {
        self.input.stream()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.stream().write_all(bytes)
    }

    /// Sends a request head without `Content-Length`; a `Host` is added when `fields` has none.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send_head(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        self.send(&request_head(method, target, fields))
    }

    /// Sends a request with a body (with `Content-Length` unless empty) and reads the answer.
    ///
    /// # Errors
    ///
    /// Those of sending; what goes wrong with the answer is in its `end`.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let length = body.len().to_string();
        let mut all = fields.to_vec();
        if !body.is_empty() {
            all.push(("content-length", &length));
        }
        let mut message = request_head(method, target, &all);
        message.extend_from_slice(body);
        self.send(&message)?;
        Ok(self.read_response(method))
    }

    /// `GET` without a body.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<Response> {
        self.request("GET", target, fields, &[])
    }

    /// Sends one chunk of a chunked body; an empty one is not sent, because it would end the body.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send_chunk(&mut self, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk)
    }

    /// Ends a chunked body.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send_last_chunk(&mut self, trailers: &[(&str, &str)]) -> io::Result<()> {
        let mut text = String::from("0\r\n");
        for (name, value) in trailers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.send(text.as_bytes())
    }

    /// Reads one answer to a request with this method, interim answers included.
    pub fn read_response(&mut self, method: &str) -> Response {
        response::read(&mut self.input, method, self.keep)
    }

    /// Reads one head, interim or final, and nothing behind it.
    ///
    /// # Errors
    ///
    /// How the connection ended before the head was complete.
    pub fn read_head(&mut self) -> Result<Head, End> {
        response::read_head(&mut self.input)
    }

    /// Reads everything up to and with the next blank line, as it came; empty at the end of the connection.
    ///
    /// # Errors
    ///
    /// Those of the socket; `UnexpectedEof` when it ends inside.
    pub fn read_raw_head(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        loop {
            let line = self.input.line()?;
            if line.is_empty() && !raw.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            raw.extend_from_slice(&line);
            if line.is_empty() || line == b"\r\n" {
                return Ok(raw);
            }
        }
    }

    /// Reads what arrives next, at least one byte and at most `max`; empty at the end of the connection.
    ///
    /// # Errors
    ///
    /// Those of the socket, a timeout among them.
    pub fn read_some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        Ok(self.input.take(max)?.to_vec())
    }

    /// Reads exactly `n` bytes, for what follows an upgrade.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the connection ends first, and those of the socket.
    pub fn read_exact(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < n {
            let piece = self.input.take(n - bytes.len())?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(piece);
        }
        Ok(bytes)
    }

    /// Waits for the end of the connection where nothing more may come.
    pub fn read_end(&mut self) -> End {
        match self.input.take(64) {
            Ok([]) => End::Closed,
            Ok(bytes) => End::Malformed(format!("more bytes: {:?}", String::from_utf8_lossy(bytes))),
            Err(e) => End::from_error(&e),
        }
    }

    /// Ends the sending direction only.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn finish(&mut self) -> io::Result<()> {
        self.input.stream().shutdown(Shutdown::Write)
    }

    /// Drops the connection with a reset.
    ///
    /// # Errors
    ///
    /// Those of setting the option that makes a close a reset.
    pub fn abort(self) -> io::Result<()> {
        abort(self.input.into_stream())
    }
}

fn request_head(method: &str, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("host: test\r\n");
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

#[cfg(test)]
#[path = "http/http_tests.rs"]
mod tests;
