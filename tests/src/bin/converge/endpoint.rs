//! A new endpoint, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::{Cluster, Tunnel};

use crate::{Asker, Outcome, check, text};

/// The median from the agent's request to be registered until every node routes.
const MEDIAN_MAX: Duration = Duration::from_millis(20);
/// Between two questions to a node: what the figures are exact to.
const REST: Duration = Duration::from_millis(1);

pub(crate) fn run(quick: bool) -> Outcome {
    let rounds = if quick { 20 } else { 300 };
    let cluster = Cluster::start(3, &["--proxy.access-log.disable", "--drain-delay", "0s"]);
    let (upstreams, proxies) = (cluster.upstreams(), cluster.proxies());
    let mut took = Vec::new();
    for round in 0..rounds {
        let endpoint = format!("new-{round}");
        let mut askers = Vec::new();
        for proxy in &proxies {
            askers.push(Asker::new(*proxy)?);
        }
        let start = Instant::now();
        let name = &endpoint;
        let slowest = thread::scope(|scope| {
            let watching: Vec<_> = askers
                .iter_mut()
                .map(|asker| scope.spawn(move || asker.until_served(name, start, REST)))
                .collect();
            let tunnel = Tunnel::open(upstreams[round % upstreams.len()], name).map_err(text)?.answer();
            let mut slowest = Duration::ZERO;
            for watcher in watching {
                slowest = slowest.max(watcher.join().map_err(|_| "a watcher panicked")??);
            }
            drop(tunnel);
            Ok::<_, String>(slowest)
        })?;
        took.push(slowest);
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "  from asking to be registered until routable on all of 3 nodes, {rounds} endpoints: p50 {:.1} ms, p90 {:.1} ms, \
         p99 {:.1} ms, most {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    check(quick || took[took.len() / 2] <= MEDIAN_MAX, || format!("p50 {:.1} ms", at(0.5)))
}
