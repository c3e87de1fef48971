//! Addresses to listen on: `:8000`, `host:port`, `[v6]:port`, where port 0 lets the system choose; `unix:/path`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::service::unix_path;
use super::url::{is_host_name, parse_port};
use std::path::PathBuf;

/// Where to listen (behaviour reference, CLI 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindAddr {
    /// The interface.
    pub host: BindHost,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

/// The interface part of a [`BindAddr`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindHost {
    /// All interfaces, both address families.
    Any,
    /// One address. `0.0.0.0` is all interfaces of that family only.
    Ip(IpAddr),
    /// A name that still has to be resolved.
    Name(String),
}

impl BindAddr {
    /// Reads the three forms; `None` for any other text, a port by name and an IPv6 zone included.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = parse_port(port)?;
        let host = if host.is_empty() {
            BindHost::Any
        } else if let Some(bracketed) = host.strip_prefix('[') {
            BindHost::Ip(IpAddr::V6(bracketed.strip_suffix(']')?.parse().ok()?))
        } else if let Ok(ip) = host.parse() {
            // An IPv6 address without brackets is ambiguous: its last group could be the port.
            BindHost::Ip(IpAddr::V4(ip))
        } else if is_host_name(host) {
            BindHost::Name(host.to_owned())
        } else {
            return None;
        };
        Some(Self { host, port })
    }

    /// What to try to listen on, in order; `None` for a name, which has to be resolved. A host without IPv6 has no
    /// dual-stack socket, so that [`BindHost::Any`] falls back to the IPv4 wildcard.
    pub fn socket_addrs(&self) -> Option<Vec<SocketAddr>> {
        let first = self.socket_addr()?;
        let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port);
        Some(if self.host == BindHost::Any { vec![first, v4] } else { vec![first] })
    }

    /// The socket address; the IPv6 wildcard for [`BindHost::Any`], where a dual-stack socket covers IPv4 too. `None` for
    /// a name, which has to be resolved.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            BindHost::Any => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), self.port)),
            BindHost::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            BindHost::Name(_) => None,
        }
    }
}

impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            BindHost::Any => write!(f, ":{}", self.port),
            BindHost::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            BindHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Where to listen for local clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// TCP.
    Tcp(BindAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Reads a port of `localhost`, what [`BindAddr::parse`] reads, or `unix:/path`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Some(port) = parse_port(text) {
            return Some(Self::Tcp(BindAddr { host: BindHost::Name("localhost".to_owned()), port }));
        }
        BindAddr::parse(text).map(Self::Tcp)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(bind) => bind.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_every_form() {
        for (text, host, port) in [
            (":8000", BindHost::Any, 8000),
            (":0", BindHost::Any, 0),
            (":65535", BindHost::Any, 65535),
            ("127.0.0.1:80", BindHost::Ip([127, 0, 0, 1].into()), 80),
            ("0.0.0.0:0", BindHost::Ip([0, 0, 0, 0].into()), 0),
            ("[::1]:8000", BindHost::Ip(Ipv6Addr::LOCALHOST.into()), 8000),
            ("localhost:8000", BindHost::Name("localhost".into()), 8000),
            ("piko-0.piko:1", BindHost::Name("piko-0.piko".into()), 1),
        ] {
            let addr = BindAddr::parse(text);
            assert_eq!(addr, Some(BindAddr { host, port }), "{text}");
            assert_eq!(addr.map(|addr| addr.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "8000",
            ":",
            "localhost",
            "localhost:",
            ":65536",
            ":-1",
            ":+1",
            ":http",
            ": 80",
            ":80 ",
            "a b:80",
            "::1:80",
            "[::1]",
            "[::1:80",
            "::1]:80",
            "[127.0.0.1]:80",
            "[fe80::1%eth0]:80",
            "[]:80",
            "http://x:80",
            "a/b:80",
            "1.2.3.4:5:6",
            "a@b:1",
        ] {
            assert_eq!(BindAddr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_need_resolving_and_the_wildcard_is_dual_stack() {
        let socket = |text: &str| {
            BindAddr::parse(text).and_then(|addr| addr.socket_addr()).map(|addr| addr.to_string())
        };
        assert_eq!(socket(":8000").as_deref(), Some("[::]:8000"));
        assert_eq!(socket("0.0.0.0:8000").as_deref(), Some("0.0.0.0:8000"));
        assert_eq!(socket("localhost:8000"), None);
    }
}
