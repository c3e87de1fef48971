//! One attempt: resolve, connect, upgrade.

use crate::Upstream;
use piko_core::id::EndpointId;
use piko_core::time::Instant;
use piko_core::tunnel::{Caps, Failure};
use piko_driver::{Addr, Io, MaybeTls, Runtime, UpgradeError, WsTransport, timeout_at};
use std::fmt;
use std::io;
use std::time::Duration;

/// TCP, TLS and the upgrade together take at most this, as in Go (wire protocol 3.4).
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// An address gets at least this long, as in Go: less is no fair try, however many there are.
const SHARE_MIN: Duration = Duration::from_secs(2);

/// Why an attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The listener was closed before a tunnel was up.
    Closed,
    /// What answered does not speak the protocol.
    Handshake(&'static str),
    /// No connection: refused, reset, unreachable.
    Io(io::Error),
    /// The server's status, and its message where it gave one.
    Refused(u16, String),
    /// The name has no address.
    Resolve(io::Error),
    /// It took too long.
    Timeout,
    /// The URL asks for TLS, which this build does not have or nobody set up.
    TlsMissing,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Handshake(why) => write!(f, "handshake: {why}"),
            Self::Io(error) => error.fmt(f),
            Self::Refused(status, message) if message.is_empty() => write!(f, "{status}: bad handshake"),
            Self::Refused(status, message) => write!(f, "{status}: {message}"),
            Self::Resolve(error) => write!(f, "resolve: {error}"),
            Self::Timeout => f.write_str("timed out"),
            Self::TlsMissing => {
                f.write_str("https needs TLS, which this build does not have or nobody set up")
            }
        }
    }
}

impl std::error::Error for DialError {}

impl DialError {
    /// Which failures another attempt may cure (wire protocol 3.4).
    pub(crate) fn failure(&self) -> Failure {
        match *self {
            Self::Refused(status, _) if !matches!(status, 408 | 429 | 500 | 502 | 503 | 504) => {
                Failure::Fatal { status }
            }
            // No wait brings what was not built in.
            Self::TlsMissing => Failure::Never,
            _ => Failure::Retry,
        }
    }
}

pub(crate) struct Dialled<I> {
    pub(crate) transport: WsTransport<I>,
    pub(crate) info: piko_driver::IoInfo,
    /// What both sides stated.
    pub(crate) caps: Caps,
}

pub(crate) async fn dial<R: Runtime>(
    upstream: &Upstream<R>,
    endpoint: &EndpointId,
    limit: Option<Duration>,
) -> Result<Dialled<MaybeTls<R::Tcp>>, DialError> {
    let rt = &upstream.rt;
    let until = rt.now() + limit.unwrap_or(ATTEMPT_MAX).min(ATTEMPT_MAX);
    timeout_at(rt, Some(until), attempt(upstream, endpoint, until)).await.unwrap_or(Err(DialError::Timeout))
}

