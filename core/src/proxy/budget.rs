//! How many requests may be sent twice: a bound for the whole process, so that retries cannot multiply load.

use crate::time::Instant;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What one retry costs; a request earns one. So retries are a fifth of the requests at most: an outage of
/// one upstream in five is hidden completely, and one of all upstreams costs the rest 20 % more load.
const COST: usize = 5;
/// What is saved at most, and there from the start: 100 retries, enough for what is in flight on a node that
/// is killed.
const SAVED_MAX: usize = 100 * COST;
/// What comes with time, in retries per second, so that a node with few requests can hide a failure too.
const PER_SECOND: usize = 10;

/// Tokens for retries, shared by all requests of a process.
#[derive(Debug)]
pub struct RetryBudget {
    saved: AtomicUsize,
    /// When time was last turned into tokens, in milliseconds of the caller's clock.
    refilled: AtomicUsize,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: AtomicUsize::new(SAVED_MAX), refilled: AtomicUsize::new(0) }
    }
}

impl RetryBudget {
    /// A request comes in. Reads only, as long as the budget is full.
    pub fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < SAVED_MAX {
            self.saved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a request may be sent once more; pays for it.
    #[must_use]
    pub fn spend(&self, now: Instant) -> bool {
        self.refill(now);
        let paid = |saved: usize| saved.checked_sub(COST);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }

    fn refill(&self, now: Instant) {
        // Losing the upper half on 32-bit targets is intended: differences are right across the wrap.
        let now = (now.as_nanos() / 1_000_000) as usize;
        let before = self.refilled.load(Ordering::Relaxed);
        let passed_ms = now.wrapping_sub(before).min(SAVED_MAX * 1_000);
        let earned = passed_ms * PER_SECOND * COST / 1_000;
        let won = earned > 0
            && self.refilled.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            let more = |saved: usize| Some(saved.saturating_add(earned).min(SAVED_MAX));
            // It always gives a value, so the update cannot fail.
            let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_fifth_of_the_requests_and_a_reserve() {
        let budget = RetryBudget::default();
        let now = Instant::from_millis(77);
        let spend = |budget: &RetryBudget, now| (0..100_000).take_while(|_| budget.spend(now)).count();
        assert_eq!(spend(&budget, now), 100, "the reserve");
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!(spend(&budget, now), 100, "no more is saved than the reserve");
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.earn();
            retries += usize::from(budget.spend(now));
        }
        assert_eq!(retries, 200);
        assert_eq!(spend(&budget, now + Duration::from_secs(1)), 10, "time brings a few");
        assert_eq!(spend(&budget, now + Duration::from_secs(9_999)), 100, "and not more than the reserve");
    }
}
