//! The options of a server node.

use std::time::Duration;

use super::cluster::ClusterOptions;
use super::tcp::TcpOptions;
use super::{AccessLogOptions, ClientTlsOptions, LogOptions, ServerTlsOptions, bind, fault, grace_period};
use crate::error::{UsageError, quoted};
use crate::value::{BindAddr, IpNet};
use crate::values::{Command, Start, Values};

/// What the command line of a server asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process, and unpacked at once")]
pub enum ServerInvocation {
    /// Print this text and exit with 0: help, or a configuration.
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
    /// How long a shutdown goes on serving, not ready, before it begins: until load balancers have noticed.
    pub drain_delay: Duration,
    /// How long a shutdown waits for what is in flight, all phases together.
    pub grace_period: Duration,
    /// The node's own log.
    pub log: LogOptions,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
    /// The proxy port.
    pub proxy: ProxyOptions,
    /// Where all this came from, to be asked again.
    pub start: Start,
    /// The upstream port.
    pub upstream: UpstreamOptions,
}

/// The port for status, health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminOptions {
    /// The address that other nodes are told; what it really listens on when not given.
    pub advertise: Option<BindAddr>,
    /// Where to listen.
    pub bind: BindAddr,
    /// TLS on this port; `None` is plain.
    pub tls: Option<ServerTlsOptions>,
    /// TLS to the admin ports of other nodes, which is spoken when this port speaks it.
    pub tls_client: ClientTlsOptions,
}

/// The port for agents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// Where to listen.
    pub bind: BindAddr,
    /// When agents are sent to other nodes.
    pub rebalance: RebalanceOptions,
    /// TLS on this port; `None` is plain.
    pub tls: Option<ServerTlsOptions>,
}

/// When agents are sent to other nodes because this one has more than its share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RebalanceOptions {
    /// Fewer tunnels than this are left alone.
    pub min_conns: usize,
    /// The most to shed each second, as a share of the average of the nodes.
    pub shed_rate: f64,
    /// How far above the average a node has to be, as a share of it; `None` never sheds.
    pub threshold: Option<f64>,
}

impl RebalanceOptions {
    fn from_values(values: &Values) -> Result<Self, UsageError> {
        let refuse =
            |key: &str, what: &str| Err(fault(values, &[key], &format!("upstream: rebalance: {what}")));
        let threshold = values.float("upstream.rebalance.threshold");
        // Not a number is no threshold.
        if threshold.is_nan() || threshold < 0.0 {
            return refuse("upstream.rebalance.threshold", "threshold cannot be negative");
        }
        let shed_rate = values.float("upstream.rebalance.shed-rate");
        if shed_rate.is_nan() || shed_rate < 0.0 {
            return refuse("upstream.rebalance.shed-rate", "shed-rate cannot be negative");
        }
        if shed_rate > 1.0 {
            return refuse("upstream.rebalance.shed-rate", "shed-rate cannot exceed 1");
        }
        let min_conns = values.int("upstream.rebalance.min-conns");
        if min_conns < 0 {
            return refuse("upstream.rebalance.min-conns", "min-conns cannot be negative");
        }
        let min_conns = usize::try_from(min_conns).unwrap_or(usize::MAX);
        Ok(Self { min_conns, shed_rate, threshold: (threshold > 0.0).then_some(threshold) })
    }
}

/// The port for requests to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// What is logged of each request.
    pub access_log: AccessLogOptions,
    /// The address that other nodes are told; what it really listens on when not given.
    pub advertise: Option<BindAddr>,
    /// Where to listen.
    pub bind: BindAddr,
    /// Limits on the connections of clients.
    pub http: ProxyHttpOptions,
    /// Which upstream a request gets.
    pub routing: RoutingOptions,
    /// Networks of load balancers whose connections begin with a PROXY protocol header.
    pub proxy_protocol_trusted: Vec<IpNet>,
    /// Ports for connections that are no HTTP.
    pub tcp: TcpOptions,
    /// From the request until the head of the response; `None` is for ever.
    pub timeout: Option<Duration>,
    /// TLS on this port; `None` is plain.
    pub tls: Option<ServerTlsOptions>,
    /// TLS to the proxy ports of other nodes, which is spoken when this port speaks it.
    pub tls_client: ClientTlsOptions,
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
        let cluster = ClusterOptions::from_values(values)?;
        let mut notices = values.notices().to_vec();
        let (proxy_tls, proxy_tls_client) = tls(values, "proxy", &mut notices)?;
        let proxy = ProxyOptions {
            bind: bind(values, "proxy", "proxy.bind-addr")?,
            tls: proxy_tls,
            tls_client: proxy_tls_client,
            advertise: values.bind("proxy.advertise-addr").cloned(),
            access_log: AccessLogOptions::from_values(values, "proxy.access-log", "proxy: ")?,
            http: ProxyHttpOptions::from_values(values),
            routing: RoutingOptions { prefer_local: values.flag("proxy.routing.prefer-local") },
            proxy_protocol_trusted: trusted(values)?,
            tcp: TcpOptions::from_values(values)?,
            timeout: values.optional_duration("proxy.timeout"),
        };
        let upstream = UpstreamOptions {
            bind: bind(values, "upstream", "upstream.bind-addr")?,
            rebalance: RebalanceOptions::from_values(values)?,
            tls: ServerTlsOptions::from_values(values, "upstream.tls", "upstream: tls: ")?,
        };
        let admin_bind = bind(values, "admin", "admin.bind-addr")?;
        let (admin_tls, admin_tls_client) = tls(values, "admin", &mut notices)?;
        Ok(Self {
            cluster,
            proxy,
            upstream,
            admin: AdminOptions {
                bind: admin_bind,
                tls: admin_tls,
                tls_client: admin_tls_client,
                advertise: values.bind("admin.advertise-addr").cloned(),
            },
            drain_delay: values.duration("drain-delay"),
            log: LogOptions::from_values(values)?,
            grace_period: grace_period(values)?,
            notices,
            start: values.start().clone(),
        })
    }
}

/// The networks of `proxy.proxy-protocol.trusted`.
fn trusted(values: &Values) -> Result<Vec<IpNet>, UsageError> {
    let key = "proxy.proxy-protocol.trusted";
    let read = |text: &String| {
        IpNet::parse(text).ok_or_else(|| {
            let told = quoted(text);
            let examples = "examples: 10.0.0.0/8, 192.0.2.7, 2001:db8::/32";
            fault(values, &[key], &format!("proxy: proxy protocol: {told} is no network ({examples})"))
        })
    };
    values.list(key).iter().map(read).collect()
}

/// TLS of a port through which nodes reach each other, and of the connections to those of the others.
fn tls(
    values: &Values,
    port: &str,
    notices: &mut Vec<String>,
) -> Result<(Option<ServerTlsOptions>, ClientTlsOptions), UsageError> {
    let prefix = format!("{port}.tls");
    let server = ServerTlsOptions::from_values(values, &prefix, &format!("{port}: tls: "))?;
    // Go reads these only for a port with TLS, and says nothing.
    let client = ClientTlsOptions::from_values(
        values,
        &format!("{prefix}.client"),
        &format!("{port}: tls: client: "),
        true,
    )?;
    if server.is_none() && client != ClientTlsOptions::default() {
        notices.push(format!(
            "{prefix}.client: no effect without --{prefix}.cert: nodes speak TLS when this one does"
        ));
    }
    Ok((server, client))
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