async fn attempt<R: Runtime>(
    upstream: &Upstream<R>,
    endpoint: &EndpointId,
    until: Instant,
) -> Result<Dialled<MaybeTls<R::Tcp>>, DialError> {
    let (rt, url) = (&upstream.rt, &upstream.url);
    if url.tls && !has_tls(upstream) {
        return Err(DialError::TlsMissing);
    }
    let addrs = rt.resolve(&url.host, url.port).await.map_err(DialError::Resolve)?;
    let mut last = DialError::Resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    // Every address of the name is tried: `localhost` is two.
    for (n, &addr) in addrs.iter().enumerate() {
        let share = share(until.since(rt.now()), addrs.len() - n);
        let error = match timeout_at(rt, Some(rt.now() + share), rt.connect(&Addr::Ip(addr))).await {
            Ok(Ok(io)) => return upgrade(upstream, endpoint, secure(upstream, io).await?).await,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = DialError::Io(io::Error::new(error.kind(), format!("connect {addr}: {error}")));
    }
    Err(last)
}

#[cfg(feature = "tls")]
fn has_tls<R>(upstream: &Upstream<R>) -> bool {
    upstream.tls.is_some()
}

#[cfg(not(feature = "tls"))]
fn has_tls<R>(_: &Upstream<R>) -> bool {
    false
}

/// Does the handshake where the URL asks for it. Another address of the same name has the same certificate, so a
/// failure is that of the attempt.
#[cfg(feature = "tls")]
async fn secure<R: Runtime>(upstream: &Upstream<R>, io: R::Tcp) -> Result<MaybeTls<R::Tcp>, DialError> {
    match &upstream.tls {
        Some(tls) if upstream.url.tls => tls.connect(io, &upstream.url.host).await.map_err(DialError::Io),
        _ => Ok(MaybeTls::Plain(io)),
    }
}

#[cfg(not(feature = "tls"))]
async fn secure<R: Runtime>(_: &Upstream<R>, io: R::Tcp) -> Result<MaybeTls<R::Tcp>, DialError> {
    Ok(MaybeTls::Plain(io))
}

/// What the first of `addrs` may use of the time that is left, so that one that swallows packets leaves the
/// others their chance. The last one gets all of it.
fn share(left: Duration, addrs: usize) -> Duration {
    let even = left / u32::try_from(addrs.max(1)).unwrap_or(u32::MAX);
    even.max(SHARE_MIN).min(left)
}

async fn upgrade<R: Runtime>(
    upstream: &Upstream<R>,
    endpoint: &EndpointId,
    io: MaybeTls<R::Tcp>,
) -> Result<Dialled<MaybeTls<R::Tcp>>, DialError> {
    let ours = Caps::ours().to_value();
    let target = format!("{}/piko/v1/upstream/{}", upstream.url.prefix, percent_encode(endpoint.as_bytes()));
    let bearer = upstream.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut fields: Vec<(&str, &[u8])> =
        vec![("User-Agent", concat!("piko-rust/", env!("CARGO_PKG_VERSION")).as_bytes())];
    fields.extend(bearer.as_ref().map(|bearer| ("Authorization", bearer.as_bytes())));
    fields.extend(upstream.tenant.as_ref().map(|tenant| ("X-Piko-Tenant-Id", tenant.as_bytes())));
    fields.push(("X-Piko-Caps", ours.as_bytes()));
    let info = *io.info();
    let host = upstream.url.authority();
    let mut theirs = Caps::default();
    let transport = piko_driver::upgrade(io, host.as_bytes(), target.as_bytes(), &fields, &mut |fields| {
        theirs = fields.first("x-piko-caps").map(Caps::parse).unwrap_or_default();
    })
    .await?;
    Ok(Dialled { transport, info, caps: Caps::ours().both(&theirs) })
}

impl From<UpgradeError> for DialError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Handshake(why) => Self::Handshake(why),
            UpgradeError::Io(error) => Self::Io(error),
            UpgradeError::Refused(status, message) => Self::Refused(status, message),
            // Of a later release of the driver.
            _ => Self::Handshake("not upgraded"),
        }
    }
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

    #[test]
    fn addresses_share_the_time_that_is_left() {
        let s = Duration::from_secs;
        assert_eq!(share(s(30), 1), s(30));
        assert_eq!(share(s(30), 3), s(10));
        // Many addresses, little time: a fair try for the first ones.
        assert_eq!(share(s(5), 4), s(2));
        assert_eq!(share(s(1), 4), s(1));
        assert_eq!(share(Duration::ZERO, 4), Duration::ZERO);
    }

    #[test]
    fn only_statuses_that_may_change_are_tried_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(DialError::Refused(status, String::new()).failure(), Failure::Retry);
        }
        for status in [200, 301, 400, 401, 403, 404, 409, 425, 501, 505] {
            assert_eq!(DialError::Refused(status, String::new()).failure(), Failure::Fatal { status });
        }
        assert_eq!(DialError::Timeout.failure(), Failure::Retry);
        assert_eq!(DialError::TlsMissing.failure(), Failure::Never);
    }
}
