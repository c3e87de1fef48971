//! The side that faces a client: requests come in, responses go out.

use super::body::{Piece, Reader, Writer};
use super::config::Config;
use super::error::{Fault, Refused};
use super::facts::Length;
use super::fields::{Fields, is_tchar, is_value};
use super::head::{BodyLength, Part, RequestHead, ResponseHead, Version};
use super::parse::{Asked, parse_request};
use super::scan::{Ends, Scan};
use super::state::{Cycle, Event, Half, Offer};
use super::write::{Framing, Start, write_head, write_trailers};
use crate::time::{Deadline, Instant};
use bytes::BufMut;

/// What the driver does with the connection behind a response.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reset it: a clean close would look like the end of the body.
    Abort,
    /// Close it, lingering while the client still sends.
    Close,
    /// Go on with the next request, first with what was already received.
    KeepAlive,
}

/// Faces a client: reads requests, writes responses.
///
/// Drive it with [`handle_input`](Self::handle_input) until that gives no part, with an empty rest too. Write
/// a response with [`send_head`](Self::send_head), [`send_data`](Self::send_data) and
/// [`send_end`](Self::send_end) in step with that or not. When a response cannot be finished, ask
/// [`cut`](Self::cut) what to do with the connection. Only `handle_*` and `send_end` move the deadline.
#[derive(Debug)]
pub struct ServerConn {
    config: Config,
    cycle: Cycle,
    scan: Scan,
    reader: Reader,
    writer: Option<Writer>,
    clock: Clock,
    client: Version,
    asked: Asked,
    /// The client sends its body only after a 100.
    continue_wanted: bool,
    /// `Part::End` was not handed out.
    end_owed: bool,
    empty_line_seen: bool,
    expired: bool,
}

/// The deadline that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// The end of a head is waited for.
    Head(Instant),
    /// The first byte of the next request is waited for.
    Idle(Instant),
    Off,
    /// As `Idle`, but since a moment that the next call with a time will fix: ending a response has none.
    Unarmed,
}

impl ServerConn {
    /// A connection that was just accepted: the head deadline runs from `now`.
    pub fn new(config: Config, now: Instant) -> Self {
        let clock = config.head_timeout.map_or(Clock::Off, |timeout| Clock::Head(now + timeout));
        Self {
            config,
            cycle: Cycle::new(),
            scan: Scan::default(),
            reader: Reader::Known(0),
            writer: None,
            clock,
            client: Version::Http11,
            asked: Asked::default(),
            continue_wanted: false,
            end_owed: false,
            empty_line_seen: false,
            expired: false,
        }
    }

