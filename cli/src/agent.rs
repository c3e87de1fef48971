//! `piko agent`: the agent on tokio.

use crate::signals::Signals;
use piko_agent::program;
use piko_config::AgentOptions;
use piko_driver::Shutdown;
use std::process::ExitCode;

/// Runs an agent until a signal drains it. A second signal ends the process at once.
pub(crate) fn run(options: AgentOptions) -> ExitCode {
    if let Err(code) = program::prepare(&options) {
        return code;
    }
    piko_runtime_tokio::block_on(|rt| async move {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(target: "main", %error, "failed to run agent");
                return ExitCode::FAILURE;
            }
        };
        let stop = Shutdown::new();
        let running = program::run(rt, options, stop.clone());
        tokio::pin!(running);
        tokio::select! {
            code = &mut running => return code,
            name = signals.next() => {
                tracing::info!(target: "main", signal = name, "received shutdown signal");
            }
        }
        stop.trigger();
        tokio::select! {
            code = &mut running => code,
            name = signals.next() => {
                tracing::warn!(target: "main", signal = name, "received another signal; not waiting any longer");
                ExitCode::FAILURE
            }
        }
    })
}
