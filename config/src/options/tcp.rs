//! Ports of a server for connections that are no HTTP.

use super::fault;
use crate::error::{UsageError, quoted, shortened};
use crate::value::BindAddr;
use crate::values::Values;

/// Ports of a server for connections that are no HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Each leads to one endpoint. No two have the same address, but for those whose port the system chooses.
    pub ports: Vec<TcpPortOptions>,
}

/// A port whose every connection goes to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpPortOptions {
    /// Where to listen.
    pub bind: BindAddr,
    /// The endpoint: 1 to 1,024 bytes without a slash.
    pub endpoint: String,
}

impl TcpOptions {
    /// # Errors
    /// An entry that is no `<addr>=<endpoint>`, an address that is there twice.
    pub(crate) fn from_values(values: &Values) -> Result<Self, UsageError> {
        let refuse = |message: String| Err(fault(values, &["proxy.tcp.ports"], &message));
        let mut ports: Vec<TcpPortOptions> = Vec::new();
        for entry in values.list("proxy.tcp.ports") {
            // An address holds no such sign, an endpoint may.
            let Some((addr, endpoint)) = entry.split_once('=') else {
                return refuse(format!("proxy: tcp: ports: {} is no <addr>=<endpoint>", quoted(entry)));
            };
            let section = format!("proxy: tcp: ports: {}: ", shortened(addr));
            let Some(bind) = BindAddr::parse(addr) else {
                return refuse(format!(
                    "{section}invalid addr (examples: :5432, 127.0.0.1:5432, [::1]:5432)"
                ));
            };
            if endpoint.is_empty() {
                return refuse(format!("{section}missing endpoint"));
            }
            if endpoint.len() > super::ENDPOINT_ID_BYTES_MAX || endpoint.contains('/') {
                return refuse(format!("{section}invalid endpoint"));
            }
            if bind.port != 0 && ports.iter().any(|port| port.bind == bind) {
                return refuse(format!("{section}the address stands here twice"));
            }
            ports.push(TcpPortOptions { bind, endpoint: endpoint.to_owned() });
        }
        Ok(Self { ports })
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
