//! The clock: nanoseconds since the process first asked.

use piko_core::time::Instant;
use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant};

/// One epoch per process, so that the times of all threads compare.
fn epoch() -> StdInstant {
    static EPOCH: OnceLock<StdInstant> = OnceLock::new();
    *EPOCH.get_or_init(StdInstant::now)
}

pub(crate) fn now() -> Instant {
    Instant::ZERO + epoch().elapsed()
}

/// The operating system's idea of `at`. `None` when it lies too far away to be expressed, which is to say
/// that it never comes.
pub(crate) fn to_std(at: Instant) -> Option<StdInstant> {
    if at == Instant::FAR {
        return None;
    }
    epoch().checked_add(Duration::from_nanos(at.as_nanos()))
}
