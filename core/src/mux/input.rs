//! From the wire: headers, bodies, and what they mean (wire protocol 4.5 to 4.9).

use super::config::{
    BARREN_MAX, BARREN_TIME, DISCARD_BYTES_MAX, INITIAL_WINDOW_BYTES, PONGS_MAX, REFUSALS_MAX, REFUSALS_PAUSE,
};
use super::error::{CloseReason, GoAway, Violation};
use super::frame::{Flags, HEADER_BYTES, Header, Kind};
use super::session::{Phase, Session, Urgency};
use super::stream::{RecvHalf, Stream};
use super::table::List;
use crate::time::Instant;
use bytes::Bytes;

/// Where in the byte stream the next input byte stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// In a body whose stream, at this place of the table, takes it; `fin` follows it.
    Body { at: u32, left: u32, fin: bool },
    /// In a header, of which `have` bytes are there.
    Header { have: u8, bytes: [u8; HEADER_BYTES] },
    /// In a body that nobody wants.
    Skip { left: u32 },
}

impl Reading {
    pub(super) const START: Self = Self::Header { have: 0, bytes: [0; HEADER_BYTES] };

    const fn body(at: u32, left: u32, fin: bool) -> Self {
        if left == 0 { Self::START } else { Self::Body { at, left, fin } }
    }

    pub(super) const fn skip(left: u32) -> Self {
        if left == 0 { Self::START } else { Self::Skip { left } }
    }
}

impl Session {
    /// Takes all of `input`, also the part of a frame that has arrived; at most eleven header bytes are kept.
    ///
    /// # Errors
    /// Why the session is over, when this input or an earlier event ended it. After
    /// [`CloseReason::Violation`] a go-away waits in [`Self::poll_transmit`].
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<(), CloseReason> {
        self.take_input(now, input, None)
    }

    /// As [`Self::handle_input`], of memory that can be shared: a long payload is not copied, and keeps all of `input`
    /// until it has been read. Less of it than a ninth of the budget may be unread in this way.
    ///
    /// # Errors
    /// As [`Self::handle_input`].
    pub fn handle_shared_input(&mut self, now: Instant, input: &Bytes) -> Result<(), CloseReason> {
        self.take_input(now, input, Some(input))
    }

    fn take_input(
        &mut self,
        now: Instant,
        mut input: &[u8],
        whole: Option<&Bytes>,
    ) -> Result<(), CloseReason> {
        self.tick(now);
        match &self.phase {
            Phase::Open => {}
            // The streams are over; only the own go-away is left to do.
            Phase::Closing { .. } => return Ok(()),
            Phase::Closed(reason) => return Err(reason.clone()),
        }
        if !input.is_empty() {
            self.keepalive.heard(self.now);
        }
        while !input.is_empty() {
            if let Err(violation) = self.step(&mut input, whole) {
                tracing::debug!(?violation, "mux peer broke the protocol");
                self.end(CloseReason::Violation);
                self.owed.away = Some(GoAway::ProtocolError);
            }
            if let Phase::Closed(reason) = &self.phase {
                return Err(reason.clone());
            }
        }
        if self.blocks.is_pressed() {
            self.handle_pressure();
        }
        Ok(())
    }

