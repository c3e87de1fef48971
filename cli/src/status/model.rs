//! The JSON of the status paths (wire protocol 8). What is missing has its zero, as in Go.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Endpoint ids with their listeners, in order of the ids.
pub(super) type Counts = BTreeMap<String, i64>;

/// A node in the list of the cluster.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ListedNode {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) proxy_addr: String,
    pub(super) admin_addr: String,
    pub(super) endpoints: i64,
    pub(super) upstreams: i64,
}

/// A node of the cluster.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ClusterNode {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) proxy_addr: String,
    pub(super) admin_addr: String,
    pub(super) endpoints: Option<Counts>,
}

/// A node as gossip sees it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct GossipNode {
    pub(super) id: String,
    pub(super) addr: String,
    pub(super) version: u64,
    pub(super) left: bool,
    pub(super) unreachable: bool,
    pub(super) expiry: String,
}

/// The same with its keys.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct GossipState {
    #[serde(flatten)]
    pub(super) node: GossipNode,
    #[serde(rename = "Entries")]
    pub(super) entries: Option<Vec<Entry>>,
}

/// A key of a node.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) version: u64,
    pub(super) internal: bool,
    pub(super) deleted: bool,
}

/// A tunnel; ours alone have these.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) id: u64,
    pub(super) endpoint: String,
    pub(super) addr: String,
    pub(super) since: String,
    pub(super) version: String,
    pub(super) caps: String,
    pub(super) draining: bool,
    pub(super) in_flight: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}
