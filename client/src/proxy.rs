//! A proxy between us and the server.

use crate::known::Known;
use crate::reach::{ConnectError, connect};
use crate::url::{BadUrl, Url, host_and_port};
use bytes::BytesMut;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::time::Instant;
use piko_core::via::{Destination, Handshake, Login, Progress, Protocol};
use piko_driver::{Io, Runtime, timeout_at};
use std::error::Error;
use std::fmt;
use std::io;

pub use piko_core::via::{Fault as ProxyFault, Unfit as ProxyUnfit};

/// An answer is short.
const READ_BYTES: usize = 1024;

/// A proxy that outgoing connections go through: HTTP `CONNECT` (RFC 9110 9.3.6) or SOCKS5 (RFC 1928).
///
/// The proxy resolves the name of the server, also with `socks5`. TLS to the server goes through the proxy
/// unopened.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    protocol: Protocol,
    host: String,
    port: u16,
    login: Option<Login>,
}

impl Proxy {
    /// Reads `http://[user[:password]@]host[:port]`; `socks5` and `socks5h` likewise. The port is 80, or 1080 with
    /// SOCKS, unless it is said. User name and password are percent-decoded (RFC 3986 2.1).
    ///
    /// # Errors
    ///
    /// Why the text is no URL of a proxy; nothing of the text is in it, as it may hold a password.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = BadUrl::without_text;
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| bad("no scheme (example: http://proxy:3128)"))?;
        let (protocol, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Protocol::Connect, 80),
            "socks5" | "socks5h" => (Protocol::Socks5, 1080),
            _ => return Err(bad("the scheme of a proxy must be http, socks5 or socks5h")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("not of the form http://[user:password@]host[:port] (or socks5, socks5h)"));
        }
        let (login, authority) = match rest.rsplit_once('@') {
            Some((login, authority)) => {
                (Some(parse_login(login).ok_or_else(|| bad("a bad % in the login"))?), authority)
            }
            None => (None, rest),
        };
        let (host, port) = host_and_port(authority).map_err(bad)?;
        let proxy = Self { protocol, host: host.to_owned(), port: port.unwrap_or(default_port), login };
        // What cannot be said for any server is a mistake of the URL.
        let somewhere = Destination { host: "localhost", port: 1 };
        match Handshake::new(protocol, proxy.login.as_ref(), somewhere) {
            Ok(_) => Ok(proxy),
            Err(unfit) => Err(bad(&unfit.to_string())),
        }
    }

    /// A connection through it to a server.
    pub(crate) async fn connect<R: Runtime>(
        &self,
        rt: &R,
        to: &Url,
        until: Instant,
        known: &Known,
    ) -> Result<R::Tcp, ProxyError> {
        let destination = Destination { host: &to.host, port: to.port };
        let handshake = Handshake::new(self.protocol, self.login.as_ref(), destination);
        let handshake = handshake.map_err(ProxyError::Unfit)?;
        let mut io = connect(rt, &self.host, self.port, until, known).await?;
        match timeout_at(rt, Some(until), ask(&mut io, handshake)).await {
            Ok(Ok(())) => Ok(io),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ProxyError::Timeout),
        }
    }
}

/// `user[:password]`.
fn parse_login(text: &str) -> Option<Login> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Some(Login { user: percent_decode(user)?, password: percent_decode(password)? })
}

