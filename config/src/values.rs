//! The values of one start, each with where it came from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env::{self, Env};
use crate::error::UsageError;
use crate::file::{File, Settings};
use crate::table::{self, Effect, Flag, Program, Verb, Yaml, flags};
use crate::value::{BindAddr, GoDuration, Value};

/// What the program was told to do, with its arguments.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// `agent` alone.
    Agent,
    /// `agent http`.
    AgentHttp {
        /// The endpoint, as given.
        endpoint: String,
        /// The service's address, as given.
        addr: String,
    },
    /// `agent start`.
    AgentStart,
    /// `agent tcp`.
    AgentTcp {
        /// The endpoint, as given.
        endpoint: String,
        /// The service's address, as given.
        addr: String,
    },
    /// `bench http`.
    #[cfg(feature = "server")]
    BenchHttp,
    /// `forward start`.
    #[cfg(feature = "server")]
    ForwardStart,
    /// `forward tcp`.
    #[cfg(feature = "server")]
    ForwardTcp {
        /// Where to listen, as given.
        addr: String,
        /// The endpoint, as given.
        endpoint: String,
    },
    /// `server`.
    #[cfg(feature = "server")]
    Server,
    /// `server status …`.
    #[cfg(feature = "server")]
    Status,
    /// `test cluster`.
    #[cfg(feature = "server")]
    TestCluster,
}

impl Command {
    /// Without its arguments.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Agent => Verb::Agent,
            Self::AgentHttp { .. } => Verb::AgentHttp,
            Self::AgentStart => Verb::AgentStart,
            Self::AgentTcp { .. } => Verb::AgentTcp,
            #[cfg(feature = "server")]
            Self::BenchHttp => Verb::BenchHttp,
            #[cfg(feature = "server")]
            Self::ForwardStart => Verb::ForwardStart,
            #[cfg(feature = "server")]
            Self::ForwardTcp { .. } => Verb::ForwardTcp,
            #[cfg(feature = "server")]
            Self::Server => Verb::Server,
            #[cfg(feature = "server")]
            Self::Status => Verb::Status,
            #[cfg(feature = "server")]
            Self::TestCluster => Verb::TestCluster,
        }
    }
}

impl fmt::Debug for Command {
    /// Without its arguments, as an address may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verb().fmt(f)
    }
}

/// Where a value came from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The table.
    Default,
    /// The configuration file.
    File,
    /// The flag's variable.
    Environment,
    /// The command line.
    Flag,
}

/// The resolved values of all flags of a program, read by name.
///
/// The readers panic on a name that the table does not have and on a reader of the wrong kind: both are mistakes of the
/// program, never of its user, and a test reads every option of every program once.
#[derive(Clone, PartialEq)]
pub struct Values {
    start: Start,
    /// In the order of the table, which is that of the names.
    entries: Vec<Entry>,
    notices: Vec<String>,
    /// What the file says of each entry of `listeners` or `ports`.
    rows: Vec<Vec<(&'static str, Value)>>,
    /// The entry whose settings these are, for messages.
    row: Option<usize>,
    /// There is a file, and it says nothing at all.
    #[cfg(feature = "yaml")]
    blank_file: bool,
}

/// What a program was started with. [`Values::resolve`] can be asked again with it, and reads the file anew.
#[derive(Clone, PartialEq)]
pub struct Start {
    command: Command,
    /// Sorted by name, those of one name in the order of the command line.
    given: Vec<(&'static str, String)>,
    file: Option<PathBuf>,
}

impl Start {
    /// The configuration file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The values of the same command line today.
    ///
    /// # Errors
    ///
    /// As [`Values::resolve`].
    pub fn values(&self, env: Env<'_>) -> Result<Values, UsageError> {
        Values::resolve(self.command.clone(), &self.given, env)
    }
}

impl fmt::Debug for Start {
    /// Without what was given, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("command", &self.command)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Entry {
    flag: &'static Flag,
    source: Source,
    value: Value,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.flag.name, self.source, &self.value) == (other.flag.name, other.source, &other.value)
    }
}

