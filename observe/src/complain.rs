//! Lines for the user on stderr, outside of any log.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes `line` and a line break to stderr in one piece. Where nobody reads (a closed pipe, a full disk) it is lost:
/// `eprintln!` would panic there, and a program would end with the status of a crash.
pub fn complain(line: impl Display) {
    let text = format!("{line}\n");
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
