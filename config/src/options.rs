//! Typed options: what the programs take, with nothing left to parse.

mod agent;
#[cfg(feature = "server")]
mod cluster;
mod log;
#[cfg(feature = "server")]
mod server;
mod tls;

pub use agent::{
    AgentInvocation, AgentOptions, ConnectOptions, ENDPOINT_ID_BYTES_MAX, ListenerOptions, PoolOptions,
};
#[cfg(feature = "server")]
pub use cluster::{ClusterOptions, GossipOptions, NodeIdRule, Seed};
pub use log::{AccessLogOptions, HeaderFilter, LogLevel, LogOptions};
#[cfg(feature = "server")]
pub use server::{
    AdminOptions, ProxyHttpOptions, ProxyOptions, RebalanceOptions, RoutingOptions, ServerInvocation,
    ServerOptions, UpstreamOptions,
};
pub use tls::{ClientTlsOptions, KeyPairFiles, ServerTlsOptions, TlsVersion};

use crate::error::UsageError;
use crate::value::BindAddr;
use crate::values::{Source, Values};

/// The address under `key`, or `config: <section>: missing bind addr`.
fn bind(values: &Values, section: &str, key: &str) -> Result<BindAddr, UsageError> {
    values.bind(key).cloned().ok_or_else(|| fault(values, &[key], &format!("{section}: missing bind addr")))
}

/// The grace period. Zero is refused as in Go; a negative one is no grace at all.
fn grace_period(values: &Values) -> Result<std::time::Duration, UsageError> {
    if values.go_duration("grace-period").as_nanos() == 0 {
        return Err(fault(values, &["grace-period"], "missing grace period"));
    }
    Ok(values.duration("grace-period"))
}

/// Values that can be read but make no configuration: Go's words, and behind them the flags and variables that
/// the values came from.
fn fault(values: &Values, keys: &[&str], message: &str) -> UsageError {
    let given: Vec<_> = keys
        .iter()
        .filter(|key| values.source(key) != Source::Default)
        .map(|key| values.origin(key))
        .collect();
    UsageError::invalid(message, &given)
}
