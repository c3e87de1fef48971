//! `/metrics`: Go's names (wire protocol 8), families in the order of their names within each part, and ours.

use super::status::status_counts;
use crate::node::Node;
use crate::tls::NodeTls;
use piko_core::gossip::{Counters, Refusal};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use piko_driver::Gossip;
use piko_observe::metrics::{self, Kind, family, sample};

pub(super) fn render(node: &Node, gossip: &Gossip, own: &NodeId, tls: &NodeTls, now: Instant) -> String {
    let mut text = String::with_capacity(8 * 1024);
    cluster(gossip, own, &mut text);
    self::gossip(gossip, &mut text);
    node.requests.render(&mut text);
    node.retries.render(
        "piko_proxy_retries_total",
        "Requests that were sent once more, to another upstream or on another connection",
        &mut text,
    );
    node.waiting.held_total().render(
        "piko_proxy_held_total",
        "Requests that found no upstream and waited a moment for the next one",
        &mut text,
    );
    metrics::render_tcp(&[&node.tcp], &mut text);
    metrics::render_tcp(&[&node.port_tcp], &mut text);
    metrics::render_tcp(&[&node.sni_tcp], &mut text);
    proxy_headers(node, &mut text);
    metrics::render_reloads(tls.reloader.counts(), tls.reloader.is_current(), &mut text);
    links(node, &mut text);
    tunnels(node, &mut text);
    upstreams(node, now, &mut text);
    metrics::render_build_info(env!("CARGO_PKG_VERSION"), &mut text);
    metrics::render_process(&mut text);
    text
}

fn gauge(name: &str, help: &str, value: u64, text: &mut String) {
    family(text, Kind::Gauge, name, help);
    sample(text, name, &[], value.into());
}

fn proxy_headers(node: &Node, text: &mut String) {
    let name = "piko_proxy_headers_refused_total";
    family(
        text,
        Kind::Counter,
        name,
        "Connections of trusted networks without a good PROXY header, by cause",
    );
    node.proxy_headers_refused.for_each(|cause, count| sample(text, name, &[("cause", cause)], count.into()));
}

fn cluster(gossip: &Gossip, own: &NodeId, text: &mut String) {
    let name = "piko_cluster_nodes";
    family(text, Kind::Gauge, name, "Number of known nodes by status");
    for (status, count) in status_counts(gossip, own) {
        sample(text, name, &[("status", status)], count.into());
    }
}

fn gossip(gossip: &Gossip, text: &mut String) {
    // By whether they are deleted, then by whether they are internal.
    let (counters, entries) = gossip.look(|node| {
        let mut all: Vec<(NodeId, [[u64; 2]; 2])> = Vec::new();
        for peer in node.peers() {
            let mut counts = [[0; 2]; 2];
            for entry in peer.entries() {
                counts[usize::from(entry.deleted)][usize::from(entry.internal)] += 1;
            }
            all.push((peer.id().clone(), counts));
        }
        (node.counters().clone(), all)
    });
    let word = |truth: bool| if truth { "true" } else { "false" };
    for (name, help, value) in totals(&counters) {
        family(text, Kind::Counter, name, help);
        sample(text, name, &[], value.into());
    }
    let name = "piko_gossip_entries";
    family(text, Kind::Gauge, name, "Number of state entries held");
    for (deleted, internal) in [(false, false), (false, true), (true, false), (true, true)] {
        for (id, counts) in &entries {
            let count = counts[usize::from(deleted)][usize::from(internal)];
            // A series that never was is not there, as in Go.
            if count > 0 {
                let labels =
                    [("deleted", word(deleted)), ("internal", word(internal)), ("node_id", id.as_str())];
                sample(text, name, &labels, count.into());
            }
        }
    }
    let name = "piko_gossip_refused_total";
    family(text, Kind::Counter, name, "Messages and claims that were refused");
    for (why, count) in Refusal::ALL.iter().zip(counters.refused) {
        sample(text, name, &[("reason", reason(*why))], count.into());
    }
    let name = "piko_gossip_same_id_total";
    family(text, Kind::Counter, name, "Times that another process was found to have the id of this node");
    sample(text, name, &[], counters.twins.into());
}

fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::Full => "full",
        Refusal::Impostor => "impostor",
        Refusal::Malformed => "malformed",
        Refusal::Stranger => "stranger",
        Refusal::TooLong => "too-long",
        Refusal::Unknown => "unknown",
        // Of a later release of core.
        _ => "other",
    }
}

fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 10] {
    [
        (
            "piko_gossip_connections_inbound_total",
            "Stream connections that others opened",
            counters.streams_in,
        ),
        ("piko_gossip_connections_outbound_total", "Stream connections to others", counters.streams_out),
        ("piko_gossip_delta_entries_inbound_total", "Entries of received deltas", counters.delta_entries_in),
        ("piko_gossip_delta_entries_outbound_total", "Entries of sent deltas", counters.delta_entries_out),
        (
            "piko_gossip_digest_entries_inbound_total",
            "Entries of received digests",
            counters.digest_entries_in,
        ),
        ("piko_gossip_digest_entries_outbound_total", "Entries of sent digests", counters.digest_entries_out),
        ("piko_gossip_packet_bytes_inbound_total", "Bytes of received datagrams", counters.packet_bytes_in),
        ("piko_gossip_packet_bytes_outbound_total", "Bytes of sent datagrams", counters.packet_bytes_out),
        ("piko_gossip_stream_bytes_inbound_total", "Bytes received on streams", counters.stream_bytes_in),
        ("piko_gossip_stream_bytes_outbound_total", "Bytes sent on streams", counters.stream_bytes_out),
    ]
}

fn tunnels(node: &Node, text: &mut String) {
    let (received, sent, writes) = node.tunnels().iter().fold((0, 0, 0), |sum, tunnel| {
        let (sent, received, writes) = tunnel.traffic();
        (sum.0 + received, sum.1 + sent, sum.2 + writes)
    });
    gauge("piko_tunnel_received_bytes", "Bytes read from the tunnels that are connected", received, text);
    gauge("piko_tunnel_sent_bytes", "Bytes written to the tunnels that are connected", sent, text);
    gauge("piko_tunnel_writes", "Writes to the tunnels that are connected", writes, text);
}

fn links(node: &Node, text: &mut String) {
    gauge(
        "piko_links",
        "Number of connections over which other nodes send many requests at a time to this one",
        u64::try_from(node.links.value()).unwrap_or(0),
        text,
    );
    node.links_refused.render(
        "piko_links_refused_total",
        "Number of such connections that were refused",
        text,
    );
    node.link_requests.render(
        "piko_links_requests_total",
        "Number of requests that this node sent to another one over such a connection",
        text,
    );
}

fn upstreams(node: &Node, now: Instant, text: &mut String) {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    gauge(
        "piko_upstreams_connected_upstreams",
        "Number of upstreams connected to this node",
        count(node.routable()),
        text,
    );
    gauge(
        "piko_upstreams_registered_endpoints",
        "Number of endpoints registered to this node",
        count(node.endpoints().len()),
        text,
    );
    node.remote_dials.render(
        "piko_upstreams_remote_dials_total",
        "Number of connections opened to other nodes",
        text,
    );
    node.remote_requests.render(
        "piko_upstreams_remote_requests_total",
        "Number of requests routed to another node",
        "node_id",
        text,
    );
    gauge(
        "piko_upstreams_set_aside",
        "Number of upstreams and nodes that failed time and again and get trial requests only",
        count(node.set_aside(now)),
        text,
    );
    node.shed.render(
        "piko_upstreams_shed_total",
        "Number of upstreams that were sent to other nodes because this one had more than its share",
        text,
    );
    node.upstream_requests.render(
        "piko_upstreams_upstream_requests_total",
        "Number of requests routed to a local upstream",
        text,
    );
}
