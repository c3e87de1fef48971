//! One attempt: token, name, connection, TLS, upgrade. What upstreams and dialers have in common.

use crate::error::DialError;
use crate::known::Known;
#[cfg(feature = "proxy")]
use crate::proxy::Proxy;
use crate::token::Token;
use crate::url::Url;
use piko_core::http1::Fields;
use piko_core::id::EndpointId;
use piko_core::time::Instant;
use piko_core::tunnel::Caps;
#[cfg(feature = "tls")]
use piko_driver::tls::Connector;
use piko_driver::{Addr, MaybeTls, Runtime, Upgraded, timeout_at, upgrade};
use std::fmt;
use std::io;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

/// TCP, TLS and the upgrade together take at most this, as in Go (wire protocol 3.4).
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// An address with others behind it gets this long, which is the least that Go gives it: a lost SYN is sent again after
/// 1 s, and one that swallows it is not to cost more.
const ADDR_TIME: Duration = Duration::from_secs(2);

/// Which servers, and how they are reached.
#[derive(Clone)]
pub(crate) struct Reach<R> {
    pub(crate) rt: R,
    /// In the order in which they are tried; never empty.
    pub(crate) urls: Vec<Url>,
    pub(crate) token: Token,
    #[cfg(feature = "proxy")]
    pub(crate) proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<Connector>>,
    /// Shared by clones.
    known: Known,
}

/// What is asked for there.
pub(crate) struct Wish<'a> {
    /// The path below the URL's own, which ends with a slash; the endpoint follows.
    pub(crate) path: &'a str,
    pub(crate) endpoint: &'a EndpointId,
    pub(crate) tenant: Option<&'a str>,
    /// What our side can do.
    pub(crate) caps: Caps,
}

