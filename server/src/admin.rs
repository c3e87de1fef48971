//! The admin port: health, readiness, metrics, status (wire protocol, section 8).

use crate::local::Local;
use crate::node::Node;
use crate::{answers, path};
use piko_core::http1::RequestHead;
use piko_driver::Gossip;
use piko_observe::metrics;
use std::convert::Infallible;
use std::fmt::Write;

pub(crate) fn answer(node: &Node, _gossip: &Gossip, head: &RequestHead<'_>) -> Local<Infallible> {
    let path = path::of(head.target);
    if head.method != b"GET" {
        return Local::Answer(answers::not_found());
    }
    Local::Answer(match path {
        b"/health" => answers::empty(200),
        b"/ready" if node.is_ready() => answers::empty(200),
        b"/ready" => answers::empty(503),
        b"/metrics" => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
            answers::body(200, content_type, render(node).into_bytes())
        }
        b"/status/upstream/endpoints" => answers::json(endpoints(node)),
        b"/health/" | b"/ready/" | b"/metrics/" | b"/status/upstream/endpoints/" => {
            answers::moved(&path[..path.len() - 1])
        }
        _ => answers::not_found(),
    })
}

fn endpoints(node: &Node) -> String {
    let mut text = String::from("{");
    for (n, (endpoint, listeners)) in node.endpoints().iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        answers::push_json_string(&mut text, endpoint.as_bytes());
        // Writing to a string does not fail.
        let _ = write!(text, ":{listeners}");
    }
    text.push('}');
    text
}

fn render(node: &Node) -> String {
    let mut text = String::with_capacity(8 * 1024);
    node.requests.render(&mut text);
    let gauge = |name: &str, help: &str, value: usize, text: &mut String| {
        let gauge = metrics::Gauge::new();
        gauge.set(isize::try_from(value).unwrap_or(isize::MAX));
        gauge.render(name, help, text);
    };
    gauge(
        "piko_upstreams_connected_upstreams",
        "Number of upstreams connected to this node",
        node.routable(),
        &mut text,
    );
    gauge(
        "piko_upstreams_registered_endpoints",
        "Number of endpoints registered to this node",
        node.endpoints().len(),
        &mut text,
    );
    node.upstream_requests.render(
        "piko_upstreams_upstream_requests_total",
        "Number of requests routed to a local upstream",
        &mut text,
    );
    node.remote_requests.render(
        "piko_upstreams_remote_requests_total",
        "Number of requests routed to another node",
        "node_id",
        &mut text,
    );
    node.retries.render(
        "piko_proxy_retries_total",
        "Number of times a request was sent once more, to another upstream",
        &mut text,
    );
    node.remote_dials.render(
        "piko_upstreams_remote_dials_total",
        "Number of connections opened to other nodes",
        &mut text,
    );
    let (sent, received, writes) = node.tunnels().iter().fold((0, 0, 0), |sum, tunnel| {
        let (sent, received, writes) = tunnel.traffic();
        (sum.0 + sent, sum.1 + received, sum.2 + writes)
    });
    for (name, help, value) in [
        ("piko_tunnel_sent_bytes", "Bytes written to the tunnels that are connected", sent),
        ("piko_tunnel_received_bytes", "Bytes read from the tunnels that are connected", received),
        ("piko_tunnel_writes", "Writes to the tunnels that are connected", writes),
    ] {
        gauge(name, help, usize::try_from(value).unwrap_or(usize::MAX), &mut text);
    }
    metrics::render_build_info(env!("CARGO_PKG_VERSION"), &mut text);
    metrics::render_process(&mut text);
    text
}
