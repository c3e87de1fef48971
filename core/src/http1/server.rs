//! The side that faces a client: requests come in, responses go out.

use super::body::{Piece, Reader, Writer};
use super::chars::is_tchar;
use super::config::Config;
use super::error::Fault;
use super::head::{Part, RequestHead, RequestPart, Version};
use super::parse::{Asked, judge_request_line, parse_request};
use super::scan::{Ends, Scan};
use super::state::{Cycle, Event, Half, Offer};
use crate::time::{Deadline, Instant};

/// Faces a client: reads requests, writes responses.
///
/// Drive it with [`handle_input`](Self::handle_input) until that gives no part, with an empty rest too. Write
/// a response with [`send_head`](Self::send_head), [`send_data`](Self::send_data) and
/// [`send_end`](Self::send_end) in step with that or not. When a response cannot be finished, ask
/// [`cut`](Self::cut) what to do with the connection. Only `handle_*` and `send_end` move the deadline.
#[derive(Debug)]
pub struct ServerConn {
    config: Config,
    pub(super) cycle: Cycle,
    scan: Scan,
    reader: Reader,
    pub(super) writer: Option<Writer>,
    clock: Clock,
    pub(super) client: Version,
    pub(super) asked: Asked,
    /// The client sends its body only after a 100.
    pub(super) continue_wanted: bool,
    /// `Part::End` was not handed out.
    end_owed: bool,
    empty_line_seen: bool,
    pub(super) expired: bool,
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

    /// The limits that it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the next part from the start of `input`: how many bytes are done with, and what they were. Call
    /// again with the rest; without a part, nothing can be made of the rest until more has arrived (or, behind
    /// a request, until its response is out). `Head`, any number of `Data`, possibly `Trailers`, then `End`.
    ///
    /// # Errors
    /// The client broke HTTP. While no response was begun, `send_head` takes one for the fault's status;
    /// further input is ignored.
    pub fn handle_input<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<RequestPart<'i>>), Fault> {
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

    fn read_head<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<(usize, Option<RequestPart<'i>>), Fault> {
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
        let (found, block) = match self.scan.find_block(rest, &self.config, Ends::Strict) {
            Ok(Some(complete)) => complete,
            // Before what is wrong behind it, so that the verdict does not depend on how much arrived at once.
            verdict => {
                self.scan.take_start_line(rest).map_or(Ok(()), judge_request_line)?;
                return verdict.map(|_| (skipped, None));
            }
        };
        let (head, wish) = parse_request(rest, &found, block)?;
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

    fn read_body<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Option<RequestPart<'i>>), Fault> {
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
        self.continue_wanted = false;
        self.step(Event::RequestFail);
    }

    /// The caller will not read the request any further: `send_head` takes an answer to it, then the connection
    /// is to be closed. Without effect once a request head was handed out.
    pub fn refuse_request(&mut self) {
        if self.cycle.request() == Half::Idle {
            self.fail_request();
        }
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

    /// From here on responses say `Connection: close` (drain).
    pub fn close_after_response(&mut self) {
        self.cycle.close();
    }

    /// Everything that belonged to one exchange is forgotten.
    pub(super) fn renew(&mut self) {
        self.scan = Scan::default();
        self.writer = None;
        self.clock = if self.config.idle_timeout.is_some() { Clock::Unarmed } else { Clock::Off };
        self.client = Version::Http11;
        self.asked = Asked::default();
        self.continue_wanted = false;
        self.end_owed = false;
        self.empty_line_seen = false;
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
    pub(super) fn step(&mut self, event: Event) {
        let legal = self.cycle.step(event);
        debug_assert!(legal.is_ok() || event == Event::RequestFail, "{event:?} in {:?}", self.cycle);
    }
}