/// How far an attempt is, for the case that it runs out of time.
#[cfg(any(feature = "smol", feature = "tls", feature = "tokio"))]
struct Stage(&'static str);

#[cfg(any(feature = "smol", feature = "tls", feature = "tokio"))]
impl Default for Stage {
    fn default() -> Self {
        Self("no token")
    }
}

#[cfg(any(feature = "smol", feature = "tls", feature = "tokio"))]
impl Stage {
    fn enter(&mut self, stage: &'static str) {
        self.0 = stage;
    }

    fn late(&self, url: &Url) -> DialError {
        DialError::Io(io::Error::new(io::ErrorKind::TimedOut, format!("{url}: {}: timed out", self.0)))
    }
}

/// The smallest agent has no room for the words.
#[cfg(not(any(feature = "smol", feature = "tls", feature = "tokio")))]
#[derive(Default)]
struct Stage {}

#[cfg(not(any(feature = "smol", feature = "tls", feature = "tokio")))]
impl Stage {
    fn enter(&mut self, _: &'static str) {}

    fn late(&self, _: &Url) -> DialError {
        DialError::Timeout
    }
}

/// A connection that speaks WebSocket, and what both sides stated.
pub(crate) type Reached<R> = (Upgraded<MaybeTls<<R as Runtime>::Tcp>>, Caps);

impl<R> Reach<R> {
    pub(crate) fn new(rt: R, url: Url) -> Self {
        Self {
            rt,
            urls: vec![url],
            token: Token::default(),
            #[cfg(feature = "proxy")]
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
            known: Known::default(),
        }
    }

    /// Without the token and without the proxy's login.
    pub(crate) fn describe(&self, f: &mut fmt::DebugStruct<'_, '_>) {
        f.field("urls", &self.urls);
        #[cfg(feature = "proxy")]
        f.field("proxy", &self.proxy);
    }

    /// Another token from the next attempt on, unless one is asked for every time. False when it cannot be sent; the one
    /// before stays then.
    pub(crate) fn set_token(&self, token: Option<String>) -> bool {
        let is_good = !token.as_deref().is_some_and(has_control);
        if let (true, Token::Fixed(setting)) = (is_good, &self.token) {
            setting.set(token);
        }
        is_good
    }

    /// A token that cannot be sent; one that is asked for is looked at when it comes.
    pub(crate) fn has_bad_token(&self) -> bool {
        matches!(&self.token, Token::Fixed(token) if token.get().as_deref().is_some_and(has_control))
    }

    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }
}

impl<R: Runtime> Reach<R> {
    /// One attempt, which ends at `until` or after a minute.
    pub(crate) async fn reach(
        &self,
        url: &Url,
        wish: &Wish<'_>,
        until: Instant,
    ) -> Result<Reached<R>, DialError> {
        let until = until.min(self.rt.now() + ATTEMPT_MAX);
        let mut stage = Stage::default();
        let attempt = self.attempt(url, wish, until, &mut stage);
        timeout_at(&self.rt, Some(until), attempt).await.unwrap_or_else(|_| Err(stage.late(url)))
    }

    async fn attempt(
        &self,
        url: &Url,
        wish: &Wish<'_>,
        until: Instant,
        stage: &mut Stage,
    ) -> Result<Reached<R>, DialError> {
        if url.tls && !self.has_tls() {
            return Err(DialError::TlsMissing);
        }
        let bearer = self.token.ask().await?.map(|token| ["Bearer ", &token].concat());
        stage.enter("no connection");
        let io = self.connect(url, until).await?;
        stage.enter("no end of the TLS handshake");
        let io = self.secure(io, url).await?;
        stage.enter("no answer");
        let caps = wish.caps.to_value();
        let target = [&url.prefix, wish.path, &percent_encode(wish.endpoint.as_bytes())].concat();
        let mut fields: Vec<(&str, &[u8])> =
            vec![("User-Agent", concat!("piko-rust/", env!("CARGO_PKG_VERSION")).as_bytes())];
        fields.extend(bearer.as_ref().map(|bearer| ("Authorization", bearer.as_bytes())));
        fields.extend(wish.tenant.map(|tenant| ("X-Piko-Tenant-Id", tenant.as_bytes())));
        fields.push(("X-Piko-Caps", caps.as_bytes()));
        let mut theirs = Caps::default();
        let mut answered =
            |fields: &Fields<'_>| theirs = fields.first("x-piko-caps").map(Caps::parse).unwrap_or_default();
        let host = url.authority().as_bytes();
        let upgraded = upgrade(io, host, target.as_bytes(), &fields, &mut answered).await?;
        Ok((upgraded, wish.caps.both(&theirs)))
    }

    #[cfg(feature = "proxy")]
    async fn connect(&self, url: &Url, until: Instant) -> Result<R::Tcp, DialError> {
        match &self.proxy {
            // Boxed, as few have one, and every attempt would have to have room for it.
            Some(proxy) => {
                Box::pin(proxy.connect(&self.rt, url, until, &self.known)).await.map_err(DialError::Proxy)
            }
            None => Ok(connect(&self.rt, &url.host, url.port, until, &self.known).await?),
        }
    }

    #[cfg(not(feature = "proxy"))]
    async fn connect(&self, url: &Url, until: Instant) -> Result<R::Tcp, DialError> {
        Ok(connect(&self.rt, &url.host, url.port, until, &self.known).await?)
    }

    /// Does the handshake where the URL asks for it. Another address of the same name has the same certificate, so a
    /// failure is that of the attempt.
    #[cfg(feature = "tls")]
    async fn secure(&self, io: R::Tcp, url: &Url) -> Result<MaybeTls<R::Tcp>, DialError> {
        match &self.tls {
            Some(tls) if url.tls => tls.connect(io, &url.host).await.map_err(DialError::Io),
            _ => Ok(MaybeTls::Plain(io)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, io: R::Tcp, _: &Url) -> Result<MaybeTls<R::Tcp>, DialError> {
        Ok(MaybeTls::Plain(io))
    }
}

/// Why nobody could be connected to.
pub(crate) enum ConnectError {
    Connect(io::Error),
    Resolve(io::Error),
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connect(error) => Self::Io(error),
            ConnectError::Resolve(error) => Self::Resolve(error),
        }
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connect(error) => error,
            ConnectError::Resolve(error) => Self::new(error.kind(), format!("resolve: {error}")),
        }
    }
}

/// Resolves a name anew and connects to the first of its addresses that takes a connection: `localhost` is two. The last
/// one has all of the time, the others [`ADDR_TIME`].
pub(crate) async fn connect<R: Runtime>(
    rt: &R,
    host: &str,
    port: u16,
    until: Instant,
    known: &Known,
) -> Result<R::Tcp, ConnectError> {
    let mut addrs = rt.resolve(host, port).await.map_err(ConnectError::Resolve)?;
    let begun = rt.now();
    known.order(&mut addrs, begun);
    let mut last = ConnectError::Resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for (n, &addr) in addrs.iter().enumerate() {
        let now = rt.now();
        let at = if n + 1 < addrs.len() { until.min(now + ADDR_TIME) } else { until };
        let error = match timeout_at(rt, Some(at), rt.connect(&Addr::Ip(addr))).await {
            Ok(Ok(io)) => {
                known.answered(addr, n, now.since(begun), now);
                return Ok(io);
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = ConnectError::Connect(io::Error::new(error.kind(), format!("connect {addr}: {error}")));
    }
    Err(last)
}

/// Whether it would begin a field of its own (RFC 9110 5.5).
pub(crate) fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}

/// One path segment (RFC 3986 3.3): unreserved bytes stay, others are escaped.
fn percent_encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            text.push(char::from(b));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{b:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_ids_become_one_path_segment() {
        assert_eq!(percent_encode(b"my-endpoint"), "my-endpoint");
        assert_eq!(percent_encode("a b%/é".as_bytes()), "a%20b%25%2F%C3%A9");
    }
}