    /// Reads the next part from the start of `input`: how many bytes are done with, and what they were. Call
    /// again with the rest; without a part, nothing can be made of the rest until more has arrived (or, behind
    /// a request, until its response is out). `Head`, any number of `Data`, possibly `Trailers`, then `End`.
    ///
    /// # Errors
    /// The client broke HTTP. While no response was begun, `send_head` takes one for the fault's status;
    /// further input is ignored.
    #[allow(clippy::type_complexity)] // The type is the contract of both machines.
    pub fn handle_input<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<Part<RequestHead<'i>, Fields<'i>>>), Fault> {
        if self.expired {
            return Ok((0, None));
        }
        let verdict = match self.cycle.request() {
            Half::Idle => self.read_head(now, input),
            Half::Body => self.read_body(input),
            Half::Done | Half::Switched if self.end_owed => {
                self.end_owed = false;
                Ok((0, Some(Part::End)))
            }
            Half::Switched => Ok((0, Some(Part::Switched))),
            Half::Done | Half::Failed => Ok((0, None)),
        };
        if verdict.is_err() {
            self.fail_request();
        }
        verdict
    }

    #[allow(clippy::type_complexity)]
    fn read_head<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<Part<RequestHead<'i>, Fields<'i>>>), Fault> {
        if self.clock == Clock::Unarmed {
            self.clock = self.config.idle_timeout.map_or(Clock::Off, |timeout| Clock::Idle(now + timeout));
        }
        // One empty line before a request is forgiven (RFC 9112 2.2).
        let skipped = match input {
            [b'\r', b'\n', ..] if !self.empty_line_seen => 2,
            [b'\r'] if !self.empty_line_seen => return Ok((0, None)),
            _ => 0,
        };
        self.empty_line_seen |= skipped > 0;
        let rest = input.get(skipped..).unwrap_or_default();
        let Some(&first) = rest.first() else { return Ok((skipped, None)) };
        if !is_tchar(first) {
            return Err(Fault::new(400, "the request does not start with a method (RFC 9112 3.1)"));
        }
        if matches!(self.clock, Clock::Idle(_) | Clock::Off) {
            self.clock = self.config.head_timeout.map_or(Clock::Off, |timeout| Clock::Head(now + timeout));
        }
        let Some(found) = self.scan.find_end(rest, &self.config, Ends::Strict)? else {
            return Ok((skipped, None));
        };
        let (head, wish) = parse_request(rest, &found)?;
        self.clock = Clock::Off;
        self.begin(&head, wish.persist);
        Ok((skipped + found.end, Some(Part::Head(head))))
    }

    fn begin(&mut self, head: &RequestHead<'_>, persist: bool) {
        self.client = head.version;
        self.asked = Asked { connect: head.method == b"CONNECT", head: head.method == b"HEAD" };
        let offer = match (self.asked.connect, head.upgrade) {
            (true, _) => Offer::Connect,
            (false, true) => Offer::Upgrade,
            (false, false) => Offer::Nothing,
        };
        self.step(Event::RequestHead(offer));
        if !persist {
            self.cycle.close();
        }
        match Reader::new(head.body) {
            Some(reader) => {
                self.reader = reader;
                // HTTP/1.0 clients do not know the answer (RFC 9110 10.1.1).
                self.continue_wanted = head.expects_continue && head.version == Version::Http11;
            }
            None => {
                self.step(Event::RequestEnd);
                self.end_owed = true;
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn read_body<'i>(
        &mut self,
        input: &'i [u8],
    ) -> Result<(usize, Option<Part<RequestHead<'i>, Fields<'i>>>), Fault> {
        let (consumed, piece) = self.reader.read(input, &self.config, Ends::Strict)?;
        self.continue_wanted &= input.is_empty();
        Ok((
            consumed,
            match piece {
                Piece::More => None,
                Piece::Data(range) => {
                    if matches!(self.reader, Reader::Known(0)) {
                        self.step(Event::RequestEnd);
                        self.end_owed = true;
                    }
                    Some(Part::Data(range))
                }
                Piece::End => {
                    self.step(Event::RequestEnd);
                    Some(Part::End)
                }
                Piece::Trailers(fields) => {
                    self.step(Event::RequestEnd);
                    self.end_owed = true;
                    Some(Part::Trailers(fields))
                }
            },
        ))
    }

    /// The client will send nothing more. Whether an exchange is cancelled by that is the caller's decision.
    ///
    /// # Errors
    /// A head or a body was cut short (RFC 9112 8).
    pub fn handle_eof(&mut self, _now: Instant) -> Result<(), Fault> {
        self.cycle.close();
        let cut = match self.cycle.request() {
            Half::Idle if self.scan.is_fresh() => {
                self.fail_request();
                return Ok(());
            }
            Half::Idle => Fault::new(400, "the connection ended within a head (RFC 9112 8)"),
            Half::Body => Fault::new(400, "the connection ended within a body (RFC 9112 8)"),
            Half::Done | Half::Failed | Half::Switched => return Ok(()),
        };
        self.fail_request();
        Err(cut)
    }

    fn fail_request(&mut self) {
        self.cycle.close();
        self.clock = Clock::Off;
        self.step(Event::RequestFail);
    }

    /// Ends a wait whose deadline has passed; see [`is_expired`](Self::is_expired).
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.clock {
            Clock::Unarmed => {
                self.clock =
                    self.config.idle_timeout.map_or(Clock::Off, |timeout| Clock::Idle(now + timeout));
            }
            Clock::Head(at) | Clock::Idle(at) if at <= now => {
                self.fail_request();
                self.expired = true;
            }
            Clock::Head(_) | Clock::Idle(_) | Clock::Off => {}
        }
    }

    /// The head or keep-alive deadline has passed: close without an answer.
    pub fn is_expired(&self) -> bool {
        self.expired
    }

    /// False while nothing can be made of further input: a pipelined request, or what stands behind an upgrade
    /// request, waits for an answer; or reading has ended.
    pub fn wants_input(&self) -> bool {
        self.end_owed || matches!(self.cycle.request(), Half::Idle | Half::Body | Half::Switched)
    }

    /// True between requests, with nothing of the next one read.
    pub fn is_idle(&self) -> bool {
        self.cycle.request() == Half::Idle && self.cycle.response() == Half::Idle && self.scan.is_fresh()
    }

    /// The request's body has been read to its end. True as soon as its last byte was taken, and at once for
    /// requests without a body.
    pub fn request_done(&self) -> bool {
        matches!(self.cycle.request(), Half::Done | Half::Switched)
    }

    /// The client sends its body only after a `100 Continue`: none was sent, and no byte of the body was seen
    /// (RFC 9110 10.1.1).
    pub fn wants_continue(&self) -> bool {
        self.continue_wanted
    }

    /// A final response head is out.
    pub fn response_begun(&self) -> bool {
        self.cycle.response() != Half::Idle
    }

    /// The response that was begun has a body: `send_data` takes bytes. False for answers to HEAD, for 204 and
    /// 304, and when no response was begun.
    pub fn response_has_body(&self) -> bool {
        self.cycle.response() == Half::Body && self.writer.is_some()
    }

    /// From here on responses say `Connection: close` (drain).
    pub fn close_after_response(&mut self) {
        self.cycle.close();
    }

    /// Writes a head. 1xx goes out as interim (not at all to HTTP/1.0 clients); 101, and 2xx to CONNECT, switch;
    /// others start the response. Writes canonical framing from `head.body` and connection fields; such fields
    /// in `head.fields` are ignored, apart from `content-length` where it describes a body that is not there
    /// (HEAD, 304) and `upgrade` with 101 and 426. Needs at most about twice the size of the fields.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no request waits for this head, a switch
    /// was not asked for, or status or reason cannot be written.
    pub fn send_head(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        let failed = self.cycle.request() == Half::Failed;
        let waiting = failed || matches!(self.cycle.request(), Half::Body | Half::Done);
        let legal = (100..=999).contains(&head.status) && is_value(head.reason);
        if self.expired || !waiting || self.cycle.response() != Half::Idle || !legal {
            return Err(Refused::State);
        }
        match (head.status, self.cycle.offer()) {
            (101, Offer::Upgrade) if !failed => self.send_switch(head, true, out),
            (101, _) => Err(Refused::State),
            (100..=199, _) if failed => Err(Refused::State),
            (100..=199, _) => self.send_interim(head, out),
            (200..=299, Offer::Connect) if !failed => self.send_switch(head, false, out),
            _ => self.send_final(head, out),
        }
    }

    fn send_interim(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        // An HTTP/1.0 client would take it for the answer (RFC 9110 15.2).
        if self.client == Version::Http11 {
            self.put(head, Framing::default(), out)?;
            self.continue_wanted &= head.status != 100;
        }
        Ok(())
    }

    fn send_switch(
        &mut self,
        head: &ResponseHead<'_>,
        upgrade: bool,
        out: &mut impl BufMut,
    ) -> Result<(), Refused> {
        self.put(head, Framing { upgrade, ..Framing::default() }, out)?;
        self.continue_wanted = false;
        self.step(Event::ResponseSwitch);
        Ok(())
    }

    fn send_final(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        let bodyless = self.asked.head || matches!(head.status, 204 | 304);
        let is_11 = self.client == Version::Http11;
        let (writer, length) = match head.body {
            _ if bodyless => (None, self.described_length(head)),
            // Without a length the client would wait for the end of the connection.
            BodyLength::None => (Some(Writer::Known(0)), Some(0)),
            BodyLength::Known(n) => (Some(Writer::Known(n)), Some(n)),
            BodyLength::Chunked | BodyLength::UntilClose if is_11 => (Some(Writer::Chunked), None),
            BodyLength::Chunked | BodyLength::UntilClose => (Some(Writer::UntilClose), None),
        };
        // A client that still waits for its 100 may or may not send the body: what follows cannot be told
        // apart (RFC 9110 10.1.1). The same holds behind a refused CONNECT, where tunnel data may be under way.
        let ambiguous = self.continue_wanted || self.asked.connect;
        let close = !self.cycle.persists() || ambiguous || writer == Some(Writer::UntilClose);
        let framing = Framing {
            length,
            chunked: writer == Some(Writer::Chunked),
            close,
            keep_alive: !is_11,
            upgrade: head.status == 426 && head.fields.first("upgrade").is_some(),
        };
        self.put(head, framing, out)?;
        if close {
            self.cycle.close();
        }
        self.continue_wanted = false;
        self.writer = writer;
        self.step(Event::ResponseHead);
        Ok(())
    }

    /// The length that a response without a body still tells (RFC 9110 8.6): never with 204.
    fn described_length(&self, head: &ResponseHead<'_>) -> Option<u64> {
        if head.status == 204 {
            return None;
        }
        let mut told = Length::Absent;
        head.fields.all("content-length").for_each(|value| told.note(value));
        match (told, head.body) {
            (Length::One(n) | Length::Repeated(n), _) => Some(n),
            (_, BodyLength::Known(n)) if self.asked.head && head.status != 304 => Some(n),
            _ => None,
        }
    }

    fn put(&self, head: &ResponseHead<'_>, framing: Framing, out: &mut impl BufMut) -> Result<(), Refused> {
        write_head(Start::Status { status: head.status, reason: head.reason }, &head.fields, framing, out)
    }

    /// Writes what stands before `len` bytes of payload (a chunk header, or nothing) and returns what stands
    /// behind them. The caller writes the payload itself, all of it.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no response with a body was begun, or it
    /// would become longer than its head said.
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        match &mut self.writer {
            Some(writer) if self.cycle.response() == Half::Body => writer.data(len, out),
            _ if len == 0 => Ok(b""),
            _ => Err(Refused::State),
        }
    }

    /// Ends a chunked body with trailer fields; without framing for them they are dropped (RFC 9110 6.5.1).
    /// `send_end` comes behind it as usual. Framing fields and `host` are left out.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no response was begun, or its trailers
    /// are out.
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        if self.cycle.response() != Half::Body {
            return Err(Refused::State);
        }
        match self.writer {
            Some(Writer::ChunkedDone) => Err(Refused::State),
            Some(Writer::Chunked) if !fields.is_empty() => {
                write_trailers(fields, out)?;
                self.writer = Some(Writer::ChunkedDone);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the response, with up to 5 bytes, and says what becomes of the connection. `KeepAlive` only when
    /// the request was read to its end and nobody asked for the end; the machine is then ready for the next
    /// request, whose idle deadline starts with the next call that has a time.
    ///
    /// A body that is shorter than its head said, or no room for its last chunk, is [`Next::Abort`]: never a
    /// complete response.
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Next {
        if self.cycle.response() != Half::Body {
            return self.cut();
        }
        if let Some(writer) = &mut self.writer {
            if writer.end(out).is_err() {
                self.step(Event::ResponseFail);
                return Next::Abort;
            }
        }
        self.step(Event::ResponseEnd);
        if !self.cycle.renew() {
            self.cycle.close();
            return Next::Close;
        }
        self.scan = Scan::default();
        self.writer = None;
        self.clock = if self.config.idle_timeout.is_some() { Clock::Unarmed } else { Clock::Off };
        self.end_owed = false;
        self.empty_line_seen = false;
        Next::KeepAlive
    }

    /// The response will not be finished: how to end the connection so that nobody takes it for a complete one
    /// (RFC 9112 8). Never `KeepAlive`.
    pub fn cut(&self) -> Next {
        match (self.cycle.response(), self.writer) {
            (Half::Body, Some(Writer::UntilClose)) | (Half::Failed | Half::Switched, _) => Next::Abort,
            _ => Next::Close,
        }
    }

    /// The head deadline, or the keep-alive deadline between requests. None during an exchange.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.clock {
            Clock::Head(at) => Some(Deadline::new(at, "http1 request head")),
            Clock::Idle(at) => Some(Deadline::new(at, "http1 keep-alive")),
            Clock::Unarmed => Some(Deadline::new(Instant::ZERO, "http1 keep-alive start")),
            Clock::Off => None,
        }
    }

    /// Transitions that this file has checked beforehand; an illegal one would change nothing.
    fn step(&mut self, event: Event) {
        let legal = self.cycle.step(event);
        debug_assert!(legal.is_ok() || event == Event::RequestFail, "{event:?} in {:?}", self.cycle);
    }
}
