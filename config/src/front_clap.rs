//! The large front, for `piko` and `piko-server`: clap, built from the table.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::env::Env;
use crate::error::{UsageError, quoted};
use crate::options::{
    AgentInvocation, AgentOptions, BenchOptions, ForwardInvocation, ForwardOptions, ServerInvocation,
    ServerOptions, StatusOptions, TestClusterOptions,
};
use crate::print::{TASKS, Task};
use crate::table::{Effect, Flag, Program, Verb, flags};
use crate::value::{Kind, ListenAddr};
use crate::values::{Command, Source, Values};

/// The positional arguments, and the words that a server ignores. No flag is called like them.
const ENDPOINT: &str = "<endpoint>";
const ADDR: &str = "<addr>";
const IGNORED: &str = "<ignored>";

/// `server`: for `piko` as a subcommand, for `piko-server` as the whole program (give it that name).
///
/// `-v` prints the version of this crate unless the caller sets another.
pub fn server_command() -> clap::Command {
    command("server", Verb::Server, "Start a server node")
        .arg(version())
        // Go ignores extra words, so command lines with `--switch false` in them exist and must start.
        .arg(ignored())
        .subcommand(config(Verb::Server))
}

/// `agent` with its commands `start`, `http`, `tcp` and `config`.
pub fn agent_command() -> clap::Command {
    command("agent", Verb::Agent, "Register endpoints and forward requests to your upstream services")
        .arg(version())
        .subcommand(command("start", Verb::AgentStart, "Run the listeners of the configuration"))
        .subcommand(with_service(
            command("http", Verb::AgentHttp, "Register one HTTP service"),
            "Where the service is: 4000, host:4000, https://host/path or unix:/path",
        ))
        .subcommand(with_service(
            command("tcp", Verb::AgentTcp, "Register one TCP service"),
            "Where the service is: 4000, host:4000 or unix:/path",
        ))
        .subcommand(config(Verb::AgentStart))
}

/// `forward` with its commands `start`, `tcp` and `config`; `forward <addr> <endpoint>` is `forward tcp`.
pub fn forward_command() -> clap::Command {
    command("forward", Verb::ForwardTcp, "Forward local ports to an upstream endpoint")
        .override_usage("piko forward [OPTIONS] <addr> <endpoint>\n       piko forward [OPTIONS] <COMMAND>")
        .args(port_arguments().map(|argument| argument.required(false)))
        .subcommand(command("start", Verb::ForwardStart, "Forward the ports of the configuration"))
        .subcommand(
            command("tcp", Verb::ForwardTcp, "Forward one local port to a TCP endpoint")
                .args(port_arguments()),
        )
        .subcommand(config(Verb::ForwardStart))
}

/// `bench` with its command `http`.
pub fn bench_command() -> clap::Command {
    command("bench", Verb::BenchHttp, "Benchmark Piko").disable_help_subcommand(true).subcommand(command(
        "http",
        Verb::BenchHttp,
        "Send requests through a server to upstreams of its own",
    ))
}

/// `test` with its command `cluster`.
pub fn test_command() -> clap::Command {
    clap::Command::new("test").about("Tools for testing clusters").disable_help_subcommand(true).subcommand(
        command(
            "cluster",
            Verb::TestCluster,
            "Run a cluster of nodes in one process, on ports of the system's choice",
        ),
    )
}

/// The arguments of the flags of `server status …`, usable on all of its commands.
pub fn status_args() -> impl Iterator<Item = Arg> {
    flags(Program::Status).iter().map(|flag| arg(flag).global(true))
}

/// The command that `matches` stand for: its name, the matches of its arguments, and those of all commands around it,
/// outermost first.
struct Line<'m> {
    words: Vec<&'m str>,
    levels: Vec<&'m ArgMatches>,
}

impl<'m> Line<'m> {
    fn of(matches: &'m ArgMatches) -> Self {
        let mut line = Self { words: Vec::new(), levels: vec![matches] };
        let mut inner = matches;
        while let Some((word, next)) = inner.subcommand() {
            line.words.push(word);
            line.levels.push(next);
            inner = next;
        }
        line
    }

