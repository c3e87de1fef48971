//! The options of an agent.

use std::time::Duration;

use super::{
    AccessLogOptions, ClientTlsOptions, LogOptions, bind, connect_proxy, connect_timeout, connect_urls,
    fault, grace_period, header_text, token,
};
use crate::error::{UsageError, quoted, shortened};
use crate::value::{BindAddr, ConnectUrl, Protocol, ProxyUrl, Secret, ServiceAddr};
#[cfg(feature = "yaml")]
use crate::values::Start;
use crate::values::{Command, Values};

/// What the command line of an agent asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process, and unpacked at once")]
pub enum AgentInvocation {
    /// Print this text and exit with 0: help, or a configuration.
    Help(String),
    /// Run the listeners.
    Run(AgentOptions),
    /// Print the version and exit with 0.
    Version,
}

/// Everything an agent is told at its start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgentOptions {
    /// The server.
    pub connect: ConnectOptions,
    /// How long each listener's shutdown waits for what is in flight.
    pub grace_period: Duration,
    /// What to register, one tunnel each; never empty when it came from [`AgentOptions::from_values`].
    pub listeners: Vec<ListenerOptions>,
    /// The agent's own log.
    pub log: LogOptions,
    /// Where to serve `/metrics`; `None` is nowhere.
    pub metrics: Option<BindAddr>,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
    /// Where all this came from, to be asked again.
    #[cfg(feature = "yaml")]
    pub start: Start,
    /// The files that the tokens and the URL of the proxy came from, to be looked at again.
    #[cfg(feature = "yaml")]
    pub secret_files: Vec<std::path::PathBuf>,
}

/// How to reach the server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Further servers, tried in order when those before them cannot be connected to.
    pub fallbacks: Vec<ConnectUrl>,
    /// Give up when the first connection does not come about, as Go does, rather than try for ever.
    pub exit_on_failure: bool,
    /// The proxy to connect through.
    pub proxy: Option<ProxyUrl>,
    /// The tenant, for the field `x-piko-tenant-id`; fit for a header.
    pub tenant_id: Option<String>,
    /// One attempt: resolving, connecting, TLS and the upgrade together.
    pub timeout: Duration,
    /// TLS to the server, where its URL asks for it.
    pub tls: ClientTlsOptions,
    /// The token, for `Authorization: Bearer …`; fit for a header.
    pub token: Option<Secret>,
    /// The server's upstream port.
    pub url: ConnectUrl,
}

/// One endpoint and the service behind it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// What is logged of each request or connection.
    pub access_log: AccessLogOptions,
    /// The service.
    pub addr: ServiceAddr,
    /// The endpoint: 1 to [`ENDPOINT_ID_BYTES_MAX`] bytes without `/`.
    pub endpoint: String,
    /// Kept connections to the service; of no use to [`Protocol::Tcp`].
    pub pool: PoolOptions,
    /// What is spoken with the service.
    pub protocol: Protocol,
    /// The PROXY protocol header that connections to the service begin with; `None` is without.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How its tunnel differs from what [`AgentOptions::connect`] says.
    pub tunnel: TunnelOptions,
    /// How long to wait for the service: to connect, and for the head of a response; `None` is for ever.
    pub timeout: Option<Duration>,
    /// TLS to the service, where its address asks for it.
    pub tls: ClientTlsOptions,
}

/// A version of the PROXY protocol's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyProtocol {
    #[cfg(feature = "proxy-protocol")]
    fn from_values(values: &Values, section: &str) -> Result<Option<Self>, UsageError> {
        match values.text("proxy-protocol") {
            "" => Ok(None),
            "v1" => Ok(Some(Self::V1)),
            "v2" => Ok(Some(Self::V2)),
            other => {
                let message = format!("{section}unsupported proxy protocol: {} (v1 or v2)", quoted(other));
                Err(fault(values, &["proxy-protocol"], &message))
            }
        }
    }

    /// A build without it has refused the flag.
    #[cfg(not(feature = "proxy-protocol"))]
    fn from_values(_: &Values, _: &str) -> Result<Option<Self>, UsageError> {
        Ok(None)
    }
}

