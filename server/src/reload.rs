//! The configuration of a node as one of the files that are read anew while it serves, on SIGHUP and when one changes.

use piko_config::ServerOptions;
use piko_config::reload::{Part, Reload, is_read_once};
use piko_driver::Reread;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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

/// The file of the cluster's secret: judged at a reload as at a start, although a node has one secret for as long as it
/// runs. A restart that fails long after the file was broken, or a node that comes back with another secret than its
/// peers, would be a bad way to learn of it.
pub(crate) struct SecretPart {
    in_use: Option<Vec<u8>>,
    /// The secret was in something that can be read once.
    read_once: bool,
    seen: Arc<Mutex<Seen>>,
}

/// What was read since the start.
#[derive(Clone, Default)]
struct Seen {
    /// By the reload that is going on.
    now: Option<Vec<u8>>,
    /// By the last one that was not refused.
    before: Option<Vec<u8>>,
}

impl SecretPart {
    /// `in_use` is the secret of the node, as `options` have it.
    pub(crate) fn new(options: &ServerOptions, in_use: Option<Vec<u8>>) -> Self {
        let read_once = file(options).is_some_and(is_read_once);
        let seen = Seen { now: in_use.clone(), before: in_use.clone() };
        Self { in_use, read_once, seen: Arc::new(Mutex::new(seen)) }
    }
}

fn file(options: &ServerOptions) -> Option<&Path> {
    options.cluster.secret_file.as_deref().map(Path::new)
}

impl Part<ServerOptions> for SecretPart {
    fn files(&self, options: &ServerOptions) -> Vec<PathBuf> {
        file(options).filter(|_| !self.read_once).map(Path::to_owned).into_iter().collect()
    }

    fn prepare(&self, options: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        if self.read_once {
            return Ok(Box::new(|| ()));
        }
        if let Some(path) = file(options).filter(|path| is_read_once(path)) {
            let path = path.display();
            return Err(format!("config: cluster: {path}: no file, but a device, a pipe or a socket"));
        }
        let mut cluster = options.cluster.clone();
        cluster.read_secret().map_err(|error| error.to_string())?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).now = cluster.secret_bytes()?;
        let seen = self.seen.clone();
        Ok(Box::new(move || {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.before = seen.now.clone();
        }))
    }

    fn outdated(&self, options: &ServerOptions) -> Vec<&'static str> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.now != self.in_use && seen.now != seen.before;
        let names_it = file(options).is_some() && is_new && !self.read_once;
        names_it.then_some("cluster.secret-file").into_iter().collect()
    }
}
