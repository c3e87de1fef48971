//! A new configuration for a program that runs.
//!
//! ```text
//! SIGHUP, or a file that changed ──► Reload::reload ──► values of the same command line, the file read anew
//!                                                         │ bad: refused with the reason, nothing changes
//!                                                         ▼
//!                        Part::prepare of every part ──► all agree? ──► what they prepared is done
//! ```
//!
//! A part is whoever can take over something while it runs: the log, an access log, limits, certificates. Nothing here
//! waits or knows a runtime: the program asks [`Reload::changed`] every now and then.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::UsageError;
use crate::table::flags;
use crate::values::{Start, Values};

/// Whoever can take over something of new options while it runs. `O` is [`crate::ServerOptions`] or
/// [`crate::AgentOptions`].
pub trait Part<O>: Send + Sync {
    /// Files whose change counts as one of the configuration, such as certificates: asked for after every change.
    fn files(&self, _options: &O) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Judges new options, which differ from those before in any way or not at all (a file of [`Self::files`] may be new).
    /// Changes nothing; what it returns does, and cannot fail.
    ///
    /// # Errors
    ///
    /// The reason why these options cannot be, in one line. No part takes them over then.
    fn prepare(&self, options: &O) -> Result<Box<dyn FnOnce() + Send>, String>;
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The flags whose new value counts, by name. Empty when only a file that a part reads was new.
    pub applied: Vec<&'static str>,
    /// The flags whose new value counts after a restart only, by name, and the lists (`listeners`, `ports`).
    pub waiting: Vec<&'static str>,
}

/// What a file looked like: device and inode, length, and both times. Nothing when it cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// Symbolic links are followed, so that a link to another file is a change; Kubernetes swaps them.
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt;
            (about.dev(), about.ino())
        };
        #[cfg(not(unix))]
        let file = (0, 0);
        Some(Self { file, length: about.len(), modified: about.modified().ok() })
    }
}

/// A file that is watched.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What was read last, or refused.
    known: Option<Stamp>,
    /// What it looked like at the last look, when that was something else.
    latest: Option<Stamp>,
}

/// The configuration of a program that runs, and all that can take over a new one.
pub struct Reload<O> {
    start: Start,
    env: fn(&str) -> Option<std::ffi::OsString>,
    read: fn(&Values) -> Result<O, UsageError>,
    parts: Vec<Arc<dyn Part<O>>>,
    values: Option<Values>,
    watched: Vec<Watched>,
}

impl<O> Reload<O> {
    /// `start` is that of the options that count so far, `read` makes options of values, such as
    /// [`crate::ServerOptions::from_values`]; `env` is [`crate::process_env`] but for tests.
    pub fn new(
        start: &Start,
        env: fn(&str) -> Option<std::ffi::OsString>,
        read: fn(&Values) -> Result<O, UsageError>,
    ) -> Self {
        Self {
            start: start.clone(),
            env,
            read,
            parts: Vec::new(),
            values: start.values(&env).ok(),
            watched: Vec::new(),
        }
    }

    /// Adds somebody to be asked and told. `options` are those that count so far.
    pub fn add(&mut self, part: Arc<dyn Part<O>>, options: &O) {
        self.parts.push(part);
        self.watch(options);
    }

    /// Whether there is any file to look at: the configuration, or one that a part reads.
    pub fn has_files(&self) -> bool {
        self.start.file().is_some() || !self.watched.is_empty()
    }

    /// Whether a file has changed since it was read last, and has been as it is since the last look: a file that is
    /// being written is left alone. Ask every quarter of a second or so.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.watched {
            let stamp = Stamp::of(&file.path);
            changed |= stamp != file.known && stamp == file.latest;
            file.latest = stamp;
        }
        changed
    }

    /// Reads everything anew, and has all parts take it over if all agree.
    ///
    /// # Errors
    ///
    /// What is wrong with the new configuration, in one line. Nothing has changed then, and the same files are not
    /// looked at again before they change.
    pub fn reload(&mut self) -> Result<Reloaded, String> {
        // What changes from here on is seen at the next look.
        for file in &mut self.watched {
            file.known = Stamp::of(&file.path);
            file.latest = file.known;
        }
        let values = self.start.values(&self.env).map_err(|error| error.to_string())?;
        let options = (self.read)(&values).map_err(|error| error.to_string())?;
        let prepared = self.parts.iter().map(|part| part.prepare(&options));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        prepared.into_iter().for_each(|take_over| take_over());
        let reloaded = self.values.as_ref().map(|before| difference(before, &values)).unwrap_or_default();
        self.values = Some(values);
        self.watch(&options);
        Ok(reloaded)
    }

    /// Watches what has to be watched under these options, and nothing else.
    fn watch(&mut self, options: &O) {
        let mut paths: Vec<PathBuf> = self.start.file().map(Path::to_owned).into_iter().collect();
        paths.extend(self.parts.iter().flat_map(|part| part.files(options)));
        paths.sort();
        paths.dedup();
        let before = std::mem::take(&mut self.watched);
        self.watched = paths
            .into_iter()
            .map(|path| match before.iter().find(|file| file.path == path) {
                Some(file) => Watched { path, known: file.known, latest: file.latest },
                None => {
                    let known = Stamp::of(&path);
                    Watched { path, known, latest: known }
                }
            })
            .collect();
    }
}

impl<O> fmt::Debug for Reload<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("watched", &self.watched).finish_non_exhaustive()
    }
}

/// What two configurations of one program do not have in common.
fn difference(one: &Values, other: &Values) -> Reloaded {
    let mut reloaded = Reloaded::default();
    for flag in flags(one.program()).iter().filter(|flag| one.value(flag.name) != other.value(flag.name)) {
        match flag.reloadable {
            true => reloaded.applied.push(flag.name),
            false => reloaded.waiting.push(flag.name),
        }
    }
    let names = |values: &Values, row| {
        let values = values.of_row(row);
        let told = flags(values.program()).iter().filter(|flag| !flag.reloadable && flag.in_list());
        told.map(|flag| values.value(flag.name).clone()).collect::<Vec<_>>()
    };
    if one.rows() != other.rows() || (0..one.rows()).any(|row| names(one, row) != names(other, row)) {
        reloaded.waiting.push("listeners");
    }
    for flag in flags(one.program()).iter().filter(|flag| flag.reloadable && flag.in_list()) {
        let rows = one.rows().min(other.rows());
        if (0..rows).any(|row| one.of_row(row).value(flag.name) != other.of_row(row).value(flag.name)) {
            reloaded.applied.push(flag.name);
        }
    }
    reloaded
}

#[cfg(all(test, feature = "server"))]
mod tests;
