//! `piko`: the programs of Piko in one binary.

mod agent;
mod bench;
mod commands;
mod demo;
mod forward;
#[cfg(test)]
mod golden;
mod nodes;
mod output;
mod pages;
mod signals;
mod status;
mod test_cluster;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The programs that read their files again at SIGHUP.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| ["agent", "forward", "server"].iter().any(|name| word == *name))
    {
        piko_server::program::catch_hangups();
    }
    commands::run(std::env::args_os())
}
