//! Connections to endpoints, through the proxy port of a server.

use crate::dial::{DialError, Place, Upgraded, Wish};
use crate::{BadUrl, EndpointId, Url};
use piko_core::time::Instant;
use piko_core::tunnel::Caps;
use piko_core::ws::Role;
#[cfg(feature = "tls")]
use piko_driver::tls::Connector;
use piko_driver::{Io, MaybeTls, Runtime, WsStream, random_bytes, sleep_until};
use std::fmt;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to come about, all attempts together, unless somebody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause between two attempts, and the longest one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a server that knows no upstream is asked again. Agents come back to a server that was restarted within a
/// second or so; beyond that the endpoint has none, and a wait would only hide it.
const NO_UPSTREAM_PATIENCE: Duration = Duration::from_secs(3);
/// How often TCP asks the server whether it is still there.
const PROBES: Duration = Duration::from_secs(30);

/// A connection to an endpoint, as the driver knows it: with the traits of futures-io.
pub type Raw<R> = WsStream<MaybeTls<<R as Runtime>::Tcp>>;

/// A connection to an endpoint, with the IO traits of the runtime: read and written like a `TcpStream`.
///
/// Closing it (`close` of futures-io, `shutdown` of tokio) ends our direction, and the other goes on until the
/// service ends it, where server and agent are ours; with Go's it ends both. Dropping it without that cuts it, which
/// the service sees as a reset.
pub type Connection<R> = <R as Runtime>::Wrapped<Raw<R>>;

/// Where and how to dial. One value serves any number of connections.
///
/// ```no_run
/// # #[cfg(feature = "tokio")] {
/// use piko_client::Dialer;
/// use piko_client::tokio::Tokio;
///
/// # async fn app() -> Result<(), Box<dyn std::error::Error>> {
/// let dialer = Dialer::new(Tokio::current(), "http://localhost:8000")?.token("…");
/// let connection = dialer.dial("my-redis").await?;
/// // `connection` is read and written like a `TcpStream` of tokio.
/// # drop(connection);
/// # Ok(())
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct Dialer<R> {
    rt: R,
    url: Url,
    token: Option<String>,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Connector>>,
}

impl<R> fmt::Debug for Dialer<R> {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Dialer<R> {
    /// The proxy port of a server, such as `http://localhost:8000`. A path is kept as a prefix.
    ///
    /// # Errors
    ///
    /// Why the text is no URL of a server.
    pub fn new(rt: R, url: &str) -> Result<Self, BadUrl> {
        Ok(Self {
            rt,
            url: Url::parse(url)?,
            token: None,
            timeout: TIMEOUT,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Sent as `Authorization: Bearer <token>`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How to speak TLS with a server whose URL asks for it (`https`, `wss`). Without it such a server is refused.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, connector: Arc<Connector>) -> Self {
        self.tls = Some(connector);
        self
    }

    /// How long [`Self::dial`] may take, all attempts together; 30 s unless set. What is open has no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a connection to the service behind `endpoint`.
    ///
    /// An attempt that may succeed later (the server cannot be reached, is busy or about to go) is made again within the
    /// [timeout](Self::timeout), after pauses that grow from 100 ms to 1 s. A server that knows no upstream for the
    /// endpoint is asked again for 3 s.
    ///
    /// # Errors
    ///
    /// Why the last attempt failed; what is wrong with the endpoint or the token.
    pub async fn dial(&self, endpoint: &str) -> Result<Connection<R>, DialError> {
        self.dial_raw(endpoint).await.map(Connection::<R>::from)
    }

    /// As [`Self::dial`]: the connection as the driver knows it.
    ///
    /// # Errors
    ///
    /// As [`Self::dial`].
    pub async fn dial_raw(&self, endpoint: &str) -> Result<Raw<R>, DialError> {
        let endpoint = EndpointId::new(endpoint.as_bytes()).map_err(DialError::Endpoint)?;
        if self.token.as_ref().is_some_and(|token| token.bytes().any(|byte| byte.is_ascii_control())) {
            return Err(DialError::ControlCharacter("token"));
        }
        let started = self.rt.now();
        let until = started + self.timeout;
        let mut pause = PAUSE;
        loop {
            let error = match self.attempt(&endpoint, until).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let wait = jittered(pause);
            if !is_worth_a_try(&error, started, self.rt.now() + wait, until) {
                return Err(error);
            }
            tracing::debug!(endpoint = %endpoint, %error, ?wait, "dial failed; retrying");
            sleep_until(&self.rt, self.rt.now() + wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, endpoint: &EndpointId, until: Instant) -> Result<Raw<R>, DialError> {
        let place = Place {
            rt: &self.rt,
            url: &self.url,
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref(),
        };
        let wish = Wish {
            path: "/_piko/v1/tcp/",
            endpoint,
            token: self.token.as_deref(),
            tenant: None,
            caps: Caps { half_close: true, ..Caps::default() },
        };
        let Upgraded { io, early, caps } = place.reach(&wish, until).await?;
        io.keep_alive(Some(PROBES));
        Ok(WsStream::new(io, Role::Client, early, caps.half_close))
    }
}

/// Whether an attempt `at` may do better than the one that ended with `error`.
fn is_worth_a_try(error: &DialError, started: Instant, at: Instant, until: Instant) -> bool {
    let until = match error {
        DialError::Refused(502 | 504, _) => until.min(started + NO_UPSTREAM_PATIENCE),
        _ => until,
    };
    error.failure() == piko_core::tunnel::Failure::Retry && at < until
}

/// Half of it up to all of it, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    // Without entropy they come back in step, which is better than not at all.
    let dice = random_bytes().map(u8::from_ne_bytes).unwrap_or_default();
    pause / 2 + pause / 2 * u32::from(dice) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_get_better_is_tried_again() {
        let now = Instant::from_nanos(0);
        let until = now + Duration::from_secs(30);
        let worth =
            |error: DialError, secs: u64| is_worth_a_try(&error, now, now + Duration::from_secs(secs), until);
        let refused = |status| DialError::Refused(status, String::new());
        assert!(worth(refused(503), 29) && worth(DialError::Timeout, 29));
        assert!(!worth(refused(503), 30), "behind the timeout");
        assert!(worth(refused(502), 2) && !worth(refused(502), 3));
        assert!(!worth(refused(401), 0) && !worth(DialError::TlsMissing, 0));
    }

    #[test]
    fn pauses_vary() {
        let all: Vec<_> = (0..100).map(|_| jittered(PAUSE)).collect();
        assert!(all.iter().all(|pause| (PAUSE / 2..=PAUSE).contains(pause)));
        assert!(all.iter().any(|pause| pause != &all[0]));
    }
}
