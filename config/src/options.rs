//! Typed options: what the programs take, with nothing left to parse.

mod agent;
#[cfg(feature = "server")]
mod cluster;
#[cfg(feature = "server")]
mod forward;
mod log;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod tcp;
mod tls;
#[cfg(feature = "server")]
mod tools;

pub use agent::{
    AgentInvocation, AgentOptions, ConnectOptions, ENDPOINT_ID_BYTES_MAX, ListenerOptions, PoolOptions,
    ProxyProtocol, TunnelOptions,
};
#[cfg(feature = "server")]
pub use cluster::{ClusterOptions, GossipOptions, NodeIdRule, Seed};
#[cfg(feature = "server")]
pub use forward::{ForwardInvocation, ForwardOptions, PortOptions};
pub use log::{AccessLogOptions, HeaderFilter, LogLevel, LogOptions};
#[cfg(feature = "server")]
pub use server::{
    AdminOptions, ProxyHttpOptions, ProxyOptions, RebalanceOptions, RoutingOptions, ServerInvocation,
    ServerOptions, UpstreamOptions,
};
#[cfg(feature = "server")]
pub use tcp::{SniOptions, TcpOptions, TcpPortOptions};
pub use tls::{ClientTlsOptions, KeyPairFiles, ServerTlsOptions, TlsVersion};
#[cfg(feature = "server")]
pub use tools::{BenchOptions, Form, StatusOptions, TestClusterOptions};

use crate::error::UsageError;
use crate::value::{BadUrl, BindAddr, ConnectUrl, ProxyUrl, Secret};
use crate::values::{Source, Values};
use std::cmp::Ordering;

/// The address under `key`, or `config: <section>: missing bind addr`.
fn bind(values: &Values, section: &str, key: &str) -> Result<BindAddr, UsageError> {
    values.bind(key).cloned().ok_or_else(|| fault(values, &[key], &format!("{section}: missing bind addr")))
}

/// The grace period. Zero is refused as in Go.
fn grace_period(values: &Values) -> Result<std::time::Duration, UsageError> {
    if values.go_duration("grace-period").as_nanos() == 0 {
        return Err(fault(values, &["grace-period"], "missing grace period"));
    }
    Ok(values.duration("grace-period"))
}

/// The URL of the server, and those of others behind commas, in order.
fn connect_urls(values: &Values) -> Result<(ConnectUrl, Vec<ConnectUrl>), UsageError> {
    let text = values.text("connect.url");
    if text.is_empty() {
        return Err(fault(values, &["connect.url"], "connect: missing url"));
    }
    let (mut first, mut fallbacks) = (None, Vec::new());
    for one in text.split(',') {
        let url = match ConnectUrl::parse(one.trim_ascii()) {
            Ok(url) if url.query.is_none() => url,
            // A bad URL may hold a password, so only its fault is told, not its text.
            other => {
                let error = other.err().unwrap_or(BadUrl::Query);
                return Err(fault(values, &["connect.url"], &format!("connect: invalid url: {error}")));
            }
        };
        match first {
            None => first = Some(url),
            Some(_) => fallbacks.push(url),
        }
    }
    // A split has at least one part.
    first
        .map(|first| (first, fallbacks))
        .ok_or_else(|| fault(values, &["connect.url"], "connect: missing url"))
}

/// The proxy to connect through: its URL, or that of a file.
fn connect_proxy(values: &Values) -> Result<Option<ProxyUrl>, UsageError> {
    if !cfg!(feature = "proxy") {
        return Ok(None);
    }
    let (key, text) = match either(values, "connect", "connect.proxy-url")? {
        ("", "") => return Ok(None),
        (text, "") => ("connect.proxy-url", text.to_owned()),
        (_, file) => {
            let key = "connect.proxy-url-file";
            let refuse = |error: String| fault(values, &[key], &format!("connect: {error}"));
            (key, crate::file::secret(file.as_ref()).map_err(refuse)?)
        }
    };
    let bad = || {
        let form = "not of the form http://[user:password@]host[:port] (or socks5, socks5h)";
        fault(values, &[key], &format!("connect: invalid proxy url: {form}"))
    };
    ProxyUrl::parse(&text).map(Some).ok_or_else(bad)
}

