//! Since when each server can be reached again: agents come back a moment after their server.

use piko_core::time::Instant;
use std::sync::{Mutex, PoisonError};

/// When each server was last seen to be away, by its place in the list.
#[derive(Debug, Default)]
pub(crate) struct Away(Mutex<Vec<Option<Instant>>>);

impl Away {
    /// The server `at` could not be reached, or took nothing.
    pub(crate) fn saw(&self, at: usize, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() <= at {
            seen.resize(at + 1, None);
        }
        seen[at] = seen[at].max(Some(now));
    }

    /// Since when a dial that began at `started` may count on the server `at`.
    pub(crate) fn until(&self, at: usize, started: Instant) -> Instant {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(at).copied().flatten().map_or(started, |away| away.max(started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_server_has_its_own_absence() {
        let (away, now) = (Away::default(), Instant::from_nanos(0));
        let at = |secs: u64| now + Duration::from_secs(secs);
        assert_eq!(away.until(1, at(1)), at(1), "it was always there");
        away.saw(1, at(10));
        away.saw(1, at(9));
        assert_eq!((away.until(1, at(1)), away.until(1, at(20))), (at(10), at(20)));
        assert_eq!((away.until(0, at(1)), away.until(7, at(1))), (at(1), at(1)), "the others were there");
    }
}
