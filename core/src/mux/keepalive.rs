//! Keep-alive pings and the round trip they measure (wire protocol 4.6, design guide A.1).

use crate::time::Instant;
use core::time::Duration;

/// A round trip counts as the minimum for so long; the next sample replaces it then.
const RTT_VALID: Duration = Duration::from_secs(60);

/// Where the ping of this side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    /// None is under way.
    None,
    /// One waits for the wire since `since`.
    Owed { since: Instant },
    /// `poll_transmit` gave it out, but bytes before it or its own may still wait in front of the kernel.
    Handed { value: u32, since: Instant },
    /// The transport took it completely.
    Sent { value: u32, since: Instant },
}

/// Says when to ping and when the peer is dead.
#[derive(Debug)]
pub(super) struct KeepAlive {
    after: Duration,
    timeout: Duration,
    /// Go numbers pings from 0 on each side.
    next: u32,
    ping: Ping,
    heard: Instant,
    /// When the transport, having been full, took something: bytes in front of it have left.
    progress: Instant,
    /// The transport did not take all that it was given.
    full: bool,
    /// When the ping left that had the smallest round trip lately, and when its answer came; [`Instant::FAR`] before
    /// the first one. (A session's size is most of an idle tunnel's: this is smaller than an option with a duration.)
    best: [Instant; 2],
}

