//! Requests of one port or listener: `piko_proxy_*` on the server, `piko_agent_*` on the agent.

use super::cell::Gauge;
use super::histogram::{Histogram, Scale, render};
use super::text::{Kind, family, sample};
use piko_core::proxy::Record;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// The methods that have series of their own, in the order in which they are rendered. A client can invent any
/// number of others; they share [`OTHER`] (rough edge R27).
const METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "OTHER", "PATCH", "POST", "PUT", "TRACE"];
const OTHER: usize = 5;
/// Statuses have three digits; zero stands for "no answer was given".
const STATUS_MAX: u16 = 999;

/// The client library's default, in nanoseconds.
const LATENCY: Scale = Scale {
    bounds: &[
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ],
    decimals: 9,
};
const LATENCY_CELLS: usize = 12;
/// Bytes: 256 · 4^k.
const SIZE: Scale =
    Scale { bounds: &[256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304], decimals: 0 };
const SIZE_CELLS: usize = 9;
const _: () = assert!(LATENCY.bounds.len() + 1 == LATENCY_CELLS && SIZE.bounds.len() + 1 == SIZE_CELLS);

/// Requests of one method and one status. Their number is the count of the histogram.
type Series = Histogram<LATENCY_CELLS>;
/// A hundred statuses; made when the first of them is met.
type Hundred = [OnceLock<Box<Series>>; 100];
type Statuses = [OnceLock<Box<Hundred>>; 10];

/// What is counted about the requests of one port, or of one listener of an agent.
///
/// [`HttpMetrics::begin`] when a request was read, then exactly one of [`HttpMetrics::record`] and
/// [`HttpMetrics::cancel`]. An upgraded request counts under 101 with its whole lifetime, one that was given no
/// answer under 0. A request's size is that of its head and its payload, a response's that of its payload, never
/// negative (R27).
///
/// Memory follows the methods and statuses that were met: about 2 KiB for the first ones, at most 1.5 MiB for
/// all that exist.
pub struct HttpMetrics {
    prefix: String,
    endpoint: Option<String>,
    in_flight: Gauge,
    methods: [OnceLock<Box<Statuses>>; METHODS.len()],
    request_size: Histogram<SIZE_CELLS>,
    response_size: Histogram<SIZE_CELLS>,
}

impl HttpMetrics {
    /// `prefix` is `piko_proxy` or `piko_agent`; `endpoint` becomes the label of that name.
    pub fn new(prefix: &str, endpoint: Option<&str>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            in_flight: Gauge::new(),
            methods: [const { OnceLock::new() }; METHODS.len()],
            request_size: Histogram::new(),
            response_size: Histogram::new(),
        }
    }

    /// Whether it counts this endpoint.
    pub fn is_of(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref() == Some(endpoint)
    }

    /// A request is being handled.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// A request that had begun was given up before there was anything to record.
    pub fn cancel(&self) {
        self.in_flight.dec();
    }

    /// A request that had begun is over.
    pub fn record(&self, record: &Record) {
        self.in_flight.dec();
        let latency = record.ended.since(record.started);
        // Go's request size is that of the head and the body together; its response size is that of the body.
        let request_bytes = record.request_head_bytes.saturating_add(record.request_bytes);
        self.count(&record.method, record.status, latency, [request_bytes, record.response_bytes]);
    }

    fn count(&self, method: &[u8], status: u16, latency: Duration, [request, response]: [u64; 2]) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.series_mut(method_index(method), status.min(STATUS_MAX)).observe(&LATENCY, nanos);
        self.request_size.observe(&SIZE, request);
        self.response_size.observe(&SIZE, response);
    }

    /// The series, made when it is met for the first time.
    fn series_mut(&self, method: usize, status: u16) -> &Series {
        let (hundred, rest) = (usize::from(status / 100), usize::from(status % 100));
        let statuses = self.methods[method].get_or_init(|| Box::new([const { OnceLock::new() }; 10]));
        let statuses = statuses[hundred].get_or_init(|| Box::new([const { OnceLock::new() }; 100]));
        statuses[rest].get_or_init(|| Box::new(Series::new()))
    }

    fn series(&self, method: usize, status: u16) -> Option<&Series> {
        let (hundred, rest) = (usize::from(status / 100), usize::from(status % 100));
        let hundred = self.methods[method].get()?.get(hundred)?.get()?;
        hundred[rest].get().map(|series| &**series)
    }

    /// Appends the five families of these requests alone.
    pub fn render(&self, out: &mut String) {
        render_all(&[self], out);
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMetrics")
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("in_flight", &self.in_flight.value())
            .finish_non_exhaustive()
    }
}

