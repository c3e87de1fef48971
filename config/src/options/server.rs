//! The options of a server node.

use std::time::Duration;

use super::{AccessLogOptions, LogOptions, bind, grace_period};
use crate::error::UsageError;
use crate::value::BindAddr;
use crate::values::{Command, Values};

/// What the command line of a server asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process, and unpacked at once")]
pub enum ServerInvocation {
    /// Print this text and exit with 0.
    Help(String),
    /// Run a node.
    Run(ServerOptions),
    /// Print the version and exit with 0.
    Version,
}

/// Everything a server node is told at its start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The admin port.
    pub admin: AdminOptions,
    /// The other nodes.
    pub cluster: ClusterOptions,
    /// How long a shutdown waits for what is in flight, all phases together.
    pub grace_period: Duration,
    /// The node's own log.
    pub log: LogOptions,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
    /// The proxy port.
    pub proxy: ProxyOptions,
    /// The upstream port.
    pub upstream: UpstreamOptions,
}

/// The port for status, health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminOptions {
    /// Where to listen.
    pub bind: BindAddr,
}

/// The port for agents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// Where to listen.
    pub bind: BindAddr,
}

/// This node among others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// Where to listen for gossip. Nothing listens there until the cluster exists.
    pub gossip_bind: BindAddr,
    /// How this node gets its name.
    pub node_id: NodeIdRule,
}

/// How a node gets its name (behaviour reference, server: node id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeIdRule {
    /// The prefix, perhaps empty, and seven random characters of `a-z0-9`.
    Generate {
        /// What the name starts with.
        prefix: String,
    },
    /// This name; it must be a different one at every start.
    Given(String),
}

/// The port for requests to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// What is logged of each request.
    pub access_log: AccessLogOptions,
    /// Where to listen.
    pub bind: BindAddr,
    /// Limits on the connections of clients.
    pub http: ProxyHttpOptions,
    /// Which upstream a request gets.
    pub routing: RoutingOptions,
    /// From the request until the head of the response; `None` is for ever.
    pub timeout: Option<Duration>,
}

/// Which upstream of an endpoint a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutingOptions {
    /// One of this node, unless one of another node is clearly less busy; else all of the cluster alike.
    pub prefer_local: bool,
}

/// Limits on the connections of clients. `None` is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyHttpOptions {
    /// From one request to the next; the fall-back to `read_timeout` is already done.
    pub idle_timeout: Option<Duration>,
    /// The largest head of a request, in bytes; never 0.
    pub max_header_bytes: usize,
    /// From the first byte of a connection or request to the end of its head; the fall-back to `read_timeout` is already done.
    pub read_header_timeout: Option<Duration>,
    /// The longest pause while reading a body.
    pub read_timeout: Option<Duration>,
    /// The longest pause while a client does not take its response.
    pub write_timeout: Option<Duration>,
}

/// Go's default for the head of a request, which it also takes for zero and less (`net/http`).
const MAX_HEADER_BYTES_DEFAULT: usize = 1 << 20;

impl ServerOptions {
    /// Checks the values, in the order and with the words of Go (behaviour reference, CLI 3.4).
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let cluster = ClusterOptions {
            gossip_bind: bind(values, "cluster: gossip", "cluster.gossip.bind-addr")?,
            node_id: match values.text("cluster.node-id") {
                "" => NodeIdRule::Generate { prefix: values.text("cluster.node-id-prefix").to_owned() },
                id => NodeIdRule::Given(id.to_owned()),
            },
        };
        let proxy = ProxyOptions {
            bind: bind(values, "proxy", "proxy.bind-addr")?,
            access_log: AccessLogOptions::from_values(values, "proxy.access-log", "proxy: ")?,
            http: ProxyHttpOptions::from_values(values),
            routing: RoutingOptions { prefer_local: values.flag("proxy.routing.prefer-local") },
            timeout: values.optional_duration("proxy.timeout"),
        };
        Ok(Self {
            cluster,
            proxy,
            upstream: UpstreamOptions { bind: bind(values, "upstream", "upstream.bind-addr")? },
            admin: AdminOptions { bind: bind(values, "admin", "admin.bind-addr")? },
            log: LogOptions::from_values(values)?,
            grace_period: grace_period(values)?,
            notices: values.notices().to_vec(),
        })
    }
}

impl Default for ServerOptions {
    /// The defaults of the table.
    fn default() -> Self {
        Self::from_values(&Values::defaults(Command::Server)).expect("a test builds the defaults")
    }
}

impl ProxyHttpOptions {
    fn from_values(values: &Values) -> Self {
        let read_timeout = values.optional_duration("proxy.http.read-timeout");
        // Zero stands for the read timeout and less than zero for none, as in Go's `net/http`.
        let or_read_timeout = |key| match values.go_duration(key).as_nanos() {
            0 => read_timeout,
            _ => values.optional_duration(key),
        };
        let max_header_bytes = match values.size("proxy.http.max-header-bytes") {
            ..=0 => MAX_HEADER_BYTES_DEFAULT,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Self {
            idle_timeout: or_read_timeout("proxy.http.idle-timeout"),
            max_header_bytes,
            read_header_timeout: or_read_timeout("proxy.http.read-header-timeout"),
            read_timeout,
            write_timeout: values.optional_duration("proxy.http.write-timeout"),
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
