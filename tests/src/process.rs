//! Real processes for end-to-end tests: the built programs, and the tools that judge them.
//!
//! A [`Process`] owns one child and kills only that child. [`Server`] and [`Agent`] are the two programs of
//! Piko, started on ports of the kernel's choice. [`need`] finds a tool of the machine, or says visibly that
//! a test was skipped for the lack of it.

mod binaries;
mod guard;
mod piko;
mod previous;
mod procfs;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use binaries::{binaries_in, binary, build, profile_dir};
pub use guard::{Capture, Line, Process, Signal, Source, WaitError};
pub use piko::{Agent, Forward, Server, variable};
pub use previous::previous;
pub use procfs::{
    Memory, TcpConnection, TcpTimer, cpu_time, descendants, memory, socket_fds, tcp_connections, tree,
};

/// The path of a tool, or `None` after a visible line `skipped: <test>: <tool> not found`.
///
/// # Panics
///
/// When the tool is missing and `CI` is `true` (or `1`): a job that silently skips what it was made for is
/// worse than a red one.
pub fn need(tool: &str) -> Option<PathBuf> {
    let found = find(tool);
    if found.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("unnamed").to_owned();
        let strict = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
        assert!(!strict, "{test}: {tool} not found, and CI must not skip tests");
        // The print macros are captured by the test runner, a direct write is not.
        let _ = writeln!(io::stderr(), "skipped: {test}: {tool} not found");
    }
    found
}

/// Looks a tool up in `PATH` and then where administrators' tools live; a name with a slash stands for itself.
pub fn find(tool: &str) -> Option<PathBuf> {
    if tool.contains('/') {
        return is_program(Path::new(tool)).then(|| PathBuf::from(tool));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(extra).map(|dir| dir.join(tool)).find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
