//! A new configuration for a forwarder that runs: what it logs, and its token. Everything else of it is for the next start.

use piko_client::Dialer;
use piko_config::reload::{Part, Reload};
use piko_config::{ForwardOptions, Secret};
use piko_driver::{Reread, Runtime};
use std::path::PathBuf;
use std::sync::Arc;

/// What reads the configuration again, with the file of the token; `None` where there is no file.
pub(crate) fn configuration<R: Runtime>(
    options: &ForwardOptions,
    dialer: &Dialer<R>,
) -> Option<Arc<dyn piko_driver::Reload>> {
    let mut reload = Reload::new(&options.start, piko_config::process_env, ForwardOptions::from_values);
    reload.add(Arc::new(Live(dialer.clone())), options);
    let configuration = Reread::new(reload, Reload::files, |reload| {
        reload.reload().map(|reloaded| piko_observe::log::reloaded(&reloaded))
    });
    let has_files = configuration.has_files();
    has_files.then(|| -> Arc<dyn piko_driver::Reload> { Arc::new(configuration) })
}

/// The log of the process, and the dialer of all ports.
struct Live<R>(Dialer<R>);

impl<R: Runtime> Part<ForwardOptions> for Live<R> {
    /// The token out of a file is part of the options.
    fn files(&self, options: &ForwardOptions) -> Vec<PathBuf> {
        options.token_file.iter().cloned().collect()
    }

    fn prepare(&self, options: &ForwardOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let (log, token, dialer) = (options.log.clone(), options.token.clone(), self.0.clone());
        Ok(Box::new(move || {
            piko_observe::log::set((&log).into());
            // Refused with the configuration when it cannot be sent.
            let _ = dialer.set_token(token.as_ref().map(Secret::reveal).map(str::to_owned));
        }))
    }
}
