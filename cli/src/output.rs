//! What users read.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints `text` and ends well. A reader who has seen enough (`piko help | head -1`) is no failure, where the print macros
/// would panic; a disk that is full is one, or a script would go on with half a configuration.
pub(crate) fn text(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            piko_observe::complain(format_args!("write: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints `text`, which ends its lines itself. What nobody reads is lost.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{text}");
    let _ = out.flush();
}
