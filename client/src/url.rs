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

/// Why a text is no URL of a server, or of a proxy. A text that may hold a password is not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(String);

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}

impl BadUrl {
    #[cfg(feature = "proxy")]
    pub(crate) fn without_text(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl Url {
    /// A URL that somebody has taken apart already: `host` is a name or an address without brackets, `prefix` is empty
    /// or begins with a slash and does not end with one.
    pub fn from_parts(tls: bool, host: &str, port: u16, prefix: &str) -> Self {
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let mut authority = [open, host, close].concat();
        if port != default_port(tls) {
            authority.push(':');
            authority.push_str(&port.to_string());
        }
        Self { tls, host: host.to_owned(), port, prefix: prefix.to_owned(), authority }
    }

    /// Parses and checks.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |why: &str| match text.contains('@') {
            true => BadUrl(why.to_owned()),
            false => BadUrl(format!("{text:?}: {why}")),
        };
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
        let (host, port) = host_and_port(authority).map_err(bad)?;
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(default_port(tls)),
            prefix: path.trim_end_matches('/').to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// The value of the `Host` field.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the host without brackets. The error says what is wrong.
pub(crate) fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or("missing ]")?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err("expected a port after ]"),
            };
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "no IPv6 address")?;
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("no host");
    }
    let port = match port {
        None => None,
        Some(port) => {
            let number = port.parse().ok().filter(|&port| port != 0);
            Some(number.ok_or("the port must be 1 to 65535")?)
        }
    };
    Ok((host, port))
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
        assert_eq!(Url::from_parts(false, "::1", 9, ""), url);
        let url = Url::parse("https://h/p").unwrap();
        assert_eq!(Url::from_parts(true, "h", 443, "/p"), url);
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
            ("http://u:hunter2@h", "credentials"),
            ("ftp://u:hunter2@h", "scheme must be"),
            ("http://h?x", "query"),
            ("http://h/a b", "spaces"),
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