fn method_index(method: &[u8]) -> usize {
    METHODS.iter().position(|known| known.as_bytes() == method).unwrap_or(OTHER)
}

/// Appends the families of all `metrics`, each with its HELP and TYPE once per prefix, samples in the order of
/// their labels. Metrics of the same prefix and endpoint are summed, since a series may stand there only once.
pub fn render_all(metrics: &[&HttpMetrics], out: &mut String) {
    let mut all: Vec<&HttpMetrics> = Vec::with_capacity(metrics.len());
    // They are a handful: one by one at its place is less code than a sort.
    for metrics in metrics {
        let key = (&metrics.prefix, &metrics.endpoint);
        let at = all.partition_point(|other| (&other.prefix, &other.endpoint) <= key);
        all.insert(at, metrics);
    }
    for same_prefix in all.chunk_by(|a, b| a.prefix == b.prefix) {
        let groups: Vec<_> = same_prefix.chunk_by(|a, b| a.endpoint == b.endpoint).map(Group::new).collect();
        render_prefix(&same_prefix[0].prefix, &groups, out);
    }
}

/// Metrics that are rendered as one.
struct Group<'a> {
    parts: &'a [&'a HttpMetrics],
    /// The label `endpoint`, where there is one.
    labels: Vec<(&'static str, &'a str)>,
}

impl<'a> Group<'a> {
    fn new(parts: &'a [&'a HttpMetrics]) -> Self {
        let endpoint = parts.first().and_then(|first| first.endpoint.as_deref());
        Self { parts, labels: endpoint.map(|endpoint| ("endpoint", endpoint)).into_iter().collect() }
    }

    /// Calls `visit` with each series that has counted anything and its labels, in order.
    fn for_each_series(&self, mut visit: impl FnMut(&[(&str, &str)], &[&Series])) {
        for (index, method) in METHODS.iter().enumerate() {
            for status in 0..=STATUS_MAX {
                let series: Vec<_> =
                    self.parts.iter().filter_map(|part| part.series(index, status)).collect();
                if !series.is_empty() {
                    let status = status.to_string();
                    let mut labels = self.labels.clone();
                    labels.extend([("method", *method), ("status", status.as_str())]);
                    visit(&labels, &series);
                }
            }
        }
    }
}

fn render_prefix(prefix: &str, groups: &[Group<'_>], out: &mut String) {
    // A family of which no series exists is not there, as in Go.
    let counted = groups.iter().any(|group| group.parts.iter().any(|part| part.request_size.count() > 0));
    if counted {
        let name = format!("{prefix}_request_latency_seconds");
        family(out, Kind::Histogram, &name, "Time from a request's head to the end of its response.");
        for group in groups {
            group.for_each_series(|labels, series| render(out, &name, labels, &LATENCY, series));
        }
    }
    let name = format!("{prefix}_request_size_bytes");
    render_sizes(out, &name, "Bytes of requests: head and payload.", groups, |metrics| &metrics.request_size);
    let name = format!("{prefix}_requests_in_flight");
    family(out, Kind::Gauge, &name, "Requests being handled.");
    for group in groups {
        let sum: isize = group.parts.iter().map(|part| part.in_flight.value()).sum();
        sample(out, &name, &group.labels, sum.into());
    }
    if counted {
        let name = format!("{prefix}_requests_total");
        family(out, Kind::Counter, &name, "Requests that are over.");
        for group in groups {
            group.for_each_series(|labels, series| {
                let count: u64 = series.iter().map(|series| series.count()).sum();
                sample(out, &name, labels, count.into());
            });
        }
    }
    let name = format!("{prefix}_response_size_bytes");
    render_sizes(out, &name, "Payload bytes of responses as they were sent to clients.", groups, |metrics| {
        &metrics.response_size
    });
}

fn render_sizes(
    out: &mut String,
    name: &str,
    help: &str,
    groups: &[Group<'_>],
    pick: fn(&HttpMetrics) -> &Histogram<SIZE_CELLS>,
) {
    family(out, Kind::Histogram, name, help);
    for group in groups {
        let parts: Vec<_> = group.parts.iter().map(|part| pick(part)).collect();
        render(out, name, &group.labels, &SIZE, &parts);
    }
}

#[cfg(test)]
mod tests;
