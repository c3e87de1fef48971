//! The side that faces a service, another node, or the far end of a tunnel stream: requests go out, responses
//! come in.

use super::body::{Piece, Reader, Writer};
use super::config::Config;
use super::error::{FOREIGN_SWITCH, Fault, Refused, UNASKED_SWITCH};
use super::fields::{Fields, is_name, is_token, list_members};
use super::head::{BodyLength, Part, RequestHead, ResponseHead, ResponsePart};
use super::parse::{Asked, judge_response_start, parse_response};
use super::scan::{Ends, Scan};
use super::state::{Cycle, Event, Half, Offer};
use super::write::{Framing, Start, write_head, write_trailers};
use crate::time::Instant;
use alloc::vec::Vec;
use bytes::BufMut;

/// What the driver does with the connection behind a response.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Close it.
    Discard,
    /// It may carry another request.
    Reuse,
}

/// Faces a service, another node, or the far end of a tunnel stream: writes requests, reads responses.
///
/// Write a request with [`send_head`](Self::send_head), [`send_data`](Self::send_data) and
/// [`send_end`](Self::send_end); read with [`handle_input`](Self::handle_input) until that gives no part, with
/// an empty rest too. It keeps no deadlines: how long an answer may take is the exchange's business.
#[derive(Debug)]
pub struct ClientConn {
    config: Config,
    cycle: Cycle,
    scan: Scan,
    reader: Reader,
    /// `None`: the request has no body, or it is complete.
    writer: Option<Writer>,
    asked: Asked,
    /// The `Upgrade` values of the request, kept because a 101 may name no other protocol.
    offered: Vec<u8>,
    /// `Part::End` was not handed out.
    end_owed: bool,
    /// The request leaves the connection open.
    keep_alive: bool,
}

impl ClientConn {
    /// A connection that was just established.
    pub fn new(config: Config, _now: Instant) -> Self {
        Self {
            config,
            cycle: Cycle::new(),
            scan: Scan::default(),
            reader: Reader::Known(0),
            writer: None,
            asked: Asked::default(),
            offered: Vec::new(),
            end_owed: false,
            keep_alive: true,
        }
    }

    /// Writes a request head, as HTTP/1.1, with canonical framing from `head.body` and connection fields; such
    /// fields in `head.fields` are ignored, apart from `upgrade` when `head.upgrade` says so.
    ///
    /// `keep_alive`: false adds `Connection: close` (a tunnel stream carries one request). An upgrade says
    /// `Connection: upgrade` only, since some services take a `close` beside it for a refusal.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: the exchange before is not finished or
    /// was the last one, the body is `UntilClose`, or method or target cannot be written.
    pub fn send_head(
        &mut self,
        head: &RequestHead<'_>,
        keep_alive: bool,
        out: &mut impl BufMut,
    ) -> Result<(), Refused> {
        let fresh = self.cycle.request() == Half::Idle && self.cycle.response() == Half::Idle;
        let writable = is_token(head.method)
            && !head.target.is_empty()
            && head.target.iter().all(|&b| b > b' ' && b != 0x7f);
        if !(fresh || self.cycle.is_reusable()) || !writable || head.body == BodyLength::UntilClose {
            return Err(Refused::State);
        }
        let asked = Asked { connect: head.method == b"CONNECT", head: head.method == b"HEAD" };
        let upgrade = head.upgrade && !asked.connect;
        let framing = Framing {
            length: if let BodyLength::Known(n) = head.body { Some(n) } else { None },
            chunked: head.body == BodyLength::Chunked,
            close: !keep_alive && !upgrade,
            keep_alive: false,
            upgrade,
        };
        write_head(Start::Request { method: head.method, target: head.target }, &head.fields, framing, out)?;
        self.cycle.renew();
        self.begin(head, asked, upgrade);
        self.keep_alive = keep_alive;
        if !keep_alive {
            self.cycle.close();
        }
        Ok(())
    }

