//! What the bench counts, and how it says so.

use super::client::Failure;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Steps of a factor of two: a time is known to 1.6 %.
const STEPS: u64 = 64;

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answered: u64,
    /// How many had a time of this step; see [`step`].
    times: Vec<u64>,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    /// The right answer came after `took`.
    pub(super) fn answered(&mut self, took: Duration) {
        self.answered += 1;
        let at = step(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if self.times.len() <= at {
            self.times.resize(at + 1, 0);
        }
        self.times[at] += 1;
    }

    /// No answer, or a wrong one. The first of its kind is logged, and all are counted.
    pub(super) fn failed(&mut self, endpoint: &str, failure: Failure) {
        let count = self.failures.entry(failure.to_string()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(target: "bench", { "endpoint-id" = endpoint, error = %failure }, "request failed");
        }
    }

    /// Whether something was not as it should be.
    pub(super) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The lines for people. Only right answers count as requests.
    pub(super) fn report(&self, took: Duration) -> String {
        let rate = self.answered as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
        let failed: u64 = self.failures.values().sum();
        let mut text = format!("Throughput: {rate:.1} requests/sec\n");
        // Writing to a string does not fail.
        let _ = writeln!(text, "Requests: {} answered, {failed} failed", self.answered);
        if self.answered > 0 {
            let _ = writeln!(text, "Latency: p50 {:?}, p99 {:?}", self.quantile(0.5), self.quantile(0.99));
        }
        for (why, count) in &self.failures {
            let _ = writeln!(text, "Failed: {count} x {why}");
        }
        text
    }

    /// The time within which this share of the answers came, as far as it is known.
    fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.answered as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.times.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_micros(at.map_or(0, time))
    }
}

/// The place of a time in the table: exact below two times [`STEPS`], and in as many steps for every factor of two from
/// there on.
fn step(micros: u64) -> usize {
    let shift = micros.max(1).ilog2().saturating_sub(STEPS.ilog2());
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

/// The shortest time of a step, in microseconds.
fn time(step: usize) -> u64 {
    let step = step as u64;
    match (step / STEPS).checked_sub(1) {
        Some(shift) => (step % STEPS + STEPS) << shift,
        None => step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_step_that_is_near() {
        let mut last = 0;
        for micros in (0..100_000).chain([u64::MAX / 2, u64::MAX]) {
            let at = step(micros);
            assert!(at == last || at == last + 1 || micros > 100_000, "{micros}: {at} behind {last}");
            assert!(time(at) <= micros && micros - time(at) <= micros / STEPS, "{micros}: {}", time(at));
            last = at;
        }
    }

    #[test]
    fn failures_are_no_requests() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.answered(Duration::from_millis(ms));
        }
        for _ in 0..3 {
            tally.failed("e", Failure::Status(502));
        }
        tally.failed("e", Failure::Wrong);
        assert!(tally.has_failures());
        assert_eq!(
            tally.report(Duration::from_secs(4)),
            "Throughput: 25.0 requests/sec\n\
             Requests: 100 answered, 4 failed\n\
             Latency: p50 49.664ms, p99 98.304ms\n\
             Failed: 3 x status 502\n\
             Failed: 1 x the answer is not what was sent\n"
        );
        assert_eq!(
            Tally::default().report(Duration::ZERO),
            "Throughput: 0.0 requests/sec\nRequests: 0 answered, 0 failed\n"
        );
    }
}