/// What one listener's tunnel has of its own; `None` is as for the others. Only a file can say it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TunnelOptions {
    /// The tenant, in place of [`ConnectOptions::tenant_id`]; fit for a header.
    pub tenant_id: Option<String>,
    /// TLS to the server, in place of [`ConnectOptions::tls`].
    pub tls: Option<ClientTlsOptions>,
    /// The token, in place of [`ConnectOptions::token`]; fit for a header.
    pub token: Option<Secret>,
}

/// Kept connections to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolOptions {
    /// How long an idle connection is kept; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// The interval of TCP's keep-alive probes; `None` is without probes.
    pub keep_alive: Option<Duration>,
    /// How many idle connections are kept; `None` is without limit.
    pub max_idle: Option<usize>,
}

/// The longest endpoint id, in bytes: one that gossip can still carry in a datagram (wire protocol 9.1 G3, 10).
pub const ENDPOINT_ID_BYTES_MAX: usize = 1024;

impl AgentOptions {
    /// Checks the values and the arguments of the command, in the order and with the words of Go (behaviour reference, CLI
    /// 3.4). An agent without listeners is refused with `no listeners configured`.
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let options = Self::of_values(values)?;
        match options.listeners.is_empty() {
            true => Err(UsageError::nothing_to_do("no listeners configured")),
            false => Ok(options),
        }
    }

    /// As above, and nothing to do is no fault.
    pub(crate) fn of_values(values: &Values) -> Result<Self, UsageError> {
        let listeners = match values.command() {
            Command::AgentHttp { endpoint, addr } => {
                vec![ListenerOptions::from_arguments(values, Protocol::Http, endpoint, addr)?]
            }
            Command::AgentTcp { endpoint, addr } => {
                vec![ListenerOptions::from_arguments(values, Protocol::Tcp, endpoint, addr)?]
            }
            Command::Agent => {
                // An empty list is one entry that says nothing.
                let empty = [String::new()];
                let entries = Some(values.list("endpoints")).filter(|entries| !entries.is_empty());
                let entries = entries.unwrap_or(&empty).iter();
                entries.map(|entry| ListenerOptions::from_entry(values, entry)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        // Those of the file are judged even where the arguments take their place, as in Go.
        let mut in_file = Vec::new();
        if cfg!(feature = "yaml") {
            for row in 0..values.rows() {
                in_file.push(ListenerOptions::from_row(&values.of_row(row))?);
            }
        }
        let listeners = if *values.command() == Command::AgentStart { in_file } else { listeners };
        #[cfg(feature = "yaml")]
        let secret_files = {
            let of_rows = (0..values.rows()).map(|row| values.of_row(row).text("token-file").to_owned());
            let of_all = ["connect.proxy-url-file", "connect.token-file"];
            let all = of_all.into_iter().map(|key| values.text(key).to_owned()).chain(of_rows);
            all.filter(|path| !path.is_empty()).map(Into::into).collect()
        };
        let rest = Self::without_listeners(values)?;
        #[cfg(feature = "tls")]
        let rest = Self {
            notices: [&rest.notices[..], &idle_addrs(values), &idle_tls(values, &listeners)].concat(),
            ..rest
        };
        Ok(Self {
            listeners,
            #[cfg(feature = "yaml")]
            secret_files,
            ..rest
        })
    }

    fn without_listeners(values: &Values) -> Result<Self, UsageError> {
        Ok(Self {
            listeners: Vec::new(),
            connect: ConnectOptions::from_values(values)?,
            metrics: match values.flag("server.enabled") {
                true => Some(bind(values, "server", "server.bind-addr")?),
                false => None,
            },
            log: LogOptions::from_values(values)?,
            grace_period: grace_period(values)?,
            // A build without TLS has nothing to add, and no room for it.
            #[cfg(feature = "tls")]
            notices: super::connect_notices(values)?,
            #[cfg(not(feature = "tls"))]
            notices: values.notices().to_vec(),
            #[cfg(feature = "yaml")]
            start: values.start().clone(),
            #[cfg(feature = "yaml")]
            secret_files: Vec::new(),
        })
    }
}

/// What the user has to hear of addresses that are taken as Go takes them, and that cannot be meant so.
#[cfg(feature = "tls")]
fn idle_addrs(values: &Values) -> Vec<String> {
    let of = |place: &str, addr: &str| -> Vec<String> {
        ServiceAddr::remarks(addr).map(|remark| format!("{place}: {remark}")).collect()
    };
    match values.command() {
        Command::AgentHttp { addr, .. } | Command::AgentTcp { addr, .. } => of("addr", addr),
        Command::Agent => {
            let entries = values.list("endpoints").iter().filter_map(|entry| entry.split_once('/'));
            let of_entry = |(endpoint, addr)| of(&format!("--endpoints: {}", shortened(endpoint)), addr);
            entries.flat_map(of_entry).collect()
        }
        _ => {
            let of_row = |row| of(&format!("listeners[{row}].addr"), values.of_row(row).text("addr"));
            (0..values.rows()).flat_map(of_row).collect()
        }
    }
}

/// What the user has to hear of settings for TLS to services that are not spoken TLS with: only an `https://` address asks
/// for it, whatever a root or a certificate beside it may suggest.
#[cfg(feature = "tls")]
fn idle_tls(values: &Values, listeners: &[ListenerOptions]) -> Vec<String> {
    let is_idle =
        |listener: &ListenerOptions| !listener.addr.tls && listener.tls != ClientTlsOptions::default();
    if *values.command() == Command::AgentStart {
        let idle = listeners.iter().enumerate().filter(|(_, listener)| is_idle(listener));
        return idle
            .map(|(row, _)| format!("listeners[{row}].tls: no effect without an https:// addr"))
            .collect();
    }
    // The flags are for all listeners, one of which may have use for them.
    if listeners.is_empty() || !listeners.iter().all(is_idle) {
        return Vec::new();
    }
    vec!["tls: no effect without an https:// address of the service".to_owned()]
}

impl Default for AgentOptions {
    /// The defaults of the table, without listeners.
    fn default() -> Self {
        Self::without_listeners(&Values::defaults(Command::Agent)).expect("a test builds the defaults")
    }
}

impl ConnectOptions {
    /// Whether any of the servers is spoken TLS with.
    pub fn uses_tls(&self) -> bool {
        self.url.tls || self.fallbacks.iter().any(|url| url.tls)
    }

    fn from_values(values: &Values) -> Result<Self, UsageError> {
        let (url, fallbacks) = connect_urls(values)?;
        Ok(Self {
            url,
            fallbacks,
            proxy: connect_proxy(values)?,
            timeout: connect_timeout(values)?,
            token: token(values, "connect")?,
            tls: ClientTlsOptions::from_values(values, "connect.tls", "connect: tls: ", false)?,
            tenant_id: header_text(values, "connect.tenant-id")?.map(str::to_owned),
            exit_on_failure: values.flag("connect.exit-on-failure"),
        })
    }
}

impl ListenerOptions {
    /// A listener with the default settings, for `addr` in the notation of the command line.
    pub fn new(protocol: Protocol, endpoint: &str, addr: &str) -> Result<Self, UsageError> {
        Self::from_arguments(&Values::defaults(Command::Agent), protocol, endpoint, addr)
    }

    /// `<endpoint>/<addr>` of `--endpoints`; the endpoint ends at the first slash, as it can have none.
    fn from_entry(values: &Values, entry: &str) -> Result<Self, UsageError> {
        let (endpoint, addr) = entry.split_once('/').ok_or_else(|| {
            let origin = values.origin("endpoints");
            UsageError::usage(format!("{origin}: {} is not of the form <endpoint>/<addr>", quoted(entry)))
        })?;
        Self::from_arguments(values, Protocol::Http, endpoint, addr)
    }

    /// A listener of the file; `values` are those of its entry.
    fn from_row(values: &Values) -> Result<Self, UsageError> {
        let endpoint = values.text("endpoint-id");
        let protocol = match values.text("protocol") {
            "" | "http" => Protocol::Http,
            "tcp" => Protocol::Tcp,
            other => {
                let endpoint = shortened(endpoint);
                let message =
                    format!("listener: {endpoint}: unsupported protocol: {} (http or tcp)", quoted(other));
                return Err(fault(values, &["protocol"], &message));
            }
        };
        Self::from_arguments(values, protocol, endpoint, values.text("addr"))
    }

    fn from_arguments(
        values: &Values,
        protocol: Protocol,
        endpoint: &str,
        addr: &str,
    ) -> Result<Self, UsageError> {
        // The same words for arguments, and for keys of a file, which are named behind them.
        let refuse = |key: &str, message: String| match values.in_row() {
            true => fault(values, &[key], &message),
            false => UsageError::usage(message),
        };
        if endpoint.is_empty() {
            return Err(refuse("endpoint-id", "listener: missing endpoint id".to_owned()));
        }
        let section = format!("listener: {}: ", shortened(endpoint));
        if endpoint.len() > ENDPOINT_ID_BYTES_MAX || endpoint.contains('/') {
            let limits = format!("at most {ENDPOINT_ID_BYTES_MAX} bytes, no slash");
            return Err(refuse("endpoint-id", format!("{section}invalid endpoint id ({limits})")));
        }
        if addr.is_empty() {
            return Err(refuse("addr", format!("{section}missing addr")));
        }
        let addr = ServiceAddr::parse(protocol, addr).ok_or_else(|| {
            let examples = match protocol {
                Protocol::Http => "4000, host:4000, https://host/path, unix:/path",
                Protocol::Tcp => "4000, host:4000, unix:/path",
            };
            refuse("addr", format!("{section}invalid addr: {} (examples: {examples})", quoted(addr)))
        })?;
        let proxy_protocol = ProxyProtocol::from_values(values, &section)?;
        Ok(Self {
            addr,
            protocol,
            proxy_protocol,
            endpoint: endpoint.to_owned(),
            access_log: AccessLogOptions::from_values(values, "access-log", &section)?,
            pool: PoolOptions::from_values(values),
            tunnel: TunnelOptions::from_values(values, &section)?,
            timeout: values.optional_duration("timeout"),
            tls: ClientTlsOptions::from_values(values, "tls", &format!("{section}tls: "), false)?,
        })
    }
}

impl TunnelOptions {
    #[cfg(feature = "yaml")]
    fn from_values(values: &Values, section: &str) -> Result<Self, UsageError> {
        if !values.in_row() {
            return Ok(Self::default());
        }
        let complaint = section.trim_end_matches(": ");
        let tls_section = format!("{section}tunnel tls: ");
        let tls = ClientTlsOptions::from_values(values, "tunnel-tls", &tls_section, false)?;
        Ok(Self {
            tenant_id: header_text(values, "tenant-id")?.map(str::to_owned),
            tls: Some(tls).filter(|tls| *tls != ClientTlsOptions::default()),
            token: super::token_at(values, complaint, "token")?,
        })
    }

    #[cfg(not(feature = "yaml"))]
    fn from_values(_: &Values, _: &str) -> Result<Self, UsageError> {
        Ok(Self::default())
    }
}

impl PoolOptions {
    fn from_values(values: &Values) -> Self {
        Self {
            idle_timeout: values.optional_duration("http-client.idle-conn-timeout"),
            keep_alive: values.optional_duration("http-client.keep-alive-timeout"),
            max_idle: usize::try_from(values.int("http-client.max-idle-conns")).ok().filter(|&max| max > 0),
        }
    }
}

#[cfg(all(test, feature = "proxy-protocol", feature = "yaml"))]
#[path = "agent_tests.rs"]
mod tests;
