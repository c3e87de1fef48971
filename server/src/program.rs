//! The program around a node: log, signals, exit status. Shared by `piko-server` and `piko server`.

use crate::reload::{self, Why};
use crate::server::{JoinError, Server};
use piko_config::ServerOptions;
use piko_driver::Shutdown;
use piko_runtime_tokio::Tokio;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a node until a signal ends it. A second signal ends the process at once.
pub fn run(options: ServerOptions) -> ExitCode {
    for notice in &options.notices {
        piko_observe::complain(notice);
    }
    if piko_observe::log::init((&options.log).into()).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
    raise_file_limit();
    piko_runtime_tokio::block_on(|rt| serve(rt, options))
}

async fn serve(rt: Tokio, options: ServerOptions) -> ExitCode {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(target: "main", %error, "failed to run server");
                return ExitCode::FAILURE;
            }
        };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run server");
            return ExitCode::FAILURE;
        }
    };
    let server = match Server::bind(rt, options.clone()).await {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run server");
            return ExitCode::FAILURE;
        }
    };
    let stop = Shutdown::new();
    let reloading = reload::run(&options, server.reload_parts(), server.live(), async |has_files| {
        next_look(&mut hangup, has_files).await
    });
    let running = server.run(stop.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return exit(ended),
        // Runs for ever.
        () = reloading => {}
        name = next(&mut interrupt, &mut terminate) => {
            tracing::info!(target: "main", signal = name, "received shutdown signal");
        }
    }
    stop.trigger();
    tokio::select! {
        ended = &mut running => exit(ended),
        name = next(&mut interrupt, &mut terminate) => {
            tracing::warn!(target: "main", signal = name, "received another signal; not waiting any longer");
            ExitCode::FAILURE
        }
    }
}

/// How often files are looked at: a new certificate counts within a second, of which two looks are a half.
const LOOK: Duration = Duration::from_millis(250);

async fn next_look(hangup: &mut Signal, has_files: bool) -> Why {
    tokio::select! {
        _ = hangup.recv() => Why::Signal,
        () = tokio::time::sleep(LOOK), if has_files => Why::File,
    }
}

fn exit(ended: Result<(), JoinError>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run server");
            ExitCode::FAILURE
        }
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "interrupt",
        _ = terminate.recv() => "terminated",
    }
}

/// A tunnel and a client are a descriptor each; the usual soft limit of 1,024 is for `select(2)`, which
/// nothing here uses. Go raises it as well.
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
