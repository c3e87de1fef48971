//! Addresses of the services behind an agent (behaviour reference, CLI 3.5).

use std::fmt;
use std::path::PathBuf;

use super::url::{Parts, authority, default_port, host_and_port, parse_port};

/// What a listener speaks with its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests are parsed, logged and rewritten.
    Http,
    /// Bytes both ways.
    Tcp,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddr {
    /// Whether to speak TLS with it.
    pub tls: bool,
    /// What to connect to.
    pub target: Target,
    /// The path of the URL as it was given, perhaps empty: it goes in front of every request's path.
    pub path: String,
    /// The query of the URL without its question mark: it goes in front of every request's query.
    pub query: Option<String>,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host, by name or address (IPv6 without its brackets), and a port.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// The longest path of a Unix domain socket, in bytes: `sun_path` on Linux without its final NUL. A longer one could only
/// fail later, once per request.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

impl ServiceAddr {
    /// Reads an address. For both protocols: a port of `localhost`, `host:port` (no host is `localhost`), or
    /// `unix:/path`; for [`Protocol::Http`] also an `http` or `https` URL, whose path and query are kept and whose user
    /// name, password and fragment have no effect (as in Go).
    pub fn parse(protocol: Protocol, text: &str) -> Option<Self> {
        if let Some(port) = parse_port(text) {
            return Some(Self::plain("localhost", port));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        if protocol == Protocol::Http && text.contains("://") {
            return Self::url(text);
        }
        if let Some(port) = text.strip_prefix(':') {
            return Some(Self::plain("localhost", parse_port(port)?));
        }
        let (host, port) = host_and_port(text)?;
        Some(Self::plain(host, port?))
    }

    /// What of an address is without effect, or cannot be meant.
    #[cfg(feature = "tls")]
    pub(crate) fn remarks(text: &str) -> impl Iterator<Item = &'static str> {
        let url = Parts::parse(text).filter(|_| !text.starts_with("unix:"));
        let has_login = url.as_ref().is_some_and(|parts| parts.credentials);
        let has_fragment = url.is_some() && text.contains('#');
        let addr = Self::parse(Protocol::Http, text);
        let has_no_port = addr.is_some_and(|addr| matches!(addr.target, Target::Tcp { port: 0, .. }));
        [
            (has_login, "no effect: the user name and password are not sent to the service"),
            (has_fragment, "no effect: the part behind # is not sent to the service"),
            (has_no_port, "no service can be at port 0"),
        ]
        .into_iter()
        .filter_map(|(is_so, remark)| is_so.then_some(remark))
    }

    fn plain(host: &str, port: u16) -> Self {
        Self {
            tls: false,
            target: Target::Tcp { host: host.to_owned(), port },
            path: String::new(),
            query: None,
        }
    }

    fn unix(path: &str) -> Option<Self> {
        let target = Target::Unix(unix_path(path)?);
        Some(Self { tls: false, target, path: String::new(), query: None })
    }

    fn url(text: &str) -> Option<Self> {
        let parts = Parts::parse(text)?;
        let tls = match parts.scheme.as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let port = parts.port.unwrap_or(default_port(tls));
        Some(Self {
            tls,
            target: Target::Tcp { host: parts.host.to_owned(), port },
            path: parts.path.to_owned(),
            query: parts.query.map(str::to_owned),
        })
    }
}

/// The path behind `unix:`, which is absolute.
pub(super) fn unix_path(path: &str) -> Option<PathBuf> {
    // `unix:///run/x` is the same socket in the notation of URLs.
    let path = path.strip_prefix("//").unwrap_or(path);
    let fits = path.starts_with('/') && path.len() <= UNIX_PATH_BYTES_MAX && !path.contains('\0');
    fits.then(|| PathBuf::from(path))
}

impl fmt::Display for ServiceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Unix(path) => return write!(f, "unix:{}", path.display()),
            Target::Tcp { host, port } if self.tls => write!(f, "https://{}", authority(host, *port, 443))?,
            // Always with its port, so that one form serves both protocols.
            Target::Tcp { host, port } if self.path.is_empty() && self.query.is_none() => {
                f.write_str(&authority(host, *port, 0))?;
                if *port == 0 {
                    f.write_str(":0")?;
                }
            }
            Target::Tcp { host, port } => write!(f, "http://{}", authority(host, *port, 80))?,
        }
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(tls: bool, host: &str, port: u16, path: &str, query: Option<&str>) -> Option<ServiceAddr> {
        let target = Target::Tcp { host: host.into(), port };
        Some(ServiceAddr { tls, target, path: path.into(), query: query.map(Into::into) })
    }

    #[test]
    fn both_protocols_take_ports_and_hosts() {
        for protocol in [Protocol::Http, Protocol::Tcp] {
            for (text, host, port) in [
                ("0", "localhost", 0),
                ("4000", "localhost", 4000),
                ("65534", "localhost", 65534),
                ("65535", "localhost", 65535),
                (":4000", "localhost", 4000),
                ("localhost:4000", "localhost", 4000),
                ("10.26.104.56:80", "10.26.104.56", 80),
                ("[::1]:4000", "::1", 4000),
                ("my_service.default:1", "my_service.default", 1),
            ] {
                assert_eq!(
                    ServiceAddr::parse(protocol, text),
                    tcp(false, host, port, "", None),
                    "{protocol:?} {text}"
                );
            }
            for text in [
                "",
                "65536",
                "-1",
                "+1",
                "localhost",
                "localhost:",
                ":",
                "[::1]",
                "::1:80",
                "a b:80",
                "h:99999",
                "h:http",
                "h:80/x",
                "h:80 ",
                "/path",
                "unix",
                "\u{661}",
                "99999999999999999999",
            ] {
                assert_eq!(ServiceAddr::parse(protocol, text), None, "{protocol:?} {text}");
            }
        }
    }

    #[test]
    fn http_takes_urls_and_sockets() {
        let http = |text: &str| ServiceAddr::parse(Protocol::Http, text);
        assert_eq!(http("http://h"), tcp(false, "h", 80, "", None));
        assert_eq!(http("https://h"), tcp(true, "h", 443, "", None));
        assert_eq!(http("https://h:8443/a/?b=c#d"), tcp(true, "h", 8443, "/a/", Some("b=c")));
        assert_eq!(http("http://user:secret@h/x"), tcp(false, "h", 80, "/x", None));
        let socket = ServiceAddr {
            tls: false,
            target: Target::Unix("/run/app.sock".into()),
            path: String::new(),
            query: None,
        };
        assert_eq!(http("unix:/run/app.sock"), Some(socket.clone()));
        assert_eq!(http("unix:///run/app.sock"), Some(socket));
        let longest = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX - 1));
        assert!(http(&longest).is_some());
        assert_eq!(http(&format!("{longest}x")), None);
        for text in
            ["ws://h", "ftp://h", "http://", "http://h:x", "http://h/a b", "unix:", "unix:run", "unix:/\0"]
        {
            assert_eq!(http(text), None, "{text}");
        }
        assert_eq!(ServiceAddr::parse(Protocol::Tcp, "unix:/run/app.sock"), http("unix:/run/app.sock"));
        assert_eq!(ServiceAddr::parse(Protocol::Tcp, "http://h:80"), None);
    }

    proptest! {
        #[test]
        fn what_is_read_prints_and_reads_back(
            text in "(https?://)?([a-z.]{1,5}|\\[::[0-9]\\])(:[0-9]{1,5})?(/[a-z/]{0,5})?(\\?[a-z=]{0,4})?|[0-9]{1,6}|unix:/[a-z]{0,9}|\\PC{0,20}"
        ) {
            for protocol in [Protocol::Http, Protocol::Tcp] {
                if let Some(addr) = ServiceAddr::parse(protocol, &text) {
                    prop_assert_eq!(ServiceAddr::parse(protocol, &addr.to_string()), Some(addr));
                }
            }
        }
    }
}
