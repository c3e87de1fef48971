//! The configuration of Piko's programs: one declarative table of flags, environment variables and keys, two command-line
//! fronts that read it, and typed options, so that no other crate parses text.
//!
//! ```text
//! arguments ──► front_clap | front_lexopt ──┐
//! environment ──────────────────────────────┼──► Values ──► ServerOptions | AgentOptions | …
//! the YAML file of --config.path ───────────┤
//! flags(Program): types, defaults, help ────┘
//! ```
//!
//! Flags beat the environment, which beats the file, which beats defaults. The variable of a flag is `PIKO_` and its name in capitals, dots and
//! hyphens as `_`: `--proxy.timeout` is `PIKO_PROXY_TIMEOUT`. An empty variable counts as unset, variables
//! of no flag are ignored, and a bad one is an error that names it.
//!
//! # Example: a program of its own
//!
//! ```
//! # #[cfg(feature = "clap")] {
//! use piko_config::{ServerInvocation, front_clap};
//!
//! let arguments = ["--proxy.bind-addr", "127.0.0.1:0", "--proxy.timeout=1m30s"]; // usually env::args_os().skip(1)
//! match front_clap::parse_server(arguments, &piko_config::process_env) {
//!     Ok(ServerInvocation::Help(text)) => println!("{text}"),
//!     Ok(ServerInvocation::Version) => println!("piko version {}", env!("CARGO_PKG_VERSION")),
//!     Ok(ServerInvocation::Run(options)) => {
//!         for notice in &options.notices {
//!             eprintln!("{notice}"); // such as: --cluster.gossip.bind-addr: no effect yet: …
//!         }
//!         assert_eq!(options.proxy.timeout, Some(std::time::Duration::from_secs(90)));
//!     }
//!     Err(error) => {
//!         eprintln!("{error}"); // one line
//!         std::process::exit(error.exit_code().into());
//!     }
//! }
//! # }
//! ```
//!
//! # Example: as a subcommand of another clap program
//!
//! ```
//! # #[cfg(feature = "clap")] {
//! use piko_config::{AgentInvocation, UsageError, front_clap};
//!
//! fn run(arguments: &[&str]) -> Result<AgentInvocation, UsageError> {
//!     let piko = clap::Command::new("piko").subcommand(front_clap::agent_command());
//!     let matches = piko.try_get_matches_from(arguments).map_err(|error| front_clap::usage_error(&error))?;
//!     let (_, agent) = matches.subcommand().expect("the caller names a subcommand");
//!     front_clap::agent_invocation(agent, &|_| None)
//! }
//!
//! let Ok(AgentInvocation::Run(options)) = run(&["piko", "agent", "http", "my-endpoint", "4000"]) else { panic!() };
//! assert_eq!(options.listeners[0].addr.to_string(), "localhost:4000");
//! assert_eq!(
//!     run(&["piko", "agent", "http", "e", "80", "--timeout", "10x"]).unwrap_err().to_string(),
//!     "--timeout: \"10x\" is no duration (examples: 300ms, 10s, 1m30s)"
//! );
//! # }
//! ```
//!
//! Tests of other crates start from [`ServerOptions::default`] or [`AgentOptions::default`] and change fields.
#![forbid(unsafe_code)]

mod env;
mod error;
mod file;
#[cfg(feature = "clap")]
pub mod front_clap;
#[cfg(feature = "lexopt")]
pub mod front_lexopt;
mod options;
#[cfg(feature = "yaml")]
mod print;
#[cfg(feature = "yaml")]
pub mod reload;
mod table;
mod value;
mod values;

pub use env::{Env, process_env};
pub use error::UsageError;
pub use options::{
    AccessLogOptions, AgentInvocation, AgentOptions, ClientTlsOptions, ConnectOptions, ENDPOINT_ID_BYTES_MAX,
    HeaderFilter, KeyPairFiles, ListenerOptions, LogLevel, LogOptions, PoolOptions, ProxyProtocol,
    ServerTlsOptions, TlsVersion, TunnelOptions,
};
#[cfg(feature = "server")]
pub use options::{
    AdminOptions, BenchOptions, ClusterOptions, Form, ForwardInvocation, ForwardOptions, GossipOptions,
    NodeIdRule, PortOptions, ProxyHttpOptions, ProxyOptions, RebalanceOptions, RoutingOptions, Seed,
    ServerInvocation, ServerOptions, SniOptions, StatusOptions, TcpOptions, TcpPortOptions,
    TestClusterOptions, UpstreamOptions,
};
#[cfg(feature = "yaml")]
pub use print::Task;
pub use table::{Effect, Flag, Program, Verb, Yaml, flags};
pub use value::{
    BadDuration, BadUrl, BindAddr, BindHost, ConnectUrl, GoDuration, Kind, ListenAddr, Protocol, ProxyUrl,
    Secret, ServiceAddr, Target, UNIX_PATH_BYTES_MAX, Value, parse_bool, parse_int, parse_list, parse_size,
};
#[cfg(feature = "server")]
pub use value::{IpNet, parse_float};
pub use values::{Command, Source, Start, Values};
