//! Rolling restarts and worse, under load, on the built programs: three nodes, two agents for each endpoint, clients
//! that never send a request twice and a service that knows each one again.

mod kill;
mod lines;
mod nginx;
mod releases;
mod restart;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use piko_tests::cluster::{Balancer, Cluster, Kind, Ledger, Load, Mix, Ready};
use piko_tests::process::{Agent, binaries_in, binary};
use piko_tests::runs::{Outcome, run_each};

const HELP: &str = "\
usage: rolling <run>... [--quick] [--requests <n>] [--rate <per second>] [--rounds <n>] [--lines <n>]
               [--hasty] [--previous <directory>]
  all         every run below
  direct      every node and every agent restarts; the clients go to nodes that are ready
  nginx       the same through nginx with kept connections, as docs/cluster.md recommends it
  defaults    the same through nginx as it comes, which wants a pause between two nodes
  kill        a node is killed: what fails, and for how long
  freeze      a node is stopped (SIGSTOP) and goes on: what fails, and for how long
  releases    from another release to this one and back, node by node and agent by agent; needs --previous
  --quick     the same, small
  --rounds    how often everything restarts
  --hasty     the next agent goes as soon as the one before it says that it is connected, whatever the nodes know
  --previous  where piko-server and piko-agent of the other release are
  --lines     how many WebSockets and event streams there are, which hold every end up to the grace
environment: PIKO_BIN_DIR
";

/// How often a load balancer looks at `/ready`.
const LOOK: Duration = Duration::from_millis(200);
/// How long a line through the cluster may be down: what reconnects is back by then.
const LINE_DOWN_MAX: Duration = Duration::from_secs(10);

type Run = fn(&Size) -> Outcome;

const RUNS: [(&str, Run); 6] = [
    ("direct", restart::direct),
    ("nginx", nginx::recommended),
    ("defaults", nginx::defaults),
    ("kill", kill::kill),
    ("freeze", kill::freeze),
    ("releases", releases::releases),
];

/// How much of it.
#[derive(Clone, Debug)]
struct Size {
    /// Requests to be sent, at least.
    requests: u64,
    /// Requests per second.
    rate: f64,
    /// How often everything restarts.
    rounds: usize,
    /// WebSockets and event streams beside them.
    lines: usize,
    /// Agents restart without a look at what the nodes know.
    hasty: bool,
    /// The programs of another release.
    previous: Option<PathBuf>,
    endpoints: usize,
    /// How long a node goes on serving while it is not ready.
    drain_delay: &'static str,
    /// What is never over by itself is cut behind this: a WebSocket of a minute would be a minute of each restart. Longer
    /// than the slowest request, which would be cut too.
    grace: &'static str,
}

const FULL: Size = Size {
    requests: 100_000,
    rate: 1_000.0,
    rounds: 1,
    lines: 200,
    hasty: false,
    previous: None,
    endpoints: 3,
    drain_delay: "3s",
    grace: "2s",
};
const QUICK: Size = Size {
    requests: 1_000,
    rate: 300.0,
    rounds: 1,
    lines: 12,
    hasty: false,
    previous: None,
    endpoints: 2,
    drain_delay: "1s",
    grace: "1500ms",
};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut names, mut size) = (Vec::new(), FULL);
    let mut good = true;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => size = Size { hasty: size.hasty, previous: size.previous, ..QUICK },
            "--hasty" => size.hasty = true,
            "--requests" => good &= set(&mut size.requests, args.next()),
            "--rate" => good &= set(&mut size.rate, args.next()),
            "--previous" => {
                size.previous = args.next().map(PathBuf::from);
                good &= size.previous.as_deref().is_some_and(|dir| binaries_in(dir).is_some());
            }
            "--rounds" => good &= set(&mut size.rounds, args.next()),
            "--lines" => good &= set(&mut size.lines, args.next()),
            name => {
                good &= name == "all" || RUNS.iter().any(|(n, _)| *n == name);
                names.push(name.to_owned());
            }
        }
    }
    if names.is_empty() || !good {
        eprint!("{HELP}");
        return ExitCode::from(2);
    }
    run_each(&RUNS, &names, |run| run(&size))
}

