//! Configuration as text: what counts, and what counts by default. Secrets are never part of it.

use std::fmt::Write as _;

use crate::error::UsageError;
use crate::options::AgentOptions;
#[cfg(feature = "server")]
use crate::options::{BenchOptions, ForwardOptions, ServerOptions, TestClusterOptions};
use crate::table::{Flag, Program, Yaml, flags};
use crate::value::Value;
use crate::values::{Source, Values};

/// What `config` is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Judge the configuration as a start would.
    Check,
    /// Show a file with all keys and their defaults.
    Default,
    /// Show what would count.
    Print,
}

/// All tasks, by the words for them and what they do.
#[cfg(any(feature = "clap", feature = "lexopt"))]
pub(crate) const TASKS: [(&str, Task, &str); 3] = [
    ("check", Task::Check, "Judge the configuration as a start would, and start nothing"),
    ("default", Task::Default, "Print a configuration file with all keys and their defaults"),
    ("print", Task::Print, "Print the configuration that would count, without secrets"),
];

impl Task {
    /// The text to print.
    ///
    /// # Errors
    ///
    /// What a start with these values would be refused for.
    pub fn run(self, values: &Values) -> Result<String, UsageError> {
        if self == Self::Default {
            return Ok(default(values.program()));
        }
        let notices = match values.program() {
            Program::Agent => {
                let mut options = AgentOptions::of_values(values)?;
                if options.listeners.is_empty() {
                    options.notices.push("no listeners: `agent start` needs some".to_owned());
                }
                options.notices
            }
            #[cfg(feature = "server")]
            Program::Bench => {
                BenchOptions::from_values(values)?;
                values.notices().to_vec()
            }
            #[cfg(feature = "server")]
            Program::Forward => {
                let mut options = ForwardOptions::of_values(values)?;
                if options.ports.is_empty() {
                    options.notices.push("no ports: `forward start` needs some".to_owned());
                }
                options.notices
            }
            #[cfg(feature = "server")]
            Program::Server => {
                let mut options = ServerOptions::from_values(values)?;
                options.cluster.read_secret()?;
                options.notices
            }
            #[cfg(feature = "server")]
            Program::Status => values.notices().to_vec(),
            #[cfg(feature = "server")]
            Program::TestCluster => {
                TestClusterOptions::from_values(values)?;
                values.notices().to_vec()
            }
        };
        let mut text = String::new();
        for notice in notices {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "# {notice}");
        }
        match self {
            Self::Check => text.push_str("the configuration is good\n"),
            _ => text.push_str(&print(values)),
        }
        Ok(text)
    }
}

/// What counts, as a file: each value that is no default with where it came from.
fn print(values: &Values) -> String {
    let mut page = Page::default();
    for flag in flags(values.program()) {
        let source = values.source(flag.name);
        let told = (flag.works() || source != Source::Default) && !is_beaten(flag, values);
        if let (Some(path), true, Yaml::Same | Yaml::At(_)) = (flag.yaml_path(), told, flag.yaml) {
            let origin = if source == Source::Default { String::new() } else { values.origin(flag.name) };
            page.key(&path, &shown(flag, values), &origin);
        }
    }
    if let Some((list, ..)) = list_of(values.program()) {
        page.section(&[]);
        let _ = writeln!(page.text, "{list}:{}", if values.rows() == 0 { " []" } else { "" });
        for row in 0..values.rows() {
            page.entry(&values.of_row(row));
        }
    }
    page.text
}

/// Whether the value is that of a secret, or of its file, whose other form comes from a stronger source and counts instead.
fn is_beaten(flag: &Flag, values: &Values) -> bool {
    let has_value = |name: &str| matches!(values.value(name), Value::Text(text) if !text.is_empty());
    let other = match flag.name.strip_suffix("-file") {
        Some(name) => name.to_owned(),
        None => format!("{}-file", flag.name),
    };
    flags(values.program()).iter().any(|flag| flag.name == other)
        && has_value(flag.name)
        && has_value(&other)
        && values.source(&other) > values.source(flag.name)
}

/// The list of a program whose entries have keys, and an example for each key that has no default.
fn list_of(program: Program) -> Option<(&'static str, [(&'static str, &'static str); 2])> {
    match program {
        Program::Agent => Some(("listeners", [("endpoint-id", "my-endpoint"), ("addr", "localhost:4000")])),
        #[cfg(feature = "server")]
        Program::Forward => Some(("ports", [("endpoint-id", "my-endpoint"), ("addr", "3000")])),
        #[cfg(feature = "server")]
        _ => None,
    }
}

/// Every key with its default and what it is for; those that do nothing as a comment at the end.
fn default(program: Program) -> String {
    let mut text = default_of_working(program);
    let mut idle: Vec<_> = flags(program).iter().filter(|flag| flag.yaml_path().is_some()).collect();
    idle.retain(|flag| !flag.works());
    if !idle.is_empty() {
        text.push_str("\n# Keys that do not work, so that a file is better without them:\n");
    }
    while let Some(remark) = idle.first().and_then(|flag| flag.remark()) {
        let _ = writeln!(text, "#\n# {remark}");
        idle.retain(|flag| {
            let is_other = flag.remark().as_ref() != Some(&remark);
            if !is_other {
                let path = flag.yaml_path().unwrap_or_default();
                let given = format!(" [--{}, {}]", flag.name, flag.env());
                let _ = writeln!(text, "#   {path}{}", if flag.verbs.is_empty() { "" } else { &given });
            }
            is_other
        });
    }
    text
}