impl Values {
    /// Puts the layers together: what was given by flag, then variables, then the file that `config.path` names, then
    /// defaults. A flag given twice counts as its last value; lists collect. Variables of flags that the command does
    /// not take are ignored, as they may be there for another command.
    ///
    /// `given` holds names without dashes in the order of the command line.
    ///
    /// # Errors
    ///
    /// A value that is none of its flag's kind, a file that cannot be read or understood, a flag or key that is refused
    /// whatever it says.
    pub fn resolve(command: Command, given: &[(&str, String)], env: Env<'_>) -> Result<Self, UsageError> {
        let verb = command.verb();
        let program = verb.program();
        let taken = || flags(program).iter().filter(|flag| flag.belongs_to(verb));
        let is_taken = |name: &str| taken().any(|flag| flag.name == name);
        // Of several, the same one is told whichever front collected them.
        if let Some(name) = given.iter().map(|(name, _)| *name).filter(|name| !is_taken(name)).min() {
            // Both fronts take every flag of the program in front of a command.
            return Err(UsageError::usage(format!("--{name}: no flag of this command")));
        }
        // In the order of the table, which is that of the names: a sort of its own would cost the small agent 4 KiB.
        let mut known = Vec::with_capacity(given.len());
        for flag in taken() {
            let texts = given.iter().filter(|(name, _)| *name == flag.name);
            known.extend(texts.map(|(_, text)| (flag.name, text.clone())));
        }
        let layers = Layers { verb, given: &known, env };
        let file = layers.file()?;
        let mut values = Self {
            entries: Vec::new(),
            notices: Vec::new(),
            rows: Vec::new(),
            row: None,
            #[cfg(feature = "yaml")]
            blank_file: file.is_blank,
            start: Start { command, given: Vec::new(), file: file.path },
        };
        for flag in flags(program) {
            let in_file = match cfg!(feature = "yaml") {
                true => file.settings.iter().find(|(of, _)| of.name == flag.name).map(|(_, value)| value),
                false => None,
            };
            let entry = layers.entry(flag, in_file)?;
            values.judge(&entry)?;
            values.entries.push(entry);
        }
        // A build that reads no files carries nothing for their entries.
        if cfg!(feature = "yaml") {
            values.keep_rows(file.entries)?;
        }
        // Nobody asks again in a build that reads no files.
        if cfg!(feature = "yaml") {
            values.start.given = known;
        }
        Ok(values)
    }

    /// The entries of the list of the file.
    fn keep_rows(&mut self, entries: Vec<Settings>) -> Result<(), UsageError> {
        for (row, settings) in entries.into_iter().enumerate() {
            self.row = Some(row);
            let mut kept = Vec::new();
            for (flag, value) in settings {
                self.judge(&Entry { flag, source: Source::File, value: value.clone() })?;
                kept.push((flag.name, value));
            }
            self.rows.push(kept);
        }
        self.row = None;
        Ok(())
    }

    /// What the user has to hear of a value because of the flag that it belongs to.
    fn judge(&mut self, entry: &Entry) -> Result<(), UsageError> {
        if entry.source == Source::Default {
            return Ok(());
        }
        if entry.flag.guards() && entry.value.protects_nothing() {
            let (is_empty, origin) = (entry.value.is_nothing(), self.origin_of(entry));
            match entry.source {
                Source::Flag if is_empty => {
                    let message = "an empty value protects nothing; leave the flag out where that is meant";
                    return Err(UsageError::usage(format!("{origin}: {message}")));
                }
                // What a file writes out as empty is off, as in Go.
                _ if is_empty => {}
                source => {
                    let message = "white space alone protects nothing";
                    return Err(match cfg!(feature = "yaml") && source == Source::File {
                        true => UsageError::located(&format!("config: {message} [{origin}]"), true),
                        false => UsageError::usage(format!("{origin}: {message}")),
                    });
                }
            }
        }
        match entry.flag.effect {
            Effect::Works => {}
            Effect::None(remark) => self.notices.push(format!("{}: {remark}", self.origin_of(entry))),
            // What is written out as empty asks for nothing, as in Go.
            Effect::Refused(_) if entry.value.is_nothing() => {}
            Effect::Refused(reason) => {
                let origin = self.origin_of(entry);
                return Err(match cfg!(feature = "yaml") && entry.source == Source::File {
                    true => UsageError::located(&format!("config: {reason} [{origin}]"), true),
                    false => UsageError::usage(format!("{origin}: {reason}")),
                });
            }
        }
        Ok(())
    }

