//! Many endpoints at once.

use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::{Cluster, Tunnel};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Asker, Outcome, check, text};

/// From the last answer to a registration until every node routes every endpoint.
const VISIBLE_MAX: Duration = Duration::from_secs(1);
/// Registrations that are under way at once.
const AT_ONCE: usize = 200;
/// One endpoint of so many is asked for.
const ASKED_OF: usize = 50;

pub(crate) fn run(quick: bool) -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).map_err(text)?;
    let endpoints = if quick { 500 } else { 10_000 };
    let cluster = Cluster::start(3, &["--proxy.access-log.disable", "--drain-delay", "0s"]);
    let upstream = cluster.upstreams()[0];
    let name = |i: usize| format!("endpoint-{i}");

    let start = Instant::now();
    let (mut mute, mut asked) = (Vec::new(), Vec::new());
    for first in (0..endpoints).step_by(AT_ONCE) {
        let batch = first..endpoints.min(first + AT_ONCE);
        let tunnels: Result<Vec<_>, _> = batch.clone().map(|i| Tunnel::ask(upstream, &name(i))).collect();
        for (i, mut tunnel) in batch.zip(tunnels.map_err(text)?) {
            tunnel.wait().map_err(|e| format!("{}: {e}", name(i)))?;
            if i % ASKED_OF == 0 || i + 1 == endpoints {
                asked.push((i, tunnel.answer()));
            } else {
                mute.push(tunnel);
            }
        }
    }
    let registered = Instant::now();
    let mut askers = Vec::new();
    for proxy in cluster.proxies() {
        askers.push(Asker::new(proxy)?);
    }
    let numbers: Vec<usize> = asked.iter().map(|(i, _)| *i).collect();
    let slowest = thread::scope(|scope| {
        let watching: Vec<_> = askers
            .iter_mut()
            .map(|asker| {
                let numbers = &numbers;
                scope.spawn(move || {
                    // The last first: it is the one that tells.
                    let mut slowest = Duration::ZERO;
                    for i in numbers.iter().rev() {
                        let endpoint = name(*i);
                        slowest = asker.until_served(&endpoint, registered, Duration::from_millis(2))?;
                    }
                    Ok::<_, String>(slowest)
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for watcher in watching {
            slowest = slowest.max(watcher.join().map_err(|_| "a watcher panicked")??);
        }
        Ok::<_, String>(slowest)
    })?;
    println!(
        "  {endpoints} endpoints registered at one node within {:.2} s; all of {} that were asked for served through every \
         node {:.3} s behind the last",
        (registered - start).as_secs_f64(),
        numbers.len(),
        slowest.as_secs_f64()
    );
    // A sample runs beside other tests, whose load is none of the figure.
    check(quick || slowest <= VISIBLE_MAX, || format!("visible after {slowest:?}"))
}
