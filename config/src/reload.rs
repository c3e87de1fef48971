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
//! waits or knows a runtime: the program watches [`Reload::files`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::UsageError;
use crate::table::{Effect, Flag, Yaml, flags};
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

    /// Whether the new value of a flag that can be taken over counts after a restart only, under these options. Asked
    /// before they are taken over.
    fn is_waiting(&self, _options: &O, _flag: &str) -> bool {
        false
    }

    /// Flags that name files in which there is something new, which counts after a restart only. Asked once these options
    /// were [prepared](Self::prepare), and before they are taken over.
    fn outdated(&self, _options: &O) -> Vec<&'static str> {
        Vec::new()
    }
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The flags whose new value counts, by name. Empty when only a file that a part reads was new.
    pub applied: Vec<&'static str>,
    /// Those of [`Self::applied`] that kept somebody out and are empty, by name.
    pub opened: Vec<&'static str>,
    /// The flags that differ from what runs and count after a restart only, by name, as far as this reload brought that
    /// about; `ports` where these are others.
    pub waiting: Vec<&'static str>,
}

/// The configuration of a program that runs, and all that can take over a new one.
pub struct Reload<O> {
    start: Start,
    env: fn(&str) -> Option<std::ffi::OsString>,
    read: fn(&Values) -> Result<O, UsageError>,
    parts: Vec<Arc<dyn Part<O>>>,
    /// Those of the last reload, and those of the start, which is what runs of all that waits for a restart.
    values: Option<(Values, Values)>,
    /// What is read at every reload.
    files: Vec<PathBuf>,
    /// The configuration was in something that can be read once.
    read_once: bool,
}

impl<O> Reload<O> {
    /// `start` is that of the options that count so far, `read` makes options of values, such as
    /// [`crate::ServerOptions::from_values`]; `env` is [`crate::process_env`] but for tests.
    pub fn new(
        start: &Start,
        env: fn(&str) -> Option<std::ffi::OsString>,
        read: fn(&Values) -> Result<O, UsageError>,
    ) -> Self {
        let read_once = start.file().is_some_and(is_read_once);
        Self {
            start: start.clone(),
            env,
            read,
            parts: Vec::new(),
            // To name what differs later. A pipe has nothing for a second reader, who would wait for ever.
            values: match read_once {
                true => None,
                false => start.values(&env).ok().map(|values| (values.clone(), values)),
            },
            files: start.file().map(Path::to_owned).into_iter().collect(),
            read_once,
        }
    }

    /// Adds somebody to be asked and told. `options` are those that count so far.
    pub fn add(&mut self, part: Arc<dyn Part<O>>, options: &O) {
        self.parts.push(part);
        self.look_up_files(options);
    }

    /// What is read at a reload: the configuration and what the parts read, or nothing at all.
    ///
    /// A configuration out of a pipe can be read once, so it is left alone from then on, with all that it names.
    pub fn files(&self) -> &[PathBuf] {
        if self.read_once { &[] } else { &self.files }
    }

