//! The command line: which program runs, or what is wrong.

use crate::{agent, bench, demo, forward, output, pages, status, test_cluster};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use piko_config::{
    AgentInvocation, AgentOptions, BenchOptions, Env, ForwardInvocation, ForwardOptions, ServerInvocation,
    ServerOptions, TestClusterOptions, UsageError, front_clap, process_env,
};
use std::ffi::OsString;
use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process, and unpacked at once")]
enum Asked {
    Agent(AgentOptions),
    Bench(BenchOptions),
    Demo,
    Forward(ForwardOptions),
    Help(String),
    Pages(pages::Asked),
    Server(ServerOptions),
    Status(status::Query),
    TestCluster(TestClusterOptions),
    Version,
}

/// Runs the program that `args`, the name of this one in front, ask for.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args, &process_env) {
        Ok(Asked::Agent(options)) => agent::run(options),
        Ok(Asked::Bench(options)) => bench::run(&options),
        Ok(Asked::Demo) => demo::run(),
        Ok(Asked::Forward(options)) => forward::run(options),
        Ok(Asked::Help(text)) => output::text(&text),
        Ok(Asked::Pages(asked)) => pages::run(&asked, command()),
        Ok(Asked::Server(options)) => piko_server::program::run(options),
        Ok(Asked::Status(query)) => status::run(&query),
        Ok(Asked::TestCluster(options)) => test_cluster::run(&options),
        Ok(Asked::Version) => output::text(concat!("piko version ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            piko_observe::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

pub(crate) fn command() -> Command {
    let version = Arg::new("version").short('v').long("version").help("Print the version");
    Command::new("piko")
        .about("Reaches services that accept no connections: agents dial out, requests come in through the server")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(version.action(ArgAction::Version))
        .subcommand(front_clap::server_command().subcommand(status::command()))
        .subcommand(front_clap::agent_command())
        .subcommand(front_clap::forward_command())
        .subcommand(front_clap::bench_command())
        .subcommand(front_clap::test_command())
        .subcommand(demo::command())
        .subcommands(pages::commands())
        .subcommand(status::old_command())
}

fn parse<I>(args: I, env: Env<'_>) -> Result<Asked, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp => Ok(Asked::Help(error.to_string())),
                ErrorKind::DisplayVersion => Ok(Asked::Version),
                _ => Err(front_clap::usage_error(&error)),
            };
        }
    };
    match matches.subcommand() {
        Some(("agent", matches)) => agent_asked(matches, env),
        Some((name @ ("completion" | "man"), matches)) => Ok(Asked::Pages(pages::asked(name, matches))),
        Some(("demo", _)) => Ok(Asked::Demo),
        Some(("bench", matches)) => {
            Ok(front_clap::bench_options(matches, env)?.map_or_else(|| help_of(&["bench"]), Asked::Bench))
        }
        Some(("forward", matches)) => Ok(match front_clap::forward_invocation(matches, env)? {
            ForwardInvocation::Help(text) => Asked::Help(text),
            ForwardInvocation::Run(options) => Asked::Forward(options),
        }),
        Some(("server", matches)) => match matches.subcommand() {
            Some(("status", matches)) => status_asked(&["server", "status"], matches, env),
            _ => server_asked(matches, env),
        },
        Some(("test", matches)) => Ok(front_clap::test_cluster_options(matches, env)?
            .map_or_else(|| help_of(&["test"]), Asked::TestCluster)),
        Some(("status", matches)) => status_asked(&["status"], matches, env),
        _ => Ok(Asked::Help(command().render_help().to_string())),
    }
}

fn server_asked(matches: &ArgMatches, env: Env<'_>) -> Result<Asked, UsageError> {
    Ok(match front_clap::server_invocation(matches, "piko server", env)? {
        ServerInvocation::Help(text) => Asked::Help(text),
        ServerInvocation::Run(options) => Asked::Server(options),
        ServerInvocation::Version => Asked::Version,
    })
}

/// A question, or the help of a command that has no meaning alone. `words` are those in front of `matches`.
fn status_asked(words: &[&str], matches: &ArgMatches, env: Env<'_>) -> Result<Asked, UsageError> {
    Ok(match status::asked(matches, env)? {
        status::Asked::Query(query) => Asked::Status(*query),
        status::Asked::Help(inner) => {
            let all: Vec<&str> = words.iter().copied().chain(inner.iter().map(String::as_str)).collect();
            help_of(&all)
        }
    })
}

