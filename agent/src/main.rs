//! `piko-agent`: the agent on smol, small enough for devices.

use futures::AsyncReadExt;
use piko_agent::{Crypto, program};
use piko_config::{AgentInvocation, front_lexopt, process_env};
use piko_driver::{Reloader, Runtime, Shutdown, Terminal};
use piko_runtime_smol::Smol;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn main() -> ExitCode {
    if HAS_FILES {
        // Until somebody listens it means nothing, and in no case an end: all files are yet to be read.
        let _ = flag::register(SIGHUP, Arc::default());
    }
    match front_lexopt::parse_agent(std::env::args_os().skip(1), &process_env) {
        Ok(AgentInvocation::Help(text)) => show(&text),
        Ok(AgentInvocation::Version) => show(concat!("piko version ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(AgentInvocation::Run(options)) => {
            if let Err(code) = program::prepare(&options) {
                return code;
            }
            piko_runtime_smol::block_on(|rt: Smol| async move {
                let stop = Shutdown::new();
                let ended = stop.clone();
                let ready = move |reloader| rt.spawn(watch_signals(rt, ended, reloader));
                program::run(rt, options, crypto(), stop, ready).await
            })
        }
        Err(error) => {
            piko_observe::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// ring (design guide A.7), passed on and never the default of the process.
#[cfg(feature = "tls")]
fn crypto() -> Option<Crypto> {
    Some(Crypto { provider: Arc::new(rustls::crypto::ring::default_provider()), tickets: None })
}

#[cfg(not(feature = "tls"))]
fn crypto() -> Option<Crypto> {
    None
}

/// The name of the latest signal, kept by its handler.
const NAMES: [&str; 3] = ["interrupt", "terminated", "hangup"];

/// Each signal adds one byte to the socket, which wakes the reactor like any other.
fn signals(latest: &Arc<AtomicUsize>) -> io::Result<UnixStream> {
    let (arrivals, handler) = UnixStream::pair()?;
    for (name, signal) in [SIGINT, SIGTERM, SIGHUP].into_iter().enumerate() {
        flag::register_usize(signal, latest.clone(), name)?;
        pipe::register(signal, handler.try_clone()?)?;
    }
    Ok(arrivals)
}

/// Prints `text` and ends well, also when the reader has seen enough (`--help | head -1`), where the print macros
/// would panic; a disk that is full is a failure.
fn show(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            piko_observe::complain("write: there is no room for the output");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What SIGHUP could ask for: a build without files of any kind drains, as at any other signal.
const HAS_FILES: bool = cfg!(any(feature = "tls", feature = "yaml"));

/// The first signal drains, a second one ends the process at once; SIGHUP has files read again.
async fn watch_signals(rt: Smol, stop: Shutdown, reloader: Reloader) {
    let terminal = Terminal::look();
    let latest = Arc::default();
    let mut arrivals = match signals(&latest).and_then(|arrivals| rt.adopt_unix(arrivals)) {
        Ok(arrivals) => arrivals,
        Err(error) => {
            tracing::error!(target: "main", %error, "no signals");
            return;
        }
    };
    while arrivals.read_exact(&mut [0]).await.is_ok() {
        let name = NAMES[latest.load(Ordering::Relaxed)];
        if HAS_FILES && name == "hangup" && !terminal.is_gone() {
            tracing::info!(target: "main", signal = name, "reading files again");
            reloader.reload();
            continue;
        }
        if stop.is_triggered() {
            tracing::warn!(target: "main", signal = name, "received another signal; not waiting any longer");
            std::process::exit(1);
        }
        tracing::info!(target: "main", signal = name, "received shutdown signal");
        stop.trigger();
    }
}
