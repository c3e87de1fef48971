//! The table: every flag of every program, once.

mod agent;
#[cfg(feature = "server")]
mod server;

use crate::value::Kind;

/// A program that has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `piko agent`, `piko-agent`.
    Agent,
    /// `piko server`, `piko-server`.
    #[cfg(feature = "server")]
    Server,
}

/// What a program was told to do; decides which flags it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `agent` alone: the oldest spelling, with `--endpoints`.
    Agent,
    /// `agent http <endpoint> <addr>`.
    AgentHttp,
    /// `agent start`.
    AgentStart,
    /// `agent tcp <endpoint> <addr>`.
    AgentTcp,
    /// `server`.
    #[cfg(feature = "server")]
    Server,
}

impl Verb {
    /// The program this belongs to.
    pub fn program(self) -> Program {
        match self {
            Self::Agent | Self::AgentHttp | Self::AgentStart | Self::AgentTcp => Program::Agent,
            #[cfg(feature = "server")]
            Self::Server => Program::Server,
        }
    }
}

/// Whether a flag does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Accepted so that existing command lines start, hidden from `--help`, and answered with this remark.
    None(&'static str),
    /// It does what its help says.
    Works,
}

/// Where a flag's value stands in a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// Nowhere.
    Absent,
    /// Under each entry of `listeners`.
    Listener,
    /// At the path of its name.
    Same,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Flag {
    /// The name without its dashes; also the key of [`crate::Values`].
    pub name: &'static str,
    /// What kind of text it takes.
    pub kind: Kind,
    /// The default, as it would be given on the command line.
    pub default: &'static str,
    /// One sentence without its full stop, for `--help` and the reference.
    pub help: &'static str,
    /// The commands that take it.
    pub verbs: &'static [Verb],
    /// Its place in a YAML file.
    pub yaml: Yaml,
    /// Whether its value must stay out of logs and messages.
    pub secret: bool,
    /// Whether a running program may take over a new value.
    pub reloadable: bool,
    /// Whether it does anything.
    pub effect: Effect,
}

/// The table of a program, sorted by name.
pub fn flags(program: Program) -> &'static [Flag] {
    match program {
        Program::Agent => agent::FLAGS,
        #[cfg(feature = "server")]
        Program::Server => server::FLAGS,
    }
}

/// The flag of that name.
pub(crate) fn find(program: Program, name: &str) -> Option<&'static Flag> {
    let table = flags(program);
    table.binary_search_by(|flag| flag.name.cmp(name)).ok().and_then(|at| table.get(at))
}

impl Flag {
    const fn new(
        verbs: &'static [Verb],
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        let effect = Effect::Works;
        Self { name, kind, default, help, verbs, yaml: Yaml::Same, secret: false, reloadable: false, effect }
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    const fn yaml(mut self, yaml: Yaml) -> Self {
        self.yaml = yaml;
        self
    }

    const fn without_effect(mut self, remark: &'static str) -> Self {
        self.effect = Effect::None(remark);
        self
    }

    /// Its environment variable: `PIKO_` and the name in capitals, dots and hyphens as `_`.
    pub fn env(&self) -> String {
        let mut name = String::from("PIKO_");
        name.extend(
            self.name.chars().map(|c| if c == '.' || c == '-' { '_' } else { c.to_ascii_uppercase() }),
        );
        name
    }

    /// Its path in a YAML file: the name with `_` for hyphens; `listeners[]` stands for every listener.
    pub fn yaml_path(&self) -> Option<String> {
        let path = self.name.replace('-', "_");
        match self.yaml {
            Yaml::Absent => None,
            Yaml::Listener => Some(format!("listeners[].{path}")),
            Yaml::Same => Some(path),
        }
    }

    /// Whether the command takes it.
    pub fn belongs_to(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether `--help` shows it: flags without effect stay out of sight.
    pub fn shown(&self) -> bool {
        self.effect == Effect::Works
    }

    /// The text of `--help`: what it does, its default where that says something, its variable.
    pub fn help_text(&self) -> String {
        let default = match self.default {
            "" | "0" | "false" => String::new(),
            default => format!(" (default {default})"),
        };
        format!("{}{default} [env {}]", self.help, self.env())
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PROGRAMS: [Program; 2] = [Program::Agent, Program::Server];

    #[test]
    fn sorted_without_doubles() {
        for program in PROGRAMS {
            let names: Vec<_> = flags(program).iter().map(|flag| flag.name).collect();
            let sorted: BTreeSet<_> = names.iter().copied().collect();
            assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn defaults_are_of_their_kind() {
        for flag in PROGRAMS.into_iter().flat_map(flags) {
            assert!(flag.kind.parse(flag.default).is_some(), "{}", flag.name);
        }
    }

    #[test]
    fn every_flag_belongs_to_its_program_and_says_something() {
        for program in PROGRAMS {
            for flag in flags(program) {
                assert!(!flag.verbs.is_empty(), "{}", flag.name);
                assert!(flag.verbs.iter().all(|verb| verb.program() == program), "{}", flag.name);
                assert!(flag.help.len() > 10 && !flag.help.ends_with('.'), "{}", flag.name);
                assert!(flag.help.starts_with(|c: char| c.is_uppercase()), "{}", flag.name);
            }
        }
    }

    #[test]
    fn variables_are_distinct_and_none_is_one_that_orchestrators_set() {
        for program in PROGRAMS {
            let variables: BTreeSet<_> = flags(program).iter().map(Flag::env).collect();
            assert_eq!(variables.len(), flags(program).len());
            for variable in variables {
                assert!(variable.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{variable}");
                // Kubernetes sets these for a service named "piko" or "piko-…", and Docker links did.
                for taken in ["_PORT", "_SERVICE_HOST", "_ADDR", "_PROTO", "_NAME"] {
                    assert!(
                        !variable.ends_with(taken)
                            || variable.ends_with("BIND_ADDR")
                            || variable.ends_with("ADVERTISE_ADDR")
                            || variable.ends_with("TLS_CLIENT_SERVER_NAME"),
                        "{variable}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_of_the_environment_and_of_files() {
        let flag = find(Program::Server, "proxy.http.read-header-timeout").expect("in the table");
        assert_eq!(flag.env(), "PIKO_PROXY_HTTP_READ_HEADER_TIMEOUT");
        assert_eq!(flag.yaml_path().as_deref(), Some("proxy.http.read_header_timeout"));
        let flag = find(Program::Agent, "access-log.level").expect("in the table");
        assert_eq!(flag.yaml_path().as_deref(), Some("listeners[].access_log.level"));
        let flag = find(Program::Agent, "endpoints").expect("in the table");
        assert_eq!(flag.yaml_path(), None);
    }

    #[test]
    fn secrets_are_marked() {
        let secrets: Vec<_> =
            PROGRAMS.into_iter().flat_map(flags).filter(|flag| flag.secret).map(|flag| flag.name).collect();
        assert_eq!(secrets, ["connect.token", "cluster.secret"]);
    }
}
