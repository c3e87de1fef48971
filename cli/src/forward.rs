//! `piko forward`: the forwarder on tokio.

use crate::signals::Signals;
use piko_config::ForwardOptions;
use piko_driver::{Reloader, Runtime, Shutdown, Terminal};
use piko_forward::program;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a forwarder until a signal ends it.
pub(crate) fn run(options: ForwardOptions) -> ExitCode {
    if let Err(code) = program::prepare(&options) {
        return code;
    }
    piko_server::program::raise_file_limit();
    piko_runtime_tokio::block_on(|rt| async move {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(target: "main", %error, "failed to run forward");
                return ExitCode::FAILURE;
            }
        };
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(target: "main", %error, "failed to run forward");
                return ExitCode::FAILURE;
            }
        };
        let stop = Shutdown::new();
        let (hearing, ended) = (rt.clone(), stop.clone());
        let ready = move |reloader: Reloader| {
            let terminal = Terminal::look();
            hearing.spawn(async move {
                while hangup.recv().await.is_some() {
                    if terminal.is_gone() {
                        tracing::info!(target: "main", signal = "hangup", "received shutdown signal");
                        return ended.trigger();
                    }
                    tracing::info!(target: "main", signal = "hangup", "reading files again");
                    reloader.reload();
                }
            });
        };
        let crypto = piko_server::program::crypto();
        let running = program::run(rt, options, crypto, stop.clone(), ready);
        tokio::pin!(running);
        tokio::select! {
            code = &mut running => return code,
            name = signals.next() => {
                tracing::info!(target: "main", signal = name, "received shutdown signal");
            }
        }
        stop.trigger();
        running.await
    })
}