/// How long one attempt to connect may take.
fn connect_timeout(values: &Values) -> Result<std::time::Duration, UsageError> {
    values
        .optional_duration("connect.timeout")
        .ok_or_else(|| fault(values, &["connect.timeout"], "connect: missing timeout"))
}

/// What the user of a program that connects has to hear: what the values say themselves, and that `connect.tls` is idle
/// next to servers none of which is spoken TLS with.
#[cfg(feature = "tls")]
fn connect_notices(values: &Values) -> Result<Vec<String>, UsageError> {
    let mut notices = values.notices().to_vec();
    let (url, fallbacks) = connect_urls(values)?;
    let tls = ClientTlsOptions::from_values(values, "connect.tls", "connect: tls: ", false)?;
    let uses_tls = url.tls || fallbacks.iter().any(|url| url.tls);
    if !uses_tls && tls != ClientTlsOptions::default() {
        notices.push("connect.tls: no effect without an https:// URL in connect.url".to_owned());
    }
    Ok(notices)
}

/// The token itself or that of its file, fit for a header (RFC 9110 5.5).
fn token(values: &Values, section: &str) -> Result<Option<Secret>, UsageError> {
    token_at(values, section, &format!("{section}.token"))
}

/// As [`token`], for the one at `key`; `section` begins a complaint.
fn token_at(values: &Values, section: &str, key: &str) -> Result<Option<Secret>, UsageError> {
    let file = match either(values, section, key)? {
        (_, "") => return Ok(header_text(values, key)?.map(Secret::new)),
        (_, file) => file,
    };
    let refuse = |message: &str| fault(values, &[&format!("{key}-file")], &format!("{section}: {message}"));
    match crate::file::secret(file.as_ref()) {
        Ok(token) if token.bytes().any(|byte| byte.is_ascii_control()) => {
            Err(refuse("token-file: a control character"))
        }
        Ok(token) => Ok(Some(Secret::new(token))),
        Err(error) => Err(refuse(&error)),
    }
}

/// Text that goes into a header, `None` when empty. A line break at its end is the usual mistake of tokens that come out
/// of files, and would be a request of one's own making further inside (RFC 9110 5.5).
fn header_text<'v>(values: &'v Values, key: &str) -> Result<Option<&'v str>, UsageError> {
    let text = values.text(key);
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        let (origin, message) = (values.origin(key), "a control character (such as a line break at the end)");
        return Err(match cfg!(feature = "yaml") && values.source(key) == Source::File {
            true => UsageError::located(&format!("config: {message} [{origin}]"), true),
            false => UsageError::usage(format!("{origin}: {message}")),
        });
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The secret under `key` and the file under `<key>-file` that holds it instead, one of which is empty: the one from the
/// weaker source does not count.
///
/// # Errors
///
/// Both are from the same source, so nobody can tell which one is meant.
fn either<'v>(values: &'v Values, section: &str, key: &str) -> Result<(&'v str, &'v str), UsageError> {
    let file_key = format!("{key}-file");
    let (text, file) = (values.text(key), values.text(&file_key));
    if text.is_empty() || file.is_empty() {
        return Ok((text, file));
    }
    match values.source(key).cmp(&values.source(&file_key)) {
        Ordering::Greater => Ok((text, "")),
        Ordering::Less => Ok(("", file)),
        Ordering::Equal => {
            let name = key.get(section.len() + 1..).unwrap_or(key);
            let message = format!("{section}: {name} and {name}-file cannot both be set");
            Err(fault(values, &[key, &file_key], &message))
        }
    }
}

/// Values that can be read but make no configuration: Go's words, and behind them the flags and variables that
/// the values came from.
fn fault(values: &Values, keys: &[&str], message: &str) -> UsageError {
    // What an entry of a list of the file lacks is told with its place, too.
    let stands_in_file = |key: &&&str| values.in_row() || values.source(key) == Source::File;
    let given = keys.iter().filter(|key| values.in_row() || values.source(key) != Source::Default);
    let given: Vec<_> = given.map(|key| values.origin(key)).collect();
    let stands_in_file = cfg!(feature = "yaml") && keys.iter().any(|key| stands_in_file(&key));
    let (before, behind) = if given.is_empty() { ("", "") } else { (" [", "]") };
    let line = ["config: ", message, before, &given.join(", "), behind].concat();
    UsageError::located(&line, stands_in_file)
}
