//! The small front, for `piko-agent`: a few kilobytes over the same table.

use std::ffi::OsString;
use std::fmt::Write as _;

use lexopt::{Arg, Parser};

use crate::env::Env;
use crate::error::UsageError;
use crate::options::{AgentInvocation, AgentOptions};
#[cfg(feature = "yaml")]
use crate::print::{TASKS, Task};
use crate::table::{self, Flag, Program, Verb, flags};
use crate::value::Kind;
use crate::values::{Command, Source, Values};

/// The name of the program in its own help.
const PROGRAM: &str = "piko-agent";

/// The commands, in the order of the help, with what they are for.
const COMMANDS: [(&str, Verb, &str); 3] = [
    ("start", Verb::AgentStart, "Run the listeners of the configuration"),
    ("http", Verb::AgentHttp, "Register one HTTP service"),
    ("tcp", Verb::AgentTcp, "Register one TCP service"),
];

/// Reads the arguments of an agent, without the program's name in front: `env::args_os().skip(1)`.
///
/// No command and no `--endpoints` asks for help, as in Go.
pub fn parse_agent<I>(args: I, env: Env<'_>) -> Result<AgentInvocation, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut line = Line {
        verb: Verb::Agent,
        given: Vec::new(),
        arguments: Vec::new(),
        words_only: false,
        #[cfg(feature = "yaml")]
        config: Config::Unasked,
    };
    if let Some(early) = line.read(&mut Parser::from_args(args))? {
        return Ok(early);
    }
    let verb = line.verb;
    #[cfg(feature = "yaml")]
    match line.config {
        Config::Unasked => {}
        Config::Asked => return Ok(AgentInvocation::Help(help_of_config())),
        // The defaults are there whatever was given.
        Config::Task(Task::Default) => {
            return Task::Default.run(&Values::defaults(Command::AgentStart)).map(AgentInvocation::Help);
        }
        Config::Task(task) => {
            let values = Values::resolve(Command::AgentStart, &line.given, env)?;
            return task.run(&values).map(AgentInvocation::Help);
        }
    }
    let values = Values::resolve(line.command()?, &line.given, env)?;
    if verb == Verb::Agent && values.source("endpoints") == Source::Default {
        return Ok(AgentInvocation::Help(help(verb)));
    }
    AgentOptions::from_values(&values).map(AgentInvocation::Run)
}

/// What has been read so far.
struct Line {
    verb: Verb,
    given: Vec<(&'static str, String)>,
    arguments: Vec<String>,
    /// Behind `--`, where neither flags nor commands stand.
    words_only: bool,
    #[cfg(feature = "yaml")]
    config: Config,
}

/// Whether `config` was asked for; its flags are those of `start`.
#[cfg(feature = "yaml")]
#[derive(Clone, Copy, PartialEq)]
enum Config {
    Unasked,
    /// The word `config`, so far without a task.
    Asked,
    Task(Task),
}

/// What one option stands for.
enum Meaning {
    Flag(&'static Flag),
    Help,
    Version,
}

impl Meaning {
    /// For `--help=x`. What follows a short one is the next short one, as in `-hv`.
    fn refuse_value(&self, parser: &mut Parser) -> Result<(), UsageError> {
        let name = match self {
            Self::Flag(_) => return Ok(()),
            Self::Help => "--help",
            Self::Version => "--version",
        };
        match parser.optional_value() {
            Some(_) => Err(UsageError::unexpected_value(name)),
            None => Ok(()),
        }
    }
}

impl Line {
    /// Reads to the end, or to the first thing that makes the rest not matter.
    fn read(&mut self, parser: &mut Parser) -> Result<Option<AgentInvocation>, UsageError> {
        loop {
            self.words_only |=
                parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|word| word == "--"));
            let Some(arg) = parser.next().map_err(|error| from_lexopt(&error))? else { return Ok(None) };
            let meaning = match arg {
                Arg::Value(word) => {
                    let word = word.into_string().map_err(|_| UsageError::no_text())?;
                    if self.verb == Verb::Agent && word == "help" && !self.words_only {
                        return help_on(parser).map(Some);
                    }
                    self.word(word)?;
                    continue;
                }
                Arg::Long(name) => {
                    let meaning = self.long(name)?;
                    meaning.refuse_value(parser)?;
                    meaning
                }
                Arg::Short(letter) => self.short(letter)?,
            };
            match meaning {
                #[cfg(feature = "yaml")]
                Meaning::Help if self.config != Config::Unasked => {
                    return Ok(Some(AgentInvocation::Help(help_of_config())));
                }
                Meaning::Help => return Ok(Some(AgentInvocation::Help(help(self.verb)))),
                Meaning::Version => return Ok(Some(AgentInvocation::Version)),
                Meaning::Flag(flag) => {
                    let text = value_of(parser, flag)?;
                    self.given.push((flag.name, text));
                }
            }
        }
    }

