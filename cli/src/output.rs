//! What users read.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints `text` and ends well. A reader who has seen enough (`piko help | head -1`) is no failure, where the
/// print macros would panic.
pub(crate) fn text(text: &str) -> ExitCode {
    say(text);
    ExitCode::SUCCESS
}

/// Prints `text`, which ends its lines itself. What nobody reads is lost.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{text}");
    let _ = out.flush();
}
