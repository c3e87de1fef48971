//! A value that may be another one later.

use crate::sync::Mutex;
use std::sync::Arc;

/// Shared by all its clones: a value that a running program may replace, such as the limits of connections that begin.
/// Whoever needs it for longer keeps the copy that [`Self::get`] returned.
#[derive(Debug, Default)]
pub struct Setting<T>(Arc<Mutex<T>>);

impl<T> Clone for Setting<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> From<T> for Setting<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }
}

impl<T: Clone> Setting<T> {
    /// The value at the moment.
    #[must_use]
    pub fn get(&self) -> T {
        self.0.lock().clone()
    }

    /// Another value from here on.
    pub fn set(&self, value: T) {
        *self.0.lock() = value;
    }
}
