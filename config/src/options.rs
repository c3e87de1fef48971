//! Typed options: what the programs take, with nothing left to parse.

mod agent;
#[cfg(feature = "server")]
mod cluster;
mod log;
#[cfg(feature = "server")]
mod server;

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

use crate::error::UsageError;
use crate::value::BindAddr;
use crate::values::{Source, Values};

/// The address under `key`, or `config: <section>: missing bind addr`.
fn bind(values: &Values, section: &str, key: &str) -> Result<BindAddr, UsageError> {
    values.bind(key).cloned().ok_or_else(|| UsageError::config(format!("{section}: missing bind addr")))
}

/// The grace period. Zero is refused as in Go; a negative one is no grace at all.
fn grace_period(values: &Values) -> Result<std::time::Duration, UsageError> {
    if values.go_duration("grace-period").as_nanos() == 0 {
        return Err(fault(values, &["grace-period"], "missing grace period"));
    }
    Ok(values.duration("grace-period"))
}

/// A configuration that fails validation, in Go's words. What came out of the environment is named behind them: unlike a
/// command line, it is not in front of the user's eyes.
fn fault(values: &Values, keys: &[&str], message: &str) -> UsageError {
    let variables: Vec<_> = keys
        .iter()
        .filter(|key| values.source(key) == Source::Environment)
        .map(|key| values.origin(key))
        .collect();
    match variables.as_slice() {
        [] => UsageError::config(message),
        variables => UsageError::config(format!("{message} [{}]", variables.join(", "))),
    }
}
