//! The commands, as clap sees them.

use super::{Form, Query, Subject};
use clap::{Arg, ArgMatches, Command};
use piko_config::Secret;

const URL: &str = "server.url";
const TOKEN: &str = "server.token";
const ROOT_CAS: &str = "server.tls.root-cas";
const INSECURE: &str = "server.tls.insecure-skip-verify";
const FORWARD: &str = "forward";
const OUTPUT: &str = "output";
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
    let text = |id, value| Arg::new(id).long(id).num_args(1).global(true).value_name(value);
    let url = Arg::new(URL).long(URL).num_args(1).global(true).value_name("url");
    let forward = Arg::new(FORWARD).long(FORWARD).num_args(1).global(true).value_name("id");
    let output = Arg::new(OUTPUT).long(OUTPUT).num_args(1).global(true).value_name("form");
    group(name, "Ask a node how it stands")
        .arg(url.default_value("http://localhost:8002").help("The admin port of the node"))
        .arg(text(TOKEN, "token").help("The token to authenticate with"))
        .arg(text(ROOT_CAS, "file").help(
            "A PEM file: the authorities to trust at an https URL; those of the machine when not given",
        ))
        .arg(
            text(INSECURE, "bool")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(clap::value_parser!(bool))
                .help("Take whatever certificate is shown at an https URL: for tests only"),
        )
        .arg(forward.help("Ask the node of this id, through the one at --server.url"))
        .arg(
            output
                .default_value("yaml")
                .value_parser(["json", "table", "yaml"])
                .help("How to show the answer"),
        )
        .subcommand(upstream)
        .subcommand(cluster)
        .subcommand(gossip)
}

/// A command with commands of its own. Alone it shows its help.
fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).disable_help_subcommand(true)
}

fn id() -> Arg {
    Arg::new(ID).value_name("id").required(true).help("The id of the node")
}

/// What the matches of [`command`] or [`old_command`] ask for; `Err` holds the words of a command that has no
/// meaning alone, whose help is wanted.
pub(crate) fn asked(matches: &ArgMatches) -> Result<Query, Vec<String>> {
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
        _ => return Err(words),
    };
    let form = match text(OUTPUT).as_deref() {
        Some("json") => Form::Json,
        Some("table") => Form::Table,
        _ => Form::Yaml,
    };
    let forward = text(FORWARD).filter(|id| !id.is_empty());
    let insecure = inner.try_get_one::<bool>(INSECURE).ok().flatten().copied();
    Ok(Query {
        subject,
        url: text(URL).unwrap_or_default(),
        token: Secret::new(text(TOKEN).unwrap_or_default()),
        root_cas: text(ROOT_CAS).filter(|path| !path.is_empty()),
        insecure_skip_verify: insecure.unwrap_or_default(),
        forward,
        form,
    })
}
