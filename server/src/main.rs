//! `piko-server`: one node.

use piko_config::{ServerInvocation, front_clap, process_env};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    piko_server::program::catch_hangups();
    match front_clap::parse_server(std::env::args_os().skip(1), &process_env) {
        Ok(ServerInvocation::Help(text)) => show(&text),
        Ok(ServerInvocation::Version) => show(concat!("piko version ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(ServerInvocation::Run(options)) => piko_server::program::run(options),
        Err(error) => {
            piko_observe::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints `text` and ends well, also when the reader has seen enough (`--help | head -1`), where the print macros
/// would panic; a disk that is full is a failure.
fn show(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            piko_observe::complain(format_args!("write: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
