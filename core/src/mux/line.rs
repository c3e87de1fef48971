//! Who may write when the outbox is short of room: shares, and the two lines of refused writers.
//!
//! A stream writes its frame whole or waits: what is left of an outbox is no reason to cut a frame in two, since
//! every piece costs both sides a system call and a wake-up of its own. Small writers go in front of large ones,
//! which always keep the room for half a frame in each turn.

use super::config::{FRONT_BYTES_MAX, LINE_TIME, OUTBOX_BYTES_MAX};
use super::frame::HEADER_BYTES;
use super::session::{Phase, Session};
use super::stream::{SendHalf, Stream};
use super::table::List;
use crate::time::Instant;

/// The least that is set aside for a writer in a line, in bytes: it often has more to write than it asked for.
const SHARE_BYTES_MIN: usize = 1024;
/// What a frame needs besides its body: its header, and an ACK in front of it.
const AROUND_BYTES: usize = 2 * HEADER_BYTES;

const _: () = assert!(SHARE_BYTES_MIN < FRONT_BYTES_MAX);

/// The frame that a share is for, unless it is a small one.
fn called(share: usize) -> Option<usize> {
    share.checked_sub(AROUND_BYTES).filter(|n| *n > FRONT_BYTES_MAX)
}

impl Session {
    /// How much of `wanted` bytes the stream may write as one frame: all that its credit and a quantum allow, or
    /// at least half a quantum; else nothing.
    pub(super) fn write_room(&self, at: u32, wanted: usize) -> usize {
        let Some(stream) = self.table.get(at) else { return 0 };
        if self.phase != Phase::Open || stream.reset || stream.send != SendHalf::Open {
            return 0;
        }
        let share = if stream.granted == self.outbox.turn() { stream.share as usize } else { 0 };
        let ack = if stream.ack_owed { HEADER_BYTES } else { 0 };
        // A large writer that was called with less than half a quantum writes that.
        let least = called(share).unwrap_or(usize::MAX);
        self.frame(stream, wanted, self.outbox.room(share, ack), least)
    }

    /// The frame that `room` bytes give a writer of `wanted` bytes; zero when it had better wait, which is never so with
    /// `least` of them.
    fn frame(&self, stream: &Stream, wanted: usize, room: usize, least: usize) -> usize {
        let used = if stream.turn == self.outbox.turn() { stream.used as usize } else { 0 };
        let most = wanted.min(stream.credit.bytes()).min(self.quantum);
        let n = most.min(self.quantum.saturating_sub(used)).min(room);
        if n < most && n < least.min(self.quantum / 2) { 0 } else { n }
    }

    /// A writer that was called, with a share, has written `n` bytes. The next ones are called with more once that is used
    /// up, and else, by and by, with as much: writers ask for all that they would take, and of what is set aside in vain
    /// nobody has anything in this turn. The end of a body alone says little.
    pub(super) fn learn_share(&mut self, share: usize, n: usize) {
        let Some(called) = called(share) else { return };
        let usual = if n < called { n.max(self.usual_share / 4 * 3) } else { n * 2 };
        self.usual_share = usual.clamp(self.config.quantum_max, OUTBOX_BYTES_MAX);
    }

    /// A write of `wanted` bytes was refused: the stream gets in line, unless it is credit that it lacks.
    pub(super) fn refuse(&mut self, at: u32, wanted: usize) {
        self.give_back(at);
        let Some(stream) = self.table.get_mut(at) else { return };
        stream.refused = true;
        stream.asked = u32::try_from(wanted).unwrap_or(u32::MAX);
        if stream.credit.bytes() > 0 {
            self.table.join_line(at);
            self.arm_line();
        }
    }

    /// Gives back the room that was set aside for this stream, for the next ones in the line.
    pub(super) fn give_back(&mut self, at: u32) {
        let turn = self.outbox.turn();
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.granted == turn {
            stream.granted = 0;
            self.outbox.unreserve(stream.share as usize);
            self.call_line();
        }
    }

    /// Calls refused writers in the order of their refusal, as many as there is room for.
    pub(super) fn call_line(&mut self) {
        while let Some((at, share)) = self.next_in_line() {
            let turn = self.outbox.turn();
            let Some(stream) = self.table.get_mut(at) else { break };
            stream.granted = turn;
            // At most an outbox.
            stream.share = share as u32;
            self.outbox.reserve(share);
            self.table.leave_line(at);
            self.notify_writable(at);
        }
        self.arm_line();
    }

    /// Whoever holds room may never write: then the line goes on after a while.
    fn arm_line(&mut self) {
        let stuck = self.table.in_line() > 0 && self.outbox.has_reserved();
        self.line_at = if stuck { self.line_at.or(Some(self.now + LINE_TIME)) } else { None };
    }

    /// Who is called next, and what is set aside for it.
    fn next_in_line(&self) -> Option<(u32, usize)> {
        let free = self.outbox.unreserved();
        let large = self.table.head(List::Line);
        let kept = if large.is_some() { self.quantum / 2 + AROUND_BYTES } else { 0 };
        let small = self.table.head(List::Front);
        let small = small.and_then(|at| self.share(at, free.saturating_sub(kept)));
        small.or_else(|| large.and_then(|at| self.share(at, free)))
    }

    /// The share of `free` bytes that a refused writer gets; none while it has to wait on. Who used up the quantum
    /// of this turn waits for the next, which the bytes written bring about.
    fn share(&self, at: u32, free: usize) -> Option<(u32, usize)> {
        let stream = self.table.get(at)?;
        let wanted = (stream.asked as usize).min(self.usual_share).max(SHARE_BYTES_MIN);
        let n = self.frame(stream, wanted, free.saturating_sub(AROUND_BYTES), usize::MAX);
        (n > 0).then_some((at, n + AROUND_BYTES))
    }

    /// The called writers did not write: their share goes to the next ones.
    pub(super) fn skip_line(&mut self, now: Instant) {
        if self.line_at.is_some_and(|at| now >= at) {
            self.line_at = None;
            self.outbox.next_turn();
            self.call_line();
        }
    }
}
