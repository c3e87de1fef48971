//! Connections of bytes: `piko_proxy_tcp_*` on the server, `piko_agent_tcp_*` on the agent. Go counts none of them.

use super::cell::{Counter, CounterVec, Gauge};
use super::text::{Kind, family, sample};

/// What is counted about the TCP connections of one port, or of one endpoint of an agent.
///
/// [`TcpMetrics::opened`] when a connection's target was reached, as far as is known, then exactly one
/// [`TcpMetrics::closed`]; [`TcpMetrics::failed`] when it was not, also where that shows behind these only.
#[derive(Debug)]
pub struct TcpMetrics {
    prefix: String,
    endpoint: Option<String>,
    opened: Counter,
    open: Gauge,
    failed: CounterVec,
    to_target: Counter,
    from_target: Counter,
}

impl TcpMetrics {
    /// `prefix` is `piko_proxy` or `piko_agent`; `endpoint` becomes the label of that name.
    pub fn new(prefix: &str, endpoint: Option<&str>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            opened: Counter::new(),
            open: Gauge::new(),
            failed: CounterVec::new(),
            to_target: Counter::new(),
            from_target: Counter::new(),
        }
    }

    /// Whether these are the connections of `endpoint`.
    pub fn is_of(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref() == Some(endpoint)
    }

    /// A connection has reached its target, or whoever is to bring it there.
    pub fn opened(&self) {
        self.opened.inc();
        self.open.inc();
    }

    /// An open connection is over; so many bytes went to its target, and came from it.
    pub fn closed(&self, to_target: u64, from_target: u64) {
        self.open.dec();
        self.to_target.add(to_target);
        self.from_target.add(from_target);
    }

    /// In the order of their names: `cause` and `direction` stand before `endpoint`.
    fn labels<'a>(&'a self, first: Option<(&'static str, &'a str)>) -> Vec<(&'static str, &'a str)> {
        let endpoint = self.endpoint.as_deref().map(|endpoint| ("endpoint", endpoint));
        first.into_iter().chain(endpoint).collect()
    }

    /// A connection did not reach its target. `cause` is one of a handful.
    pub fn failed(&self, cause: &str) {
        self.failed.with(cause).inc();
    }
}

/// Appends the families of all `metrics`, which have one prefix and different endpoints; nothing when there are none.
pub fn render_tcp(metrics: &[&TcpMetrics], out: &mut String) {
    let Some(first) = metrics.first() else { return };
    let name = |rest: &str| [&first.prefix, "_tcp_", rest].concat();
    let bytes = name("bytes_total");
    family(out, Kind::Counter, &bytes, "Bytes of TCP connections that are over.");
    for (direction, pick) in [
        ("from_target", (|tcp| &tcp.from_target) as fn(&TcpMetrics) -> &Counter),
        ("to_target", |tcp| &tcp.to_target),
    ] {
        for tcp in metrics {
            sample(out, &bytes, &tcp.labels(Some(("direction", direction))), pick(tcp).value().into());
        }
    }
    let failed = name("connections_failed_total");
    if metrics.iter().any(|tcp| !tcp.failed.is_empty()) {
        family(out, Kind::Counter, &failed, "TCP connections that did not reach their target, by cause.");
        for tcp in metrics {
            tcp.failed.for_each(|cause, count| {
                sample(out, &failed, &tcp.labels(Some(("cause", cause))), count.into());
            });
        }
    }
    let open = name("connections_open");
    family(out, Kind::Gauge, &open, "TCP connections that are open.");
    for tcp in metrics {
        sample(out, &open, &tcp.labels(None), tcp.open.value().into());
    }
    let total = name("connections_total");
    family(out, Kind::Counter, &total, "TCP connections that were opened.");
    for tcp in metrics {
        sample(out, &total, &tcp.labels(None), tcp.opened.value().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_per_endpoint() {
        let (a, b) = (TcpMetrics::new("piko_agent", Some("a")), TcpMetrics::new("piko_agent", Some("b")));
        a.opened();
        a.opened();
        a.closed(5, 7);
        b.failed("connect-refused");
        assert!(a.is_of("a") && !a.is_of("b"));
        let mut out = String::new();
        render_tcp(&[&a, &b], &mut out);
        for line in [
            "piko_agent_tcp_bytes_total{direction=\"to_target\",endpoint=\"a\"} 5",
            "piko_agent_tcp_bytes_total{direction=\"from_target\",endpoint=\"a\"} 7",
            "piko_agent_tcp_connections_failed_total{cause=\"connect-refused\",endpoint=\"b\"} 1",
            "piko_agent_tcp_connections_open{endpoint=\"a\"} 1",
            "piko_agent_tcp_connections_total{endpoint=\"a\"} 2",
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is not in:\n{out}");
        }
    }
}
