//! `piko test cluster`: some nodes in one process that form a cluster, to try things against.

use crate::nodes::LocalNode;
use crate::signals::Signals;
use piko_config::{BindAddr, BindHost, NodeIdRule, Seed, ServerOptions, TestClusterOptions};
use piko_observe::log;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// Runs the nodes until a signal ends them. A second signal ends the process at once.
pub(crate) fn run(options: &TestClusterOptions) -> ExitCode {
    for notice in &options.notices {
        piko_observe::complain(notice);
    }
    if log::init((&options.log).into()).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
    piko_server::program::raise_file_limit();
    piko_runtime_tokio::block_on(|_| async move {
        match cluster(options.nodes).await {
            Ok(code) => code,
            Err(error) => {
                tracing::error!(target: "main", error, "failed to run cluster");
                ExitCode::FAILURE
            }
        }
    })
}

async fn cluster(count: usize) -> Result<ExitCode, String> {
    let mut signals = Signals::new().map_err(|error| error.to_string())?;
    tracing::info!(target: "cluster.manager", nodes = count, "starting cluster");
    let mut nodes: Vec<LocalNode> = Vec::new();
    for n in 1..=count {
        let node = LocalNode::start(options(n, &nodes))?;
        let bound = node.bound;
        tracing::info!(
            target: "cluster.manager",
            {
                node = node.id,
                "proxy-addr" = %bound.proxy,
                "upstream-addr" = %bound.upstream,
                "admin-addr" = %bound.admin,
                "gossip-addr" = %bound.gossip
            },
            "node started"
        );
        nodes.push(node);
    }
    let name = signals.next().await;
    tracing::info!(target: "main", signal = name, "received shutdown signal");
    nodes.iter().for_each(LocalNode::stop);
    let ended = async {
        for node in &nodes {
            node.ended().await;
        }
    };
    tokio::select! {
        () = ended => Ok(ExitCode::SUCCESS),
        _ = signals.next() => Ok(ExitCode::FAILURE),
    }
}

fn options(n: usize, others: &[LocalNode]) -> ServerOptions {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let any = || BindAddr { host: BindHost::Ip(host), port: 0 };
    let mut options = ServerOptions::default();
    options.proxy.bind = any();
    options.upstream.bind = any();
    options.admin.bind = any();
    options.cluster.gossip.bind = any();
    options.cluster.node_id = NodeIdRule::Generate { prefix: format!("node-{n}-") };
    let seed = |node: &LocalNode| Seed { host: host.to_string(), port: Some(node.bound.gossip.port()) };
    options.cluster.join = others.iter().map(seed).collect();
    // Nobody stands in front of them who would have to notice.
    options.drain_delay = std::time::Duration::ZERO;
    options
}
