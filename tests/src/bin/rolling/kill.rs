//! A node that ends without a word, and one that only stops.

use std::time::{Duration, Instant};

use piko_tests::cluster::{Load, Ready};
use piko_tests::process::Signal;

use crate::{LOOK, Outcome, Setup, Size, check};

/// Behind this nothing fails any more.
const BACK_MAX: Duration = Duration::from_secs(1);

/// A node is killed. What was under way through it may fail, and nothing that begins a second later.
pub(crate) fn kill(size: &Size) -> Outcome {
    strike(size, "killed", BACK_MAX, |setup| setup.cluster.members[2].kill())
}

/// A node is stopped for longer than the others believe in it. The figure says when nothing failed any more.
pub(crate) fn freeze(size: &Size) -> Outcome {
    strike(size, "stopped", Duration::from_secs(15), |setup| setup.cluster.members[2].signal(Signal::Stop))
}

fn strike(size: &Size, what: &str, back_max: Duration, blow: impl Fn(&mut Setup)) -> Outcome {
    let mut setup = Setup::start(size);
    let ready = Ready::watch(setup.cluster.admins(), LOOK);
    let mut mix = setup.mix(size, &ready);
    mix.connect_elsewhere = true;
    let load = Load::start(mix);
    let part = (size.requests / 10).min(3_000);
    load.wait(part);
    let at = Instant::now();
    let blow_at = at - load.start_time();
    blow(&mut setup);
    // Time is the subject: the load goes on for long enough that everything that hangs is noticed.
    std::thread::sleep((at + back_max + Duration::from_secs(5)).saturating_duration_since(Instant::now()));
    load.wait(part * 2);
    let tally = load.stop();
    let (_, twice) = setup.ledger.counts();
    let node = setup.cluster.members[2].proxy();
    let last = tally.failed.iter().map(|failure| failure.at[0].saturating_sub(blow_at)).max();
    let direct = tally.failed.iter().filter(|failure| failure.target == Some(node)).count();
    println!(
        "  a node of three {what} under {:.0} requests per second: {} of {} failed ({direct} sent to it), the last began \
         {} ms behind; {twice} served twice; longest pause of a client {} ms",
        size.rate,
        tally.failed.len(),
        tally.done,
        last.unwrap_or_default().as_millis(),
        tally.gap_max.as_millis()
    );
    for failure in tally.failed.iter().take(12) {
        println!("    {failure}; the service has seen it {} times", setup.ledger.times(failure.id));
    }
    check(last.unwrap_or_default() <= back_max, || format!("failures {last:?} behind"))
}
