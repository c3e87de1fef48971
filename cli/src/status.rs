//! `piko server status …`: what a node says of itself and of its cluster.
//!
//! The output is that of Go to the byte (behaviour reference, CLI 1.2); `--output` has other forms.

mod command;
mod fetch;
mod model;
mod table;
mod yaml;

pub(crate) use command::{Asked, asked, command, old_command};

use crate::output;
use fetch::Source;
use model::{ClusterNode, Counts, GossipNode, GossipState, ListedNode, Upstream};
use piko_config::{Form, StatusOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::ExitCode;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    ClusterNode(String),
    /// Those with this status alone, where one is given.
    ClusterNodes(Option<String>),
    GossipNode(String),
    GossipNodes,
    /// The oldest spelling: each upstream by its address.
    ProxyEndpoints,
    UpstreamEndpoints,
}

/// One question to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) subject: Subject,
    pub(crate) options: StatusOptions,
}

/// Asks and prints.
pub(crate) fn run(query: &Query) -> ExitCode {
    let options = &query.options;
    let source = match Source::parse(options) {
        Ok(source) => source,
        Err(error) => {
            eprintln!("config: server: {error}");
            return ExitCode::FAILURE;
        }
    };
    match answer(&query.subject, options.form, &source) {
        Ok(text) => output::text(&text),
        Err(error) => {
            eprintln!("failed to get {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(subject: &Subject, form: Form, source: &Source) -> Result<String, String> {
    let segment = fetch::segment;
    Ok(match subject {
        Subject::ClusterNodes(status) => {
            let mut nodes: Vec<ListedNode> = get(source, "/status/cluster/nodes", "cluster nodes")?;
            nodes.retain(|node| status.as_ref().is_none_or(|status| node.status == *status));
            nodes.sort_by(|one, other| one.id.cmp(&other.id));
            render(form, &nodes, || yaml::cluster_nodes(&nodes), || table::cluster_nodes(&nodes))
        }
        Subject::ClusterNode(id) => {
            let path = format!("/status/cluster/nodes/{}", segment(id));
            let node: ClusterNode = get(source, &path, &format!("cluster nodes: {id}"))?;
            render(form, &node, || yaml::cluster_node(&node), || table::cluster_node(&node))
        }
        Subject::UpstreamEndpoints => {
            let counts: Counts = get(source, "/status/upstream/endpoints", "upstream endpoints")?;
            render(form, &counts, || yaml::counts(&counts), || table::counts(&counts))
        }
        Subject::GossipNodes => {
            let nodes: Vec<GossipNode> = get(source, "/status/gossip/nodes", "gossip nodes")?;
            render(form, &nodes, || yaml::gossip_nodes(&nodes), || table::gossip_nodes(&nodes))
        }
        Subject::GossipNode(id) => {
            let path = format!("/status/gossip/nodes/{}", segment(id));
            let state: GossipState = get(source, &path, &format!("gossip node: {id}"))?;
            render(form, &state, || yaml::gossip_node(&state), || table::gossip_node(&state))
        }
        Subject::ProxyEndpoints => {
            let upstreams: Vec<Upstream> = get(source, "/status/upstreams", "proxy endpoints")?;
            render(form, &upstreams, || yaml::proxy_endpoints(&upstreams), || table::upstreams(&upstreams))
        }
    })
}

/// Asks for JSON of this shape. `what` begins the error.
fn get<T: DeserializeOwned>(source: &Source, path: &str, what: &str) -> Result<T, String> {
    let body = source.get(path).map_err(|error| format!("{what}: request: {error}"))?;
    serde_json::from_slice(&body).map_err(|error| format!("{what}: decode response: {error}"))
}

fn render<T: Serialize>(
    form: Form,
    value: &T,
    yaml: impl FnOnce() -> String,
    table: impl FnOnce() -> String,
) -> String {
    match form {
        // Plain data always becomes JSON.
        Form::Json => serde_json::to_string_pretty(value).unwrap_or_default() + "\n",
        Form::Table => table(),
        Form::Yaml => yaml(),
    }
}
