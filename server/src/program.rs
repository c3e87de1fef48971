//! The program around a node: log, signals, exit status. Shared by `piko-server` and `piko server`.

use crate::server::{JoinError, Server};
use piko_config::ServerOptions;
use piko_driver::tls::Crypto;
use piko_driver::{Reloader, Shutdown, Terminal};
use piko_runtime_tokio::Tokio;
use rustls::crypto::aws_lc_rs;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Has SIGHUP do nothing until a program listens for it. To be called first of all by programs that read their files again
/// then: at that time they have yet to read any, and a supervisor's early signal would end them.
pub fn catch_hangups() {
    // Whoever listens later tells why that cannot be done.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default());
}

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
    let hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run server");
            return ExitCode::FAILURE;
        }
    };
    // A name that is to be advertised may take long to look up.
    let bound = tokio::select! {
        bound = Server::bind_with(rt, options.clone(), Some(crypto())) => bound,
        name = next(&mut interrupt, &mut terminate) => {
            tracing::info!(target: "main", signal = name, "received shutdown signal");
            return ExitCode::SUCCESS;
        }
    };
    let server = match bound {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(target: "main", %error, "failed to run server");
            return ExitCode::FAILURE;
        }
    };
    let stop = Shutdown::new();
    let hangups = hear_hangups(hangup, Terminal::look(), server.reloader(), stop.clone());
    let running = server.run(stop.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return exit(ended),
        // Runs for ever.
        () = hangups => {}
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

/// SIGHUP has files read again, unless it says that the program's terminal is gone. Runs for ever.
async fn hear_hangups(mut signal: Signal, terminal: Terminal, reloader: Reloader, stop: Shutdown) {
    while signal.recv().await.is_some() {
        if terminal.is_gone() {
            tracing::info!(target: "main", signal = "hangup", "received shutdown signal");
            stop.trigger();
            break;
        }
        tracing::info!(target: "main", signal = "hangup", "reading files again");
        reloader.reload();
    }
    std::future::pending::<()>().await;
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

/// Raises the soft limit on open files of this process to the hard one; where that is not allowed, the log says so.
///
/// A tunnel and a client are a descriptor each; the usual soft limit of 1,024 is for `select(2)`, which nothing here
/// uses. Go raises it as well.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(target: "main", %error, "the limit on open files stays");
        }
    }
}

/// aws-lc-rs (design guide A.7), passed on and never the default of the process: a build of the whole workspace has
/// another one beside it.
pub fn crypto() -> Crypto {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Crypto { provider, tickets: Some(aws_lc_rs::Ticketer::new) }
}