    /// The transport ended in order. Streams that had not ended fail.
    pub fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        self.end(self.end_reason(CloseReason::Eof));
    }

    /// The transport broke (reset, timeout): every stream that had not ended fails.
    pub fn handle_failure(&mut self, now: Instant) {
        self.tick(now);
        self.end(self.end_reason(CloseReason::Transport));
    }

    /// Whether the transport should be read. False while the budget is exceeded and this session holds unread
    /// bytes, or while more than 256 RSTs for refused streams wait; look again at [`Self::poll_timeout`] and after
    /// every `consume` and [`Self::poll_transmit`]. Input that comes anyway is taken, but for 32,768 such RSTs.
    ///
    /// A peer that does not take its RSTs is not excused from the keep-alive: it ends the session.
    pub fn wants_input(&self) -> bool {
        let takes = !self.blocks.is_pressed() && self.owed.refused.len() <= REFUSALS_PAUSE;
        takes || self.phase != Phase::Open
    }

    /// An end of the transport after the own close is that close.
    fn end_reason(&self, reason: CloseReason) -> CloseReason {
        if matches!(self.phase, Phase::Closing { .. }) { CloseReason::Local } else { reason }
    }

    /// Takes one header, or what there is of a body.
    fn step(&mut self, input: &mut &[u8], whole: Option<&Bytes>) -> Result<(), Violation> {
        // Mostly a header lies there in one piece.
        if let (Reading::Header { have: 0, .. }, Some((bytes, rest))) =
            (&self.reading, input.split_first_chunk())
        {
            *input = rest;
            return self.handle_header(Header::decode(bytes).map_err(Violation::Header)?);
        }
        match &mut self.reading {
            Reading::Header { have, bytes } => {
                let start = usize::from(*have);
                let n = (HEADER_BYTES - start).min(input.len());
                let (taken, rest) = input.split_at(n);
                *input = rest;
                bytes[start..start + n].copy_from_slice(taken);
                if start + n < HEADER_BYTES {
                    // At most eleven.
                    *have += n as u8;
                    return Ok(());
                }
                let header = Header::decode(bytes).map_err(Violation::Header)?;
                self.reading = Reading::START;
                self.handle_header(header)
            }
            Reading::Body { at, left, fin } => {
                let n = (*left as usize).min(input.len());
                let (taken, rest) = input.split_at(n);
                *input = rest;
                let (at, left, fin) = (*at, *left - n as u32, *fin);
                self.reading = Reading::body(at, left, fin);
                self.handle_body(at, taken, whole, left, fin)
            }
            Reading::Skip { left } => {
                let n = (*left as usize).min(input.len());
                *input = &input[n..];
                self.reading = Reading::skip(*left - n as u32);
                Ok(())
            }
        }
    }

    fn handle_header(&mut self, header: Header) -> Result<(), Violation> {
        tracing::trace!(kind = ?header.kind, flags = header.flags.0, id = header.id, length = header.length, "in");
        self.count_barren()?;
        match header.kind {
            Kind::Data | Kind::WindowUpdate => self.handle_stream_frame(header),
            Kind::Ping => self.handle_ping(header),
            Kind::GoAway => {
                self.handle_go_away(GoAway::from_code(header.length));
                Ok(())
            }
        }
    }

    /// Counts a frame until a payload byte passes in either direction (design guide A.0: bounded in count).
    fn count_barren(&mut self) -> Result<(), Violation> {
        if self.barren == 0 {
            self.barren_since = self.now;
        }
        self.barren += 1;
        if self.barren > BARREN_MAX {
            if self.now.since(self.barren_since) < BARREN_TIME {
                return Err(Violation::Flood);
            }
            self.barren = 0;
        }
        Ok(())
    }

    fn handle_ping(&mut self, header: Header) -> Result<(), Violation> {
        if header.flags.has(Flags::SYN) {
            if self.owed.pongs.len() >= PONGS_MAX {
                return Err(Violation::PingFlood);
            }
            self.owed.pongs.push(header.length);
            self.hurry(Urgency::Soon);
        } else if header.flags.has(Flags::ACK) {
            self.keepalive.answered(self.now, header.length);
        }
        Ok(())
    }

    fn handle_go_away(&mut self, code: GoAway) {
        if code != GoAway::Normal {
            self.peer_away = Some(code);
            self.end(CloseReason::GoAway(code));
        } else if self.peer_away.is_none() {
            self.peer_away = Some(code);
            self.news.away = true;
            // Whoever waits for a slot has to hear that none comes; `open` says why.
            self.news.slot_wanted = false;
        }
    }

    /// Judges the whole frame against the table first, then applies it (design guide A.1).
    fn handle_stream_frame(&mut self, header: Header) -> Result<(), Violation> {
        let Header { kind, flags, id, length } = header;
        let body = if kind == Kind::Data { length } else { 0 };
        let found = self.table.find(id);
        self.judge(found.and_then(|at| self.table.get(at)), header, body)?;
        let found = if flags.has(Flags::SYN) && found.is_none() { self.handle_syn(header)? } else { found };
        let live = found.filter(|&at| self.table.get(at).is_some_and(Stream::is_live));
        let Some(at) = live else {
            self.forget_refusal(header);
            self.reading = Reading::skip(body);
            return Ok(());
        };
        if flags.has(Flags::RST) {
            self.handle_rst(at);
            self.reading = Reading::skip(body);
            return Ok(());
        }
        // Data or an end say as clearly as an ACK that the peer has the stream.
        if flags.has(Flags::ACK) || flags.has(Flags::FIN) || body > 0 {
            self.acknowledge(at);
        }
        self.restart_closing(at);
        let fin = flags.has(Flags::FIN);
        if kind == Kind::WindowUpdate {
            self.handle_credit(at, length);
            if fin {
                self.handle_fin(at);
            }
            return Ok(());
        }
        if self.table.get(at).is_some_and(|s| s.recv == RecvHalf::Ended) {
            // Data behind the peer's own FIN: Go lets it pass, its reader has seen the end.
            self.reading = Reading::skip(body);
            return Ok(());
        }
        self.reading = Reading::body(at, body, fin);
        if body == 0 && fin {
            self.handle_fin(at);
        }
        Ok(())
    }

    /// Whether the frame breaks the protocol (wire protocol 4.9).
    fn judge(&self, stream: Option<&Stream>, header: Header, body: u32) -> Result<(), Violation> {
        let flags = header.flags;
        let Some(stream) = stream else {
            let overrun = flags.has(Flags::SYN) && body > INITIAL_WINDOW_BYTES;
            return if overrun { Err(Violation::WindowOverrun) } else { Ok(()) };
        };
        if flags.has(Flags::SYN) {
            return Err(Violation::DuplicateSyn);
        }
        if !stream.is_live() || flags.has(Flags::RST) {
            return Ok(());
        }
        if stream.recv == RecvHalf::Ended {
            return if flags.has(Flags::FIN) { Err(Violation::DuplicateFin) } else { Ok(()) };
        }
        if stream.window.covers(body) { Ok(()) } else { Err(Violation::WindowOverrun) }
    }

    /// A new stream, or `None` when it is refused.
    fn handle_syn(&mut self, header: Header) -> Result<Option<u32>, Violation> {
        if header.flags.has(Flags::RST) {
            return Ok(None);
        }
        let full = self.incoming >= self.config.incoming_max
            || self.table.count(List::Backlog) >= self.config.accept_backlog;
        if full || self.own_away {
            if self.owed.refused.len() >= REFUSALS_MAX {
                return Err(Violation::RefusalFlood);
            }
            self.owed.refused.push(header.id);
            self.hurry(Urgency::Now);
            return Ok(None);
        }
        let at = self.table.insert(Stream::incoming(header.id));
        self.idle = false;
        self.incoming += 1;
        if self.table.count(List::Backlog) == 0 {
            self.news.incoming = true;
        }
        self.table.join(List::Backlog, at);
        Ok(Some(at))
    }

    /// A peer that resets a refused stream itself needs no RST for it. Looks through as many as an honest opener has,
    /// the newest: an RST too many is harmless, a search through 32,768 for each of 10,000 frames is not.
    fn forget_refusal(&mut self, header: Header) {
        if header.flags.has(Flags::RST) {
            let mut newest = self.owed.refused.iter().enumerate().rev().take(REFUSALS_PAUSE);
            if let Some((at, _)) = newest.find(|&(_, &id)| id == header.id) {
                self.owed.refused.remove(at);
            }
        }
    }

    /// RST ends both directions; what arrived before it can still be read (design guide A.1).
    fn handle_rst(&mut self, at: u32) {
        self.end_timers(at);
        let Some(stream) = self.table.get_mut(at) else { return };
        let (had_news, refused, held) = (stream.has_news(), stream.refused, stream.is_held());
        stream.kill(false);
        self.table.leave(List::Owed, at);
        if !held {
            self.remove(at);
            return;
        }
        if !had_news {
            self.notify_readable(at);
        }
        if refused {
            self.notify_writable(at);
        }
    }

    fn handle_credit(&mut self, at: u32, bytes: u32) {
        if bytes == 0 {
            return;
        }
        let Some(stream) = self.table.get_mut(at) else { return };
        let blocked = stream.refused && stream.credit.bytes() == 0;
        stream.credit.add(bytes);
        if blocked {
            self.table.join_line(at);
            self.call_line();
        }
    }

    fn handle_fin(&mut self, at: u32) {
        let Some(stream) = self.table.get_mut(at) else { return };
        let had_news = stream.has_news();
        stream.fin_received();
        self.table.leave_timer(at);
        if !had_news {
            self.notify_readable(at);
        }
        self.reap(at);
    }

    /// The next bytes of a body, a part of `whole` where that can be shared, of which `left` are still to come.
    fn handle_body(
        &mut self,
        at: u32,
        bytes: &[u8],
        whole: Option<&Bytes>,
        left: u32,
        fin: bool,
    ) -> Result<(), Violation> {
        let now = self.now;
        let Some(stream) = self.table.get_mut(at) else { return Ok(()) };
        if !stream.is_live() || stream.recv == RecvHalf::Ended {
            return Ok(());
        }
        // A part of a frame, whose length fits 32 bits.
        let n = bytes.len() as u32;
        if !stream.window.receive(n) {
            return Err(Violation::WindowOverrun);
        }
        self.barren = 0;
        self.restart_closing(at);
        let Some(stream) = self.table.get_mut(at) else { return Ok(()) };
        if stream.stopped {
            stream.discarded = stream.discarded.saturating_add(n);
            if stream.discarded <= DISCARD_BYTES_MAX {
                self.offer_credit(at);
            } else if stream.is_discarding() {
                self.kill(at);
                return Ok(());
            }
        } else {
            let had_news = stream.has_news();
            if stream.queue.is_empty() {
                stream.unread_since = now;
            }
            match whole {
                Some(whole) => self.blocks.append_shared(&mut stream.queue, bytes, left as usize, whole),
                None => self.blocks.append(&mut stream.queue, bytes, left as usize),
            }
            if stream.measured == 0 {
                stream.measured_at = now;
            }
            stream.measured = stream.measured.saturating_add(n);
            let whole_window = stream.measured >= stream.window.window();
            self.table.join(List::Unread, at);
            if whole_window {
                self.measure(at);
            }
            if !had_news {
                self.notify_readable(at);
            }
        }
        if left == 0 && fin {
            self.handle_fin(at);
        }
        Ok(())
    }

    /// A whole window arrived: did it take at most two round trips? Then credit is what limits the sender.
    fn measure(&mut self, at: u32) {
        let now = self.now;
        let round_trip = self.keepalive.round_trip(now);
        let Some(stream) = self.table.get_mut(at) else { return };
        let took = now.since(stream.measured_at);
        stream.measured = 0;
        if stream.window.window() >= self.config.window_max {
            return;
        }
        match round_trip {
            Some(round_trip) => stream.hungry = took <= round_trip.saturating_mul(2),
            None => {
                self.keepalive.probe(now);
                self.hurry(Urgency::Soon);
            }
        }
    }
}
