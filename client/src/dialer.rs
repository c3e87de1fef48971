//! Connections to endpoints, through the proxy port of a server.

use crate::error::DialError;
use crate::favourite::{Favourite, server_share};
use crate::options::reach_options;
use crate::reach::{Reach, Wish};
use crate::url::{BadUrl, Url};
use piko_core::id::EndpointId;
use piko_core::time::Instant;
use piko_core::tunnel::{Caps, Failure};
use piko_core::ws::Role;
use piko_driver::{Io, MaybeTls, Runtime, Upgraded, WsStream, random_bytes, sleep_until};
use std::fmt;
use std::future::Future;
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
/// With less than this left, an attempt that runs out of time was cut short by us and tells nothing about the server: the
/// error of the one before it says more.
const SHORT: Duration = Duration::from_secs(1);
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
    reach: Reach<R>,
    timeout: Duration,
    /// Shared by clones, whose connections go to the same servers.
    favourite: Arc<Favourite>,
}

impl<R> fmt::Debug for Dialer<R> {
    /// Without the token and without the proxy's login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Dialer");
        self.reach.describe(&mut debug);
        debug.field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<R: Runtime> Dialer<R> {
    /// The server of this machine, at the default of the Go SDK.
    pub fn local(rt: R) -> Self {
        Self::to(rt, Url::from_parts(false, "localhost", 8000, ""))
    }

    /// The proxy port of a server, such as `http://localhost:8000`. A path is kept as a prefix.
    ///
    /// # Errors
    ///
    /// Why the text is no URL of a server.
    pub fn new(rt: R, url: &str) -> Result<Self, BadUrl> {
        Ok(Self::to(rt, Url::parse(url)?))
    }

    /// As [`Self::new`], for a URL that has been parsed.
    pub fn to(rt: R, url: Url) -> Self {
        Self { reach: Reach::new(rt, url), timeout: TIMEOUT, favourite: Arc::default() }
    }

    reach_options!();

    /// How long [`Self::dial`] may take, all attempts together; 30 s unless set. What is open has no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a connection to the service behind `endpoint`.
    ///
    /// To be awaited on the runtime that the dialer was made with: sockets and timers are made there. From elsewhere
    /// (another runtime, a thread without one) let [`Runtime::spawn`] run it and send the connection back.
    ///
    /// An attempt that may succeed later (the server cannot be reached, is busy or about to go) is made again within the
    /// [timeout](Self::timeout), after pauses that grow from 100 ms to 1 s. A server that knows no upstream for the
    /// endpoint is asked again for 3 s.
    ///
    /// Of several servers each has 5 s in the first round, and twice as much in each further one, within an even share of
    /// what is left. One that lies behind others that took longer than 250 ms comes first for 30 s, for all clones of
    /// this dialer; then one connection begins with the first again.
    ///
    /// # Errors
    ///
    /// Why the last attempt failed (the one before, where the last had less than 1 s); what is wrong
    /// with the endpoint or the token.
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
        if self.reach.has_bad_token() {
            return Err(DialError::ControlCharacter("token"));
        }
        let rt = &self.reach.rt;
        let started = rt.now();
        let until = started + self.timeout;
        let (mut pause, mut round) = (PAUSE, 0);
        // What the round before this one failed with.
        let mut told = None;
        loop {
            let short = until.since(rt.now()) < SHORT;
            let (error, patience) = match self.round(&endpoint, started, until, round).await {
                Ok(connection) => return Ok(connection),
                Err((error, patience)) if short && error.is_timeout() => {
                    (told.take().unwrap_or(error), patience)
                }
                Err(failed) => failed,
            };
            let wait = jittered(pause);
            if patience.is_none_or(|until| rt.now() + wait >= until) {
                return Err(error);
            }
            tracing::debug!(endpoint = %endpoint, %error, ?wait, "dial failed; retrying");
            sleep_until(rt, rt.now() + wait).await;
            told = Some(error);
            pause = (pause * 2).min(PAUSE_MAX);
            round = round.saturating_add(1);
        }
    }

    /// One attempt at every server, until one takes it. The error is that of the last one, and until when another round
    /// makes sense to any of them.
    async fn round(
        &self,
        endpoint: &EndpointId,
        started: Instant,
        until: Instant,
        round: u32,
    ) -> Result<Raw<R>, (DialError, Option<Instant>)> {
        let caps = Caps { half_close: true, ..Caps::default() };
        let wish = Wish { path: "/_piko/v1/tcp/", endpoint, tenant: None, caps };
        let (rt, urls) = (&self.reach.rt, &self.reach.urls);
        let mut failed = (DialError::Timeout, None);
        let begun = rt.now();
        let first = self.favourite.begin(begun, urls.len());
        for n in 0..urls.len() {
            let (at, now) = ((first + n) % urls.len(), rt.now());
            let share = server_share(until.since(now), urls.len() - n, urls.len(), round);
            match self.reach.reach(&urls[at], &wish, now + share).await {
                Ok((Upgraded { io, early }, caps)) => {
                    self.favourite.answered(at, first, now.since(begun), rt.now());
                    io.keep_alive(Some(PROBES));
                    return Ok(WsStream::new(io, Role::Client, early, caps.half_close));
                }
                Err(error) => {
                    let patience = patience(&error, started, until);
                    failed = (error, failed.1.max(patience));
                }
            }
        }
        Err(failed)
    }
}

/// Until when it makes sense to try again after `error`; `None` is not at all.
fn patience(error: &DialError, started: Instant, until: Instant) -> Option<Instant> {
    match error {
        DialError::Refused(502 | 504, _) => Some(until.min(started + NO_UPSTREAM_PATIENCE)),
        _ => (error.failure() == Failure::Retry).then_some(until),
    }
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
        let worth = |error: DialError, secs: u64| {
            patience(&error, now, until).is_some_and(|until| now + Duration::from_secs(secs) < until)
        };
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
