//! `piko completion` and `piko man`: what shells and `man` know of the commands, made of the commands themselves.

use crate::output;
use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;
use std::io;
use std::path::Path;
use std::process::ExitCode;

const SHELL: &str = "shell";
const FOLDER: &str = "folder";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Completion(Shell),
    /// Pages into this folder.
    Man(String),
}

/// The commands as clap sees them.
pub(crate) fn commands() -> [Command; 2] {
    let shell = Arg::new(SHELL).value_name("shell").required(true).help("bash, zsh or fish");
    let folder = Arg::new(FOLDER).value_name("folder").required(true).help("Where to write them");
    [
        Command::new("completion")
            .about("Print the completions of a shell")
            .arg(shell.value_parser(["bash", "fish", "zsh"])),
        Command::new("man").about("Write a man page for every command").arg(folder),
    ]
}

/// What the matches of the command called `name` ask for.
pub(crate) fn asked(name: &str, matches: &ArgMatches) -> Asked {
    let text = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned().unwrap_or_default();
    match (name, text(SHELL).as_str()) {
        ("man", _) => Asked::Man(text(FOLDER)),
        (_, "fish") => Asked::Completion(Shell::Fish),
        (_, "zsh") => Asked::Completion(Shell::Zsh),
        _ => Asked::Completion(Shell::Bash),
    }
}

/// Does it, for all of `command`.
pub(crate) fn run(asked: &Asked, command: Command) -> ExitCode {
    match asked {
        Asked::Completion(shell) => output::text(&completion(*shell, command)),
        Asked::Man(folder) => match write(Path::new(folder), command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                piko_observe::complain(format_args!("{folder}: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}

fn completion(shell: Shell, mut command: Command) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "piko", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn write(folder: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, page) in pages(command)? {
        std::fs::write(folder.join(name), page)?;
    }
    Ok(())
}

/// The name of each page and its text: `piko-server-config-check.1`.
fn pages(mut command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    fn add(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let mut page = Vec::new();
        // Without the date of the build, so that the same sources give the same pages.
        let titled = command.clone().name(name.to_owned());
        clap_mangen::Man::new(titled).date("").render(&mut page)?;
        pages.push((format!("{name}.1"), page));
        let shown =
            command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
        for inner in shown {
            add(inner, &format!("{name}-{}", inner.get_name()), pages)?;
        }
        Ok(())
    }
    command.build();
    let mut pages_of_all = Vec::new();
    add(&command, "piko", &mut pages_of_all)?;
    Ok(pages_of_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command;

    #[test]
    fn completions_know_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let text = completion(shell, command());
            for word in ["proxy.timeout", "connect.token-file", "forward", "max-idle-conns", "config"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages(command()).expect("memory takes everything");
        let page = |name: &str| {
            let found = pages.iter().find(|(known, _)| known == name);
            String::from_utf8_lossy(&found.unwrap_or_else(|| panic!("no {name}")).1).into_owned()
        };
        assert!(page("piko.1").contains("server"));
        // A hyphen is escaped in roff.
        assert!(page("piko-server.1").contains("proxy.timeout"));
        assert!(page("piko-agent-http.1").contains("http\\-client.max\\-idle\\-conns"));
        assert!(page("piko-server-config-check.1").contains("config.path"));
        assert!(page("piko-server-status-cluster-nodes.1").contains("status"));
    }

    /// The page is made of the table, and commands may have flags of their own.
    #[test]
    fn every_flag_of_help_stands_in_the_reference() {
        fn look(command: &Command, path: &str, reference: &str) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let Some(long) = arg.get_long() else { continue };
                assert!(reference.contains(&format!("`--{long}`")), "{path} --{long}");
            }
            for below in command.get_subcommands() {
                look(below, &format!("{path} {}", below.get_name()), reference);
            }
        }
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
        let reference = std::fs::read_to_string(reference).expect("the page");
        let mut command = command();
        command.build();
        look(&command, "piko", &reference);
    }
}
