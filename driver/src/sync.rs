//! Locks in one place, so that another implementation (loom) can take theirs.

use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};

/// A mutex whose poison is ignored: a panic ends the process in release builds, and a test that
/// survives one wants to see the state.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(StdMutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
