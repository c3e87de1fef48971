//! The configuration of a node as one of the files that are read anew while it serves, on SIGHUP and when one changes.

use piko_config::ServerOptions;
use piko_config::reload::{Part, Reload};
use piko_driver::{LoadError, Stamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The configuration, and what takes over a new one.
pub(crate) struct Configuration {
    reload: Mutex<Reload<ServerOptions>>,
    /// What the files looked like when they were read last, or refused.
    loaded: Mutex<Stamp>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Configuration {
    /// `options` are those that count so far.
    pub(crate) fn new(
        options: &ServerOptions,
        parts: impl IntoIterator<Item = Arc<dyn Part<ServerOptions>>>,
    ) -> Self {
        let mut reload = Reload::new(&options.start, piko_config::process_env, ServerOptions::from_values);
        for part in parts {
            reload.add(part, options);
        }
        let loaded = Mutex::new(stamp(&reload));
        Self { reload: Mutex::new(reload), loaded }
    }
}

fn stamp(reload: &Reload<ServerOptions>) -> Stamp {
    Stamp::of(reload.files().iter().map(std::path::PathBuf::as_path))
}

impl piko_driver::Reload for Configuration {
    fn stamp(&self) -> Stamp {
        stamp(&lock(&self.reload))
    }

    fn loaded(&self) -> Stamp {
        lock(&self.loaded).clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        let mut reload = lock(&self.reload);
        // What changes from here on is another change.
        let before = stamp(&reload);
        *lock(&self.loaded) = before;
        let reloaded = reload.reload().map_err(LoadError::new)?;
        if !reloaded.applied.is_empty() {
            tracing::info!(target: "main", flags = reloaded.applied.join(", "), "new values count");
        }
        if !reloaded.opened.is_empty() {
            let flags = reloaded.opened.join(", ");
            tracing::warn!(target: "main", flags, "what kept others out is gone: everybody is let in from here on");
        }
        if !reloaded.waiting.is_empty() {
            let flags = reloaded.waiting.join(", ");
            tracing::warn!(target: "main", flags, "new values that count after a restart only");
        }
        Ok(())
    }
}
