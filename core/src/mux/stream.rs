//! The state of one stream: a send half and a receive half.
//!
//! Every transition of the two halves is a method of [`Stream`]; what follows for the session's tables, timers
//! and events is decided by its callers.

use super::flow::{RecvWindow, SendCredit};
use super::queue::Queue;
use super::table::{LINKS, Link};
use crate::time::Instant;

/// How far this side's direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendHalf {
    /// Data may be written.
    Open,
    /// Finished by the application; the FIN frame is owed.
    FinOwed,
    /// The FIN frame was written into the outbox.
    FinSent,
}

/// How far the peer's direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecvHalf {
    /// Data may arrive.
    Open,
    /// The peer's FIN arrived.
    Ended,
}

/// Who holds the stream on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// It waits in the backlog.
    Backlog,
    /// The application.
    Application,
    /// The application released it; the session sees it to its end.
    Session,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) holder: Holder,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    /// Both halves ended by a reset, of either side.
    pub(super) reset: bool,
    /// Nobody reads what still arrives.
    pub(super) stopped: bool,
    /// Opened by this side.
    pub(super) local: bool,
    /// Opened by this side, and the peer has not shown that it accepted.
    pub(super) unacked: bool,
    pub(super) ack_owed: bool,
    pub(super) credit_owed: bool,
    pub(super) rst_owed: bool,
    /// A `Readable` is queued.
    pub(super) readable: bool,
    /// A `Writable` is queued.
    pub(super) writable: bool,
    /// A write was refused since the last `Writable`.
    pub(super) refused: bool,
    /// The sender used up its last window within two round trips.
    pub(super) hungry: bool,
    pub(super) credit: SendCredit,
    pub(super) window: RecvWindow,
    pub(super) queue: Queue,
    /// Bytes dropped after `stopped`.
    pub(super) discarded: u32,
    /// The turn that `used` counts.
    pub(super) turn: u32,
    /// Payload bytes written in `turn`.
    pub(super) used: u32,
    /// The turn in which room was set aside for this stream.
    pub(super) granted: u32,
    /// Bytes that the refused write wanted.
    pub(super) asked: u32,
    /// Outbox bytes set aside in `granted`, headers included.
    pub(super) share: u32,
    /// Bytes received since `measured_at`, up to a window.
    pub(super) measured: u32,
    pub(super) measured_at: Instant,
    pub(super) timer_at: Instant,
    /// Since when nothing of what is in the queue was consumed; means nothing while it is empty.
    pub(super) unread_since: Instant,
    pub(super) links: [Link; LINKS],
}

impl Stream {
    /// A stream that this side opens.
    pub(super) const fn outgoing(id: u32) -> Self {
        Self { holder: Holder::Application, local: true, unacked: true, ..Self::incoming(id) }
    }

    /// A stream that the peer opens.
    pub(super) const fn incoming(id: u32) -> Self {
        Self {
            id,
            holder: Holder::Backlog,
            send: SendHalf::Open,
            recv: RecvHalf::Open,
            reset: false,
            stopped: false,
            local: false,
            unacked: false,
            ack_owed: false,
            credit_owed: false,
            rst_owed: false,
            readable: false,
            writable: false,
            refused: false,
            hungry: false,
            credit: SendCredit::INITIAL,
            window: RecvWindow::INITIAL,
            queue: Queue::EMPTY,
            discarded: 0,
            turn: 0,
            used: 0,
            granted: 0,
            asked: 0,
            share: 0,
            measured: 0,
            measured_at: Instant::ZERO,
            timer_at: Instant::ZERO,
            unread_since: Instant::ZERO,
            links: [Link::OUT; LINKS],
        }
    }

    /// The application accepts: the ACK is owed, exactly once (wire protocol 4.5).
    pub(super) fn accept(&mut self) {
        debug_assert!(self.holder == Holder::Backlog, "accepted twice");
        self.holder = Holder::Application;
        self.ack_owed = true;
    }

    /// The application finishes its direction; false when it had already.
    pub(super) fn finish(&mut self) -> bool {
        let open = self.send == SendHalf::Open && !self.reset;
        if open {
            self.send = SendHalf::FinOwed;
        }
        open
    }

    /// The owed FIN was written into the outbox.
    pub(super) fn fin_sent(&mut self) {
        debug_assert!(self.send == SendHalf::FinOwed, "FIN goes out once");
        self.send = SendHalf::FinSent;
    }

    /// The peer's FIN arrived.
    pub(super) fn fin_received(&mut self) {
        self.recv = RecvHalf::Ended;
        self.credit_owed = false;
    }

    /// The stream ends here and now. The peer is told, unless it has both FINs or said so itself.
    pub(super) fn kill(&mut self, tell: bool) {
        self.rst_owed = tell && !self.reset && !self.is_complete();
        self.reset = true;
        self.ack_owed = false;
        self.credit_owed = false;
    }

    /// Nobody will read the rest: what is missing from a clean end counts as an error from here on.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether both FINs have passed.
    pub(super) fn is_complete(&self) -> bool {
        self.send == SendHalf::FinSent && self.recv == RecvHalf::Ended
    }

    /// Whether frames of the peer still mean something.
    pub(super) fn is_live(&self) -> bool {
        !self.reset
    }

    /// Whether the application holds it.
    pub(super) fn is_held(&self) -> bool {
        self.holder == Holder::Application
    }

    /// Whether this side finished and nobody reads: input is bounded in bytes and time.
    pub(super) fn is_discarding(&self) -> bool {
        self.stopped && self.send != SendHalf::Open
    }

    /// Whether a reader would get something other than `Blocked`.
    pub(super) fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.recv == RecvHalf::Ended || self.reset || self.stopped
    }

    /// Whether a frame of this stream is owed.
    pub(super) fn owes(&self) -> bool {
        self.ack_owed || self.credit_owed || self.rst_owed || self.send == SendHalf::FinOwed && !self.reset
    }

    /// Whether nothing is left to do for the session or the application.
    pub(super) fn is_over(&self) -> bool {
        self.holder == Holder::Session && !self.owes() && (self.reset || self.is_complete())
    }
}
