//! The options of `piko bench` and `piko test cluster`.

use std::time::Duration;

use super::{ClientTlsOptions, LogOptions, fault, token};
use crate::error::{UsageError, quoted};
use crate::value::url::without_login;
use crate::value::{BadUrl, ConnectUrl, Secret};
use crate::values::Values;

/// Everything a bench is told at its start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BenchOptions {
    /// How many clients send requests.
    pub clients: usize,
    /// How many endpoints are registered.
    pub endpoints: usize,
    /// The bench's own log.
    pub log: LogOptions,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
    /// The server's proxy port.
    pub proxy_url: ConnectUrl,
    /// How many requests are sent, by all clients together.
    pub requests: usize,
    /// The body of each request, in bytes.
    pub size: usize,
    /// One attempt to connect.
    pub timeout: Duration,
    /// The server's upstream port.
    pub upstream_url: ConnectUrl,
    /// How many upstreams serve the endpoints.
    pub upstreams: usize,
}

impl BenchOptions {
    /// Checks the values, with the words of Go (behaviour reference, CLI 3.4).
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let number = |key: &str, number: i64| match usize::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(fault(values, &[key], &format!("missing {key}"))),
        };
        let int = |key: &str| number(key, values.int(key));
        Ok(Self {
            requests: int("requests")?,
            clients: int("clients")?,
            endpoints: int("endpoints")?,
            upstreams: int("upstreams")?,
            size: number("size", values.size("size"))?,
            proxy_url: url_of(values, "connect.proxy-url", "proxy url")?,
            upstream_url: url_of(values, "connect.upstream-url", "upstream url")?,
            timeout: values
                .optional_duration("connect.timeout")
                .ok_or_else(|| fault(values, &["connect.timeout"], "server: missing timeout"))?,
            log: LogOptions::from_values(values)?,
            notices: values.notices().to_vec(),
        })
    }
}

/// The URL of a server's port under `key`, which a complaint calls `name`.
fn url_of(values: &Values, key: &str, name: &str) -> Result<ConnectUrl, UsageError> {
    url_from(values, values.text(key), key, name)
}

/// As above, of a text that was made of it.
fn url_from(values: &Values, text: &str, key: &str, name: &str) -> Result<ConnectUrl, UsageError> {
    match text {
        "" => Err(fault(values, &[key], &format!("server: missing {name}"))),
        // A bad URL may hold a password, so only its fault is told, not its text.
        text => ConnectUrl::parse(text).map_err(|error| {
            let error = match error {
                // Not the flag that others have in its place.
                BadUrl::Credentials => "user name and password are not supported".to_owned(),
                error => error.to_string(),
            };
            fault(values, &[key], &format!("server: invalid {name}: {error}"))
        }),
    }
}

/// Everything a cluster in one process is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestClusterOptions {
    /// The log of all nodes.
    pub log: LogOptions,
    /// How many nodes: 1 to [`Self::NODES_MAX`].
    pub nodes: usize,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
}

impl TestClusterOptions {
    /// More would not find threads and descriptors on most machines.
    pub const NODES_MAX: usize = 100;

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let message = match usize::try_from(values.int("nodes")) {
            Ok(nodes) if (1..=Self::NODES_MAX).contains(&nodes) => {
                let log = LogOptions::from_values(values)?;
                return Ok(Self { log, nodes, notices: values.notices().to_vec() });
            }
            Ok(nodes) if nodes > Self::NODES_MAX => format!("more than {} nodes", Self::NODES_MAX),
            _ => "missing nodes".to_owned(),
        };
        Err(fault(values, &["nodes"], &message))
    }
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As JSON.
    Json,
    /// As a table for people.
    Table,
    /// As YAML, to the byte as Go prints it.
    Yaml,
}

/// Which node is asked how it stands, and how the answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusOptions {
    /// How the answer is shown.
    pub form: Form,
    /// The node that is meant, where it is not the one at `url`.
    pub forward: Option<String>,
    /// User name and password out of the URL, for `Authorization: Basic …`, where there is no token.
    pub login: Option<(String, Secret)>,
    /// TLS to the node, where the URL asks for it.
    pub tls: ClientTlsOptions,
    /// The token, for `Authorization: Bearer …`; fit for a header.
    pub token: Option<Secret>,
    /// The admin port.
    pub url: ConnectUrl,
}

impl StatusOptions {
    /// Checks the values, with the words of Go (behaviour reference, CLI 3.4).
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let form = match values.text("output") {
            "json" => Form::Json,
            "table" => Form::Table,
            "yaml" => Form::Yaml,
            other => {
                let (origin, shown) = (values.origin("output"), quoted(other));
                return Err(UsageError::usage(format!("{origin}: {shown} is none of json, table and yaml")));
            }
        };
        let forward = Some(values.text("forward")).filter(|id| !id.is_empty()).map(str::to_owned);
        // As the HTTP client of Go takes it: what stands in front of the host is sent.
        let text = values.text("server.url");
        let bad_login = |why| fault(values, &["server.url"], &format!("server: invalid url: {why}"));
        let (text, login) = without_login(text).ok_or_else(|| bad_login("a bad % in the login"))?;
        let is_unfit = |(user, password): &(String, Secret)| {
            // RFC 7617 2: a colon ends the name.
            user.contains(':') || user.chars().chain(password.reveal().chars()).any(char::is_control)
        };
        if login.as_ref().is_some_and(is_unfit) {
            return Err(bad_login("a colon in the user name, or a control character in the login"));
        }
        Ok(Self {
            login,
            form,
            forward,
            tls: ClientTlsOptions::from_values(values, "server.tls", "server: tls: ", false)?,
            token: token(values, "server")?,
            url: url_from(values, &text, "server.url", "url")?,
        })
    }
}
