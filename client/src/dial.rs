//! One attempt: resolve, connect, upgrade.

use crate::{Upstream, Url};
use bytes::BytesMut;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::id::{BadEndpointId, EndpointId};
use piko_core::time::Instant;
use piko_core::tunnel::{Caps, Failure};
use piko_core::ws::Role;
use piko_core::ws::handshake::{self, Answer, Ask};
#[cfg(feature = "tls")]
use piko_driver::tls::Connector;
use piko_driver::{Addr, Io, MaybeTls, Runtime, WsTransport, random_bytes, timeout_at};
use std::fmt;
use std::io;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

/// TCP, TLS and the upgrade together take at most this, as in Go (wire protocol 3.4).
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// An address gets at least this long, as in Go: less is no fair try, however many there are.
const SHARE_MIN: Duration = Duration::from_secs(2);
/// An answer to the upgrade that is longer is none.
const ANSWER_BYTES_MAX: usize = 20 * 1024;

/// Why an attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The listener was closed before a tunnel was up.
    Closed,
    /// What was set under this name cannot be sent: it has a control character.
    ControlCharacter(&'static str),
    /// The name is no endpoint id.
    Endpoint(BadEndpointId),
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
            Self::ControlCharacter(what) => {
                write!(f, "{what}: a control character (such as a line break at the end)")
            }
            Self::Endpoint(error) => error.fmt(f),
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
            Self::TlsMissing | Self::ControlCharacter(_) | Self::Endpoint(_) => Failure::Never,
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

/// A port of a server, and how it is reached.
pub(crate) struct Place<'a, R> {
    pub(crate) rt: &'a R,
    pub(crate) url: &'a Url,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<&'a Arc<Connector>>,
}

/// What is asked for there.
pub(crate) struct Wish<'a> {
    /// The path below the URL's own, which ends with a slash; the endpoint follows.
    pub(crate) path: &'a str,
    pub(crate) endpoint: &'a EndpointId,
    pub(crate) token: Option<&'a str>,
    pub(crate) tenant: Option<&'a str>,
    /// What our side can do.
    pub(crate) caps: Caps,
}

/// A connection that speaks WebSocket from here on.
pub(crate) struct Upgraded<I> {
    pub(crate) io: I,
    /// What came behind the answer.
    pub(crate) early: Vec<u8>,
    /// What both sides stated.
    pub(crate) caps: Caps,
}

pub(crate) async fn dial<R: Runtime>(
    upstream: &Upstream<R>,
    endpoint: &EndpointId,
    limit: Option<Duration>,
) -> Result<Dialled<MaybeTls<R::Tcp>>, DialError> {
    let place = Place {
        rt: &upstream.rt,
        url: &upstream.url,
        #[cfg(feature = "tls")]
        tls: upstream.tls.as_ref(),
    };
    let token = upstream.token.get();
    let wish = Wish {
        path: "/piko/v1/upstream/",
        endpoint,
        token: token.as_deref(),
        tenant: upstream.tenant.as_deref(),
        caps: Caps::ours(),
    };
    let until = upstream.rt.now() + limit.unwrap_or(ATTEMPT_MAX);
    let Upgraded { io, early, caps } = place.reach(&wish, until).await?;
    let info = *io.info();
    Ok(Dialled { transport: WsTransport::new(io, Role::Client, early), info, caps })
}

