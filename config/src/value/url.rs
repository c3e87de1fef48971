//! URLs with a host: the address of a server to connect to, and the parts that service addresses share with it.

use super::Secret;
use std::fmt;
use std::net::Ipv6Addr;

/// Where the server is: `http`, `https`, `ws` or `wss`, a host, perhaps a port, and a path that is kept as prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectUrl {
    /// True for `https` and `wss`.
    pub tls: bool,
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    /// The port; 80 or 443 when the URL has none.
    pub port: u16,
    /// What stands before Piko's own paths: empty, or `/` and more without a slash at the end.
    pub prefix: String,
    /// The query without its question mark, if there is one.
    pub query: Option<String>,
}

/// Why a text is no URL of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadUrl {
    /// A name or password in front of the host: tokens have a flag of their own.
    Credentials,
    /// No scheme, no host, a bad port, or a character that no URL has.
    Malformed,
    /// A query, which would not be sent.
    Query,
    /// A scheme other than the four.
    Scheme,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "user name and password are not supported (see --connect.token)",
            Self::Malformed => "not of the form http[s]://host[:port][/path]",
            Self::Query => "a query has no meaning here",
            Self::Scheme => "unsupported scheme (http, https, ws or wss)",
        })
    }
}

impl std::error::Error for BadUrl {}

impl ConnectUrl {
    /// Reads a URL. A fragment is dropped, as it never travels.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let parts = Parts::parse(text).ok_or(BadUrl::Malformed)?;
        let tls = match parts.scheme.as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(BadUrl::Scheme),
        };
        if parts.credentials {
            return Err(BadUrl::Credentials);
        }
        Ok(Self {
            tls,
            host: parts.host.to_owned(),
            port: parts.port.unwrap_or(default_port(tls)),
            prefix: parts.path.trim_end_matches('/').to_owned(),
            query: parts.query.map(str::to_owned),
        })
    }

    /// The value of the `Host` field: the port only where it is not the scheme's own (RFC 9110 4.2.3).
    pub fn authority(&self) -> String {
        authority(&self.host, self.port, default_port(self.tls))
    }
}

impl fmt::Display for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// The proxy to connect through, as its URL was given: it may hold a password, which `Debug` does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl(Secret);

impl ProxyUrl {
    /// Reads `http://[user[:password]@]host[:port]`, or the same with `socks5` or `socks5h`; `None` is none of these. What
    /// user name and password may be is for the client to judge.
    pub fn parse(text: &str) -> Option<Self> {
        let parts = Parts::parse(text)?;
        let known = matches!(parts.scheme.as_str(), "http" | "socks5" | "socks5h");
        let bare = matches!(parts.path, "" | "/") && parts.query.is_none() && !text.contains('#');
        (known && bare && parts.port != Some(0)).then(|| Self(Secret::new(text)))
    }

    /// The URL itself, for the one place that connects.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// A URL without what stands in front of its host, and that: name and password, percent-decoded (RFC 3986 2.1).
///
/// `None` where the decoded text is no UTF-8, or a percent sign has no two digits behind it.
#[cfg(feature = "server")]
pub(crate) fn without_login(text: &str) -> Option<(String, Option<(String, Secret)>)> {
    let begin = text.find("://").map_or(text.len(), |at| at + 3);
    let (scheme, rest) = text.split_at(begin);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((login, host)) = rest[..end].rsplit_once('@') else { return Some((text.to_owned(), None)) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let login = (percent_decoded(user)?, Secret::new(percent_decoded(password)?));
    Some(([scheme, host, &rest[end..]].concat(), Some(login)))
}

#[cfg(feature = "server")]
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

pub(super) fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

pub(super) fn authority(host: &str, port: u16, default: u16) -> String {
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    if port == default { format!("{open}{host}{close}") } else { format!("{open}{host}{close}:{port}") }
}

/// A URL taken apart (RFC 3986), all but the scheme borrowed.
pub(super) struct Parts<'t> {
    /// In lower case.
    pub(super) scheme: String,
    pub(super) credentials: bool,
    pub(super) host: &'t str,
    pub(super) port: Option<u16>,
    pub(super) path: &'t str,
    pub(super) query: Option<&'t str>,
}

impl<'t> Parts<'t> {
    /// `None` when there is no scheme or no host, or when the text has a byte that could not go into a request line.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        if !letters.next()?.is_ascii_alphabetic()
            || !letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return None;
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match after.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (after, None),
        };
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((_, authority)) => (true, authority),
            None => (false, authority),
        };
        let (host, port) = host_and_port(authority)?;
        Some(Self { scheme: scheme.to_ascii_lowercase(), credentials, host, port, path, query })
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; a colon with nothing behind it is no port (RFC 3986 3.2.3).
pub(super) fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, after) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, after)
        }
        None => {
            let (host, after) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if !is_host_name(host) {
                return None;
            }
            (host, after)
        }
    };
    match after.strip_prefix(':') {
        None if after.is_empty() => Some((host, None)),
        None => None,
        Some("") => Some((host, None)),
        Some(port) => Some((host, Some(parse_port(port)?))),
    }
}