fn default_of_working(program: Program) -> String {
    let mut page = Page::default();
    page.text.push_str("# All keys with their defaults. What is left out of a file has its default.\n");
    page.text.push_str("# Flags beat variables, variables beat the file.\n\n");
    for flag in flags(program).iter().filter(|flag| flag.works()) {
        if let (Some(path), Yaml::Same | Yaml::At(_)) = (flag.yaml_path(), flag.yaml) {
            page.comment(&path, &format!("{} [--{}, {}]", flag.help, flag.name, flag.env()));
            page.key(&path, &text_of(&default_of(flag)), "");
        }
    }
    let Some((list, examples)) = list_of(program) else { return page.text };
    page.section(&[]);
    let _ = writeln!(page.text, "{list}: []\n# Such as:\n# {list}:");
    let mut inner = Page::default();
    for flag in flags(program).iter().filter(|flag| flag.works()) {
        if let (Yaml::Listener | Yaml::Port, Some(path)) = (flag.yaml, flag.yaml_path()) {
            let example = examples.iter().find(|(name, _)| *name == flag.name);
            let value = example.map_or_else(|| text_of(&default_of(flag)), |(_, text)| quoted(text));
            let key = path.split_once("[].").map_or(path.as_str(), |(_, key)| key);
            inner.comment(key, flag.help);
            inner.key(key, &value, "");
        }
    }
    for (at, line) in inner.text.lines().enumerate() {
        let _ = writeln!(page.text, "#   {} {line}", if at == 0 { '-' } else { ' ' });
    }
    page.text
}

fn default_of(flag: &Flag) -> Value {
    flag.kind.parse(flag.default).expect("a test parses every default of the tables")
}

/// A value as YAML, without what nobody may see.
fn shown(flag: &Flag, values: &Values) -> String {
    match values.value(flag.name) {
        Value::Text(text) if flag.secret && !text.is_empty() => quoted("[redacted]"),
        // Whatever looks like a URL may have a password in it.
        Value::Text(text) => quoted(&without_passwords(text)),
        Value::List(entries) => {
            text_of(&Value::List(entries.iter().map(|entry| without_password(entry)).collect()))
        }
        value => text_of(value),
    }
}

/// One URL, or several separated by commas, without user names and passwords.
fn without_passwords(urls: &str) -> String {
    let urls: Vec<_> = urls.split(',').map(without_password).collect();
    urls.join(",")
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://[redacted]{}", &rest[user.len()..]),
        None => url.to_owned(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Bind(addr) => quoted(&addr.as_ref().map(ToString::to_string).unwrap_or_default()),
        Value::Bool(on) => on.to_string(),
        Value::Duration(duration) => duration.to_string(),
        #[cfg(feature = "server")]
        Value::Float(number) => number.to_string(),
        Value::Int(number) | Value::Size(number) => number.to_string(),
        Value::List(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| quoted(entry)).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Text(text) => quoted(text),
    }
}

/// A text as YAML reads it back: plain where that can mean nothing else (YAML 1.2, 5.7 and 7.3.1).
fn quoted(text: &str) -> String {
    const WORDS: [&str; 9] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes"];
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._/".contains(&b))
    };
    if word(text) && !WORDS.contains(&text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Keys in sections, as they come.
#[derive(Default)]
struct Page {
    text: String,
    /// The sections that are open.
    open: Vec<String>,
}

impl Page {
    /// Opens the sections of a key.
    fn section(&mut self, sections: &[&str]) {
        let same = self.open.iter().zip(sections).take_while(|(one, other)| one == *other).count();
        if sections.is_empty() || (same == 0 && !self.text.is_empty() && !self.text.ends_with("\n\n")) {
            self.text.push('\n');
        }
        self.open.truncate(same);
        for section in &sections[same..] {
            self.indent();
            let _ = writeln!(self.text, "{section}:");
            self.open.push((*section).to_owned());
        }
    }

    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.open.len()));
    }

    fn comment(&mut self, path: &str, text: &str) {
        let sections: Vec<&str> = path.split('.').collect();
        if let Some((_, sections)) = sections.split_last() {
            if !sections.is_empty() || !self.open.is_empty() {
                self.section(sections);
            }
        }
        self.indent();
        let _ = writeln!(self.text, "# {text}");
    }

    /// `origin` is where the value came from; empty for a default.
    fn key(&mut self, path: &str, value: &str, origin: &str) {
        let words: Vec<&str> = path.split('.').collect();
        let Some((key, sections)) = words.split_last() else { return };
        if sections != self.open {
            self.section(sections);
        }
        self.indent();
        let origin = if origin.is_empty() { String::new() } else { format!(" # {origin}") };
        let _ = writeln!(self.text, "{key}: {value}{origin}");
    }

    /// An entry of a list.
    fn entry(&mut self, values: &Values) {
        let mut inner = Self::default();
        for flag in flags(values.program()) {
            let source = values.source(flag.name);
            let told = (flag.works() || source != Source::Default) && !is_beaten(flag, values);
            if let (Yaml::Listener | Yaml::Port, Some(path), true) = (flag.yaml, flag.yaml_path(), told) {
                let key = path.split_once("[].").map_or(path.as_str(), |(_, key)| key);
                let origin = if source == Source::Default { String::new() } else { values.origin(flag.name) };
                inner.key(key, &shown(flag, values), &origin);
            }
        }
        for (at, line) in inner.text.lines().filter(|line| !line.is_empty()).enumerate() {
            let _ = writeln!(self.text, "  {} {line}", if at == 0 { '-' } else { ' ' });
        }
    }
}

#[cfg(all(test, feature = "server"))]
mod tests;