/// The help of the command of these words.
fn help_of(words: &[&str]) -> Asked {
    fn help(command: &mut Command, words: &[&str]) -> String {
        // Clap knows every word that it matched.
        let known = words.split_first().filter(|(word, _)| command.find_subcommand(word).is_some());
        let Some((word, rest)) = known else { return command.render_help().to_string() };
        command.find_subcommand_mut(word).map(|inner| help(inner, rest)).unwrap_or_default()
    }
    let mut root = command();
    root.build();
    Asked::Help(help(&mut root, words))
}

fn agent_asked(matches: &ArgMatches, env: Env<'_>) -> Result<Asked, UsageError> {
    Ok(match front_clap::agent_invocation(matches, env)? {
        AgentInvocation::Help(text) => Asked::Help(text),
        AgentInvocation::Run(options) => Asked::Agent(options),
        AgentInvocation::Version => Asked::Version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Subject;
    use piko_config::Form;

    fn ask(args: &str) -> Result<Asked, UsageError> {
        parse(std::iter::once("piko").chain(args.split_whitespace()), &|_| None)
    }

    fn help(args: &str) -> String {
        match ask(args) {
            Ok(Asked::Help(text)) => text,
            other => panic!("no help: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_help_gives_the_same_list() {
        let list = help("");
        for spelling in ["--help", "-h", "help"] {
            assert_eq!(help(spelling), list, "{spelling}");
        }
        let words = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let commands: Vec<String> = list
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .map(words)
            .collect();
        assert_eq!(
            commands,
            ["server", "agent", "forward", "bench", "test", "demo", "completion", "man", "help"],
            "{list}"
        );
    }

    #[test]
    fn help_of_a_command_names_the_whole_command() {
        for (args, usage) in [
            ("server --help", "Usage: piko server"),
            ("help server", "Usage: piko server"),
            ("agent", "Usage: piko agent"),
            ("agent http --help", "Usage: piko agent http"),
            ("demo --help", "Usage: piko demo"),
            ("server status", "Usage: piko server status"),
            ("server status cluster", "Usage: piko server status cluster"),
            ("server status gossip node --help", "Usage: piko server status gossip node"),
            ("status", "Usage: piko status"),
            ("forward", "Usage: piko forward"),
            ("forward tcp --help", "Usage: piko forward tcp"),
            ("bench", "Usage: piko bench"),
            ("server config", "Usage: piko server config"),
            ("agent config", "Usage: piko agent config"),
            ("forward config", "Usage: piko forward config"),
            ("server config check --help", "Usage: piko server config check"),
            ("test", "Usage: piko test"),
            ("test cluster --help", "Usage: piko test cluster"),
        ] {
            assert!(help(args).contains(usage), "{args}: {}", help(args));
        }
    }

    #[test]
    fn every_command_knows_the_version() {
        for args in ["--version", "-v", "server --version", "agent -v"] {
            assert_eq!(ask(args), Ok(Asked::Version), "{args}");
        }
    }

    #[test]
    fn commands_become_options() {
        let Ok(Asked::Server(server)) = ask("server --proxy.bind-addr 127.0.0.1:0") else {
            panic!("no server")
        };
        assert_eq!(server.proxy.bind.to_string(), "127.0.0.1:0");
        for args in ["agent http mine 4000", "agent --endpoints mine/localhost:4000"] {
            let Ok(Asked::Agent(agent)) = ask(args) else { panic!("no agent: {args}") };
            assert_eq!(agent.listeners[0].endpoint, "mine");
            assert_eq!(agent.listeners[0].addr.to_string(), "localhost:4000");
        }
        for args in ["forward tcp 3000 mine", "forward 3000 mine", "forward --connect.token t tcp 3000 mine"]
        {
            let Ok(Asked::Forward(forward)) = ask(args) else { panic!("no forwarder: {args}") };
            assert_eq!(forward.ports[0].endpoint, "mine");
            assert_eq!(forward.ports[0].bind.to_string(), "localhost:3000");
        }
        let Ok(Asked::Bench(bench)) = ask("bench --requests 7 http --size 2KiB") else { panic!("no bench") };
        assert_eq!((bench.requests, bench.size), (7, 2048));
        let Ok(Asked::TestCluster(cluster)) = ask("test cluster --nodes 5") else { panic!("no cluster") };
        assert_eq!(cluster.nodes, 5);
        assert_eq!(ask("demo"), Ok(Asked::Demo));
    }

    #[test]
    fn questions_have_a_node_to_ask_and_a_form() {
        let query = |args: &str| match ask(args) {
            Ok(Asked::Status(query)) => query,
            other => panic!("{args}: {other:?}"),
        };
        let plain = query("server status cluster nodes");
        assert_eq!(
            (plain.options.url.to_string(), plain.options.forward.as_deref()),
            ("http://localhost:8002".to_owned(), None)
        );
        assert_eq!((plain.subject, plain.options.form), (Subject::ClusterNodes(None), Form::Yaml));
        let left = query("server status --forward n2 cluster nodes --status left --output=json");
        assert_eq!(left.subject, Subject::ClusterNodes(Some("left".to_owned())));
        assert_eq!((left.options.forward.as_deref(), left.options.form), (Some("n2"), Form::Json));
        let last = query("server status gossip node n3 --server.url http://h:1/base --output table");
        assert_eq!(last.subject, Subject::GossipNode("n3".to_owned()));
        assert_eq!(
            (last.options.url.to_string(), last.options.form),
            ("http://h:1/base".to_owned(), Form::Table)
        );
        assert_eq!(query("status proxy endpoints --forward n2").subject, Subject::ProxyEndpoints);
        assert_eq!(query("status cluster nodes --forward n2").options.forward.as_deref(), Some("n2"));
        assert_eq!(query("server status upstream endpoints").subject, Subject::UpstreamEndpoints);
        assert_eq!(
            query("server status cluster node local").subject,
            Subject::ClusterNode("local".to_owned())
        );
    }

    #[test]
    fn the_environment_reaches_both_programs() {
        let env = |name: &str| (name == "PIKO_GRACE_PERIOD").then(|| "7s".into());
        let Ok(Asked::Server(server)) = parse(["piko", "server"], &env) else { panic!("no server") };
        assert_eq!(server.grace_period.as_secs(), 7);
        let Ok(Asked::Agent(agent)) = parse(["piko", "agent", "http", "e", "1"], &env) else {
            panic!("no agent")
        };
        assert_eq!(agent.grace_period.as_secs(), 7);
    }

    #[test]
    fn mistakes_are_one_line_and_exit_with_2() {
        for (args, line) in [
            ("bogus", "unknown command: \"bogus\""),
            ("sever", "unknown command: \"sever\" (did you mean server?)"),
            ("--bogus", "unknown flag: --bogus"),
            ("server --proxy.timout 1s", "unknown flag: --proxy.timout (did you mean --proxy.timeout?)"),
            ("server status cluster nods", "unknown command: \"nods\" (did you mean nodes?)"),
            ("server status bogus", "unknown command: \"bogus\""),
            ("server status cluster node", "missing argument: <id>"),
            ("server status --log.level debug cluster nodes", "unknown flag: --log.level"),
            ("server status cluster nodes --server.url", "--server.url: needs a value"),
            ("agent htp e 1", "unknown command: \"htp\" (did you mean http?)"),
            ("agent http e", "missing argument: <addr>"),
            ("forward start", "no ports configured"),
            ("forward 3000", "missing argument: <endpoint>"),
            ("forward 3000 e f", "unexpected argument: \"f\""),
            ("forward 3000 start", "unexpected argument: \"3000\""),
            ("forward 3000 tcp 4000 e", "unexpected argument: \"3000\""),
            ("forward 3000 config check", "unexpected argument: \"3000\""),
            ("server config chek", "unknown command: \"chek\" (did you mean check?)"),
            ("server status cluster nodes --output xml", "--output: \"xml\" is none of json, table and yaml"),
            ("completion tcsh", "<shell>: \"tcsh\" is none of bash, fish, zsh"),
            ("man", "missing argument: <folder>"),
            ("test cluster --nodes 0", "config: missing nodes [--nodes]"),
            ("test cluster --nodes 101", "config: more than 100 nodes [--nodes]"),
            ("server status cluster nodes --server.url=", "config: server: missing url [--server.url]"),
            (
                "server status cluster nodes --server.url foo",
                "config: server: invalid url: not of the form http[s]://host[:port][/path] [--server.url]",
            ),
            ("demo extra", "unexpected argument: \"extra\""),
            ("demo --bogus", "unknown flag: --bogus"),
        ] {
            let error = ask(args).expect_err(args);
            assert_eq!(error.to_string(), line, "{args}");
            assert_eq!(error.exit_code(), if line.starts_with("no ") { 1 } else { 2 }, "{args}");
        }
    }
}
