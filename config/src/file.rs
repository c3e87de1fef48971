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
use expand::{Empty, Expanded, expand};

/// Ten thousand listeners with every key are 8 MiB; what is larger, such as a device that never ends, is a mistake.
#[cfg(feature = "yaml")]
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A token with all its claims is some KiB; what is larger is another file, or a device that never ends.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The file is read once for each variable that is empty, where one of them may have opened something; a file with
/// more of them is refused, since to look at each would take too long.
#[cfg(feature = "yaml")]
const EMPTY_VARIABLES_MAX: usize = 500;

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
            false => Expanded { text: text.clone(), empty: Vec::new() },
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
        if let Some((key, variable)) = emptied(program, &expanded, &document.bare) {
            let line = text[..variable.from].lines().count().max(1);
            let name = &variable.name;
            let why = "is unset or empty, and an empty value protects nothing";
            return Err(bad(Some(line), &format!("{key}: the variable {name} {why}")));
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

/// Of the guarding keys without a value (`bare`) the first one that a variable left without, and that variable.
///
/// Found by putting something in its place: where the file says something else then, the variable stands in that key,
/// however it is quoted, nested or referred to.
#[cfg(feature = "yaml")]
fn emptied<'e>(program: Program, expanded: &'e Expanded, bare: &[String]) -> Option<(String, &'e Empty)> {
    if bare.is_empty() {
        return None;
    }
    let by = |variable: &'e Empty| {
        let (before, behind) = expanded.text.split_at(variable.at);
        // What does not read like this has the variable elsewhere.
        let document = yaml::probe(program, &format!("{before}x{behind}")).ok()?;
        let key = bare.iter().find(|key| !document.bare.contains(key))?;
        Some((key.clone(), variable))
    };
    if expanded.empty.len() > EMPTY_VARIABLES_MAX {
        return Some((bare.first()?.clone(), expanded.empty.first()?));
    }
    expanded.empty.iter().find_map(by)
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
