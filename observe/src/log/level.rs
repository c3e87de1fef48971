//! The four levels of a log line.

use std::fmt;
use std::str::FromStr;
use tracing::level_filters::LevelFilter;

/// How much a line matters, lowest first (`--log.level`, `access_log.level`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// The life of the process.
    #[default]
    Info,
    /// Something failed; the process goes on.
    Warn,
    /// The process, or a part of it, cannot do its work.
    Error,
}

impl Level {
    /// The name in flags, files and lines: lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of an event. `trace` has no name here and counts as [`Level::Debug`].
    pub(super) fn of(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }

    pub(super) const fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

impl FromStr for Level {
    type Err = BadLevel;

    /// Lower case only, as in Go.
    fn from_str(text: &str) -> Result<Self, BadLevel> {
        [Self::Debug, Self::Info, Self::Warn, Self::Error]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or(BadLevel)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of `debug`, `info`, `warn`, `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLevel;

impl fmt::Display for BadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unsupported level: expected debug, info, warn or error")
    }
}

impl std::error::Error for BadLevel {}