impl KeepAlive {
    pub(super) const fn new(after: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            after,
            timeout,
            next: 0,
            ping: Ping::None,
            heard: now,
            progress: now,
            full: false,
            best: [Instant::FAR; 2],
        }
    }

    /// A byte came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// The transport took `bytes`, and all that it was given when `drained`.
    ///
    /// Only what a full transport takes is a sign of life. One with room takes megabytes for a peer that is long
    /// gone, so that a link that died under small writes would never count as dead.
    pub(super) fn sent(&mut self, now: Instant, bytes: usize, drained: bool) {
        if bytes > 0 && self.full {
            self.progress = self.progress.max(now);
        }
        self.full = !drained;
        if let (Ping::Handed { value, .. }, true) = (self.ping, drained) {
            self.ping = Ping::Sent { value, since: now };
        }
    }

    /// Whether a ping waits for the wire.
    pub(super) const fn is_owed(&self) -> bool {
        matches!(self.ping, Ping::Owed { .. })
    }

    /// Asks for a ping because a round trip is wanted.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.ping == Ping::None {
            self.ping = Ping::Owed { since: now };
        }
    }

    /// The value of the owed ping, which goes out in this call.
    pub(super) fn hand_out(&mut self, now: Instant) -> u32 {
        let value = self.next;
        self.next = self.next.wrapping_add(1);
        self.ping = Ping::Handed { value, since: now };
        value
    }

    /// A reply came; one that answers nothing is ignored (wire protocol 4.6).
    pub(super) fn answered(&mut self, now: Instant, answer: u32) {
        if let Ping::Handed { value, since } | Ping::Sent { value, since } = self.ping {
            if value == answer {
                self.ping = Ping::None;
                let sample = now.since(since);
                if self.round_trip(now).is_none_or(|best| sample <= best) {
                    self.best = [since, now];
                }
            }
        }
    }

    /// The smallest round trip measured lately.
    pub(super) fn round_trip(&self, now: Instant) -> Option<Duration> {
        let [left, came] = self.best;
        (left != Instant::FAR && now.since(came) < RTT_VALID).then(|| came.since(left))
    }

    /// When [`Self::handle_timeout`] is wanted, and why; [`Instant::FAR`] is never.
    pub(super) fn deadline(&self) -> (Instant, &'static str) {
        let alive = self.heard.max(self.progress);
        match self.ping {
            Ping::None => (self.heard + self.after, "keep-alive ping"),
            // A transport that takes nothing at all is as dead as a peer that answers nothing: the ping in
            // front of it would wait for ever. Any progress moves this deadline.
            Ping::Owed { since } | Ping::Handed { since, .. } => {
                (alive.max(since) + self.after + self.timeout, "transport stalled")
            }
            Ping::Sent { since, .. } => (alive.max(since) + self.timeout, "keep-alive answer"),
        }
    }

    /// Whether the peer is dead at `now`; otherwise a ping is owed when its time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let (at, _) = self.deadline();
        if now < at || at == Instant::FAR {
            return false;
        }
        match self.ping {
            Ping::None => self.ping = Ping::Owed { since: now },
            // The answer is missing, but the peer talks: that is life. The next silence asks again.
            Ping::Owed { since } | Ping::Handed { since, .. } | Ping::Sent { since, .. }
                if self.heard > since =>
            {
                self.ping = Ping::None;
            }
            _ => return true,
        }
        false
    }

    /// Input was not read on purpose, so silence up to `now` means nothing.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.heard(now);
        self.progress = self.progress.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn fresh() -> KeepAlive {
        KeepAlive::new(5 * SEC, 5 * SEC, Instant::ZERO)
    }

    #[test]
    fn silence_is_death_five_seconds_after_the_ping() {
        let mut k = fresh();
        assert!(!k.handle_timeout(at(4_999)));
        assert!(!k.is_owed());
        assert!(!k.handle_timeout(at(5_000)));
        assert!(k.is_owed());
        assert_eq!(k.hand_out(at(5_000)), 0);
        k.sent(at(5_001), 12, true);
        assert!(!k.handle_timeout(at(10_000)));
        assert!(k.handle_timeout(at(10_001)));
    }

    #[test]
    fn bulk_in_front_of_the_ping_is_not_death() {
        let mut k = fresh();
        assert!(!k.handle_timeout(at(5_000)));
        k.hand_out(at(5_000));
        for second in 5..100 {
            k.sent(at(second * 1000), 1, false);
            assert!(!k.handle_timeout(at(second * 1000)));
        }
        k.sent(at(100_000), 1, true);
        assert!(!k.handle_timeout(at(104_999)));
        assert!(k.handle_timeout(at(105_000)));
    }

    #[test]
    fn a_transport_that_takes_nothing_is_dead() {
        let mut k = fresh();
        assert!(!k.handle_timeout(at(5_000)));
        assert!(!k.handle_timeout(at(14_999)));
        assert!(k.handle_timeout(at(15_000)));
    }

    #[test]
    fn writes_that_nothing_stood_before_are_no_life() {
        let mut k = fresh();
        assert!(!k.handle_timeout(at(5_000)));
        k.hand_out(at(5_000));
        for tenth in 50..100 {
            k.sent(at(tenth * 100), 100, true);
            assert!(!k.handle_timeout(at(tenth * 100)));
        }
        assert!(k.handle_timeout(at(10_000)));
    }

    #[test]
    fn other_input_is_life_too() {
        let mut k = fresh();
        assert!(!k.handle_timeout(at(5_000)));
        k.hand_out(at(5_000));
        k.sent(at(5_000), 12, true);
        k.heard(at(9_000));
        assert!(!k.handle_timeout(at(10_000)));
        assert!(!k.handle_timeout(at(14_000)));
        assert!(!k.handle_timeout(at(14_000)));
        assert!(k.is_owed());
    }

    #[test]
    fn the_round_trip_is_the_smallest_of_the_last_minute() {
        let mut k = fresh();
        for (value, ms) in [(0, 30), (1, 50), (2, 20)] {
            k.probe(at(0));
            assert_eq!(k.hand_out(at(0)), value);
            k.sent(at(0), 12, true);
            k.answered(at(ms), value + 100);
            k.answered(at(ms), value);
        }
        assert_eq!(k.round_trip(at(100)), Some(Duration::from_millis(20)));
        assert_eq!(k.round_trip(at(100_000)), None);
    }
}
