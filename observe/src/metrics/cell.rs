//! One number each, changed from any thread.

use super::text::{Kind, family, sample};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only grows, from zero at the start of the process. Wraps after 2^64.
#[derive(Debug, Default)]
pub struct Counter(word::Cell);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(word::Cell::new())
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    /// The number as it is.
    pub fn value(&self) -> u64 {
        self.0.value()
    }

    /// Appends the family of this counter alone.
    pub fn render(&self, name: &str, help: &str, out: &mut String) {
        family(out, Kind::Counter, name, help);
        sample(out, name, &[], self.value().into());
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicIsize);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicIsize::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// `n` more, or less.
    pub fn add(&self, n: isize) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number is `n` from here on.
    pub fn set(&self, n: isize) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as it is.
    pub fn value(&self) -> isize {
        self.0.load(Ordering::Relaxed)
    }

    /// Appends the family of this gauge alone.
    pub fn render(&self, name: &str, help: &str, out: &mut String) {
        family(out, Kind::Gauge, name, help);
        sample(out, name, &[], self.value().into());
    }
}

/// Counters of one family that differ in one label, for labels with few values: node ids, causes.
///
/// Keep the handle that [`CounterVec::with`] gives where a counter is used often.
#[derive(Debug, Default)]
pub struct CounterVec {
    series: Mutex<BTreeMap<String, Arc<Counter>>>,
}

impl CounterVec {
    /// No series.
    pub const fn new() -> Self {
        Self { series: Mutex::new(BTreeMap::new()) }
    }

    /// The counter of a label value, made at first use.
    pub fn with(&self, value: &str) -> Arc<Counter> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = series.get(value) {
            return Arc::clone(counter);
        }
        let counter = Arc::new(Counter::new());
        series.insert(value.to_owned(), Arc::clone(&counter));
        counter
    }

    /// Forgets a label value, so that values that come and go do not pile up.
    pub fn remove(&self, value: &str) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).remove(value);
    }

    /// Calls `visit` with each label value and its count, in order.
    pub fn for_each(&self, mut visit: impl FnMut(&str, u64)) {
        for (value, counter) in self.series.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            visit(value, counter.value());
        }
    }

    /// True while there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Appends the family, nothing while it has no series.
    pub fn render(&self, name: &str, help: &str, label: &str, out: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.is_empty() {
            return;
        }
        family(out, Kind::Counter, name, help);
        for (value, counter) in series.iter() {
            sample(out, name, &[(label, value)], counter.value().into());
        }
    }
}

/// 64 bits where atomics have them.
#[cfg(target_has_atomic = "64")]
mod word {
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    pub(super) struct Cell(AtomicU64);

    impl Cell {
        pub(super) const fn new() -> Self {
            Self(AtomicU64::new(0))
        }

        pub(super) fn add(&self, n: u64) {
            self.0.fetch_add(n, Ordering::Relaxed);
        }

        pub(super) fn value(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }
}

/// Some small routers have no atomics of 64 bits; sums of bytes and nanoseconds do not fit into 32.
#[cfg(not(target_has_atomic = "64"))]
mod word {
    use std::sync::{Mutex, PoisonError};

    #[derive(Debug, Default)]
    pub(super) struct Cell(Mutex<u64>);

    impl Cell {
        pub(super) const fn new() -> Self {
            Self(Mutex::new(0))
        }

        pub(super) fn add(&self, n: u64) {
            let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *value = value.wrapping_add(n);
        }

        pub(super) fn value(&self) -> u64 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges_render_their_family() {
        let (counter, gauge) = (Counter::new(), Gauge::new());
        counter.inc();
        counter.add(2);
        gauge.set(7);
        gauge.dec();
        gauge.inc();
        gauge.add(-9);
        let mut out = String::new();
        counter.render("c_total", "Things.", &mut out);
        gauge.render("g", "Level.", &mut out);
        let want = "# HELP c_total Things.\n# TYPE c_total counter\nc_total 3\n\
                    # HELP g Level.\n# TYPE g gauge\ng -2\n";
        assert_eq!(out, want);
    }

    #[test]
    fn series_of_a_family_are_sorted_and_may_go() {
        let requests = CounterVec::new();
        let mut out = String::new();
        requests.render("r_total", "R.", "node_id", &mut out);
        assert_eq!(out, "", "a family without series is not there, as in Go");
        requests.with("b").inc();
        requests.with("a").add(5);
        requests.with("b").inc();
        requests.with("gone").inc();
        requests.remove("gone");
        requests.render("r_total", "R.", "node_id", &mut out);
        let want = "# HELP r_total R.\n# TYPE r_total counter\n\
                    r_total{node_id=\"a\"} 5\nr_total{node_id=\"b\"} 2\n";
        assert_eq!(out, want);
    }

    #[test]
    fn threads_lose_no_count() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.value(), 40_000);
    }
}
