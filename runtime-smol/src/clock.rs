//! The clock: nanoseconds since the process first asked.

use piko_core::time::Instant;
use std::sync::OnceLock;
use std::time::Instant as StdInstant;

/// One epoch per process, so that the times of all threads compare.
fn epoch() -> StdInstant {
    static EPOCH: OnceLock<StdInstant> = OnceLock::new();
    *EPOCH.get_or_init(StdInstant::now)
}

pub(crate) fn now() -> Instant {
    Instant::ZERO + epoch().elapsed()
}
