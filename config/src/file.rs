//! The configuration file as a layer below flags and environment.

#[cfg(feature = "yaml")]
mod expand;
#[cfg(feature = "yaml")]
mod yaml;

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::UsageError;
use crate::table::{Flag, Program};
use crate::value::Value;

#[cfg(feature = "yaml")]
use expand::expand;

/// Ten thousand listeners with every key are 8 MiB; what is larger, such as a device that never ends, is a mistake.
#[cfg(feature = "yaml")]
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A token with all its claims is some KiB.
const SECRET_BYTES_MAX: usize = 1024 * 1024;

/// What one section says, or one entry of a list: each key at most once.
pub(crate) type Settings = Vec<(&'static Flag, Value)>;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// Where it is, as it was given; nowhere when there is none.
    pub(crate) path: Option<PathBuf>,
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
        let mut text = String::from_utf8(bytes)
            .map_err(|_| UsageError::file(format!("parse config: {path}: the file is no UTF-8 text")))?;
        if expanding {
            text = expand(&text, env)
                .map_err(|name| UsageError::usage(format!("{name}: the value is no UTF-8 text")))?;
        }
        let document = yaml::read(program, &text).map_err(|fault| {
            let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
            UsageError::file(format!("parse config: {path}{line}: {}", fault.message))
        })?;
        Ok(Self { path: Some(path.into()), settings: document.settings, entries: document.entries })
    }

    /// Never called: the table refuses `--config.path` in a build that cannot read it.
    #[cfg(not(feature = "yaml"))]
    pub(crate) fn load(_: Program, _: &str, _: bool, _: Env<'_>) -> Result<Self, UsageError> {
        Ok(Self::default())
    }
}

/// A secret from its file: all but white space around it, or what is wrong with it.
pub(crate) fn secret(path: &Path) -> Result<String, String> {
    let found = read(path, SECRET_BYTES_MAX).and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_ascii();
        if text.is_empty() {
            Err("the file is empty, or no UTF-8 text".to_owned())
        } else {
            Ok(text.to_owned())
        }
    });
    found.map_err(|reason| format!("{}: {reason}", path.display()))
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
