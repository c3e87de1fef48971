//! How suspicious the silence of a node is (wire protocol 7.10): the time since its last sign of life in
//! multiples of the mean time between its signs.

use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;

/// How many intervals the mean is taken over, as in Go.
const WINDOW: usize = 50;
/// So many questions without a word are an answer. With half of all datagrams lost, fewer would bury the living.
const QUESTIONS: u32 = 15;
/// A node is asked out of turn after so many intervals of silence, which are few among some dozens of nodes unless
/// something is wrong, …
const QUIET: u32 = 15;
/// … and may be taken for dead, unanswered questions provided, after so many: half as much again as three nodes give
/// each other.
const SILENT: u32 = 30;

/// What is remembered of one node's signs of life; about 450 bytes.
#[derive(Clone, Debug)]
pub(super) struct Detector {
    /// The last intervals in nanoseconds, a ring once it is full.
    intervals: Vec<u64>,
    next: usize,
    sum: u64,
    last: Option<Instant>,
    /// Somebody else answers at its address.
    replaced: bool,
    /// Questions out of turn since the last sign of life.
    unanswered: u32,
    /// The time between two rounds here.
    round: Duration,
    /// The first interval, before anything was measured.
    bootstrap: Duration,
    floor: Duration,
    /// The longest interval that counts: a node that was suspended is not given minutes afterwards.
    ceiling: Duration,
}

impl Detector {
    /// With the interval of rounds and the least interval that counts.
    pub(super) fn new(interval: Duration, floor: Duration) -> Self {
        let bootstrap = interval * 2;
        let ceiling = interval.saturating_mul(20).max(floor);
        Self {
            intervals: Vec::new(),
            next: 0,
            sum: 0,
            last: None,
            replaced: false,
            unanswered: 0,
            round: interval,
            bootstrap,
            floor,
            ceiling,
        }
    }

    /// A sign of life. The first one counts as an interval too, the expected one.
    pub(super) fn report(&mut self, now: Instant) {
        let interval = self.last.map_or(self.bootstrap, |last| now.since(last));
        let nanos = interval.clamp(self.floor, self.ceiling).as_nanos() as u64;
        if self.intervals.len() < WINDOW {
            self.intervals.push(nanos);
        } else {
            self.sum -= self.intervals[self.next];
            self.intervals[self.next] = nanos;
            self.next = (self.next + 1) % WINDOW;
        }
        self.sum += nanos;
        self.last = Some(now);
        (self.replaced, self.unanswered) = (false, 0);
    }

    /// Silent for so long that it is worth a question of its own. In a large cluster everybody's turn comes seldom, and
    /// the mean interval, thus the silence that is suspicious, would grow with the number of nodes (weakness G9).
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.silence(now) > self.round * QUIET
    }

    /// It was asked out of turn.
    pub(super) fn questioned(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Whether the silence is beyond `max` mean intervals, or no question was answered for long. Asking about a node that was never heard starts its
    /// first interval.
    pub(super) fn suspects(&mut self, now: Instant, max: u32) -> bool {
        if self.last.is_none() {
            self.report(now);
        }
        // Silence beyond max × sum / n, without a fraction being lost.
        let silence = self.silence(now);
        let mute = self.unanswered >= QUESTIONS && silence > self.round * SILENT;
        let silence = u128::from(silence.as_nanos() as u64);
        self.replaced
            || mute
            || silence * self.intervals.len() as u128 > u128::from(max) * u128::from(self.sum)
    }

    /// Time since the last sign of life.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now.since(last))
    }

    /// The node begins a new life: as if it had never been heard.
    pub(super) fn forget(&mut self) {
        self.intervals.clear();
        (self.next, self.sum, self.last, self.replaced, self.unanswered) = (0, 0, None, false, 0);
    }

    /// Another node answers at the address of this one: nothing more is to be expected.
    pub(super) fn replace(&mut self) {
        self.replaced = true;
    }

    #[cfg(test)]
    pub(super) fn phi(&mut self, now: Instant) -> f64 {
        if self.last.is_none() {
            self.report(now);
        }
        self.silence(now).as_nanos() as f64 / (self.sum as f64 / self.intervals.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000_000 + millis)
    }

    /// Go's, which has no floor.
    fn plain() -> Detector {
        Detector::new(TICK, Duration::ZERO)
    }

    /// The golden values of wire protocol 7.10.
    #[test]
    fn golden_values() {
        let mut never = plain();
        assert_eq!(never.phi(at(0)), 0.0);
        assert_eq!(never.phi(at(1000)), 5.0);
        assert_eq!(never.phi(at(4000)), 20.0);
        assert!(!never.suspects(at(4000), 20) && never.suspects(at(4001), 20));
        assert_eq!(never.phi(at(4001)), 20.005);

        let mut once = plain();
        once.report(at(0));
        assert_eq!(once.phi(at(100)), 0.5);
        once.report(at(100));
        assert_eq!(once.phi(at(1000)), 6.0);

        let mut even = plain();
        (0..50).for_each(|n| even.report(at(n * 100)));
        assert_eq!(even.phi(at(4900 + 2000)), 19.607_843_137_254_903);
        even.report(at(5000));
        assert_eq!(even.phi(at(7000)), 20.0);
        assert!(!even.suspects(at(7000), 20) && even.suspects(at(7001), 20));

        let mut burst = plain();
        burst.report(at(0));
        (0..50).for_each(|n| burst.report(Instant::from_nanos(at(0).as_nanos() + (n + 1) * 20_000)));
        assert_eq!(burst.phi(at(101)), 5000.0);
    }

    /// Weakness G14: with a floor a burst makes nobody nervous.
    #[test]
    fn bursts_and_long_sleeps_do_not_move_the_mean_beyond_its_bounds() {
        let mut burst = Detector::new(TICK, TICK);
        (0..200).for_each(|_| burst.report(at(0)));
        assert!(!burst.suspects(at(2000), 20) && burst.suspects(at(2001), 20));
        burst.report(at(600_000));
        assert!(burst.suspects(at(600_000 + 2_800), 20));
    }

    /// Weakness G9: a mean of seconds does not give the dead a minute.
    #[test]
    fn who_answers_no_question_is_suspected_whatever_its_mean() {
        let mut node = Detector::new(TICK, TICK);
        (0..50).for_each(|n| node.report(at(n * 2_000)));
        let last = 49 * 2_000;
        assert!(!node.is_quiet(at(last + 1_500)) && node.is_quiet(at(last + 1_501)));
        assert!(!node.suspects(at(last + 30_000), 20), "nobody has asked");
        (0..14).for_each(|_| node.questioned());
        assert!(!node.suspects(at(last + 30_000), 20), "too few questions");
        node.questioned();
        assert!(!node.suspects(at(last + 3_000), 20) && node.suspects(at(last + 3_001), 20));
        node.report(at(last + 3_002));
        assert!(!node.suspects(at(last + 9_000), 20), "it spoke");
    }

    #[test]
    fn who_lost_its_address_is_suspected_at_once_until_it_speaks() {
        let mut node = plain();
        node.report(at(0));
        node.replace();
        assert!(node.suspects(at(0), 20));
        node.report(at(1));
        assert!(!node.suspects(at(1), 20));
    }
}
