//! `piko test cluster`: some nodes in one process that form a cluster, to try things against.

use crate::nodes::LocalNode;
use crate::signals::Signals;
use clap::{Arg, ArgMatches, Command, value_parser};
use piko_config::{BindAddr, BindHost, NodeIdRule, Seed, ServerOptions};
use piko_observe::log;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// More would not find threads and descriptors on most machines.
const NODES_MAX: u32 = 100;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    nodes: u32,
    log: log::Options,
}

/// The command as clap sees it.
pub(crate) fn command() -> Command {
    let nodes = Arg::new("nodes").long("nodes").num_args(1).value_name("int").default_value("3");
    let level = Arg::new("log.level").long("log.level").num_args(1).value_name("string");
    let subsystems = Arg::new("log.subsystems").long("log.subsystems").num_args(1).value_name("strings");
    Command::new("test").about("Tools for testing clusters").disable_help_subcommand(true).subcommand(
        Command::new("cluster")
            .about("Run a cluster of nodes in one process, on ports of the system's choice")
            .arg(nodes.value_parser(value_parser!(u32)).help("How many nodes"))
            .arg(
                level
                    .default_value("info")
                    .value_parser(["debug", "info", "warn", "error"])
                    .help("The least severe records to log"),
            )
            .arg(
                subsystems
                    .value_delimiter(',')
                    .help("Subsystems whose records are all logged, whatever the level"),
            ),
    )
}

/// What the matches of [`command`] ask for; `None` when help is wanted.
pub(crate) fn asked(matches: &ArgMatches) -> Option<Options> {
    let (_, matches) = matches.subcommand()?;
    let level = match matches.get_one::<String>("log.level").map(String::as_str) {
        Some("debug") => log::Level::Debug,
        Some("warn") => log::Level::Warn,
        Some("error") => log::Level::Error,
        _ => log::Level::Info,
    };
    let subsystems = matches.get_many::<String>("log.subsystems").into_iter().flatten().cloned().collect();
    let nodes = matches.get_one::<u32>("nodes").copied().unwrap_or_default();
    Some(Options { nodes, log: log::Options { level, subsystems } })
}

/// Runs the nodes until a signal ends them. A second signal ends the process at once.
pub(crate) fn run(options: Options) -> ExitCode {
    if options.nodes == 0 || options.nodes > NODES_MAX {
        let what = if options.nodes == 0 { "missing nodes" } else { "more than 100 nodes" };
        eprintln!("validate: {what}");
        return ExitCode::FAILURE;
    }
    if log::init(options.log).is_err() {
        eprintln!("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
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

async fn cluster(count: u32) -> Result<ExitCode, String> {
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

fn options(n: u32, others: &[LocalNode]) -> ServerOptions {
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
