//! The program around a forwarder: log, exit status. Signals come from the caller, who knows the runtime.

use crate::forwarder::Forwarder;
use piko_config::ForwardOptions;
use piko_driver::tls::Crypto;
use piko_driver::{Reloader, Runtime, Shutdown, sleep_until};
use std::process::ExitCode;
use std::time::Duration;

/// Prepares the process: notices and log. Call once, before [`run`].
///
/// # Errors
///
/// The status to exit with; why has been said.
pub fn prepare(options: &ForwardOptions) -> Result<(), ExitCode> {
    for notice in &options.notices {
        piko_observe::complain(notice);
    }
    if piko_observe::log::init((&options.log).into()).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return Err(ExitCode::FAILURE);
    }
    Ok(())
}

/// Runs a forwarder until `stop` is given. `ready` gets what reads the files of certificates again, for SIGHUP.
pub async fn run<R: Runtime>(
    rt: R,
    options: ForwardOptions,
    crypto: Crypto,
    stop: Shutdown,
    ready: impl FnOnce(Reloader),
) -> ExitCode {
    tracing::info!(target: "main", version = env!("CARGO_PKG_VERSION"), "starting piko forward");
    let result = match Forwarder::new(rt.clone(), options, crypto) {
        Ok(forwarder) => {
            ready(forwarder.reloader());
            forwarder.run(stop).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        tracing::error!(target: "main", %error, "failed to run forward");
    }
    // The last lines of the log are written by another thread.
    sleep_until(&rt, rt.now() + Duration::from_millis(1)).await;
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
