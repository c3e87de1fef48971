//! The configuration of a node as one of the files that are read anew while it serves, on SIGHUP and when one changes.

use piko_config::ServerOptions;
use piko_config::reload::{Part, Reload};
use piko_driver::Reread;
use std::sync::Arc;

/// The configuration, and the parts that take over a new one. `options` are those that count so far.
pub(crate) fn configuration(
    options: &ServerOptions,
    parts: impl IntoIterator<Item = Arc<dyn Part<ServerOptions>>>,
) -> Arc<dyn piko_driver::Reload> {
    let mut reload = Reload::new(&options.start, piko_config::process_env, ServerOptions::from_values);
    for part in parts {
        reload.add(part, options);
    }
    Arc::new(Reread::new(reload, Reload::files, |reload| {
        reload.reload().map(|reloaded| piko_observe::log::reloaded(&reloaded))
    }))
}
