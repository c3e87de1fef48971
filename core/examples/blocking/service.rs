//! What the example agents answer with: HTTP/1.1 over one stream of a tunnel.

use bytes::{Buf, BytesMut};
use piko_core::http1::{BodyLength, Config, Fault, Fields, Next, Part, ResponseHead, ServerConn, Version};
use piko_core::id::StreamId;
use piko_core::mux::{Finish, ReadError, WriteError};
use piko_core::time::{Deadline, Instant};
use piko_core::tunnel::Tunnel;

/// Answers the requests of one stream, one after the other as on any kept connection.
///
/// `GET` is answered with the greeting, the method and the target; the body of a `POST` or `PUT` comes back
/// while it still arrives.
pub(super) struct Service {
    greeting: &'static str,
    http: ServerConn,
    /// Received, and not yet taken by the machine: the beginning of a head, a pipelined request.
    input: BytesMut,
    /// Written, and not yet taken by the stream. Nothing is read while there is any, which is the back-pressure.
    output: BytesMut,
    echo: bool,
    ending: Option<Next>,
}

impl Service {
    /// For a stream that was just accepted.
    pub(super) fn new(greeting: &'static str, now: Instant) -> Self {
        let http = ServerConn::new(Config::default(), now);
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { greeting, http, input, output, echo: false, ending: None }
    }

    /// When [`pump`](Self::pump) is to be called though the stream is quiet.
    pub(super) fn poll_timeout(&self) -> Option<Deadline> {
        self.http.poll_timeout()
    }

    /// Goes on until the stream blocks. True when it is over: release the stream.
    pub(super) fn pump(&mut self, now: Instant, tunnel: &mut Tunnel, id: StreamId) -> bool {
        self.http.handle_timeout(now);
        while !self.http.is_expired() {
            while !self.output.is_empty() {
                match tunnel.send(now, id).write(&self.output) {
                    Ok(n) => self.output.advance(n),
                    Err(WriteError::Blocked) => return false, // `Writable` follows.
                    Err(_) => return true,
                }
            }
            match self.ending {
                Some(Next::Abort) => return true, // Released without an end, the stream is reset.
                Some(_) => {
                    let _ = tunnel.send(now, id).finish(Finish::Now);
                    return true;
                }
                None => {}
            }
            match self.step(now) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(fault) => {
                    self.refuse(&fault);
                    continue;
                }
            }
            let mut recv = tunnel.recv(now, id);
            match recv.chunk() {
                Ok(Some(bytes)) => {
                    let n = bytes.len();
                    self.input.extend_from_slice(bytes);
                    recv.consume(n);
                }
                Ok(None) => match self.http.handle_eof(now) {
                    Ok(()) => self.ending = Some(Next::Close),
                    Err(fault) => self.refuse(&fault),
                },
                Err(ReadError::Blocked) => return false, // `Readable` follows.
                Err(_) => return true,
            }
        }
        true
    }

    /// Takes one part of a request and answers it; false when more input is needed.
    fn step(&mut self, now: Instant) -> Result<bool, Fault> {
        let (consumed, part) = self.http.handle_input(now, &self.input)?;
        let taken = part.is_some();
        match part {
            Some(Part::Head(head)) => {
                self.echo = matches!(head.method, b"POST" | b"PUT");
                if self.http.wants_continue() {
                    put_head(&mut self.http, 100, BodyLength::None, &mut self.output);
                }
                match head.method {
                    b"GET" | b"HEAD" => {
                        let (method, target) = (head.method.escape_ascii(), head.target.escape_ascii());
                        let text = format!("{}\n{method} {target}\n", self.greeting);
                        put_text(&mut self.http, 200, &text, &mut self.output);
                    }
                    b"POST" | b"PUT" => put_head(&mut self.http, 200, head.body, &mut self.output),
                    _ => put_text(&mut self.http, 405, "method not allowed\n", &mut self.output),
                }
            }
            Some(Part::Data(range)) if self.echo => {
                put_data(&mut self.http, self.input.get(range).unwrap_or_default(), &mut self.output);
            }
            Some(Part::End) => match self.http.send_end(&mut self.output) {
                Next::KeepAlive => {}
                next => self.ending = Some(next),
            },
            _ => {} // A body that nobody asked for, trailers.
        }
        self.input.advance(consumed);
        Ok(taken)
    }

    /// The client broke HTTP: it hears why, unless an answer was begun, and the stream ends.
    fn refuse(&mut self, fault: &Fault) {
        self.ending = Some(self.http.cut());
        if !self.http.response_begun() {
            put_text(&mut self.http, fault.status, fault.text(), &mut self.output);
            self.ending = Some(self.http.send_end(&mut self.output));
        }
    }
}

/// Writes a head. It cannot be refused: the buffer grows, and [`Service::step`] keeps the order of calls.
fn put_head(http: &mut ServerConn, status: u16, body: BodyLength, out: &mut BytesMut) {
    let fields = match status {
        100..=199 => Fields::default(),
        _ => Fields::from_block(b"content-type: text/plain\r\n"),
    };
    let reason = b"".as_slice();
    let head = ResponseHead { status, reason, version: Version::Http11, fields, body };
    let sent = http.send_head(&head, out);
    debug_assert!(sent.is_ok(), "{sent:?}");
}

fn put_text(http: &mut ServerConn, status: u16, text: &str, out: &mut BytesMut) {
    put_head(http, status, BodyLength::Known(text.len() as u64), out);
    put_data(http, text.as_bytes(), out);
}

/// Writes a piece of the body between what its framing puts around it. Answers to `HEAD` have none.
fn put_data(http: &mut ServerConn, data: &[u8], out: &mut BytesMut) {
    if !http.response_has_body() {
        return;
    }
    if let Ok(behind) = http.send_data(data.len(), out) {
        out.extend_from_slice(data);
        out.extend_from_slice(behind);
    }
}
