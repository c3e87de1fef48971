//! Settings of the programs under test: as flags, as environment variables, and as `--help` lists them.

use std::process::{Command, Output};

use crate::process::{self, Agent, Server, binary};

/// How a program is told its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By `PIKO_…` variables.
    Env,
    /// By `--name=value`.
    Flag,
}

/// Both ways, for tests that go through them.
pub const WAYS: [Way; 2] = [Way::Env, Way::Flag];

/// Pairs of a flag's name and its value.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// Arguments and variables of some settings.
fn split(way: Way, settings: Settings<'_>) -> (Vec<String>, Vec<(String, String)>) {
    match way {
        Way::Env => {
            let variables =
                settings.iter().map(|(name, value)| (process::variable(name), (*value).to_owned()));
            (Vec::new(), variables.collect())
        }
        Way::Flag => (settings.iter().map(|(name, value)| format!("--{name}={value}")).collect(), Vec::new()),
    }
}

/// A server with these settings, ready.
///
/// # Panics
///
/// As [`Server::start`].
pub fn server(way: Way, settings: Settings<'_>) -> Server {
    let (args, env) = split(way, settings);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Server::start_with(binary("piko-server"), &args, &env)
}

/// A `piko-agent http` with these settings, which is not waited for.
///
/// # Panics
///
/// As [`Agent::launch`].
pub fn agent(way: Way, connect_url: &str, endpoint: &str, addr: &str, settings: Settings<'_>) -> Agent {
    let (args, env) = split(way, settings);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Agent::launch_with(binary("piko-agent"), "http", connect_url, endpoint, addr, &args, &env)
}

/// Runs a program to its end: for usage errors, `--help` and `--version`.
///
/// # Panics
///
/// When the program cannot be started.
pub fn run(program: &str, args: &[&str], env: Settings<'_>) -> Output {
    let mut command = Command::new(binary(program));
    command.args(args).envs(env.iter().copied());
    command.output().unwrap_or_else(|e| panic!("{program} does not start: {e}"))
}

/// The flags that `program <args> --help` shows, without dashes; `help` and `version` are not of the table.
///
/// # Panics
///
/// When the program fails.
pub fn shown(program: &str, args: &[&str]) -> Vec<String> {
    let output = run(program, &[args, &["--help"]].concat(), &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("help is text");
    let mut names: Vec<String> = text.lines().filter_map(flag_of).collect();
    names.retain(|name| name != "help" && name != "version");
    names.sort();
    names.dedup();
    names
}

/// The name in a line that begins with a flag.
fn flag_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    let rest = line.strip_prefix("--").or_else(|| {
        // `-h, --help`.
        let (short, long) = line.split_once(", --")?;
        (short.len() == 2 && short.starts_with('-')).then_some(long)
    })?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).unwrap_or(rest.len());
    Some(rest[..end].to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_help() {
        assert_eq!(flag_of("      --admin.bind-addr <addr>").as_deref(), Some("admin.bind-addr"));
        assert_eq!(flag_of("  --access-log.disable[=<bool>]").as_deref(), Some("access-log.disable"));
        assert_eq!(flag_of("  -h, --help").as_deref(), Some("help"));
        assert_eq!(flag_of("  Next to --cluster.node-id, no effect"), None);
    }

    #[test]
    fn variables_follow_from_names() {
        assert_eq!(process::variable("proxy.http.idle-timeout"), "PIKO_PROXY_HTTP_IDLE_TIMEOUT");
    }
}
