//! From what the configuration says to what is logged, once for all programs.

use crate::access::{AccessOptions, HeaderFilter};
use crate::log::{self, Level};
use piko_config::{AccessLogOptions, LogLevel, LogOptions};

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}

impl From<&LogOptions> for log::Options {
    /// The process log as the options ask for it.
    fn from(options: &LogOptions) -> Self {
        Self { level: options.level.into(), subsystems: options.subsystems.clone() }
    }
}

impl From<&piko_config::HeaderFilter> for HeaderFilter {
    fn from(filter: &piko_config::HeaderFilter) -> Self {
        match filter {
            piko_config::HeaderFilter::All => Self::default(),
            piko_config::HeaderFilter::Allow(names) => Self { allow: names.clone(), block: Vec::new() },
            piko_config::HeaderFilter::Block(names) => Self { allow: Vec::new(), block: names.clone() },
        }
    }
}

impl AccessOptions {
    /// What `access` asks for, in a process that logs as `log` says.
    pub fn configured(subsystem: &'static str, access: &AccessLogOptions, log: &LogOptions) -> Self {
        let mut options = Self::new(subsystem);
        options.disable = access.disable;
        options.level = access.level.into();
        options.request_headers = (&access.request_headers).into();
        options.response_headers = (&access.response_headers).into();
        options.log = log.into();
        options
    }
}