    fn innermost(&self) -> &'m ArgMatches {
        self.levels.last().copied().unwrap_or_else(|| self.levels[0])
    }

    /// What `config check` and its like ask for.
    fn task(&self) -> Option<Task> {
        let [.., "config", word] = self.words[..] else { return None };
        TASKS.iter().find(|(name, ..)| *name == word).map(|(_, task, _)| *task)
    }

    fn values(&self, command: Command, env: Env<'_>) -> Result<Values, UsageError> {
        if self.task() == Some(Task::Default) {
            // The defaults are there whatever was given.
            return Ok(Values::defaults(command));
        }
        let mut given = Vec::new();
        // Flags may stand on both sides of the command, as in Go; what comes later wins.
        for matches in &self.levels {
            for flag in flags(command.verb().program()) {
                if let Ok(Some(texts)) = matches.try_get_many::<String>(flag.name) {
                    given.extend(texts.map(|text| (flag.name, text.clone())));
                }
            }
        }
        Values::resolve(command, &given, env)
    }

    /// Words that nobody asked for.
    fn ignored(&self) -> Vec<&'m str> {
        let words = self.levels[0].try_get_many::<String>(IGNORED).ok().flatten();
        words.into_iter().flatten().map(String::as_str).collect()
    }

    fn help(&self, command: clap::Command, name: &str) -> String {
        let mut root = command.bin_name(name.to_owned());
        root.build();
        let mut found = &mut root;
        for word in &self.words {
            // Clap knows every word that it matched.
            match found.find_subcommand(word) {
                Some(_) => found = found.find_subcommand_mut(word).expect("was just found"),
                None => break,
            }
        }
        found.render_help().to_string()
    }

    /// `config` without its task has no meaning.
    fn is_bare_config(&self) -> bool {
        self.words.last() == Some(&"config")
    }
}

/// The whole way of a server's command line behind clap. `matches` are those of [`server_command`], not those of a
/// program around it; `name` is how users call the command.
///
/// # Errors
///
/// What is wrong with the command line, the environment or the file.
pub fn server_invocation(
    matches: &ArgMatches,
    name: &str,
    env: Env<'_>,
) -> Result<ServerInvocation, UsageError> {
    let line = Line::of(matches);
    if line.is_bare_config() {
        return Ok(ServerInvocation::Help(line.help(server_command(), name)));
    }
    let mut values = line.values(Command::Server, env)?;
    if let Some(task) = line.task() {
        return task.run(&values).map(ServerInvocation::Help);
    }
    let ignored = line.ignored();
    if ignored.first() == Some(&"status") {
        // Not an extra word but a command of Go, which asks a node. Whoever asks must not start one.
        return Err(UsageError::usage("server status: ask with the program piko: piko server status"));
    }
    ignored.into_iter().for_each(|word| values.notice_ignored_word(word));
    let mut options = ServerOptions::from_values(&values)?;
    options.cluster.read_secret()?;
    Ok(ServerInvocation::Run(options))
}

/// The whole way of an agent's command line behind clap: help where nothing was asked for, else its options.
///
/// # Errors
///
/// What is wrong with the command line, the environment or the file.
pub fn agent_invocation(matches: &ArgMatches, env: Env<'_>) -> Result<AgentInvocation, UsageError> {
    let line = Line::of(matches);
    let inner = line.innermost();
    let help = || Ok(AgentInvocation::Help(line.help(agent_command(), "piko agent")));
    if line.is_bare_config() {
        return help();
    }
    let command = match line.words[..] {
        [] => Command::Agent,
        ["http"] => Command::AgentHttp { endpoint: argument(inner, ENDPOINT), addr: argument(inner, ADDR) },
        ["tcp"] => Command::AgentTcp { endpoint: argument(inner, ENDPOINT), addr: argument(inner, ADDR) },
        _ => Command::AgentStart,
    };
    let values = line.values(command, env)?;
    if let Some(task) = line.task() {
        return task.run(&values).map(AgentInvocation::Help);
    }
    if *values.command() == Command::Agent && values.source("endpoints") == Source::Default {
        return help();
    }
    AgentOptions::from_values(&values).map(AgentInvocation::Run)
}

