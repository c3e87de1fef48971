//! The table: every flag of every program, once.

mod agent;
mod common;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod tools;

use crate::value::Kind;

/// A program that has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `piko agent`, `piko-agent`.
    Agent,
    /// `piko bench`.
    #[cfg(feature = "server")]
    Bench,
    /// `piko forward`.
    #[cfg(feature = "server")]
    Forward,
    /// `piko server`, `piko-server`.
    #[cfg(feature = "server")]
    Server,
    /// `piko server status`.
    #[cfg(feature = "server")]
    Status,
    /// `piko test cluster`.
    #[cfg(feature = "server")]
    TestCluster,
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
    /// `bench http`.
    #[cfg(feature = "server")]
    BenchHttp,
    /// `forward start`.
    #[cfg(feature = "server")]
    ForwardStart,
    /// `forward tcp <addr> <endpoint>`.
    #[cfg(feature = "server")]
    ForwardTcp,
    /// `server`.
    #[cfg(feature = "server")]
    Server,
    /// Everything behind `server status`.
    #[cfg(feature = "server")]
    Status,
    /// `test cluster`.
    #[cfg(feature = "server")]
    TestCluster,
}

impl Verb {
    /// The program this belongs to.
    pub fn program(self) -> Program {
        match self {
            Self::Agent | Self::AgentHttp | Self::AgentStart | Self::AgentTcp => Program::Agent,
            #[cfg(feature = "server")]
            Self::BenchHttp => Program::Bench,
            #[cfg(feature = "server")]
            Self::ForwardStart | Self::ForwardTcp => Program::Forward,
            #[cfg(feature = "server")]
            Self::Server => Program::Server,
            #[cfg(feature = "server")]
            Self::Status => Program::Status,
            #[cfg(feature = "server")]
            Self::TestCluster => Program::TestCluster,
        }
    }
}

/// Whether a flag does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Accepted so that existing command lines start, and answered with this remark, which `--help` shows.
    None(&'static str),
    /// A program that is given it does not start, and answers with this reason, which `--help` shows: to go on without it
    /// would leave open what somebody wants closed.
    Refused(&'static str),
    /// It does what its help says.
    Works,
}

/// Where a flag's value stands in a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// Nowhere.
    Absent,
    /// At this path, which is not that of its name.
    At(&'static str),
    /// Under each entry of `listeners`.
    Listener,
    /// Under each entry of `ports`.
    Port,
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
    /// The commands that take it; none for what only a file can say.
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
        Program::Bench => tools::BENCH,
        #[cfg(feature = "server")]
        Program::Forward => tools::FORWARD,
        #[cfg(feature = "server")]
        Program::Server => server::FLAGS,
        #[cfg(feature = "server")]
        Program::Status => tools::STATUS,
        #[cfg(feature = "server")]
        Program::TestCluster => tools::TEST_CLUSTER,
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

    /// What is only in a file may be something else than text.
    #[cfg(feature = "yaml")]
    const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
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

    #[cfg(any(feature = "server", not(feature = "tls")))]
    const fn refused(mut self, reason: &'static str) -> Self {
        self.effect = Effect::Refused(reason);
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

    /// Its path in a YAML file: the name with `_` for hyphens; `listeners[]` stands for every listener, `ports[]` for every
    /// port.
    pub fn yaml_path(&self) -> Option<String> {
        match self.yaml {
            Yaml::Absent => None,
            Yaml::At(path) => Some(path.to_owned()),
            Yaml::Listener => Some(format!("listeners[].{}", self.key())),
            Yaml::Port => Some(format!("ports[].{}", self.key())),
            Yaml::Same => Some(self.key()),
        }
    }

    fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Whether it keeps somebody out: to go on without its value would leave open what somebody wants closed. An
    /// empty value that nobody wrote out, such as that of a variable that is not set, is a mistake then.
    #[cfg(feature = "server")]
    pub(crate) fn guards(&self) -> bool {
        let holds_text = matches!(self.kind, Kind::List | Kind::Text);
        let is_secret = matches!(self.name, "cluster.secret" | "cluster.secret-file");
        let is_refused = matches!(self.effect, Effect::Refused(_));
        holds_text && (is_refused || is_secret || self.name.ends_with(".tls.client-cas"))
    }

    /// A build that has no server has nobody to keep out.
    #[cfg(not(feature = "server"))]
    pub(crate) fn guards(&self) -> bool {
        false
    }

    /// Whether it stands under the entries of a list in a file.
    pub fn in_list(&self) -> bool {
        matches!(self.yaml, Yaml::Listener | Yaml::Port)
    }

    /// Whether the command takes it.
    pub fn belongs_to(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether `--help` shows it: not what only a file can say. The smallest build, which has no TLS, has no room for what
    /// it does not do.
    pub fn shown(&self) -> bool {
        !self.verbs.is_empty() && (cfg!(feature = "tls") || self.works())
    }

    /// Whether it does what its help says.
    pub fn works(&self) -> bool {
        self.effect == Effect::Works
    }

    /// The text of `--help`: what it does, its default where that says something or why it does nothing, its variable.
    pub fn help_text(&self) -> String {
        let default = match self.default {
            "" | "0" | "false" => String::new(),
            default => format!(" (default {default})"),
        };
        #[cfg(feature = "tls")]
        let default = self.remark().map(|remark| format!(" ({remark})")).unwrap_or(default);
        format!("{}{default} [env {}]", self.help, self.env())
    }

    /// What happens to who gives a flag that does not work; `None` of one that works.
    pub fn remark(&self) -> Option<String> {
        match self.effect {
            Effect::None(remark) => Some(remark.to_owned()),
            Effect::Refused(reason) => Some(format!("refused: {reason}")),
            Effect::Works => None,
        }
    }
}

#[cfg(all(test, feature = "server"))]
mod tests;
