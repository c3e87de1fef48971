//! Time as an argument: a clock type of our own, so that no machine can ask for the current time.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Nanoseconds since an epoch that the caller chose. Compare only within one clock.
///
/// 64 bits of nanoseconds last 584 years, so additions saturate and nobody has to handle an overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The epoch of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than everything that happens.
    pub const FAR: Self = Self(u64::MAX);

    /// `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// When a machine next wants `handle_timeout`, and what for (shows up in traces).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Absolute time.
    pub at: Instant,
    /// The reason, for traces.
    pub why: &'static str,
}

impl Deadline {
    /// A deadline at `at` because of `why`.
    pub const fn new(at: Instant, why: &'static str) -> Self {
        Self { at, why }
    }

    /// The earlier of two optional deadlines.
    pub fn earliest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::FAR + Duration::from_secs(1), Instant::FAR);
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(Instant::FAR), Duration::ZERO);
        assert_eq!(Instant::from_millis(5).since(Instant::from_millis(2)), Duration::from_millis(3));
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let (a, b) =
            (Deadline::new(Instant::from_millis(2), "a"), Deadline::new(Instant::from_millis(1), "b"));
        assert_eq!(Deadline::earliest(Some(a), Some(b)), Some(b));
        assert_eq!(Deadline::earliest(None, Some(a)), Some(a));
        assert_eq!(Deadline::earliest(None, None), None);
    }
}
