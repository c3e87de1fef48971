//! What is logged.

use super::fault;
use crate::error::{UsageError, quoted, shortened};
use crate::values::Values;

/// How severe a record is, least severe first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Decisions.
    Debug,
    /// The life of things.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What failed.
    Error,
}

impl LogLevel {
    /// Lower case only, as in Go.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    /// The word for it, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The program's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// The least severe records that are logged.
    pub level: LogLevel,
    /// Exact names of subsystems whose records are all logged.
    pub subsystems: Vec<String>,
}

impl LogOptions {
    pub(super) fn from_values(values: &Values) -> Result<Self, UsageError> {
        let level = level(values, "log.level", "log: ")?;
        Ok(Self { level, subsystems: values.list("log.subsystems").to_vec() })
    }
}

/// The log of requests and connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLogOptions {
    /// No records of requests; records of TCP connections at level debug.
    pub disable: bool,
    /// The level of the records.
    pub level: LogLevel,
    /// Which headers of a request are logged.
    pub request_headers: HeaderFilter,
    /// Which headers of a response are logged.
    pub response_headers: HeaderFilter,
}

/// Which headers are logged. Names are as they were given: compare them without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeaderFilter {
    /// Every header.
    #[default]
    All,
    /// These only.
    Allow(Vec<String>),
    /// All but these.
    Block(Vec<String>),
}

impl HeaderFilter {
    /// Whether a header of that name is logged.
    pub fn shows(&self, name: &[u8]) -> bool {
        let listed =
            |names: &[String]| names.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(name));
        match self {
            Self::All => true,
            Self::Allow(names) => listed(names),
            Self::Block(names) => !listed(names),
        }
    }

    fn from_lists(allow: &[String], block: &[String]) -> Option<Self> {
        match (allow.is_empty(), block.is_empty()) {
            (true, true) => Some(Self::All),
            (false, true) => Some(Self::Allow(allow.to_vec())),
            (true, false) => Some(Self::Block(block.to_vec())),
            (false, false) => None,
        }
    }
}

impl AccessLogOptions {
    /// `key` is the path of the flags, such as `proxy.access-log`; `section` ends in a blank where it is not empty.
    pub(super) fn from_values(values: &Values, key: &str, section: &str) -> Result<Self, UsageError> {
        if values.flag(&format!("{key}.disable")) {
            // Go checks nothing of a log that is off; the level still counts where it is readable.
            let level = LogLevel::parse(values.text(&format!("{key}.level"))).unwrap_or_default();
            return Ok(Self { disable: true, level, ..Self::default() });
        }
        let section = format!("{section}access log: ");
        let filter = |which: &str| {
            let [allow, block] = ["allow", "block"].map(|kind| format!("{key}.{which}-headers.{kind}-list"));
            HeaderFilter::from_lists(values.list(&allow), values.list(&block)).ok_or_else(|| {
                let message =
                    format!("{section}{which} headers: cannot define both allow list and block list");
                fault(values, &[&allow, &block], &message)
            })
        };
        Ok(Self {
            disable: false,
            level: level(values, &format!("{key}.level"), &section)?,
            request_headers: filter("request")?,
            response_headers: filter("response")?,
        })
    }
}

fn level(values: &Values, key: &str, section: &str) -> Result<LogLevel, UsageError> {
    let text = values.text(key);
    if text.is_empty() {
        return Err(fault(values, &[key], &format!("{section}missing level")));
    }
    LogLevel::parse(text).ok_or_else(|| {
        // In quotes only where the word needs them, so that an ordinary word gives Go's line.
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let shown = if plain { shortened(text) } else { quoted(text) };
        let message = format!("{section}unsupported level: {shown} (debug, info, warn or error)");
        fault(values, &[key], &message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_lower_case_and_ordered() {
        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            assert_eq!(LogLevel::parse(level.as_str()), Some(level));
            assert_eq!(LogLevel::parse(&level.as_str().to_uppercase()), None);
        }
        assert_eq!(LogLevel::parse("warning"), None);
        assert!(LogLevel::Debug < LogLevel::Info && LogLevel::Warn < LogLevel::Error);
    }

    #[test]
    fn header_names_are_compared_without_case() {
        let names = vec!["X-One".to_owned(), "cookie".to_owned()];
        let allow = HeaderFilter::Allow(names.clone());
        let block = HeaderFilter::Block(names);
        for (name, listed) in [(&b"x-one"[..], true), (b"Cookie", true), (b"x-two", false), (b"", false)] {
            assert_eq!(allow.shows(name), listed);
            assert_eq!(block.shows(name), !listed);
            assert!(HeaderFilter::All.shows(name));
        }
    }
}