/// The same for [`forward_command`].
///
/// # Errors
///
/// What is wrong with the command line, the environment or the file.
pub fn forward_invocation(matches: &ArgMatches, env: Env<'_>) -> Result<ForwardInvocation, UsageError> {
    let line = Line::of(matches);
    let inner = line.innermost();
    let help = || Ok(ForwardInvocation::Help(line.help(forward_command(), "piko forward")));
    let (addr, endpoint) = (argument(inner, ADDR), argument(inner, ENDPOINT));
    let command = match line.words[..] {
        // A port in front of a command, which counts for neither.
        [_, ..] if matches.contains_id(ADDR) => {
            return Err(UsageError::unexpected_argument(&argument(matches, ADDR)));
        }
        [.., "config"] => return help(),
        [] if !inner.contains_id(ADDR) => return help(),
        [] if !inner.contains_id(ENDPOINT) => {
            // A port without its endpoint, or a command that there is not.
            return Err(match ListenAddr::parse(&addr) {
                Some(_) => UsageError::missing_arguments("<endpoint>"),
                None => UsageError::unknown_command_near(&addr, None),
            });
        }
        [] | ["tcp"] => Command::ForwardTcp { addr, endpoint },
        _ => Command::ForwardStart,
    };
    let values = line.values(command, env)?;
    match line.task() {
        Some(task) => task.run(&values).map(ForwardInvocation::Help),
        None => ForwardOptions::from_values(&values).map(ForwardInvocation::Run),
    }
}

/// The options of `bench http`; `None` when help is wanted. `matches` are those of [`bench_command`].
///
/// # Errors
///
/// What is wrong with the command line, the environment or the file.
pub fn bench_options(matches: &ArgMatches, env: Env<'_>) -> Result<Option<BenchOptions>, UsageError> {
    let line = Line::of(matches);
    if line.words.is_empty() {
        return Ok(None);
    }
    BenchOptions::from_values(&line.values(Command::BenchHttp, env)?).map(Some)
}

/// The options of `test cluster`; `None` when help is wanted. `matches` are those of [`test_command`].
///
/// # Errors
///
/// What is wrong with the command line, the environment or the file.
pub fn test_cluster_options(
    matches: &ArgMatches,
    env: Env<'_>,
) -> Result<Option<TestClusterOptions>, UsageError> {
    let line = Line::of(matches);
    if line.words.is_empty() {
        return Ok(None);
    }
    TestClusterOptions::from_values(&line.values(Command::TestCluster, env)?).map(Some)
}

/// The options of `server status …`. `matches` are those of the command that has [`status_args`].
///
/// # Errors
///
/// What is wrong with the command line or the environment.
pub fn status_options(matches: &ArgMatches, env: Env<'_>) -> Result<StatusOptions, UsageError> {
    StatusOptions::from_values(&Line::of(matches).values(Command::Status, env)?)
}

/// Reads the arguments of an agent, without the program's name in front.
pub fn parse_agent<I>(args: I, env: Env<'_>) -> Result<AgentInvocation, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    match agent_command().bin_name("piko agent").no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => agent_invocation(&matches, env),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(AgentInvocation::Help(error.to_string())),
            ErrorKind::DisplayVersion => Ok(AgentInvocation::Version),
            _ => Err(usage_error(&error)),
        },
    }
}

/// Reads the arguments of a server, without the program's name in front.
pub fn parse_server<I>(args: I, env: Env<'_>) -> Result<ServerInvocation, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let command = server_command().name("piko-server").bin_name("piko-server");
    match command.no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => server_invocation(&matches, "piko-server", env),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(ServerInvocation::Help(error.to_string())),
            ErrorKind::DisplayVersion => Ok(ServerInvocation::Version),
            _ => Err(usage_error(&error)),
        },
    }
}