    /// Reads everything anew, and has all parts take it over if all agree. Does nothing where there are no
    /// [`Self::files`].
    ///
    /// # Errors
    ///
    /// What is wrong with the new configuration, in one line. Nothing has changed then.
    pub fn reload(&mut self) -> Result<Reloaded, String> {
        if self.files().is_empty() {
            return Ok(Reloaded::default());
        }
        if let Some(path) = self.start.file().filter(|path| is_read_once(path)) {
            let path = path.display();
            // What was a file would have to be waited for, or says nothing, as a device in its place does.
            return Err(format!("read file: {path}: no file any more, but a device, a pipe or a socket"));
        }
        let values = self.start.values(&self.env).map_err(|error| error.to_string())?;
        let had_content = self.values.as_ref().is_some_and(|(before, _)| !before.has_blank_file());
        if had_content && values.has_blank_file() {
            let path = self.start.file().unwrap_or(Path::new("")).display();
            // All defaults at once are hardly what somebody wants of a program that runs.
            return Err(format!(
                "read file: {path}: nothing but comments, where there was a configuration; {{}} asks for all defaults"
            ));
        }
        let options = (self.read)(&values).map_err(|error| error.to_string())?;
        let prepared = self.parts.iter().map(|part| part.prepare(&options));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        let is_waiting = |flag: &Flag| {
            !flag.reloadable || self.parts.iter().any(|part| part.is_waiting(&options, flag.name))
        };
        let mut reloaded = match &self.values {
            Some((before, running)) => difference(before, running, &values, is_waiting),
            None => Reloaded::default(),
        };
        reloaded.waiting.extend(self.parts.iter().flat_map(|part| part.outdated(&options)));
        reloaded.waiting.sort_unstable();
        reloaded.waiting.dedup();
        prepared.into_iter().for_each(|take_over| take_over());
        let running = self.values.take().map_or_else(|| values.clone(), |(_, running)| running);
        self.values = Some((values, running));
        self.look_up_files(&options);
        Ok(reloaded)
    }

    fn look_up_files(&mut self, options: &O) {
        let mut files: Vec<PathBuf> = self.start.file().map(Path::to_owned).into_iter().collect();
        files.extend(self.parts.iter().flat_map(|part| part.files(options)));
        files.sort();
        files.dedup();
        self.files = files;
    }
}

impl<O> fmt::Debug for Reload<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Whether there is something at `path` that can be read once, such as a pipe. A directory is not such a thing but a
/// mistake, which reading it tells.
pub fn is_read_once(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir())
}

/// What is new in `now` since `before`. What waits for a restart is news only where it differs from what runs, too.
fn difference(
    before: &Values,
    running: &Values,
    now: &Values,
    is_waiting: impl Fn(&Flag) -> bool,
) -> Reloaded {
    let (new, unlike) = (differing(before, now), differing(running, now));
    let (waiting, applied): (Vec<_>, Vec<&Flag>) = new.into_iter().partition(|flag| is_waiting(flag));
    // What has no effect waits for nothing, and counts for nothing.
    let works = |flag: &&&Flag| !matches!(flag.effect, Effect::None(_));
    let names = |flags: Vec<&Flag>| flags.iter().filter(works).map(|flag| flag.name).collect::<Vec<_>>();
    let waiting = waiting.into_iter().filter(|flag| unlike.iter().any(|other| other.name == flag.name));
    let opened = applied.iter().filter(|flag| flag.guards() && now.value(flag.name).protects_nothing());
    let mut reloaded = Reloaded {
        opened: names(opened.copied().collect()),
        waiting: names(waiting.collect()),
        applied: names(applied),
    };
    let has_ports = flags(now.program()).iter().any(|flag| flag.yaml == Yaml::Port);
    if has_ports && !now.has_rows_of(before) && !now.has_rows_of(running) {
        reloaded.waiting.push("ports");
    }
    reloaded
}

/// The flags that two configurations of one program do not have in common, by name. Listeners, which come and go while an
/// agent runs and are told of then, are compared where there are as many; ports are not, since they are as a whole.
fn differing(one: &Values, other: &Values) -> Vec<&'static Flag> {
    let table = flags(one.program());
    let mut differing: Vec<&Flag> = Vec::new();
    differing.extend(table.iter().filter(|flag| one.value(flag.name) != other.value(flag.name)));
    for row in (0..one.rows()).filter(|_| one.rows() == other.rows()) {
        let (one, other) = (one.of_row(row), other.of_row(row));
        let in_list = table.iter().filter(|flag| flag.yaml == Yaml::Listener);
        differing.extend(in_list.filter(|flag| one.value(flag.name) != other.value(flag.name)));
    }
    differing.sort_by_key(|flag| flag.name);
    differing.dedup_by_key(|flag| flag.name);
    differing
}

#[cfg(all(test, feature = "server"))]
mod tests;
