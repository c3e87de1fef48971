//! The same through nginx, as operators have it.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use piko_tests::cluster::{Kind, Load, Mix, Nginx, free_ports};
use piko_tests::process::find;

use crate::lines::Way;
use crate::{Outcome, Setup, Size, restart};

/// How long nginx leaves a node alone that has refused (`fail_timeout`), and some more.
const FAIL_TIMEOUT: Duration = Duration::from_secs(11);

/// As docs/cluster.md recommends it: a node that has refused is asked again soon, before the next one goes.
pub(crate) fn recommended(size: &Size) -> Outcome {
    run(size, " max_fails=1 fail_timeout=1s", Duration::ZERO)
}

/// With nothing but its defaults: a node that has refused once is left alone for 10 s, so that the next node may go
/// only when nginx believes in this one again.
pub(crate) fn defaults(size: &Size) -> Outcome {
    run(size, "", FAIL_TIMEOUT)
}

fn run(size: &Size, rest: &str, pause: Duration) -> Outcome {
    if find("nginx").is_none() && env::var("CI").is_err() {
        println!("  skipped: nginx not found");
        return Ok(());
    }
    let mut setup = Setup::start(size);
    let at = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let nginx = Nginx::start(at, &setup.cluster.proxies(), rest)?;
    let way = Way {
        targets: vec![nginx.addr],
        ready: Arc::new(vec![AtomicBool::new(true)]),
        endpoints: setup.endpoints.clone(),
    };
    let mix = Mix {
        targets: way.targets.clone(),
        ready: way.ready.clone(),
        endpoints: way.endpoints.clone(),
        clients: [(Kind::Kept, 12), (Kind::New, 8), (Kind::Sticky, 0)],
        rate: size.rate,
        connect_elsewhere: false,
    };
    let outcome = restart::under_load(size, &mut setup, Load::start(mix), &way, pause);
    // What nginx met on the way, once each: the reason is what an operator would look for.
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for line in nginx.process.lines(0) {
        let reason = line.text.split(", client:").next().and_then(|text| text.split_once('*'));
        let reason =
            reason.and_then(|(_, text)| text.split_once(' ')).map_or(line.text.as_str(), |(_, text)| text);
        // A number of its own for each large body says nothing.
        let reason = reason.split(" /").next().unwrap_or(reason);
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    for (reason, times) in reasons {
        println!("  nginx, {times} times: {reason}");
    }
    outcome
}
