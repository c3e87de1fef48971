//! SIGHUP and changed files: the configuration is read anew while the node serves.

use crate::live::Live;
use piko_config::ServerOptions;
use piko_config::reload::{Part, Reload};
use std::sync::Arc;

/// Why the configuration is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is time to look whether a file is another one than before.
    File,
    /// Somebody asked by a signal.
    Signal,
}

/// Reads the configuration anew whenever `next` says that it was asked for, or that it is time to look at the files and
/// one has changed. `next` is told whether there are files. Ends when dropped.
pub async fn run(
    options: &ServerOptions,
    parts: Vec<Arc<dyn Part<ServerOptions>>>,
    live: Arc<Live>,
    mut next: impl AsyncFnMut(bool) -> Why,
) {
    let mut reload = Reload::new(&options.start, piko_config::process_env, ServerOptions::from_values);
    for part in parts {
        reload.add(part, options);
    }
    loop {
        let why = next(reload.has_files()).await;
        if why == Why::File && !reload.changed() {
            continue;
        }
        let reason = if why == Why::File { "file changed" } else { "signal" };
        if !reload.has_files() {
            tracing::info!(target: "main", "nothing to reload: there is no configuration file");
            continue;
        }
        match reload.reload() {
            Ok(reloaded) => {
                live.count(true);
                let applied = reloaded.applied.join(", ");
                tracing::info!(target: "main", reason, applied, "configuration reloaded");
                if !reloaded.waiting.is_empty() {
                    let flags = reloaded.waiting.join(", ");
                    tracing::warn!(target: "main", flags, "new values that count after a restart only");
                }
            }
            Err(error) => {
                live.count(false);
                tracing::error!(target: "main", reason, error, "configuration refused; the old one stays");
            }
        }
    }
}
