//! Time: one deadline out of all that wait, and what is due at it.

use super::config::DISCARD_TIME;
use super::error::CloseReason;
use super::session::{Phase, Session};
use super::table::List;
use crate::time::{Deadline, Instant};

impl Session {
    /// When [`Self::handle_timeout`] is due, and why. A pure read in constant time.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let mut first: Option<Deadline> = None;
        self.each_deadline(|at, why| {
            if at < first.map_or(Instant::FAR, |first| first.at) {
                first = Some(Deadline::new(at, why));
            }
        });
        first
    }

    /// As [`Self::poll_timeout`] without the reason, for who asks often; [`Instant::FAR`] when nothing is due.
    pub fn timeout_at(&self) -> Instant {
        let mut first = Instant::FAR;
        self.each_deadline(|at, _| first = first.min(at));
        first
    }

    #[inline]
    fn each_deadline(&self, mut f: impl FnMut(Instant, &'static str)) {
        match self.phase {
            Phase::Open => {}
            Phase::Closing { since } => return f(since + self.config.ping_timeout, "go-away"),
            Phase::Closed(_) => return,
        }
        let (at, why) = self.keepalive.deadline();
        f(at, why);
        if let (Some(at), false) = (self.owed.lazy_at, self.owed.lazy_due) {
            f(at, "lazy");
        }
        for (list, why) in
            [(List::Opening, "no ACK"), (List::Closing, "no FIN"), (List::Discarding, "discard mode")]
        {
            if let Some(stream) = self.table.head(list).and_then(|at| self.table.get(at)) {
                f(stream.timer_at, why);
            }
        }
        if let Some(at) = self.line_at {
            f(at, "line of writers");
        }
        if let Some(at) = self.pressure_deadline() {
            f(at, "budget");
        }
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        let now = self.now;
        match self.phase {
            Phase::Open => {}
            Phase::Closing { since } => {
                if now >= since + self.config.ping_timeout {
                    self.end(CloseReason::Local);
                }
                return;
            }
            Phase::Closed(_) => return,
        }
        self.handle_pressure();
        if self.keepalive.handle_timeout(now) {
            self.end(CloseReason::KeepAlive);
            return;
        }
        if self.keepalive.is_owed() && self.table.is_empty() {
            self.idle = true;
            self.rest();
        }
        if self.owed.lazy_at.is_some_and(|at| now >= at) {
            self.owed.lazy_due = true;
        }
        for list in List::TIMERS {
            while let Some(at) = self.table.head(list) {
                let Some(stream) = self.table.get(at).filter(|stream| now >= stream.timer_at) else { break };
                if list == List::Closing && !stream.queue.is_empty() {
                    // The peer may be done or out of credit: it is this side that owes the next step.
                    self.start_timer(at, list);
                    continue;
                }
                tracing::debug!(?list, "mux stream timed out");
                self.kill(at);
            }
        }
        self.skip_line(now);
    }

    /// Starts the one timer of a stream anew.
    pub(super) fn start_timer(&mut self, at: u32, list: List) {
        let span = match list {
            List::Closing => self.config.close_timeout,
            List::Discarding => DISCARD_TIME,
            _ => self.config.open_timeout,
        };
        self.table.leave_timer(at);
        if let Some(stream) = self.table.get_mut(at) {
            stream.timer_at = self.now + span;
            self.table.join(list, at);
        }
    }

    /// The close timer is about silence: whatever passes on the stream starts it anew.
    #[inline]
    pub(super) fn restart_closing(&mut self, at: u32) {
        if self.table.is_in(List::Closing, at) {
            self.start_timer(at, List::Closing);
        }
    }
}
