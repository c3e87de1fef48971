//! `piko-agent`: the agent on smol, small enough for devices.

use async_signal::{Signal, Signals};
use futures::StreamExt;
use piko_agent::program;
use piko_config::{AgentInvocation, front_lexopt, process_env};
use piko_driver::{Runtime, Shutdown};
use piko_runtime_smol::Smol;
use std::process::ExitCode;

fn main() -> ExitCode {
    match front_lexopt::parse_agent(std::env::args_os().skip(1), &process_env) {
        Ok(AgentInvocation::Help(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(AgentInvocation::Version) => {
            println!("piko version {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(AgentInvocation::Run(options)) => {
            if let Err(code) = program::prepare(&options) {
                return code;
            }
            piko_runtime_smol::block_on(|rt: Smol| async move {
                let stop = Shutdown::new();
                rt.spawn(watch_signals(stop.clone()));
                program::run(rt, options, stop).await
            })
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The first signal drains, a second one ends the process at once.
async fn watch_signals(stop: Shutdown) {
    let mut signals = match Signals::new([Signal::Int, Signal::Term]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(target: "main", %error, "no signals");
            return;
        }
    };
    while let Some(signal) = signals.next().await {
        let name = match signal {
            Ok(Signal::Int) => "interrupt",
            _ => "terminated",
        };
        if stop.is_triggered() {
            tracing::warn!(target: "main", signal = name, "received another signal; not waiting any longer");
            std::process::exit(1);
        }
        tracing::info!(target: "main", signal = name, "received shutdown signal");
        stop.trigger();
    }
}
