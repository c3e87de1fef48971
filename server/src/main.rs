//! `piko-server`: one node.

use piko_config::{ServerInvocation, front_clap, process_env};
use std::process::ExitCode;

fn main() -> ExitCode {
    match front_clap::parse_server(std::env::args_os().skip(1), &process_env) {
        Ok(ServerInvocation::Help(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(ServerInvocation::Version) => {
            println!("piko version {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(ServerInvocation::Run(options)) => piko_server::program::run(options),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
