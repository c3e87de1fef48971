//! Ports of a server for connections that are no HTTP.

use super::fault;
use crate::error::{UsageError, quoted, shortened};
use crate::value::BindAddr;
use crate::value::url::is_host_name;
use crate::values::Values;

/// Ports of a server for connections that are no HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Each leads to one endpoint. No two have the same address, but for those whose port the system chooses.
    pub ports: Vec<TcpPortOptions>,
    /// The port that routes TLS by name, where there is one.
    pub sni: Option<SniOptions>,
}

/// A port for TLS clients of endpoints, which the server routes by the name that they ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SniOptions {
    /// Where to listen.
    pub bind: BindAddr,
    /// The only domain whose names lead to endpoints, without a dot at either end; `None` takes any.
    pub domain: Option<String>,
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
        Ok(Self { ports, sni: SniOptions::from_values(values)? })
    }
}

impl SniOptions {
    fn from_values(values: &Values) -> Result<Option<Self>, UsageError> {
        let key = "proxy.tcp.sni.domain";
        let text = values.text(key);
        let domain = text.strip_prefix('.').unwrap_or(text);
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let domain = match text {
            "" => None,
            _ if is_host_name(domain) && domain.split('.').all(|label| !label.is_empty()) => {
                Some(domain.to_owned())
            }
            _ => {
                let told = quoted(text);
                let message = format!("proxy: tcp: sni: invalid domain: {told} (example: tcp.example.com)");
                return Err(fault(values, &[key], &message));
            }
        };
        match (values.bind("proxy.tcp.sni.bind-addr").cloned(), domain) {
            (Some(bind), domain) => Ok(Some(Self { bind, domain })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(fault(values, &[key], "proxy: tcp: sni: missing bind addr")),
        }
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
