//! How fast a cluster agrees, and what agents that come and go leave behind, on the built programs.

mod endpoint;
mod many;
mod reconnects;

use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use piko_tests::http::{Client, Response};
use piko_tests::runs::{Outcome, quick_and_names, run_each};

const HELP: &str = "\
usage: converge <run>... [--quick]
  all         every run below
  endpoint    how long until a new endpoint is routable on every node of three
  many        10,000 endpoints registered at one node at once: how long until all nodes route them
  reconnects  an agent loses its tunnel 1,000 times: descriptors and memory of everybody
  --quick     the same, small
environment: PIKO_BIN_DIR
";

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(20);

type Run = fn(bool) -> Outcome;

const RUNS: [(&str, Run); 3] =
    [("endpoint", endpoint::run), ("many", many::run), ("reconnects", reconnects::run)];

fn main() -> ExitCode {
    let Some((quick, names)) = quick_and_names(&RUNS) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    run_each(&RUNS, &names, |run| run(quick))
}

/// A kept connection to a node, which asks again and again.
struct Asker {
    addr: SocketAddr,
    client: Client,
}

impl Asker {
    fn new(addr: SocketAddr) -> Result<Self, String> {
        Ok(Self { addr, client: connect(addr)? })
    }

    fn get(&mut self, endpoint: &str) -> Result<Response, String> {
        let response = self.client.get("/", &[("x-piko-endpoint", endpoint)]).map_err(text)?;
        if response.value("connection").is_some() || response.head.is_none() {
            self.client = connect(self.addr)?;
        }
        Ok(response)
    }

    /// Asks until the endpoint is served, with a short rest in between; says how long ago `since` was then.
    fn until_served(&mut self, endpoint: &str, since: Instant, rest: Duration) -> Result<Duration, String> {
        loop {
            let response = self.get(endpoint)?;
            let took = since.elapsed();
            if response.status() == 200 {
                return Ok(took);
            }
            check(took < PATIENCE, || format!("{} does not route {endpoint}: {response:?}", self.addr))?;
            // How long it takes is what is measured; asking without a rest would take the processor from the nodes.
            std::thread::sleep(rest);
        }
    }
}

fn connect(addr: SocketAddr) -> Result<Client, String> {
    let mut client = Client::connect(addr).map_err(text)?;
    client.set_patience(PATIENCE).map_err(text)?;
    Ok(client)
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Fails with `why` unless `good`.
fn check(good: bool, why: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(why()) }
}
