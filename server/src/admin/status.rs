//! What the status paths show, computed when asked for. Go's shapes to the byte (wire protocol 8), and ours.

use crate::answers::push_json_string;
use crate::cluster::{ADMIN_ADDR, DRAINING, ENDPOINT, PROXY_ADDR};
use crate::date::rfc3339;
use crate::node::Node;
use piko_core::gossip::{NodeStatus, PeerView};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use piko_driver::{Gossip, TunnelHandle};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

/// Go's zero time: a node that will not be forgotten.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Writes the members of an object. Writing to a string does not fail, so results are dropped.
struct Object<'o>(&'o mut String);

impl<'o> Object<'o> {
    fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self(out)
    }

    fn name(&mut self, name: &[u8]) -> &mut String {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        push_json_string(self.0, name);
        self.0.push(':');
        self.0
    }

    fn text(&mut self, name: &str, value: &[u8]) -> &mut Self {
        push_json_string(self.name(name.as_bytes()), value);
        self
    }

    /// A number, a truth value or null.
    fn plain(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        let _ = write!(self.name(name.as_bytes()), "{value}");
        self
    }

    fn close(self) {
        self.0.push('}');
    }
}

/// `[item,item]`.
fn list<T>(items: impl IntoIterator<Item = T>, mut write: impl FnMut(T, &mut String)) -> String {
    let mut out = String::from("[");
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        write(item, &mut out);
    }
    out.push(']');
    out
}

/// Endpoint ids with their listeners.
fn counts<'a>(out: &mut String, endpoints: impl IntoIterator<Item = (&'a [u8], u32)>) {
    let mut object = Object::open(out);
    for (endpoint, listeners) in endpoints {
        let _ = write!(object.name(endpoint), "{listeners}");
    }
    object.close();
}

/// `/status/upstream/endpoints`.
pub(super) fn endpoints(node: &Node) -> String {
    let mut out = String::new();
    let endpoints = node.endpoints();
    counts(&mut out, endpoints.iter().map(|(endpoint, listeners)| (endpoint.as_bytes(), *listeners)));
    out
}

/// `/status/upstreams`.
pub(super) fn upstreams(node: &Node) -> String {
    list(node.upstreams(), |upstream, out| {
        let (sent, received, _) = upstream.handle.traffic();
        let addr = upstream.handle.info().peer.map(|addr| addr.to_string()).unwrap_or_default();
        let caps = upstream.caps.map(|caps| caps.to_value()).unwrap_or_default();
        let mut object = Object::open(out);
        object
            .plain("id", upstream.id)
            .text("endpoint", upstream.handle.endpoint().as_bytes())
            .text("addr", addr.as_bytes())
            .text("since", rfc3339(upstream.since).as_bytes())
            .text("version", upstream.agent.as_deref().unwrap_or_default().as_bytes())
            .text("caps", caps.as_bytes())
            .plain("draining", TunnelHandle::is_draining(&upstream.handle))
            .plain("in_flight", upstream.handle.streams())
            .plain("bytes_in", received)
            .plain("bytes_out", sent);
        object.close();
    })
}

/// A node as routing sees it.
struct Member {
    id: String,
    status: &'static str,
    proxy: Vec<u8>,
    admin: Vec<u8>,
    endpoints: BTreeMap<Vec<u8>, u32>,
}

/// The words of Go.
fn status_name(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Active => "active",
        NodeStatus::Left => "left",
        NodeStatus::Unreachable | NodeStatus::Unproven => "unreachable",
    }
}

impl Member {
    /// `None` while not both addresses of a node are known (behaviour, server 5), or nobody has heard it.
    fn of(peer: PeerView<'_>) -> Option<Self> {
        if peer.status() == NodeStatus::Unproven {
            return None;
        }
        let (mut proxy, mut admin, mut endpoints) = (None, None, BTreeMap::new());
        for entry in peer.entries().filter(|entry| !entry.deleted && !entry.internal) {
            if entry.key == PROXY_ADDR.as_bytes() {
                proxy = Some(entry.value.to_vec());
            } else if entry.key == ADMIN_ADDR.as_bytes() {
                admin = Some(entry.value.to_vec());
            } else if let Some(endpoint) = entry.key.strip_prefix(ENDPOINT) {
                let listeners = std::str::from_utf8(entry.value).ok().and_then(|text| text.parse().ok());
                if let Some(listeners) = listeners.filter(|listeners| *listeners > 0) {
                    endpoints.insert(endpoint.to_vec(), listeners);
                }
            }
        }
        let status = status_name(peer.status());
        Some(Self { id: peer.id().to_string(), status, proxy: proxy?, admin: admin?, endpoints })
    }

    /// Of this node the routes say what it serves; gossip hears of it a moment later.
    fn local(mut self, node: &Node) -> Self {
        self.status = "active";
        let endpoints = node.endpoints().into_iter();
        self.endpoints =
            endpoints.map(|(endpoint, listeners)| (endpoint.as_bytes().to_vec(), listeners)).collect();
        self
    }

    fn addresses(&self, object: &mut Object<'_>) {
        object
            .text("id", self.id.as_bytes())
            .text("status", self.status.as_bytes())
            .text("proxy_addr", &self.proxy)
            .text("admin_addr", &self.admin);
    }
}

