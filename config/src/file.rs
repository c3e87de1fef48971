//! The configuration file as a layer below flags and environment.

#[cfg(feature = "yaml")]
mod expand;
#[cfg(feature = "yaml")]
mod limits;
#[cfg(feature = "yaml")]
mod yaml;

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::UsageError;
use crate::table::{Flag, Program};
use crate::value::Value;

#[cfg(feature = "yaml")]
use expand::{Expanded, Variable, expand, word};

/// Ten thousand listeners with every key are 8 MiB; what is larger, such as a device that never ends, is a mistake.
#[cfg(feature = "yaml")]
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A token with all its claims is some KiB; what is larger is another file, or a device that never ends.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Where variables stand for more than values, the file is read once for each that may have opened something; one with
/// more of them is refused, since to look at each would take too long.
#[cfg(feature = "yaml")]
const DOUBTFUL_VARIABLES_MAX: usize = 500;

/// What one section says, or one entry of a list: each key at most once.
pub(crate) type Settings = Vec<(&'static Flag, Value)>;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// Where it is, as it was given; nowhere when there is none.
    pub(crate) path: Option<PathBuf>,
    /// There is one, and it has neither keys nor anything else but comments.
    #[cfg(feature = "yaml")]
    pub(crate) is_blank: bool,
    /// The keys that stand once.
    pub(crate) settings: Settings,
    /// The entries of `listeners`, or of `ports`: no program has both.
    pub(crate) entries: Vec<Settings>,
}

impl File {
    /// Reads and judges a file.
    #[cfg(feature = "yaml")]
    pub(crate) fn load(
        program: Program,
        path: &str,
        expanding: bool,
        env: Env<'_>,
    ) -> Result<Self, UsageError> {
        let bytes = read(path.as_ref(), FILE_BYTES_MAX)
            .map_err(|reason| UsageError::file(format!("read file: {path}: {reason}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| UsageError::file(format!("parse config: {path}: the file is no UTF-8 text")))?;
        let expanded = match expanding {
            true => expand(&text, env)
                .map_err(|name| UsageError::usage(format!("{name}: the value is no UTF-8 text")))?,
            false => Expanded { text: text.clone(), variables: Vec::new() },
        };
        let bad = |line: Option<usize>, message: &str| {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            UsageError::file(format!("parse config: {path}{line}: {message}"))
        };
        if let Some((line, why)) = limits::exceeded(&expanded.text) {
            return Err(bad(Some(line), why));
        }
        let document =
            yaml::read(program, &expanded.text).map_err(|fault| bad(fault.line, &fault.message))?;
        if let Some((variable, message)) = emptied(program, &expanded, &document) {
            let line = text[..variable.from].lines().count().max(1);
            return Err(bad(Some(line), &message));
        }
        Ok(Self {
            path: Some(path.into()),
            is_blank: is_blank(&expanded.text),
            settings: document.settings,
            entries: document.entries,
        })
    }

    /// Never called: the table refuses `--config.path` in a build that cannot read it.
    #[cfg(not(feature = "yaml"))]
    pub(crate) fn load(_: Program, _: &str, _: bool, _: Env<'_>) -> Result<Self, UsageError> {
        Ok(Self::default())
    }
}

/// Whether a text has no YAML but comments, directives and borders of documents (YAML 1.2.2, 6.6 to 6.8 and 9.1).
#[cfg(feature = "yaml")]
fn is_blank(text: &str) -> bool {
    let says_nothing = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("---").or_else(|| line.strip_prefix("...")).unwrap_or(line).trim_start();
        line.is_empty() || line.starts_with(['#', '%'])
    };
    text.trim_start_matches('\u{feff}').lines().all(says_nothing)
}

/// A variable that left a guarding key without a value, and the complaint about it.
///
/// Found by putting words in the place of variables: a key that has a value then and none as it is was emptied by one,
/// however it is quoted, nested or referred to, and whatever the variable holds: `#`, `~` and `""` are as good as nothing.
#[cfg(feature = "yaml")]
fn emptied<'e>(
    program: Program,
    expanded: &'e Expanded<'e>,
    document: &yaml::Document,
) -> Option<(&'e Variable<'e>, String)> {
    let variables = &expanded.variables;
    if variables.is_empty() {
        return None;
    }
    // What does not read with words has variables in the place of something else.
    let with_words = |has_word: &dyn Fn(usize) -> bool| {
        let text = expanded.with_words(has_word);
        limits::exceeded(&text).is_none().then(|| yaml::probe(program, &text).ok()).flatten()
    };
    let lost = |probe: &yaml::Document| {
        let (key, value) = probe.guarded.iter().find(|(key, _)| !document.is_guarded(key))?;
        Some((key.clone(), value.clone()))
    };
    let complaint = |key: &str, variable: &'e Variable<'e>| {
        let why = match expanded.value(variable) {
            "" => "is unset or empty, and an empty value protects nothing",
            _ => "leaves it empty, which protects nothing (signs of YAML in a value want quotes around it)",
        };
        (variable, format!("{key}: the variable {} {why}", variable.name))
    };
    let with_all = with_words(&|_| true);
    if let Some(probe) = &with_all {
        let (key, value) = lost(probe)?;
        if let Some(index) = (0..variables.len()).find(|index| value.contains(&word(*index))) {
            return Some(complaint(&key, &variables[index]));
        }
    }
    let doubtful = variables.iter().enumerate().filter(|(_, variable)| is_doubtful(expanded.value(variable)));
    for (count, (index, variable)) in doubtful.enumerate() {
        if count == DOUBTFUL_VARIABLES_MAX {
            let message = "more than 500 variables that are empty or have signs of YAML in them, not all of them values";
            return Some((variable, message.to_owned()));
        }
        if let Some((key, _)) = with_words(&|other| other == index).as_ref().and_then(lost) {
            return Some(complaint(&key, variable));
        }
    }
    None
}

/// Whether a value may be something else to YAML than a text: a plain word, with signs that mean nothing by themselves,
/// is not.
#[cfg(feature = "yaml")]
fn is_doubtful(value: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+=".contains(&byte);
    value.is_empty() || value.eq_ignore_ascii_case("null") || !value.bytes().all(is_plain)
}

/// A secret from its file: all but white space around it, or what is wrong with it.
pub(crate) fn secret(path: &Path) -> Result<String, String> {
    let found = read(path, SECRET_BYTES_MAX).and_then(|bytes| {
        // Editors of Windows put a byte order mark in front, which is no part of the text.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim_ascii();
        if text.is_empty() {
            Err("the file is empty, or no UTF-8 text".to_owned())
        } else {
            Ok(text.to_owned())
        }
    });
    found.map_err(|reason| format!("{}: {reason}", path.display()))
}

/// A secret of any bytes from its file, which has at most 64 KiB: all but white space around it, or what is wrong with
/// it, without its path.
#[cfg(feature = "server")]
pub(crate) fn secret_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(path, SECRET_BYTES_MAX)?;
    match bytes.trim_ascii() {
        [] => Err("the file is empty".to_owned()),
        secret => Ok(secret.to_vec()),
    }
}

/// The whole of what is at `path`, which may be a pipe, or why it cannot be had.
fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk).map_err(|error| reason(&error))? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
        // A device has no length to ask for.
        if bytes.len() > bytes_max {
            return Err(["larger than ", &(bytes_max / 1024).to_string(), " KiB"].concat());
        }
    }
}

/// Go's words for the usual reasons; those of the system for others.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(all(test, feature = "server", feature = "yaml"))]
#[path = "file/file_tests.rs"]
mod tests;
