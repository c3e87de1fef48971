//! The environment as a layer below the flags.

use std::ffi::OsString;

use crate::error::UsageError;
use crate::table::Flag;

/// Looks up one variable. A function, so that tests need not touch the environment of their process.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The text of a flag's variable; `None` when it is unset or empty.
pub(crate) fn text_of(flag: &Flag, env: Env<'_>) -> Result<Option<String>, UsageError> {
    let name = flag.env();
    match env(&name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(UsageError::usage(format!("{name}: the value is no UTF-8 text"))),
    }
}