/// How many nodes have which status, in the order of the words. For every scrape, so nothing is copied.
pub(super) fn status_counts(gossip: &Gossip, own: &NodeId) -> [(&'static str, u64); 3] {
    let mut counts = [("active", 0), ("left", 0), ("unreachable", 0)];
    gossip.look(|node| {
        for peer in node.peers().filter(|peer| peer.status() != NodeStatus::Unproven) {
            let has = |key: &str| peer.entries().any(|entry| entry.key == key.as_bytes() && !entry.deleted);
            if !(has(PROXY_ADDR) && has(ADMIN_ADDR)) {
                continue;
            }
            let status = if peer.id() == own { "active" } else { status_name(peer.status()) };
            if let Some((_, count)) = counts.iter_mut().find(|(name, _)| *name == status) {
                *count += 1;
            }
        }
    });
    counts
}

/// `/status/cluster/nodes`, by id.
pub(super) fn cluster_nodes(node: &Node, gossip: &Gossip, own: &NodeId) -> String {
    let members: Vec<Member> = gossip.look(|node| node.peers().filter_map(Member::of).collect());
    list(members, |member, out| {
        let member = if member.id == own.as_str() { member.local(node) } else { member };
        let mut object = Object::open(out);
        member.addresses(&mut object);
        let upstreams: u64 = member.endpoints.values().map(|listeners| u64::from(*listeners)).sum();
        object.plain("endpoints", member.endpoints.len()).plain("upstreams", upstreams);
        object.close();
    })
}

/// `/status/cluster/nodes/<id>`.
pub(super) fn cluster_node(node: &Node, gossip: &Gossip, own: &NodeId, id: &[u8]) -> Option<String> {
    let id = NodeId::new(std::str::from_utf8(id).ok()?);
    let member = gossip.look(|node| node.peer(&id).and_then(Member::of))?;
    let member = if id == *own { member.local(node) } else { member };
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    member.addresses(&mut object);
    if member.endpoints.is_empty() {
        object.plain("endpoints", "null");
    } else {
        let endpoints = member.endpoints.iter().map(|(endpoint, listeners)| (&endpoint[..], *listeners));
        counts(object.name(b"endpoints"), endpoints);
    }
    object.close();
    Some(out)
}

/// The members that a gossip node has in both answers.
fn gossip_members(peer: &PeerView<'_>, now: (Instant, SystemTime), object: &mut Object<'_>) {
    let expiry = peer.expiry().map(|at| rfc3339(now.1 + at.since(now.0)));
    object
        .text("id", peer.id().as_str().as_bytes())
        .text("addr", peer.addr())
        .plain("version", peer.version())
        .plain("left", peer.left())
        .plain("unreachable", peer.unreachable())
        .text("expiry", expiry.as_deref().unwrap_or(NEVER).as_bytes());
}

/// `/status/gossip/nodes`, by id.
pub(super) fn gossip_nodes(gossip: &Gossip, now: Instant) -> String {
    let now = (now, SystemTime::now());
    gossip.look(|node| {
        let peers = node.peers().filter(|peer| peer.status() != NodeStatus::Unproven);
        list(peers, |peer, out| {
            let mut object = Object::open(out);
            gossip_members(&peer, now, &mut object);
            object.close();
        })
    })
}

/// `/status/gossip/nodes/<id>`.
pub(super) fn gossip_node(gossip: &Gossip, now: Instant, id: &[u8]) -> Option<String> {
    let id = NodeId::new(std::str::from_utf8(id).ok()?);
    gossip.look(|node| {
        let peer = node.peer(&id).filter(|peer| peer.status() != NodeStatus::Unproven)?;
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        gossip_members(&peer, (now, SystemTime::now()), &mut object);
        let entries = list(peer.entries(), |entry, out| {
            let mut object = Object::open(out);
            object
                .text("key", entry.key)
                .text("value", entry.value)
                .plain("version", entry.version)
                .plain("internal", entry.internal)
                .plain("deleted", entry.deleted);
            object.close();
        });
        object.plain("Entries", if entries == "[]" { "null" } else { &entries });
        object.close();
        Some(out)
    })
}

/// `/status/drain`: this node, and the others that are still there, by id.
pub(super) fn draining(node: &Node, gossip: &Gossip, own: &NodeId) -> String {
    let mut nodes = BTreeMap::new();
    gossip.look(|gossip| {
        for peer in gossip.peers().filter(|peer| peer.status() == NodeStatus::Active) {
            let told =
                |entry: &piko_core::gossip::KeyView<'_>| entry.key == DRAINING.as_bytes() && !entry.deleted;
            nodes.insert(peer.id().clone(), peer.entries().any(|entry| told(&entry)));
        }
    });
    nodes.insert(own.clone(), node.is_draining());
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.plain("draining", node.is_draining());
    let out_nodes = list(nodes, |(id, draining), out| {
        let mut object = Object::open(out);
        object.text("id", id.as_str().as_bytes()).plain("draining", draining);
        object.close();
    });
    object.plain("nodes", out_nodes);
    object.close();
    out
}