fn percent_decode(text: &str) -> Option<String> {
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

/// Goes through the conversation.
async fn ask<I: Io>(io: &mut I, mut handshake: Handshake) -> Result<(), ProxyError> {
    let mut out = BytesMut::new();
    let mut chunk = [0; READ_BYTES];
    loop {
        if handshake.poll_transmit(&mut out) > 0 {
            io.write_all(&out).await.map_err(ProxyError::Io)?;
            io.flush().await.map_err(ProxyError::Io)?;
            out.clear();
        }
        let n = io.read(&mut chunk).await.map_err(ProxyError::Io)?;
        if n == 0 {
            return handshake.handle_eof().map_err(ProxyError::Refused);
        }
        match handshake.handle_input(&chunk[..n]).map_err(ProxyError::Refused)? {
            Progress::More => {}
            // Who agrees before it was asked has not understood.
            Progress::Done { taken } if taken == n && handshake.poll_transmit(&mut out) == 0 => return Ok(()),
            // Neither TLS nor HTTP is begun by the server: somebody else would put words into its mouth.
            Progress::Done { .. } => return Err(ProxyError::Early),
        }
    }
}

impl fmt::Display for Proxy {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Connect => "http",
            Protocol::Socks5 => "socks5",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a proxy gave no connection to the server.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// There were bytes in the server's name before the server was asked anything.
    Early,
    /// No connection to the proxy, or it broke.
    Io(io::Error),
    /// It said no, or is no proxy.
    Refused(ProxyFault),
    /// The proxy's name has no address.
    Resolve(io::Error),
    /// It did not answer in time.
    Timeout,
    /// This kind of proxy cannot be asked for this server.
    Unfit(ProxyUnfit),
}

impl ProxyError {
    /// Whether nobody said why: the time was up.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Io(error) | Self::Resolve(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early => f.write_str("bytes behind its answer that nobody asked for"),
            Self::Io(error) => error.fmt(f),
            Self::Refused(fault) => fault.fmt(f),
            Self::Resolve(error) => write!(f, "resolve: {error}"),
            Self::Timeout => f.write_str("timed out"),
            Self::Unfit(unfit) => unfit.fmt(f),
        }
    }
}

impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) | Self::Resolve(error) => Some(error),
            Self::Refused(fault) => Some(fault),
            Self::Unfit(unfit) => Some(unfit),
            Self::Early | Self::Timeout => None,
        }
    }
}

impl From<ConnectError> for ProxyError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connect(error) => Self::Io(error),
            ConnectError::Resolve(error) => Self::Resolve(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Option<Login> {
        Some(Login { user: user.into(), password: password.into() })
    }

    #[test]
    fn urls_of_every_form_are_taken_apart() {
        for (text, protocol, host, port, login, shown) in [
            ("http://proxy:3128", Protocol::Connect, "proxy", 3128, None, "http://proxy:3128"),
            ("HTTP://proxy/", Protocol::Connect, "proxy", 80, None, "http://proxy:80"),
            ("socks5://[::1]", Protocol::Socks5, "::1", 1080, None, "socks5://[::1]:1080"),
            ("socks5h://u@h:1", Protocol::Socks5, "h", 1, login("u", ""), "socks5://h:1"),
            ("http://u:p%40%3a@h:1", Protocol::Connect, "h", 1, login("u", "p@:"), "http://h:1"),
            ("http://u:p@x@h:1", Protocol::Connect, "h", 1, login("u", "p@x"), "http://h:1"),
        ] {
            let proxy = Proxy::parse(text).expect(text);
            assert_eq!(proxy, Proxy { protocol, host: host.into(), port, login }, "{text}");
            assert_eq!((proxy.to_string(), format!("{proxy:?}")), (shown.into(), shown.into()), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_without_the_text() {
        for (text, why) in [
            ("hunter2:3128", "no scheme"),
            ("https://hunter2", "scheme of a proxy must be"),
            ("socks4://hunter2", "scheme of a proxy must be"),
            ("http://", "no host"),
            ("http://h/hunter2", "form"),
            ("http://h hunter2", "form"),
            ("http://hunter2%zz@h", "bad %"),
            ("http://hunter2%ff@h", "bad %"),
            ("http://hunter2:@h:x", "port"),
            ("http://hunter2%3a:p@h", "user name"),
            ("http://hunter2:%0a@h", "password"),
            ("socks5://:hunter2@h", "user name"),
        ] {
            let error = Proxy::parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
