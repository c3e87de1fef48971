//! A runtime's clock without its type.

use crate::runtime::Runtime;
use piko_core::time::Instant;
use std::fmt;
use std::sync::Arc;

/// Tells the time of one runtime; handles carry it where the runtime's type would be in the way.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// The clock of `rt`.
    pub fn of<R: Runtime>(rt: &R) -> Self {
        let rt = rt.clone();
        Self(Arc::new(move || rt.now()))
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