/// Takes a number from the command line; says whether it was one.
fn set<T: FromStr>(number: &mut T, text: Option<String>) -> bool {
    text.and_then(|text| text.parse().ok()).map(|n| *number = n).is_some()
}

/// A cluster with its agents, as operators have it.
struct Setup {
    ledger: Ledger,
    balancer: Balancer,
    cluster: Cluster,
    agents: Vec<Agent>,
    endpoints: Vec<String>,
    grace: &'static str,
    /// What the next agent is.
    agent: PathBuf,
}

impl Setup {
    /// Of this build.
    fn start(size: &Size) -> Self {
        Self::start_of(size, &binary("piko-server"), &binary("piko-agent"))
    }

    /// Of these programs.
    fn start_of(size: &Size, server: &Path, agent: &Path) -> Self {
        let ledger = Ledger::start();
        let args =
            ["--proxy.access-log.disable", "--drain-delay", size.drain_delay, "--grace-period", size.grace];
        let cluster = Cluster::start_of(server, 3, &args);
        let balancer = Balancer::start(cluster.upstreams());
        let endpoints: Vec<String> = (0..size.endpoints).map(|i| format!("endpoint-{i}")).collect();
        let (agents, agent) = (Vec::new(), agent.to_owned());
        let mut setup = Self { ledger, balancer, cluster, agents, endpoints, grace: size.grace, agent };
        for endpoint in setup.endpoints.clone() {
            for _ in 0..2 {
                let agent = setup.agent(&endpoint);
                setup.agents.push(agent);
            }
        }
        for endpoint in &setup.endpoints {
            setup.cluster.wait_routable(endpoint);
            setup.cluster.wait_listeners(endpoint, 2);
        }
        setup
    }

    /// One more agent, with its tunnel up.
    fn agent(&self, endpoint: &str) -> Agent {
        let args = ["--access-log.disable", "--grace-period", self.grace];
        let (url, service) = (self.balancer.url(), self.ledger.addr().to_string());
        let agent = Agent::launch(self.agent.clone(), "http", &url, endpoint, &service, &args);
        agent.wait_connected(0, Duration::from_secs(20)).unwrap_or_else(|e| panic!("the tunnel: {e}"));
        agent
    }

    /// Clients at the nodes themselves.
    fn mix(&self, size: &Size, ready: &Ready) -> Mix {
        Mix {
            targets: self.cluster.proxies(),
            ready: ready.flags(),
            endpoints: self.endpoints.clone(),
            clients: [(Kind::Kept, 8), (Kind::New, 4), (Kind::Sticky, 8)],
            rate: size.rate,
            connect_elsewhere: false,
        }
    }

    /// Writes down what nodes and agents said, for whoever looks for the reason.
    fn keep_logs(&self) {
        let path = std::env::temp_dir().join(format!("piko-rolling-{}.log", std::process::id()));
        let mut all = String::new();
        for member in &self.cluster.members {
            all.extend(member.log().iter().map(|line| format!("{} {} {line}\n", member.id, member.proxy())));
        }
        for agent in &self.agents {
            let lines = agent.process.lines(0);
            all.extend(lines.iter().map(|line| format!("agent {} {}\n", agent.process.pid(), line.text)));
        }
        if std::fs::write(&path, all).is_ok() {
            println!("    the logs are in {}", path.display());
        }
    }

    /// Says what was served twice, and prints the sum.
    fn judge(&self, load: Load) -> Outcome {
        let took = load.start_time().elapsed().as_secs_f64();
        let tally = load.stop();
        let (served, twice) = self.ledger.counts();
        println!(
            "  {} requests in {took:.1} s ({:.0} per second) over {} connections, {} of them told to close: {} failed, \
             {twice} of {served} served twice; longest pause of a client {} ms",
            tally.done,
            tally.done as f64 / took,
            tally.connections,
            tally.closes,
            tally.failed.len(),
            tally.gap_max.as_millis()
        );
        for failure in tally.failed.iter().take(12) {
            println!("    {failure}; the service has seen it {} times", self.ledger.times(failure.id));
        }
        let good = tally.failed.is_empty() && twice == 0;
        if !good {
            self.keep_logs();
        }
        check(good, || format!("{} failed, {twice} served twice", tally.failed.len()))
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Fails with `why` unless `good`.
fn check(good: bool, why: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(why()) }
}
