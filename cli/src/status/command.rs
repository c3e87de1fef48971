//! The commands, as clap sees them.

use super::{Query, Subject};
use clap::{Arg, ArgMatches, Command};
use piko_config::{Env, UsageError, front_clap};

const STATUS: &str = "status";
const ID: &str = "id";

/// What stands behind `server`.
pub(crate) fn command() -> Command {
    tree("status")
}

/// The spelling of the oldest documents, which stands alone.
pub(crate) fn old_command() -> Command {
    let proxy = group("proxy", "Upstreams of a node").subcommand(
        Command::new("endpoints").about("The endpoints of a node with the addresses of their upstreams"),
    );
    tree("status").subcommand(proxy).hide(true)
}

fn tree(name: &'static str) -> Command {
    let upstream = group("upstream", "Upstreams of a node").subcommand(
        Command::new("endpoints").about("The endpoints of a node and how many upstreams each has"),
    );
    let only = Arg::new(STATUS).long("status").num_args(1).value_name("status");
    let cluster = group("cluster", "The cluster as a node sees it")
        .subcommand(
            Command::new("nodes")
                .about("All nodes that the node knows")
                .arg(only.help("Only nodes that are active, unreachable or left")),
        )
        .subcommand(Command::new("node").about("One node; local is the one that is asked").arg(id()));
    let gossip = group("gossip", "What the nodes tell each other")
        .subcommand(Command::new("nodes").about("All nodes that gossip knows"))
        .subcommand(Command::new("node").about("What is known of one node").arg(id()));
    group(name, "Ask a node how it stands")
        .args(front_clap::status_args())
        .subcommand(upstream)
        .subcommand(cluster)
        .subcommand(gossip)
}

/// A command with commands of its own. Alone it shows its help.
fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).disable_help_subcommand(true)
}

fn id() -> Arg {
    Arg::new(ID)
        .value_name("id")
        .required(true)
        .help("The id of the node; behind -- where it begins with a hyphen")
}

/// What the matches of [`command`] or [`old_command`] ask for.
pub(crate) enum Asked {
    /// Nothing: these are the words of a command that has no meaning alone, whose help is wanted.
    Help(Vec<String>),
    Query(Box<Query>),
}

/// Reads the matches of [`command`] or [`old_command`].
pub(crate) fn asked(matches: &ArgMatches, env: Env<'_>) -> Result<Asked, UsageError> {
    let mut words = Vec::new();
    let mut inner = matches;
    while let Some((name, next)) = inner.subcommand() {
        words.push(name.to_owned());
        inner = next;
    }
    let text = |name: &str| inner.try_get_one::<String>(name).ok().flatten().cloned();
    let id = || text(ID).unwrap_or_default();
    let path: Vec<&str> = words.iter().map(String::as_str).collect();
    let subject = match path[..] {
        ["cluster", "node"] => Subject::ClusterNode(id()),
        ["cluster", "nodes"] => Subject::ClusterNodes(text(STATUS).filter(|status| !status.is_empty())),
        ["gossip", "node"] => Subject::GossipNode(id()),
        ["gossip", "nodes"] => Subject::GossipNodes,
        ["proxy", "endpoints"] => Subject::ProxyEndpoints,
        ["upstream", "endpoints"] => Subject::UpstreamEndpoints,
        _ => return Ok(Asked::Help(words)),
    };
    let options = front_clap::status_options(matches, env)?;
    Ok(Asked::Query(Box::new(Query { subject, options })))
}
