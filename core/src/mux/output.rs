//! To the wire: data through the outbox and control frames from what is owed.

use super::config::{
    CRAWL_BYTES, FAST_TURN, OUTBOX_BYTES_MAX, PACE_TIME, PACE_TURN, RUSH_AFTER, RUSH_TURN, WALK_BYTES,
};
use super::error::{CloseReason, GoAway};
use super::frame::{Flags, Header, Kind};
use super::outbox::Speed;
use super::session::{Phase, Session, Urgency};
use super::stream::{RecvHalf, SendHalf};
use super::table::List;
use crate::time::Instant;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;

/// Frames that one stream may owe at once: ACK, credit, FIN.
const OWED_FRAMES_MAX: usize = 3;

/// The smallest agent has no bytes to spare for the arithmetic of `Duration`.
const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl Session {
    /// Hands out what waits for the wire: `out`, which must be empty, is swapped for the outbox.
    ///
    /// When it returns n > 0, `out` holds [`super::Config::front_room`] free bytes and n bytes of frames, data in
    /// order and then owed control frames, at most 280 KiB in all. Otherwise `out` stays empty. Lazy frames go
    /// along whether or not [`Self::wants_transmit`] asks for the call. A go-away that is owed after a
    /// violation is still given out when the session is over.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> usize {
        self.tick(now);
        debug_assert!(out.is_empty(), "the caller's buffer becomes the outbox");
        if !out.is_empty() {
            return 0;
        }
        let said_goodbye = self.put_control();
        if self.outbox.is_empty() {
            self.rest();
            return 0;
        }
        let n = self.outbox.swap(out);
        if self.contended {
            self.judge_speed(self.now.as_nanos().saturating_sub(self.turn_at.as_nanos()));
        }
        if matches!(self.phase, Phase::Closing { .. }) && said_goodbye {
            self.end(CloseReason::Local);
        }
        self.rest();
        self.line_at = None;
        self.contended = self.table.in_line() > 0;
        self.turn_at = self.now;
        self.turn_bytes = n;
        self.call_line();
        self.offer_slot();
        n
    }

    /// The transport took so many nanoseconds for the last outbox, while writers waited.
    fn judge_speed(&mut self, took: u64) {
        self.pace_bytes += self.turn_bytes;
        self.pace_nanos += took.min(nanos(PACE_TURN));
        if self.pace_bytes >= WALK_BYTES || self.pace_nanos >= nanos(PACE_TIME) {
            self.crawls = self.pace_bytes < if self.crawls { WALK_BYTES } else { CRAWL_BYTES };
            (self.pace_bytes, self.pace_nanos) = (0, 0);
        }
        let rushed = self.quick_turns >= RUSH_AFTER;
        let fast = took <= nanos(FAST_TURN);
        if !(rushed && fast) {
            self.quick_turns = if took <= nanos(RUSH_TURN) { self.quick_turns + 1 } else { 0 };
        }
        let (speed, quantum) = if self.crawls {
            (Speed::Crawling, self.config.quantum)
        } else if self.quick_turns >= RUSH_AFTER {
            (Speed::Rushing, OUTBOX_BYTES_MAX)
        } else if fast || rushed {
            // That a longer outbox took long says little about a shorter one.
            (Speed::Fast, self.config.quantum_max)
        } else {
            (Speed::Slow, self.config.quantum)
        };
        self.quantum = quantum;
        self.outbox.set_speed(speed, quantum);
    }

    /// How long frames that nobody waits for may wait for company ([`super::Config::lazy_time`]).
    pub fn lazy_time(&self) -> Duration {
        self.config.lazy_time
    }

    /// True while the transport is so slow that what lies behind it, in the kernel, is better kept short: a small
    /// answer waits for that, too.
    pub fn is_crawling(&self) -> bool {
        self.crawls
    }

    /// True when output waits whose receiver waits for it, or when lazy frames have waited long enough.
    pub fn wants_transmit(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => {
                self.owed.urgent || self.owed.lazy_due || !self.outbox.is_empty() || self.keepalive.is_owed()
            }
            Phase::Closed(_) => self.owed.away.is_some(),
        }
    }

    /// True while refused writers wait for room or have been called and hold some: who has not read its data yet had
    /// better [`super::SendStream::ask`].
    pub fn is_crowded(&self) -> bool {
        self.table.in_line() > 0 || self.outbox.has_reserved()
    }

    /// The transport took `bytes` (zero when it is full) of what [`Self::poll_transmit`] gave, and all of it when
    /// `drained`. The keep-alive counts bytes that a full transport takes as progress.
    pub fn handle_sent(&mut self, now: Instant, bytes: usize, drained: bool) {
        self.tick(now);
        self.keepalive.sent(self.now, bytes, drained);
    }

    /// Appends the owed control frames that fit; true when a go-away is among them.
    fn put_control(&mut self) -> bool {
        if self.is_closed() {
            return self.put_go_away();
        }
        // These two always find room in the control part: both are bounded, and data may not use it.
        for value in core::mem::take(&mut self.owed.pongs) {
            self.put(Kind::Ping, Flags::ACK, 0, value);
        }
        if self.keepalive.is_owed() && self.outbox.fits_control(1) {
            let value = self.keepalive.hand_out(self.now);
            self.put(Kind::Ping, Flags::SYN, 0, value);
        }
        let mut all = self.put_refusals();
        while let Some(at) = self.table.head(List::Owed) {
            if !self.outbox.fits_control(OWED_FRAMES_MAX) {
                all = false;
                break;
            }
            self.put_owed(at);
        }
        self.owed.urgent = !all;
        self.owed.lazy_at = None;
        self.owed.lazy_due = false;
        // A go-away that ends the session comes behind everything that was owed before it.
        let said = all && self.put_go_away();
        self.owed.urgent |= self.owed.away.is_some();
        said
    }

    /// Appends the RSTs of refused streams that fit, oldest first; true when none is left.
    fn put_refusals(&mut self) -> bool {
        let n = self.owed.refused.len().min(self.outbox.control_frames());
        for id in self.owed.refused.drain(..n) {
            self.outbox.put(Header::new(Kind::WindowUpdate, Flags::RST, id, 0));
        }
        let all = self.owed.refused.is_empty();
        if all {
            // An idle session owns no buffer.
            self.owed.refused = Vec::new();
        }
        all
    }

    fn put_go_away(&mut self) -> bool {
        if !self.outbox.fits_control(1) {
            return false;
        }
        match self.owed.away.take() {
            Some(code) => {
                self.put(Kind::GoAway, Flags::NONE, 0, code.code());
                code != GoAway::Normal
            }
            None => false,
        }
    }

    fn put(&mut self, kind: Kind, flags: Flags, id: u32, length: u32) {
        self.outbox.put(Header::new(kind, flags, id, length));
    }

    /// Appends what one stream owes: each as a frame of its own, as Go does (performance guide 2.5).
    fn put_owed(&mut self, at: u32) {
        self.table.leave(List::Owed, at);
        let Some(stream) = self.table.get_mut(at) else { return };
        let id = stream.id;
        if core::mem::take(&mut stream.rst_owed) {
            self.put(Kind::WindowUpdate, Flags::RST, id, 0);
        }
        self.put_ack(at);
        self.put_credit(at);
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.send == SendHalf::FinOwed && !stream.reset {
            stream.fin_sent();
            let waits = stream.recv == RecvHalf::Open;
            self.put(Kind::WindowUpdate, Flags::FIN, id, 0);
            if waits && !self.table.is_in(List::Discarding, at) {
                self.start_timer(at, List::Closing);
            }
        }
        self.reap(at);
    }

    /// Appends the ACK when it is owed: once, and in front of the stream's data.
    fn put_ack(&mut self, at: u32) {
        if let Some(stream) = self.table.get_mut(at) {
            if core::mem::take(&mut stream.ack_owed) {
                let id = stream.id;
                self.put(Kind::WindowUpdate, Flags::ACK, id, 0);
            }
        }
    }

    /// Appends the credit that is due at this moment, with the growth of the window when the budget allows it.
    fn put_credit(&mut self, at: u32) {
        let Some(stream) = self.table.get_mut(at) else { return };
        if !core::mem::take(&mut stream.credit_owed) || stream.reset || stream.recv == RecvHalf::Ended {
            return;
        }
        let unread = stream.queue.bytes();
        let window = stream.window.window();
        if core::mem::take(&mut stream.hungry) && !stream.stopped && unread < window / 2 {
            let wider = window.saturating_mul(2).min(self.config.window_max);
            if wider > window && self.blocks.account().promise((wider - window) as usize) {
                stream.window.grow(wider);
            }
        }
        if let Some(bytes) = stream.window.due(unread) {
            stream.window.grant(bytes);
            let id = stream.id;
            self.put(Kind::WindowUpdate, Flags::NONE, id, bytes);
        }
    }

    /// Owes credit when at least half a window of it is due (wire protocol 4.5).
    pub(super) fn offer_credit(&mut self, at: u32) {
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.reset || stream.recv == RecvHalf::Ended || stream.window.due(stream.queue.bytes()).is_none()
        {
            return;
        }
        stream.credit_owed = true;
        let urgency = if stream.window.is_low() { Urgency::Now } else { Urgency::Lazy };
        self.owe(at, urgency);
    }

    /// Appends one data frame with the first `n` bytes of `parts`; the caller asked [`Self::write_room`].
    pub(super) fn put_data(&mut self, at: u32, parts: &[&[u8]], n: usize) {
        self.put_ack(at);
        let Some(stream) = self.table.get(at) else { return };
        // At most an outbox.
        let header = Header::new(Kind::Data, Flags::NONE, stream.id, n as u32);
        self.outbox.put_data(header, parts, n);
        self.wrote(at, n);
    }

    /// Begins a data frame of at most `n` bytes, behind the ACK.
    pub(super) fn begin_data(&mut self, at: u32, n: usize) -> usize {
        self.put_ack(at);
        self.outbox.begin(n)
    }

    /// Completes a begun frame; an empty one is cut off again.
    pub(super) fn end_data(&mut self, at: u32, start: usize, max: usize) -> usize {
        let n = self.outbox.written(start).min(max);
        let Some(stream) = self.table.get(at).filter(|_| n > 0) else {
            self.outbox.cancel(start);
            return 0;
        };
        self.outbox.shorten(start, n);
        self.outbox.end(start, Header::new(Kind::Data, Flags::NONE, stream.id, n as u32));
        self.wrote(at, n);
        n
    }

    /// Accounts for `n` payload bytes in the outbox.
    fn wrote(&mut self, at: u32, n: usize) {
        let turn = self.outbox.turn();
        let Some(stream) = self.table.get_mut(at) else { return };
        stream.credit.take(n);
        if stream.turn != turn {
            stream.turn = turn;
            stream.used = 0;
        }
        stream.used = stream.used.saturating_add(n as u32);
        stream.refused = false;
        let share = if stream.granted == turn { stream.share as usize } else { 0 };
        self.barren = 0;
        self.table.leave_line(at);
        if share > 0 {
            self.learn_share(share, n);
        }
        self.give_back(at);
    }
}
