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
    commands::run(std::env::args_os())
}
