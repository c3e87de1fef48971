//! A new configuration for a forwarder that runs: what it logs. Everything else of it is for the next start.

use piko_config::ForwardOptions;
use piko_config::reload::{Part, Reload};
use piko_driver::{LoadError, Stamp};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What reads the configuration again; `None` where it is in no file.
pub(crate) fn configuration(options: &ForwardOptions) -> Option<Arc<dyn piko_driver::Reload>> {
    let mut reload = Reload::new(&options.start, piko_config::process_env, ForwardOptions::from_values);
    reload.add(Arc::new(Log), options);
    let (loaded, has_files) = (stamp(&reload), !reload.files().is_empty());
    let configuration = Configuration { loaded: Mutex::new(loaded), reload: Mutex::new(reload) };
    has_files.then(|| -> Arc<dyn piko_driver::Reload> { Arc::new(configuration) })
}

/// The log of the process.
struct Log;

impl Part<ForwardOptions> for Log {
    fn prepare(&self, options: &ForwardOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let log = options.log.clone();
        Ok(Box::new(move || piko_observe::log::set((&log).into())))
    }
}

/// The file of the configuration, as one of all files that are read again.
struct Configuration {
    /// What it looked like when it was read last, or refused.
    loaded: Mutex<Stamp>,
    reload: Mutex<Reload<ForwardOptions>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(reload: &Reload<ForwardOptions>) -> Stamp {
    Stamp::of(reload.files().iter().map(PathBuf::as_path))
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
        if !reloaded.waiting.is_empty() {
            let flags = reloaded.waiting.join(", ");
            tracing::warn!(target: "main", flags, "new values that count after a restart only");
        }
        Ok(())
    }
}