    /// The same request is sent once more, on a new connection, from copies that the driver kept; what is
    /// missing of its body goes on as before. What was read of a response is disregarded.
    pub fn start_again(&mut self) {
        self.scan = Scan::default();
        self.reader = Reader::Known(0);
        self.end_owed = false;
        let offer = match (self.asked.connect, self.offered.is_empty()) {
            (true, _) => Offer::Connect,
            (false, true) => Offer::Nothing,
            (false, false) => Offer::Upgrade,
        };
        self.cycle.start_again(offer, self.keep_alive);
    }

    fn begin(&mut self, head: &RequestHead<'_>, asked: Asked, upgrade: bool) {
        self.scan = Scan::default();
        self.end_owed = false;
        self.asked = asked;
        self.offered.clear();
        if upgrade {
            for value in head.fields.all("upgrade") {
                self.offered.extend_from_slice(value);
                self.offered.push(b',');
            }
        }
        self.step(Event::RequestHead(match (asked.connect, upgrade) {
            (true, _) => Offer::Connect,
            (false, true) => Offer::Upgrade,
            (false, false) => Offer::Nothing,
        }));
        self.writer = match head.body {
            BodyLength::Chunked => Some(Writer::Chunked),
            BodyLength::Known(n @ 1..) => Some(Writer::Known(n)),
            BodyLength::Known(0) | BodyLength::None | BodyLength::UntilClose => None,
        };
        if self.writer.is_none() {
            self.step(Event::RequestEnd);
        }
    }

