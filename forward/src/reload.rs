//! A new configuration for a forwarder that runs: what it logs. Everything else of it is for the next start.

use piko_config::ForwardOptions;
use piko_config::reload::{Part, Reload};
use piko_driver::Reread;
use std::sync::Arc;

/// What reads the configuration again; `None` where it is in no file.
pub(crate) fn configuration(options: &ForwardOptions) -> Option<Arc<dyn piko_driver::Reload>> {
    let mut reload = Reload::new(&options.start, piko_config::process_env, ForwardOptions::from_values);
    reload.add(Arc::new(Log), options);
    let configuration = Reread::new(reload, Reload::files, |reload| {
        reload.reload().map(|reloaded| piko_observe::log::reloaded(&reloaded))
    });
    let has_files = configuration.has_files();
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
