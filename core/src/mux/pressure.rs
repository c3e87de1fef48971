//! Under an exceeded budget: reading stops, and who stalled goes (design guide A.1, "windows are promises").
//!
//! ```text
//!             exceeded                     next to nothing consumed for 2 s
//!   relaxed ────────────► input stops ───────────────────────────────────────► resets, unread for longest first
//!      ▲                    │     ▲                                                   │
//!      │ low-water mark     │     └── exceeded, by streams that sat out such a wait ◄─┘
//!      └────────────────────┘         before: resets at once
//! ```
//!
//! The wait counts once for all that stalled. Each further wait would cost the live streams of the session another
//! 2 s for no more than a window of 256 KiB: hundreds of readers that stopped would stop everybody, and a peer whose
//! pings are not read for 10 s ends the tunnel. Resets go down to the low-water mark, so that they come in groups and
//! not with every frame.

use super::config::{PRESSURE_LOOK, PRESSURE_RECHECK, PRESSURE_TIME};
use super::session::Session;
use super::table::List;
use crate::time::Instant;

/// What a session remembers of an exceeded budget.
#[derive(Debug)]
pub(super) struct Pressure {
    /// When the wait began; [`Instant::FAR`] while there is none.
    since: Instant,
    /// The end of the latest wait that nobody shortened. What was not read during it is stalled.
    judged: Instant,
    /// Bytes consumed here since the wait began.
    progress: u32,
}

impl Pressure {
    pub(super) const NONE: Self = Self { since: Instant::FAR, judged: Instant::ZERO, progress: 0 };

    fn is_waiting(&self) -> bool {
        self.since != Instant::FAR
    }
}

impl Session {
    /// To be called when bytes were charged or time has passed.
    pub(super) fn handle_pressure(&mut self) {
        let now = self.now;
        if !self.blocks.is_pressed() {
            // Input is read again; a budget that stays below its limit for a while is one that does its work.
            if self.pressure.is_waiting() {
                self.keepalive.excuse(now);
                self.pressure.since = Instant::FAR;
            }
            return;
        }
        // What the peer says is not read, so its silence means nothing.
        self.keepalive.excuse(now);
        if !self.pressure.is_waiting() {
            self.begin_wait();
            self.reset_unread(self.pressure.judged);
        } else if now >= self.pressure.since + PRESSURE_TIME {
            self.pressure.judged = now;
            self.reset_unread(Instant::FAR);
            // Where that was not enough, other sessions may have to do their part.
            self.pressure.since = (now + PRESSURE_LOOK) - PRESSURE_TIME;
        }
        self.relieve(0);
    }

    /// `bytes` were consumed here, or some were dropped: the wait begins anew when they are worth it, and is over at
    /// the low-water mark.
    pub(super) fn relieve(&mut self, bytes: usize) {
        if !self.pressure.is_waiting() {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.pressure.progress = self.pressure.progress.saturating_add(bytes);
        if self.blocks.is_relieved() {
            self.pressure.since = Instant::FAR;
        } else if self.pressure.progress as usize >= self.config.budget.progress() {
            self.begin_wait();
        }
    }

    fn begin_wait(&mut self) {
        self.pressure.since = self.now;
        self.pressure.progress = 0;
    }

    /// When [`Self::handle_pressure`] is wanted next.
    pub(super) fn pressure_deadline(&self) -> Option<Instant> {
        if self.blocks.is_pressed() {
            // Other sessions may make room without a word, hence the look before the time is up.
            Some((self.now + PRESSURE_LOOK).min(self.pressure.since + PRESSURE_TIME))
        } else if self.pressure.is_waiting() {
            Some(self.now + PRESSURE_RECHECK)
        } else {
            None
        }
    }

    /// Resets streams, those unread for longest first, until the budget is at its low-water mark or this session has
    /// given back its part, a quarter of what it holds. Only such as were unread during all of a wait that ended at
    /// `judged`.
    fn reset_unread(&mut self, judged: Instant) {
        let held = self.blocks.held();
        let enough = held - held / 4;
        let mut resets = 0;
        while !self.blocks.is_relieved() && (resets == 0 || self.blocks.held() > enough) {
            let Some(at) = self.table.head(List::Unread) else { break };
            if self.table.get(at).is_none_or(|stream| stream.unread_since + PRESSURE_TIME > judged) {
                break;
            }
            self.kill(at);
            resets += 1;
        }
        if resets > 0 {
            tracing::warn!(
                resets,
                streams = self.table.len(),
                "memory budget exceeded: reset the streams unread for longest"
            );
        }
    }
}

#[cfg(test)]
#[path = "pressure_tests.rs"]
mod tests;
