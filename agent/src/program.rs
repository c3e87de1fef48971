//! The program around an agent: log, exit status. Signals come from the caller, who knows the runtime.

use crate::agent::{Agent, settle};
use crate::tls::Crypto;
use piko_config::AgentOptions;
use piko_driver::{Reloader, Runtime, Shutdown};
use std::process::ExitCode;

/// Prepares the process: notices and log. Call once, before [`run`].
pub fn prepare(options: &AgentOptions) -> Result<(), ExitCode> {
    for notice in &options.notices {
        piko_observe::complain(notice);
    }
    if piko_observe::log::init((&options.log).into()).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return Err(ExitCode::FAILURE);
    }
    raise_file_limit();
    Ok(())
}

/// Each request that is under way has a connection to the service, and that is a descriptor; the usual soft
/// limit of 1,024 is for `select(2)`, which nothing here uses. Go raises it as well.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(target: "main", %error, "the limit on open files stays");
        }
    }
}

/// Runs an agent until `stop` is given. `ready` gets what reads the files of certificates again, for SIGHUP.
pub async fn run<R: Runtime>(
    rt: R,
    options: AgentOptions,
    crypto: Option<Crypto>,
    stop: Shutdown,
    ready: impl FnOnce(Reloader),
) -> ExitCode {
    tracing::info!(target: "main", version = env!("CARGO_PKG_VERSION"), "starting piko agent");
    let result = match Agent::with_tls(rt.clone(), options, crypto) {
        Ok(agent) => {
            ready(agent.reloader());
            agent.run(stop).await
        }
        Err(error) => Err(error),
    };
    settle(&rt).await;
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run agent");
            ExitCode::FAILURE
        }
    }
}
