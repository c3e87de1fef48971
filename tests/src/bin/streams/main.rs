//! What TCP through the built programs is worth: each run prints its figures and fails where a limit is broken.
//!
//! `streams all --quick` is the sample that the tests take. Figures are those of release programs on a quiet machine.

mod beside;
mod far;
mod long;
mod relay;
mod road;
mod service;
mod speed;
mod stalled;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use piko_tests::runs::{Outcome, quick_and_names, run_each};

const HELP: &str = "\
usage: streams <run>... [--quick]
  all         every run below
  speed       one stream through forwarder, server and agent, beside rathole where it is installed
  far         one stream at 1 ms and at 100 ms round trip, second by second; 1,000 streams at 100 ms
  stalled     the p99 of 99 echo streams, alone and beside a reader that stopped
  beside      a small request beside a download, over a tunnel of 10 Mbit/s
  long        10 GiB each way through one connection, every byte compared; peak memory
  --quick     the same, small, and without limits on speed
environment: PIKO_BIN_DIR, RATHOLE_BIN
";

type Run = fn(bool) -> Outcome;

const RUNS: [(&str, Run); 5] = [
    ("speed", speed::run),
    ("far", far::run),
    ("stalled", stalled::run),
    ("beside", beside::run),
    ("long", long::run),
];

/// How long a run waits for bytes: longer than any pause that a correct one has.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a run may add to the memory of a program, whatever it carries.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

fn main() -> ExitCode {
    let Some((quick, names)) = quick_and_names(&RUNS) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    run_each(&RUNS, &names, |run| run(quick))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Fails with `why` unless `good`.
fn check(good: bool, why: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(why()) }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn mbit_per_s(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64()
}

/// Median, minimum and maximum, which none of the runs leaves empty.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// The value below which `share` of the samples are.
fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() as f64 * share) as usize;
    samples.get(at.min(samples.len().saturating_sub(1))).copied().unwrap_or_default()
}
