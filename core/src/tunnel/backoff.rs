//! How long to wait between two dials.

use crate::rng::Rng;
use core::time::Duration;

/// No wait is drawn from less than this: a configured zero must not become a busy loop.
const WIDTH_MIN: Duration = Duration::from_millis(1);

/// Waits and limits of a [`Reconnector`](super::Reconnector).
///
/// Waits have full jitter: each is drawn evenly from zero to a width, so that thousands of agents which lost
/// the same server do not come back in step. The width starts at `min` and doubles up to a cap: a single wait may be as
/// short as nothing, the mean of the first ones is half of `min`, and Go's growing waits have no such spread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backoff {
    /// The first width. Default 100 ms, as in Go (wire protocol 3.4).
    pub min: Duration,
    /// The cap of the width. Default 15 s, as in Go.
    pub max: Duration,
    /// The cap of the width while in a hurry. Default 600 ms; counts for nothing below `min`.
    pub max_after_loss: Duration,
    /// How long the hurry lasts after the start and after a loss. Default 30 s.
    pub hurry: Duration,
    /// How long an attempt may last while in a hurry. Default 5 s.
    pub hurried_attempt: Duration,
    /// How long an attempt may last otherwise: connect, TLS and answer. Default 30 s.
    pub attempt: Duration,
    /// Give up when nothing has connected within `first_connect`, as Go's agent does. Default false: an agent
    /// that was started before its server waits for it.
    pub exit_on_failure: bool,
    /// Only with `exit_on_failure`: how long the first connect may take, all attempts together. Default 30 s
    /// (wire protocol 3.4, `connect.timeout`).
    pub first_connect: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(15),
            max_after_loss: Duration::from_millis(600),
            hurry: Duration::from_secs(30),
            hurried_attempt: Duration::from_secs(5),
            attempt: Duration::from_secs(30),
            exit_on_failure: false,
            first_connect: Duration::from_secs(30),
        }
    }
}

/// The growing width of waits.
#[derive(Debug)]
pub(super) struct Waits {
    min: Duration,
    width: Duration,
}

impl Waits {
    pub(super) fn new(min: Duration) -> Self {
        let min = min.max(WIDTH_MIN);
        Self { min, width: min }
    }

    /// The next wait starts from the first width again.
    pub(super) fn reset(&mut self) {
        self.width = self.min;
    }

    /// Draws a wait, at most `cap` long, and doubles the width for the next.
    pub(super) fn next(&mut self, cap: Duration, rng: &mut Rng) -> Duration {
        let cap = cap.max(WIDTH_MIN);
        let width = self.width.min(cap);
        self.width = width.saturating_mul(2).min(cap);
        let nanos = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.below(nanos.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_millis(600);

    #[test]
    fn widths_double_up_to_the_cap_and_start_again() {
        let mut waits = Waits::new(Duration::from_millis(100));
        let mut rng = Rng::new(1);
        for _ in 0..2 {
            for width in [100, 200, 400, 600, 600] {
                assert_eq!(waits.width.min(CAP), Duration::from_millis(width));
                assert!(waits.next(CAP, &mut rng) <= Duration::from_millis(width));
            }
            waits.reset();
        }
    }

    #[test]
    fn jitter_is_full_and_even() {
        let mut rng = Rng::new(2);
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let mut waits = Waits::new(Duration::from_millis(100));
            quarters[(waits.next(CAP, &mut rng).as_micros() / 25_001) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (850..1150).contains(count)), "{quarters:?}");
    }

    #[test]
    fn absurd_settings_neither_spin_nor_overflow() {
        let mut rng = Rng::new(3);
        let mut waits = Waits::new(Duration::ZERO);
        let total: Duration = (0..1000).map(|_| waits.next(Duration::ZERO, &mut rng)).sum();
        assert!(total > Duration::from_millis(100), "{total:?}");
        let mut waits = Waits::new(Duration::MAX);
        waits.next(Duration::MAX, &mut rng);
        assert!(waits.next(CAP, &mut rng) <= CAP, "a lower cap counts at once");
    }
}