    /// Writes what stands before `len` bytes of payload (a chunk header, or nothing) and returns what stands
    /// behind them. The caller writes the payload itself, all of it.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: the request has no body, or it would
    /// become longer than its head said.
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        match &mut self.writer {
            Some(writer) if self.cycle.request() == Half::Body => writer.data(len, out),
            _ if len == 0 => Ok(b""),
            _ => Err(Refused::State),
        }
    }

    /// Ends a chunked body with trailer fields; without framing for them they are dropped (RFC 9110 6.5.1).
    /// `send_end` comes behind it as usual. Framing fields and `host` are left out.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no request was begun, or its trailers
    /// are out.
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        match (self.cycle.request(), self.writer) {
            (Half::Idle | Half::Failed, _) | (_, Some(Writer::ChunkedDone)) => Err(Refused::State),
            (Half::Body, Some(Writer::Chunked)) if !fields.is_empty() => {
                write_trailers(fields, out)?;
                self.writer = Some(Writer::ChunkedDone);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the request, with up to 5 bytes. Harmless when it has ended.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no request was begun, or bytes of its
    /// body are missing; a request that cannot be finished is cut by closing the connection.
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Result<(), Refused> {
        match (self.cycle.request(), &mut self.writer) {
            (Half::Idle | Half::Failed, _) => Err(Refused::State),
            (Half::Body, Some(writer)) => {
                writer.end(out)?;
                self.writer = None;
                self.step(Event::RequestEnd);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The request is complete: every byte of it was written.
    pub fn request_done(&self) -> bool {
        matches!(self.cycle.request(), Half::Done | Half::Switched)
    }

    /// Reads the next part from the start of `input`: how many bytes are done with, and what they were. Call
    /// again with the rest; without a part, nothing can be made of the rest until more has arrived. Any number
    /// of `Interim`, then `Head`, `Data`, possibly `Trailers`, then `End`; a body that ends with the connection
    /// has no `End` here, see [`handle_eof`](Self::handle_eof). Behind a 101, or a 2xx to CONNECT, `Switched`.
    ///
    /// # Errors
    /// The service broke HTTP, status 502; further input is ignored. Only behind a fault that
    /// [`is_folded`](Fault::is_folded) the same input may be repaired and handed in again.
    pub fn handle_input<'i>(
        &mut self,
        _now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<ResponsePart<'i>>), Fault> {
        let verdict = match (self.cycle.request(), self.cycle.response()) {
            (_, Half::Body) => self.read_body(input),
            (_, Half::Done) if self.end_owed => {
                self.end_owed = false;
                Ok((0, Some(Part::End)))
            }
            (_, Half::Switched) => Ok((0, Some(Part::Switched))),
            (_, Half::Failed) => Ok((0, None)),
            _ if input.is_empty() => Ok((0, None)),
            (Half::Idle, Half::Idle) => Err(Fault::new(502, "a response without a request (RFC 9112 9.2)")),
            (_, Half::Idle) => self.read_head(input),
            (_, Half::Done) => {
                // Bytes behind the response belong to nothing: it is complete, but the connection is not to be
                // trusted with another request (RFC 9112 9.2).
                self.cycle.close();
                Ok((0, None))
            }
        };
        if verdict.as_ref().is_err_and(|fault| !fault.is_folded()) {
            self.step(Event::ResponseFail);
        }
        verdict
    }

    fn read_head<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Option<ResponsePart<'i>>), Fault> {
        judge_response_start(input)?;
        let Some((found, block)) = self.scan.find_block(input, &self.config, Ends::Lenient)? else {
            return Ok((0, None));
        };
        let (head, wish) = parse_response(input, &found, block, self.asked)?;
        self.scan = Scan::default();
        let switches = match (head.status, self.cycle.offer()) {
            (101, Offer::Upgrade) => {
                self.judge_switch(&head)?;
                true
            }
            (101, _) => return Err(Fault::new(502, UNASKED_SWITCH)),
            (100..=199, _) => {
                self.step(Event::ResponseInterim);
                return Ok((found.end, Some(Part::Interim(head))));
            }
            (200..=299, Offer::Connect) => true,
            _ => false,
        };
        if !wish.persist {
            self.cycle.close();
        }
        if switches {
            self.step(Event::ResponseSwitch);
        } else {
            self.step(Event::ResponseHead);
            match Reader::new(head.body) {
                Some(reader) => self.reader = reader,
                None => self.finish_response(),
            }
        }
        Ok((found.end, Some(Part::Head(head))))
    }

    /// A 101 must say which of the offered protocols it switches to (RFC 9110 7.8).
    fn judge_switch(&self, head: &ResponseHead<'_>) -> Result<(), Fault> {
        let is_offered = |protocol: &[u8]| {
            core::str::from_utf8(protocol)
                .is_ok_and(|protocol| list_members(&self.offered).any(|offer| is_name(offer, protocol)))
        };
        let mut named = head.fields.all("upgrade").flat_map(list_members).peekable();
        if named.peek().is_some() && named.all(is_offered) {
            Ok(())
        } else {
            Err(Fault::new(502, FOREIGN_SWITCH))
        }
    }

    fn read_body<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Option<ResponsePart<'i>>), Fault> {
        let (consumed, piece) = self.reader.read(input, &self.config, Ends::Lenient)?;
        Ok((
            consumed,
            match piece {
                Piece::More => None,
                Piece::Data(range) => {
                    if matches!(self.reader, Reader::Known(0)) {
                        self.finish_response();
                    }
                    Some(Part::Data(range))
                }
                Piece::End => {
                    self.step(Event::ResponseEnd);
                    Some(Part::End)
                }
                Piece::Trailers(fields) => {
                    self.finish_response();
                    Some(Part::Trailers(fields))
                }
            },
        ))
    }

    fn finish_response(&mut self) {
        self.step(Event::ResponseEnd);
        self.end_owed = true;
    }

    /// The service will send nothing more. `Ok(true)`: that is the end of a close-delimited body, which is
    /// complete. `Ok(false)`: nothing was expected.
    ///
    /// # Errors
    /// A response was awaited or is cut short, and never complete (RFC 9112 8).
    pub fn handle_eof(&mut self, _now: Instant) -> Result<bool, Fault> {
        self.cycle.close();
        let cut = match (self.cycle.request(), self.cycle.response()) {
            (_, Half::Body) if matches!(self.reader, Reader::UntilClose) => {
                self.step(Event::ResponseEnd);
                return Ok(true);
            }
            (_, Half::Body) => Fault::new(502, "the connection ended within a body (RFC 9112 8)"),
            (Half::Idle, Half::Idle) | (_, Half::Done | Half::Switched | Half::Failed) => return Ok(false),
            (_, Half::Idle) if self.scan.is_fresh() => {
                Fault::new(502, "the connection ended before the response (RFC 9112 8)")
            }
            (_, Half::Idle) => Fault::new(502, "the connection ended within a head (RFC 9112 8)"),
        };
        self.step(Event::ResponseFail);
        Err(cut)
    }

    /// After the response's `End`: may the connection carry another request? Only when both messages are
    /// complete and neither side asked for the end.
    pub fn reuse(&self) -> Reuse {
        if self.cycle.is_reusable() { Reuse::Reuse } else { Reuse::Discard }
    }

    /// Something is expected from the service: a head, the rest of a body, or an `End` that needs no input.
    pub fn wants_input(&self) -> bool {
        let awaited = self.cycle.response() == Half::Idle && self.cycle.request() != Half::Idle;
        awaited || self.end_owed || matches!(self.cycle.response(), Half::Body | Half::Switched)
    }

    /// Transitions that this file has checked beforehand; an illegal one would change nothing.
    fn step(&mut self, event: Event) {
        let legal = self.cycle.step(event);
        debug_assert!(legal.is_ok(), "{event:?} in {:?}", self.cycle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conn: &mut ClientConn, mut input: &[u8]) -> (Vec<u16>, bool) {
        let (mut statuses, mut ended) = (Vec::new(), false);
        loop {
            match conn.handle_input(Instant::ZERO, input).unwrap() {
                (_, None) => return (statuses, ended),
                (used, part) => {
                    match part {
                        Some(Part::Head(head) | Part::Interim(head)) => statuses.push(head.status),
                        Some(Part::End) => ended = true,
                        _ => {}
                    }
                    input = &input[used..];
                }
            }
        }
    }

    fn request(upgrade: bool) -> RequestHead<'static> {
        let block: &[u8] = if upgrade { b"Host: h\r\nUpgrade: x\r\n" } else { b"Host: h\r\n" };
        RequestHead {
            method: b"GET",
            target: b"/",
            version: super::super::Version::Http11,
            fields: Fields::from_block(block),
            body: BodyLength::None,
            expects_continue: false,
            upgrade,
        }
    }

    #[test]
    fn a_request_that_starts_again_gets_its_response_whatever_came_before() {
        let before: [&[u8]; 4] = [
            b"",
            b"HTTP/1.1 50",
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc",
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        ];
        for first in before {
            for (keep_alive, cut) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut conn = ClientConn::new(Config::default(), Instant::ZERO);
                let mut out = Vec::new();
                conn.send_head(&request(false), keep_alive, &mut out).unwrap();
                let _ = read(&mut conn, first);
                if cut {
                    let _ = conn.handle_eof(Instant::ZERO);
                }
                conn.start_again();
                let answer = read(&mut conn, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                assert_eq!(answer, (alloc::vec![200], true), "behind {}", first.escape_ascii());
                assert_eq!(conn.reuse() == Reuse::Reuse, keep_alive);
            }
        }
    }

    #[test]
    fn an_upgrade_that_starts_again_may_still_switch() {
        let mut conn = ClientConn::new(Config::default(), Instant::ZERO);
        let mut out = Vec::new();
        conn.send_head(&request(true), true, &mut out).unwrap();
        let _ = read(&mut conn, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        conn.start_again();
        let answer = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        assert!(matches!(conn.handle_input(Instant::ZERO, answer), Ok((_, Some(Part::Head(_))))));
        assert!(matches!(conn.handle_input(Instant::ZERO, b""), Ok((_, Some(Part::Switched)))));
    }
}