/// Decimal digits only, 0 to 65535: the number parser of the standard library would take a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Letters, digits and the few marks that names and IPv4 addresses are made of; what it refuses would break a request
/// line or a URL that it is printed into.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(
        tls: bool,
        host: &str,
        port: u16,
        prefix: &str,
        query: Option<&str>,
    ) -> Result<ConnectUrl, BadUrl> {
        Ok(ConnectUrl { tls, host: host.into(), port, prefix: prefix.into(), query: query.map(Into::into) })
    }

    #[test]
    fn reads_every_form() {
        for (text, expected, printed) in [
            ("http://localhost:8001", url(false, "localhost", 8001, "", None), "http://localhost:8001"),
            ("HTTP://h", url(false, "h", 80, "", None), "http://h"),
            ("https://h", url(true, "h", 443, "", None), "https://h"),
            ("ws://h/", url(false, "h", 80, "", None), "http://h"),
            ("wss://h:443/a/b/", url(true, "h", 443, "/a/b", None), "https://h/a/b"),
            ("wss://h:80", url(true, "h", 80, "", None), "https://h:80"),
            ("http://h:", url(false, "h", 80, "", None), "http://h"),
            ("http://[::1]:81/p?q=1", url(false, "::1", 81, "/p", Some("q=1")), "http://[::1]:81/p?q=1"),
            ("http://[::1]", url(false, "::1", 80, "", None), "http://[::1]"),
            ("http://h?q#f", url(false, "h", 80, "", Some("q")), "http://h?q"),
            ("http://h/a#f?x", url(false, "h", 80, "/a", None), "http://h/a"),
        ] {
            let read = ConnectUrl::parse(text);
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.map(|url| url.to_string()).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "h",
            "localhost:8001",
            "http:",
            "http://",
            "http:///p",
            "http://:80",
            "http://h:x",
            "http://h:65536",
            "://h",
            "1http://h",
            "http://a b",
            "http://h/a b",
            "http://h/\r\nx:y",
            "http://[::1",
            "http://[x]",
            "http://[::1]x",
            "http://::1",
            "http://h\u{e4}",
            "http://h\\p",
            "http://h<p>",
        ] {
            assert_eq!(ConnectUrl::parse(text), Err(BadUrl::Malformed), "{text:?}");
        }
        assert_eq!(ConnectUrl::parse("ftp://h"), Err(BadUrl::Scheme));
        assert_eq!(ConnectUrl::parse("unix:///p"), Err(BadUrl::Malformed));
        assert_eq!(ConnectUrl::parse("http://u:p@h"), Err(BadUrl::Credentials));
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_login_is_taken_out_of_a_url() {
        for (text, url, login) in [
            ("http://h:1/p", "http://h:1/p", None),
            ("http://u@h", "http://h", Some(("u", ""))),
            ("http://u%3a:p%40:%C3%A4@h:1/a@b?c#d", "http://h:1/a@b?c#d", Some(("u:", "p@:\u{e4}"))),
            ("http://u:p@@h", "http://h", Some(("u", "p@"))),
            ("http://h/a@b", "http://h/a@b", None),
            ("u:p@h", "u:p@h", None),
        ] {
            let login = login.map(|(user, password)| (user.to_owned(), Secret::new(password)));
            assert_eq!(without_login(text), Some((url.to_owned(), login)), "{text}");
        }
        for text in ["http://%@h", "http://u:%4@h", "http://u:%zz@h", "http://%ff@h"] {
            assert_eq!(without_login(text), None, "{text}");
        }
    }

    #[test]
    fn urls_of_proxies_are_judged_and_hidden() {
        for text in ["http://p:3128", "HTTP://p/", "socks5://u:hunter2@[::1]:1", "socks5h://u%40@p"] {
            let url = ProxyUrl::parse(text).expect(text);
            assert_eq!((url.reveal(), format!("{url:?}").contains("hunter2")), (text, false));
        }
        for text in
            ["", "p:1", "https://p", "socks4://p", "http://p:0", "http://p/x", "http://p?x", "http://p#x"]
        {
            assert_eq!(ProxyUrl::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_and_reads_back(text in "(http|wss)://([a-z.]{1,5}|\\[::[0-9]\\])(:[0-9]{1,5})?(/[a-z/]{0,5})?(\\?[a-z=]{0,4})?|\\PC{0,20}") {
            if let Ok(url) = ConnectUrl::parse(&text) {
                prop_assert_eq!(ConnectUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