    /// Whether there is a file with nothing in it but comments.
    #[cfg(feature = "yaml")]
    pub(crate) fn has_blank_file(&self) -> bool {
        self.blank_file
    }

    /// How many entries `listeners` or `ports` has in the file.
    pub fn rows(&self) -> usize {
        // A build that reads no files carries nothing for their entries.
        if cfg!(feature = "yaml") { self.rows.len() } else { 0 }
    }

    /// Whether the file says the same in each entry of `listeners` or `ports`.
    #[cfg(feature = "yaml")]
    pub(crate) fn has_rows_of(&self, other: &Self) -> bool {
        self.rows == other.rows
    }

    /// The values of one entry of `listeners` or `ports`: what it says itself, and defaults for the rest of what such
    /// an entry can say.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    pub fn of_row(&self, row: usize) -> Self {
        let settings = &self.rows[row];
        let mut values = self.clone();
        values.row = Some(row);
        for entry in &mut values.entries {
            if let Yaml::Listener | Yaml::Port = entry.flag.yaml {
                let given = settings.iter().find(|(name, _)| *name == entry.flag.name);
                (entry.source, entry.value) = match given {
                    Some((_, value)) => (Source::File, value.clone()),
                    None => (Source::Default, default_of(entry.flag)),
                };
            }
        }
        values
    }

    /// Whether these are the values of an entry of the file.
    pub(crate) fn in_row(&self) -> bool {
        cfg!(feature = "yaml") && self.row.is_some()
    }

    /// What these values were made of.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The defaults alone.
    pub fn defaults(command: Command) -> Self {
        Self::resolve(command, &[], &|_| None).expect("a test parses every default of the tables")
    }

    /// Words that Go ignores are ignored here too, but not in silence.
    #[cfg(feature = "clap")]
    pub(crate) fn notice_ignored_word(&mut self, word: &str) {
        self.notices.push(format!(
            "ignored argument: {} (a switch takes its value as --flag=value)",
            crate::error::quoted(word)
        ));
    }

    /// What the program was told to do.
    pub fn command(&self) -> &Command {
        &self.start.command
    }

    /// The program these are for.
    pub fn program(&self) -> Program {
        self.start.command.verb().program()
    }

    /// What the user should hear at the start, one line each: flags without effect, words that were ignored.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Where the value came from.
    pub fn source(&self, key: &str) -> Source {
        self.entry(key).source
    }

    /// The name to blame for a bad value: the flag with its dashes, the variable, or the file and its key.
    pub fn origin(&self, key: &str) -> String {
        self.origin_of(self.entry(key))
    }

    fn origin_of(&self, entry: &Entry) -> String {
        let flag = entry.flag;
        match entry.source {
            Source::Environment => flag.env(),
            Source::Default | Source::File
                if cfg!(feature = "yaml") && (entry.source == Source::File || self.in_row()) =>
            {
                let file = self.start.file.as_deref().unwrap_or(Path::new("")).display();
                let at = self.row.map_or_else(String::new, |row| row.to_string());
                let key = flag.yaml_path().unwrap_or_default();
                format!("{file}: {}", key.replacen("[]", &format!("[{at}]"), 1))
            }
            _ => format!("--{}", flag.name),
        }
    }

    /// An address to listen on; `None` when it was set to nothing.
    pub fn bind(&self, key: &str) -> Option<&BindAddr> {
        match self.value(key) {
            Value::Bind(addr) => addr.as_ref(),
            other => wrong_kind(key, other),
        }
    }

    /// A length of time; zero when it is negative.
    pub fn duration(&self, key: &str) -> Duration {
        self.go_duration(key).saturating()
    }

    /// A length of time, `None` when zero or negative: no limit.
    pub fn optional_duration(&self, key: &str) -> Option<Duration> {
        self.go_duration(key).positive()
    }

    /// A length of time with its sign.
    pub fn go_duration(&self, key: &str) -> GoDuration {
        match self.value(key) {
            Value::Duration(duration) => *duration,
            other => wrong_kind(key, other),
        }
    }

    /// A switch.
    pub fn flag(&self, key: &str) -> bool {
        match self.value(key) {
            Value::Bool(on) => *on,
            other => wrong_kind(key, other),
        }
    }

    /// A decimal number.
    #[cfg(feature = "server")]
    pub fn float(&self, key: &str) -> f64 {
        match self.value(key) {
            Value::Float(number) => *number,
            other => wrong_kind(key, other),
        }
    }

    /// A whole number.
    pub fn int(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::Int(number) => *number,
            other => wrong_kind(key, other),
        }
    }

    /// A list.
    pub fn list(&self, key: &str) -> &[String] {
        match self.value(key) {
            Value::List(entries) => entries,
            other => wrong_kind(key, other),
        }
    }

    /// A number of bytes, negative where that was given.
    pub fn size(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::Size(bytes) => *bytes,
            other => wrong_kind(key, other),
        }
    }

    /// Text; secrets too.
    pub fn text(&self, key: &str) -> &str {
        match self.value(key) {
            Value::Text(text) => text,
            other => wrong_kind(key, other),
        }
    }

    pub(crate) fn value(&self, key: &str) -> &Value {
        &self.entry(key).value
    }

    fn entry(&self, key: &str) -> &Entry {
        let found = self.entries.binary_search_by(|entry| entry.flag.name.cmp(key));
        match found.ok().and_then(|at| self.entries.get(at)) {
            Some(entry) => entry,
            None => panic!("no flag is called {key}"),
        }
    }
}