    fn long(&self, name: &str) -> Result<Meaning, UsageError> {
        match name {
            "help" => Ok(Meaning::Help),
            "version" if self.verb == Verb::Agent => Ok(Meaning::Version),
            name => match table::find(Program::Agent, name) {
                // In front of the command every flag may stand: which ones it takes is judged when it is known.
                Some(flag) if self.verb == Verb::Agent || flag.belongs_to(self.verb) => {
                    Ok(Meaning::Flag(flag))
                }
                _ => Err(UsageError::unknown_flag(self.verb, &format!("--{name}"))),
            },
        }
    }

    fn short(&self, letter: char) -> Result<Meaning, UsageError> {
        match letter {
            'h' => Ok(Meaning::Help),
            'v' if self.verb == Verb::Agent => Ok(Meaning::Version),
            _ => Err(UsageError::unknown_flag(self.verb, &format!("-{letter}"))),
        }
    }

    fn word(&mut self, word: String) -> Result<(), UsageError> {
        match self.verb {
            #[cfg(feature = "yaml")]
            Verb::Agent if !self.words_only && word == "config" => {
                (self.verb, self.config) = (Verb::AgentStart, Config::Asked);
            }
            #[cfg(feature = "yaml")]
            Verb::AgentStart if self.config == Config::Asked && !self.words_only => {
                let task = TASKS.iter().find(|(name, ..)| *name == word);
                let unknown = || UsageError::unknown_command(&word, &TASKS.map(|(name, ..)| name));
                self.config = Config::Task(task.ok_or_else(unknown)?.1);
            }
            Verb::Agent if !self.words_only => self.verb = verb_named(&word)?,
            Verb::AgentHttp | Verb::AgentTcp if self.arguments.len() < 2 => self.arguments.push(word),
            _ => return Err(UsageError::unexpected_argument(&word)),
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, UsageError> {
        let mut arguments = std::mem::take(&mut self.arguments).into_iter();
        let mut endpoint_and_addr = || match (arguments.next(), arguments.next()) {
            (Some(endpoint), Some(addr)) => Ok((endpoint, addr)),
            (Some(_), None) => Err(UsageError::missing_arguments("<addr>")),
            (None, _) => Err(UsageError::missing_arguments("<endpoint> <addr>")),
        };
        Ok(match self.verb {
            Verb::AgentHttp => {
                let (endpoint, addr) = endpoint_and_addr()?;
                Command::AgentHttp { endpoint, addr }
            }
            Verb::AgentTcp => {
                let (endpoint, addr) = endpoint_and_addr()?;
                Command::AgentTcp { endpoint, addr }
            }
            Verb::AgentStart => Command::AgentStart,
            // No command leads to the verb of another program.
            _ => Command::Agent,
        })
    }
}

/// A switch takes a value only behind an equals sign; every other flag takes whatever comes next, as in Go.
fn value_of(parser: &mut Parser, flag: &Flag) -> Result<String, UsageError> {
    let value = match flag.kind {
        Kind::Bool => parser.optional_value().unwrap_or_else(|| "true".into()),
        _ => parser.value().map_err(|error| from_lexopt(&error))?,
    };
    value.into_string().map_err(|_| UsageError::no_text())
}

/// `help`, `help http`: all that follows is names of commands, whatever it looks like.
fn help_on(parser: &mut Parser) -> Result<AgentInvocation, UsageError> {
    let mut about = None;
    for word in parser.raw_args().map_err(|error| from_lexopt(&error))? {
        let word = word.to_string_lossy();
        #[cfg(feature = "yaml")]
        if about.is_none() && word == "config" {
            return Ok(AgentInvocation::Help(help_of_config()));
        }
        if about.is_some() {
            return Err(UsageError::unknown_command(&word, &[]));
        }
        about = Some(if word == "help" { Verb::Agent } else { verb_named(&word)? });
    }
    Ok(AgentInvocation::Help(help(about.unwrap_or(Verb::Agent))))
}

fn verb_named(word: &str) -> Result<Verb, UsageError> {
    let found = COMMANDS.iter().find(|(name, ..)| *name == word);
    found
        .map(|(_, verb, _)| *verb)
        .ok_or_else(|| UsageError::unknown_command(word, &COMMANDS.map(|(name, ..)| name)))
}

fn from_lexopt(error: &lexopt::Error) -> UsageError {
    match error {
        lexopt::Error::MissingValue { option: Some(option) } => UsageError::missing_value(option),
        lexopt::Error::UnexpectedValue { option, .. } => UsageError::unexpected_value(option),
        lexopt::Error::NonUnicodeValue(_) => UsageError::no_text(),
        other => UsageError::usage(other.to_string()),
    }
}

#[cfg(feature = "yaml")]
const CONFIG_ABOUT: &str = "Check or print the configuration";

/// The text of `config --help`.
#[cfg(feature = "yaml")]
fn help_of_config() -> String {
    let mut text = format!("{CONFIG_ABOUT}\n\nUsage: {PROGRAM} config <command> [flags]\n\nCommands:\n");
    for (name, _, about) in TASKS {
        let _ = writeln!(text, "  {name:<9}{about}");
    }
    text.push_str("\nThe flags are those of start.\n");
    text
}

/// The text of `--help`.
fn help(verb: Verb) -> String {
    let mut text = String::new();
    let (usage, about) = match COMMANDS.iter().find(|(_, of, _)| *of == verb) {
        Some((name, _, about)) => {
            let arguments = if verb == Verb::AgentStart { "" } else { " <endpoint> <addr>" };
            (format!("{PROGRAM} {name} [flags]{arguments}"), *about)
        }
        None => (
            format!("{PROGRAM} [command] [flags]"),
            "Register endpoints and forward requests to your services",
        ),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{about}\n\nUsage: {usage}\n");
    if verb == Verb::Agent {
        text.push_str("Commands:\n");
        for (name, _, about) in COMMANDS {
            let _ = writeln!(text, "  {name:<7}{about}");
        }
        #[cfg(feature = "yaml")]
        let _ = writeln!(text, "  {:<7}{CONFIG_ABOUT}", "config");
        text.push('\n');
    }
    text.push_str("Flags:\n");
    help_of_flags(&mut text, verb, true);
    text.push_str("  -h, --help\n          Print this help\n");
    if verb == Verb::Agent {
        text.push_str("  -v, --version\n          Print the version\n");
    }
    // Behind all that works, where the build has room for it.
    let idle = |flag: &&Flag| flag.shown() && flag.belongs_to(verb) && !flag.works();
    if cfg!(feature = "tls") && flags(Program::Agent).iter().any(|flag| idle(&flag)) {
        text.push_str("\nWithout effect or refused:\n");
        help_of_flags(&mut text, verb, false);
    }
    text
}

/// A paragraph for each flag that does something, or that does not.
fn help_of_flags(text: &mut String, verb: Verb, works: bool) {
    let shown = |flag: &&Flag| flag.shown() && flag.belongs_to(verb) && flag.works() == works;
    for flag in flags(Program::Agent).iter().filter(shown) {
        let value = flag.kind.value_name().map(|name| format!(" <{name}>")).unwrap_or_default();
        let _ = writeln!(text, "  --{}{value}\n          {}", flag.name, flag.help_text());
    }
}
