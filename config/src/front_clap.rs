//! The large front, for `piko` and `piko-server`: clap, built from the table.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::env::Env;
use crate::error::UsageError;
use crate::options::{AgentInvocation, AgentOptions, ServerInvocation, ServerOptions};
use crate::table::{Flag, Program, Verb, flags};
use crate::value::Kind;
use crate::values::{Command, Values};

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
        .arg(Arg::new(IGNORED).num_args(0..).hide(true))
}

/// `agent` with its commands `start`, `http` and `tcp`.
pub fn agent_command() -> clap::Command {
    command("agent", Verb::Agent, "Register endpoints and forward requests to your upstream services")
        .arg(version())
        .subcommand(command("start", Verb::AgentStart, "Run the listeners of the configuration"))
        .subcommand(with_service(command("http", Verb::AgentHttp, "Register one HTTP service")))
        .subcommand(with_service(command("tcp", Verb::AgentTcp, "Register one TCP service")))
}

/// The values of a parsed command line. `matches` are those of [`server_command`] or [`agent_command`], not those of a
/// program around it.
pub fn values(program: Program, matches: &ArgMatches, env: Env<'_>) -> Result<Values, UsageError> {
    // Flags may stand on both sides of the command, as in Go; what comes later wins.
    let (command, inner) = match (program, matches.subcommand()) {
        (Program::Server, _) => (Command::Server, None),
        (Program::Agent, None) => (Command::Agent, None),
        (Program::Agent, Some(("http", inner))) => (
            Command::AgentHttp { endpoint: argument(inner, ENDPOINT), addr: argument(inner, ADDR) },
            Some(inner),
        ),
        (Program::Agent, Some(("tcp", inner))) => (
            Command::AgentTcp { endpoint: argument(inner, ENDPOINT), addr: argument(inner, ADDR) },
            Some(inner),
        ),
        (Program::Agent, Some((_, inner))) => (Command::AgentStart, Some(inner)),
    };
    let mut given = Vec::new();
    for matches in std::iter::once(matches).chain(inner) {
        for flag in flags(program) {
            if let Ok(Some(texts)) = matches.try_get_many::<String>(flag.name) {
                given.extend(texts.map(|text| (flag.name, text.clone())));
            }
        }
    }
    let mut values = Values::resolve(command, &given, env)?;
    if let Ok(Some(words)) = matches.try_get_many::<String>(IGNORED) {
        // Not an extra word but a command of Go, which asks a node. Whoever asks must not start one.
        if words.clone().next().is_some_and(|word| word == "status") {
            return Err(UsageError::usage("server status: ask with the program piko: piko server status"));
        }
        words.for_each(|word| values.notice_ignored_word(word));
    }
    Ok(values)
}

/// The whole way of an agent's command line behind clap: help where nothing was asked for, else its options.
pub fn agent_invocation(matches: &ArgMatches, env: Env<'_>) -> Result<AgentInvocation, UsageError> {
    let values = values(Program::Agent, matches, env)?;
    if *values.command() == Command::Agent && values.list("endpoints").is_empty() {
        let help = agent_command().bin_name("piko agent").render_help();
        return Ok(AgentInvocation::Help(help.to_string()));
    }
    AgentOptions::from_values(&values).map(AgentInvocation::Run)
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
        Ok(matches) => {
            let values = values(Program::Server, &matches, env)?;
            ServerOptions::from_values(&values).map(ServerInvocation::Run)
        }
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
        ErrorKind::InvalidValue => UsageError::missing_value(flag_alone(arg)),
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

fn argument(matches: &ArgMatches, id: &str) -> String {
    matches.get_one::<String>(id).cloned().unwrap_or_default()
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
    match flag.kind {
        Kind::Bool => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("bool")
        }
        // Whatever comes next is the value, as in Go: durations and tokens may start with a hyphen.
        _ => arg.num_args(1).allow_hyphen_values(true).value_name(flag.kind.value_name().unwrap_or("string")),
    }
}

fn version() -> Arg {
    Arg::new("version").short('v').long("version").help("Print the version").action(ArgAction::Version)
}

fn with_service(command: clap::Command) -> clap::Command {
    command
        .arg(Arg::new(ENDPOINT).value_name("endpoint").required(true).help("The endpoint to register"))
        .arg(
            Arg::new(ADDR)
                .value_name("addr")
                .required(true)
                .help("Where the service is: 4000, host:4000 or a URL"),
        )
}
