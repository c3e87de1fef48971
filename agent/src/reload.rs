//! A new configuration for an agent that runs: its log and its access logs.

use crate::agent::access_options;
use piko_config::AgentOptions;
use piko_config::reload::{Part, Reload};
use piko_driver::{LoadError, Stamp};
use piko_observe::access::AccessLog;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What reads the configuration again, with its name for the log; `None` where there is no file. `logs` are those of the
/// listeners, in their order.
pub(crate) fn part(
    options: &AgentOptions,
    logs: &[Arc<AccessLog>],
) -> Option<(String, Arc<dyn piko_driver::Reload>)> {
    let path = options.start.file()?.to_owned();
    let mut reload = Reload::new(&options.start, piko_config::process_env, AgentOptions::from_values);
    let endpoints = options.listeners.iter().map(|listener| listener.endpoint.clone());
    reload.add(Arc::new(Logs(endpoints.zip(logs.iter().cloned()).collect())), options);
    let loaded = Mutex::new(Stamp::of([path.as_path()]));
    Some(("configuration".to_owned(), Arc::new(Configuration { path, loaded, reload: Mutex::new(reload) })))
}

/// The access log of each endpoint. Of two listeners of one endpoint each takes what the first one says.
struct Logs(Vec<(String, Arc<AccessLog>)>);

impl Part<AgentOptions> for Logs {
    /// Options that could be read can be taken over.
    fn prepare(&self, options: &AgentOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let log = (&options.log).into();
        let mut access = Vec::new();
        for (endpoint, log) in &self.0 {
            // A listener that is gone from the file is there until the restart.
            if let Some(listener) = options.listeners.iter().find(|listener| listener.endpoint == *endpoint) {
                access.push((log.clone(), access_options(listener, options)));
            }
        }
        Ok(Box::new(move || {
            piko_observe::log::set(log);
            access.into_iter().for_each(|(log, options)| log.set(options));
        }))
    }
}

/// The file of an agent, as one of all files that are read again.
struct Configuration {
    path: PathBuf,
    loaded: Mutex<Stamp>,
    reload: Mutex<Reload<AgentOptions>>,
}

impl piko_driver::Reload for Configuration {
    fn stamp(&self) -> Stamp {
        Stamp::of([self.path.as_path()])
    }

    fn loaded(&self) -> Stamp {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        // What changes from here on is another change.
        let stamp = self.stamp();
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = reload.reload().map_err(LoadError::new)?;
        if !reloaded.waiting.is_empty() {
            let flags = reloaded.waiting.join(", ");
            tracing::warn!(target: "main", flags, "new values that count after a restart only");
        }
        Ok(())
    }
}
