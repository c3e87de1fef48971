//! The values of one start, each with where it came from.

use std::fmt;
use std::time::Duration;

use crate::env::{self, Env};
use crate::error::UsageError;
use crate::table::{self, Effect, Flag, Program, Verb, flags};
use crate::value::{BindAddr, GoDuration, Value};

/// What the program was told to do, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `server`.
    #[cfg(feature = "server")]
    Server,
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
            Self::Server => Verb::Server,
        }
    }
}

/// Where a value came from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The table.
    Default,
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
    command: Command,
    /// In the order of the table, which is that of the names.
    entries: Vec<Entry>,
    notices: Vec<String>,
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
    /// Puts the layers together: what was given by flag, then variables, then defaults. A flag given twice counts as its last
    /// value; lists collect. Variables of flags that the command does not take are ignored, as they may be there for
    /// another command.
    ///
    /// `given` holds names without dashes in the order of the command line.
    pub fn resolve(command: Command, given: &[(&str, String)], env: Env<'_>) -> Result<Self, UsageError> {
        let verb = command.verb();
        let taken = |name: &str| table::find(verb.program(), name).is_some_and(|flag| flag.belongs_to(verb));
        // Of several, the same one is told whichever front collected them.
        if let Some(name) = given.iter().map(|(name, _)| *name).filter(|name| !taken(name)).min() {
            return Err(UsageError::unknown_flag(verb, &format!("--{name}")));
        }
        let mut values = Self { command, entries: Vec::new(), notices: Vec::new() };
        for flag in flags(verb.program()) {
            let entry = Entry::resolve(flag, verb, given, env)?;
            if let (Effect::None(remark), true) = (flag.effect, entry.source > Source::Default) {
                values.notices.push(format!("{}: {remark}", entry.origin()));
            }
            values.entries.push(entry);
        }
        Ok(values)
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
        &self.command
    }

    /// The program these are for.
    pub fn program(&self) -> Program {
        self.command.verb().program()
    }

    /// What the user should hear at the start, one line each: flags without effect, words that were ignored.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Where the value came from.
    pub fn source(&self, key: &str) -> Source {
        self.entry(key).source
    }

    /// The name to blame for a bad value: the flag with its dashes, or the variable.
    pub fn origin(&self, key: &str) -> String {
        self.entry(key).origin()
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

    fn value(&self, key: &str) -> &Value {
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

impl Entry {
    fn resolve(
        flag: &'static Flag,
        verb: Verb,
        given: &[(&str, String)],
        env: Env<'_>,
    ) -> Result<Self, UsageError> {
        let dashed = || format!("--{}", flag.name);
        let mut from_flag: Option<Value> = None;
        for (_, text) in given.iter().filter(|(name, _)| *name == flag.name) {
            let value = flag.kind.parse(text).ok_or_else(|| UsageError::bad_value(&dashed(), flag, text))?;
            match (&mut from_flag, value) {
                (Some(Value::List(entries)), Value::List(more)) => entries.extend(more),
                (slot, value) => *slot = Some(value),
            }
        }
        if let Some(value) = from_flag {
            return Ok(Self { flag, source: Source::Flag, value });
        }
        if flag.belongs_to(verb) {
            if let Some(text) = env::text_of(flag, env)? {
                let value =
                    flag.kind.parse(&text).ok_or_else(|| UsageError::bad_value(&flag.env(), flag, &text))?;
                return Ok(Self { flag, source: Source::Environment, value });
            }
        }
        // A file will stand here, between the environment and the defaults.
        let value = flag
            .kind
            .parse(flag.default)
            .ok_or_else(|| UsageError::bad_value(&dashed(), flag, flag.default))?;
        Ok(Self { flag, source: Source::Default, value })
    }

    fn origin(&self) -> String {
        match self.source {
            Source::Environment => self.flag.env(),
            Source::Default | Source::Flag => format!("--{}", self.flag.name),
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"command", &self.command);
        for entry in &self.entries {
            if entry.flag.secret {
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