/// One line for what clap refuses. Look at [`clap::Error::kind`] first: help and version are "errors" of clap too.
pub fn usage_error(error: &clap::Error) -> UsageError {
    let about = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let arg = about(ContextKind::InvalidArg);
    match error.kind() {
        // A lone hyphen is a word.
        ErrorKind::UnknownArgument if arg.starts_with('-') && arg != "-" => {
            UsageError::unknown_flag_near(arg, Some(about(ContextKind::SuggestedArg)))
        }
        ErrorKind::UnknownArgument => UsageError::unexpected_argument(arg),
        ErrorKind::InvalidSubcommand => {
            let near = match error.get(ContextKind::SuggestedSubcommand) {
                // The best one comes last.
                Some(ContextValue::Strings(near)) => near.last().map(String::as_str),
                Some(ContextValue::String(near)) => Some(near.as_str()),
                _ => None,
            };
            UsageError::unknown_command_near(about(ContextKind::InvalidSubcommand), near)
        }
        ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => UsageError::missing_arguments(&missing.join(" ")),
            _ => UsageError::missing_arguments(arg),
        },
        ErrorKind::InvalidValue => {
            match (about(ContextKind::InvalidValue), error.get(ContextKind::ValidValue)) {
                (given, Some(ContextValue::Strings(valid))) if !given.is_empty() => {
                    let (name, given) = (flag_alone(arg), quoted(given));
                    UsageError::usage(format!("{name}: {given} is none of {}", valid.join(", ")))
                }
                _ => UsageError::missing_value(flag_alone(arg)),
            }
        }
        ErrorKind::TooManyValues => UsageError::unexpected_value(flag_alone(arg)),
        ErrorKind::InvalidUtf8 => UsageError::no_text(),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            UsageError::usage(line.strip_prefix("error: ").unwrap_or(line))
        }
    }
}

/// `--flag` of `--flag <value>`.
fn flag_alone(shown: &str) -> &str {
    shown.split([' ', '=', '[']).next().unwrap_or(shown)
}

/// Empty where it was not given, or where the command has no such argument.
fn argument(matches: &ArgMatches, id: &str) -> String {
    matches.try_get_one::<String>(id).ok().flatten().cloned().unwrap_or_default()
}

fn command(name: &'static str, verb: Verb, about: &'static str) -> clap::Command {
    clap::Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .next_line_help(true)
        .args(flags(verb.program()).iter().filter(|flag| flag.belongs_to(verb)).map(arg))
}

/// One line of the table as clap sees it. Values are parsed by the table, so that both fronts judge alike, and all that were
/// given are kept: the last one counts, lists collect.
fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .help(flag.help_text())
        .hide(!flag.shown())
        .action(ArgAction::Append);
    // What does not work stands behind all that works, and says why.
    let arg = match flag.effect {
        Effect::None(_) => arg.help_heading("Without effect"),
        Effect::Refused(_) => arg.help_heading("Refused"),
        Effect::Works => arg,
    };
    match flag.kind {
        Kind::Bool => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("bool")
        }
        // Whatever comes next is the value, as in Go: durations and tokens may start with a hyphen.
        _ => arg.num_args(1).allow_hyphen_values(true).value_name(flag.kind.value_name().unwrap_or("string")),
    }
}

/// `config` with its tasks, each with the flags of `verb`.
fn config(verb: Verb) -> clap::Command {
    let tasks = TASKS.map(|(name, _, about)| command(name, verb, about));
    command("config", verb, "Check or print the configuration")
        .disable_help_subcommand(true)
        .subcommands(tasks)
}

fn ignored() -> Arg {
    Arg::new(IGNORED).num_args(0..).hide(true)
}

fn required(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(name).required(true).help(help)
}

fn version() -> Arg {
    Arg::new("version").short('v').long("version").help("Print the version").action(ArgAction::Version)
}

/// What makes a port of a forwarder.
fn port_arguments() -> [Arg; 2] {
    [
        required(ADDR, "addr", "Where to listen: 3000, host:3000 or unix:/path"),
        required(ENDPOINT, "endpoint", "The endpoint to forward to"),
    ]
}

fn with_service(command: clap::Command, addr: &'static str) -> clap::Command {
    command.arg(required(ENDPOINT, "endpoint", "The endpoint to register")).arg(required(ADDR, "addr", addr))
}