impl<R: Runtime> Place<'_, R> {
    /// One attempt, which ends at `until` or after a minute.
    pub(crate) async fn reach(
        &self,
        wish: &Wish<'_>,
        until: Instant,
    ) -> Result<Upgraded<MaybeTls<R::Tcp>>, DialError> {
        let until = until.min(self.rt.now() + ATTEMPT_MAX);
        timeout_at(self.rt, Some(until), self.attempt(wish, until)).await.unwrap_or(Err(DialError::Timeout))
    }

    async fn attempt(
        &self,
        wish: &Wish<'_>,
        until: Instant,
    ) -> Result<Upgraded<MaybeTls<R::Tcp>>, DialError> {
        let (rt, url) = (self.rt, self.url);
        if url.tls && !self.has_tls() {
            return Err(DialError::TlsMissing);
        }
        let addrs = rt.resolve(&url.host, url.port).await.map_err(DialError::Resolve)?;
        let mut last = DialError::Resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        // Every address of the name is tried: `localhost` is two.
        for (n, &addr) in addrs.iter().enumerate() {
            let share = share(until.since(rt.now()), addrs.len() - n);
            let error = match timeout_at(rt, Some(rt.now() + share), rt.connect(&Addr::Ip(addr))).await {
                Ok(Ok(io)) => return self.upgrade(wish, self.secure(io).await?).await,
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            last = DialError::Io(io::Error::new(error.kind(), format!("connect {addr}: {error}")));
        }
        Err(last)
    }

    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }

    /// Does the handshake where the URL asks for it. Another address of the same name has the same certificate, so a
    /// failure is that of the attempt.
    #[cfg(feature = "tls")]
    async fn secure(&self, io: R::Tcp) -> Result<MaybeTls<R::Tcp>, DialError> {
        match self.tls {
            Some(tls) if self.url.tls => tls.connect(io, &self.url.host).await.map_err(DialError::Io),
            _ => Ok(MaybeTls::Plain(io)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, io: R::Tcp) -> Result<MaybeTls<R::Tcp>, DialError> {
        Ok(MaybeTls::Plain(io))
    }

    async fn upgrade(
        &self,
        wish: &Wish<'_>,
        mut io: MaybeTls<R::Tcp>,
    ) -> Result<Upgraded<MaybeTls<R::Tcp>>, DialError> {
        let key = random_bytes().map_err(DialError::Io)?;
        let caps = wish.caps.to_value();
        let target = [&self.url.prefix, wish.path, &percent_encode(wish.endpoint.as_bytes())].concat();
        let bearer = wish.token.map(|token| format!("Bearer {token}"));
        let mut fields: Vec<(&str, &[u8])> =
            vec![("User-Agent", concat!("piko-rust/", env!("CARGO_PKG_VERSION")).as_bytes())];
        fields.extend(bearer.as_ref().map(|bearer| ("Authorization", bearer.as_bytes())));
        fields.extend(wish.tenant.map(|tenant| ("X-Piko-Tenant-Id", tenant.as_bytes())));
        fields.push(("X-Piko-Caps", caps.as_bytes()));
        let ask =
            Ask { host: self.url.authority().as_bytes(), target: target.as_bytes(), key, fields: &fields };
        let mut request = BytesMut::new();
        handshake::write_request(&ask, &mut request);
        io.write_all(&request).await.map_err(DialError::Io)?;
        let mut input = Vec::new();
        let mut chunk = [0; 2048];
        let mut theirs = Caps::default();
        loop {
            let n = io.read(&mut chunk).await.map_err(DialError::Io)?;
            input.extend_from_slice(&chunk[..n]);
            let answer = handshake::judge_response(&key, &input, n == 0, &mut |fields| {
                theirs = fields.first("x-piko-caps").map(Caps::parse).unwrap_or_default();
            });
            match answer {
                Answer::Partial if n == 0 => return Err(DialError::Io(io::ErrorKind::UnexpectedEof.into())),
                Answer::Partial if input.len() > ANSWER_BYTES_MAX => {
                    return Err(DialError::Handshake("the answer is too long"));
                }
                Answer::Partial => {}
                Answer::Bad(why) => return Err(DialError::Handshake(why)),
                Answer::Refused { status, message } => {
                    return Err(DialError::Refused(status, String::from_utf8_lossy(&message).into_owned()));
                }
                Answer::Upgraded { head_bytes } => {
                    input.drain(..head_bytes);
                    return Ok(Upgraded { io, early: input, caps: wish.caps.both(&theirs) });
                }
            }
        }
    }
}

/// What the first of `addrs` may use of the time that is left, so that one that swallows packets leaves the
/// others their chance. The last one gets all of it.
fn share(left: Duration, addrs: usize) -> Duration {
    let even = left / u32::try_from(addrs.max(1)).unwrap_or(u32::MAX);
    even.max(SHARE_MIN).min(left)
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
