//! Long runs on the built programs: each prints its figures and fails where a limit is broken.
//!
//! `soak all --quick` is the sample that the tests take.

mod limit;
mod sse;
mod stalled;
mod tls;
mod transfer;
mod tunnels;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use piko_tests::http::Client;
use piko_tests::process::{Agent, Memory, Process, Server};
use piko_tests::runs::{Outcome, quick_and_names, run_each};
use piko_tests::service::Service;

const HELP: &str = "\
usage: soak <run>... [--quick]
  all         every run below
  sse         server-sent events for a minute, each as it happens
  transfer    1 GiB down and up in each framing, and with a receiver that stopped; peak memory
  stalled     a reader that stopped among 100 transfers
  tunnels     9,000 idle tunnels, on as many endpoints and on one; memory of each
  tls         3,000 idle tunnels under TLS; memory of each
  rotate      20,000 new connections while the certificate changes: none fails, the new one within a second
  limit       an agent in 16 MB of memory serves 64 transfers of 10 MiB at once
  --quick     the same, small
environment: PIKO_BIN_DIR
";

/// What a run may add to the memory of a program, whatever it carries.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// How long the harness waits for bytes: longer than any pause that a correct run has.
const PATIENCE: Duration = Duration::from_secs(60);

type Run = fn(bool) -> Outcome;

const RUNS: [(&str, Run); 7] = [
    ("sse", sse::run),
    ("transfer", transfer::run),
    ("stalled", stalled::run),
    ("tunnels", tunnels::run),
    ("tls", tls::tunnels),
    ("rotate", tls::rotate),
    ("limit", limit::run),
];

fn main() -> ExitCode {
    let Some((quick, names)) = quick_and_names(&RUNS) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    run_each(&RUNS, &names, |run| run(quick))
}

/// A service, an agent and a server, as users have them.
struct Setup {
    service: Service,
    server: Server,
    agent: Agent,
    idle: [Memory; 2],
}

const ENDPOINT: &str = "soak";
const FIELDS: [(&str, &str); 1] = [("x-piko-endpoint", ENDPOINT)];
/// An access log of every request would be most of what the programs do.
const NO_LOG: [&str; 1] = ["--proxy.access-log.disable"];

impl Setup {
    fn start() -> Result<Self, String> {
        Self::over(Service::start())
    }

    fn over(service: Service) -> Result<Self, String> {
        let server = Server::start(&NO_LOG);
        let addr = service.addr().to_string();
        let agent = Agent::http(&server.connect_url(), ENDPOINT, &addr, &["--access-log.disable"]);
        // One request, so that what is only allocated once is not counted as growth.
        let warm = connect(&server)?.get("/hello", &FIELDS).map_err(text)?;
        drop(warm);
        let idle = [memory(&server.process)?, memory(&agent.process)?];
        Ok(Self { service, server, agent, idle })
    }

    fn client(&self) -> Result<Client, String> {
        connect(&self.server)
    }

    /// Prints the peaks of both programs and judges their growth over idle.
    fn judge_memory(&self, what: &str) -> Outcome {
        let peaks = [memory(&self.server.process)?, memory(&self.agent.process)?];
        for ((name, peak), idle) in ["server", "agent"].iter().zip(peaks).zip(self.idle) {
            let growth = peak.rss_peak_bytes.saturating_sub(idle.rss_bytes);
            println!("  {what}: {name} idle {}, peak {}", mib(idle.rss_bytes), mib(peak.rss_peak_bytes));
            check(growth <= GROWTH_BYTES_MAX, || format!("{what}: {name} grew by {}", mib(growth)))?;
        }
        Ok(())
    }
}

fn connect(server: &Server) -> Result<Client, String> {
    let mut client = Client::connect(server.proxy).map_err(text)?;
    client.set_patience(PATIENCE).map_err(text)?;
    client.keep(4096);
    Ok(client)
}

fn memory(process: &Process) -> Result<Memory, String> {
    process.memory().map_err(|e| format!("{}: {e}", process.name()))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Fails with `why` unless `good`.
fn check(good: bool, why: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(why()) }
}