/// The table and the reader disagree. The value stays out of the message, as it may be a secret.
fn wrong_kind(key: &str, _: &Value) -> ! {
    panic!("{key} is of another kind")
}

fn default_of(flag: &Flag) -> Value {
    flag.kind.parse(flag.default).expect("a test parses every default of the tables")
}

/// All layers but the file, which is found through them.
struct Layers<'l> {
    verb: Verb,
    given: &'l [(&'static str, String)],
    env: Env<'l>,
}

impl Layers<'_> {
    /// What the file says that `config.path` names; nothing without one.
    fn file(&self) -> Result<File, UsageError> {
        if !cfg!(feature = "yaml") {
            return Ok(File::default());
        }
        let program = self.verb.program();
        let value = |name| match table::find(program, name) {
            Some(flag) if flag.effect == Effect::Works => {
                self.entry(flag, None).map(|entry| Some(entry.value))
            }
            _ => Ok(None),
        };
        match (value("config.path")?, value("config.expand-env")?) {
            (Some(Value::Text(path)), Some(Value::Bool(expand))) if !path.is_empty() => {
                File::load(program, &path, expand, self.env)
            }
            _ => Ok(File::default()),
        }
    }

    fn entry(&self, flag: &'static Flag, in_file: Option<&Value>) -> Result<Entry, UsageError> {
        let mut from_flag: Option<Value> = None;
        for (_, text) in self.given.iter().filter(|(name, _)| *name == flag.name) {
            let bad = || UsageError::bad_value(&format!("--{}", flag.name), flag, text);
            let value = flag.kind.parse(text).ok_or_else(bad)?;
            match (&mut from_flag, value) {
                (Some(Value::List(entries)), Value::List(more)) => entries.extend(more),
                (slot, value) => *slot = Some(value),
            }
        }
        if let Some(value) = from_flag {
            return Ok(Entry { flag, source: Source::Flag, value });
        }
        if flag.belongs_to(self.verb) {
            if let Some(text) = env::text_of(flag, self.env)? {
                let value =
                    flag.kind.parse(&text).ok_or_else(|| UsageError::bad_value(&flag.env(), flag, &text))?;
                return Ok(Entry { flag, source: Source::Environment, value });
            }
        }
        Ok(match in_file {
            Some(value) if cfg!(feature = "yaml") => {
                Entry { flag, source: Source::File, value: value.clone() }
            }
            _ => Entry { flag, source: Source::Default, value: default_of(flag) },
        })
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"command", &self.start.command);
        for entry in &self.entries {
            // A URL may have a password in it.
            let has_password = |text: &String| text.contains('@') && text.contains("://");
            let hidden = match &entry.value {
                Value::Text(text) => has_password(text),
                Value::List(entries) => entries.iter().any(has_password),
                _ => false,
            };
            if entry.flag.secret || hidden {
                map.entry(&entry.flag.name, &format_args!("[redacted]"));
            } else {
                map.entry(&entry.flag.name, &entry.value);
            }
        }
        map.finish()
    }
}

#[cfg(all(test, feature = "server"))]
mod tests;
