//! The address of a server port.

use std::fmt;

/// `http://host[:port][/prefix]`; `ws` means the same, `https` and `wss` mean TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// TLS is asked for.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Explicit, or 80 and 443.
    pub port: u16,
    /// Path without a trailing slash; empty for the root.
    pub prefix: String,
    authority: String,
}

/// Why a text is no URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(String);

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}

impl Url {
    /// Parses and checks.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |why: &str| BadUrl(format!("{text:?}: {why}"));
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| bad("no scheme (example: http://localhost:8001)"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(bad("the scheme must be http, https, ws or wss")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(bad("a query or fragment has no meaning here"));
        }
        if authority.contains('@') {
            return Err(bad("credentials belong into the token"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("spaces, control and non-ASCII characters are not allowed"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']').ok_or_else(|| bad("missing ]"))?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if rest.is_empty() => None,
                    None => return Err(bad("expected a port after ]")),
                };
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad("no IPv6 address"))?;
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(bad("no host"));
        }
        let port = match port {
            None if tls => 443,
            None => 80,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| bad("the port must be 1 to 65535"))?,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            prefix: path.trim_end_matches('/').to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// The value of the `Host` field.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_form_are_taken_apart() {
        let url = Url::parse("http://localhost:8001").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.prefix.as_str(), url.tls),
            ("localhost", 8001, "", false)
        );
        let url = Url::parse("wss://piko.example.com/base/").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.prefix.as_str(), url.tls),
            ("piko.example.com", 443, "/base", true)
        );
        let url = Url::parse("ws://[::1]:9").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.authority()), ("::1", 9, "[::1]:9"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("localhost:8001", "no scheme"),
            ("ftp://x", "scheme must be"),
            ("http://", "no host"),
            ("http://h:0", "port"),
            ("http://h:65536", "port"),
            ("http://h:x", "port"),
            ("http://[::1", "missing ]"),
            ("http://[zz]", "IPv6"),
            ("http://u:p@h", "credentials"),
            ("http://h?x", "query"),
            ("http://h/a b", "spaces"),
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
