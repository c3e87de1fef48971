//! What is said of attempts that are made again, which a busy port would repeat without end.

use piko_core::time::Instant;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the same is not said again of a server.
const EVERY: Duration = Duration::from_secs(60);
/// How long nothing else is said of it.
const OTHERWISE: Duration = Duration::from_secs(5);

/// What was said last of each server, and when. There are as many as the options name.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<String, (String, Instant)>>);

impl Complaints {
    /// Whether it is time to say this of a server; then it counts as said.
    pub(crate) fn is_due(&self, server: String, what: String, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = |last: &str| if last == what { EVERY } else { OTHERWISE };
        let is_due = said.get(&server).is_none_or(|(last, at)| now >= *at + pause(last));
        if is_due {
            said.insert(server, (what, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_soon() {
        let (complaints, start) = (Complaints::default(), Instant::from_millis(0));
        let is_due = |server: &str, what: &str, secs| {
            complaints.is_due(server.to_owned(), what.to_owned(), start + Duration::from_secs(secs))
        };
        assert!(is_due("one", "refused", 0));
        assert!(!is_due("one", "refused", 59));
        assert!(is_due("two", "refused", 59));
        assert!(is_due("one", "refused", 60));
        assert!(!is_due("one", "unknown CA", 64));
        assert!(is_due("one", "unknown CA", 65));
        assert!(!is_due("one", "refused", 66));
    }
}
