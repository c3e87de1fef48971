//! Where and how to connect, to listen there.

use crate::error::DialError;
use crate::forward::{Forwarder, Target};
use crate::listener::{Event, Listener};
use crate::options::reach_options;
use crate::reach::{Reach, has_control};
use crate::url::{BadUrl, Url};
use piko_core::id::{BadEndpointId, EndpointId};
use piko_core::mux::Config as MuxConfig;
use piko_core::preface::HeaderVersion;
use piko_core::tunnel::{Backoff, Caps};
use piko_driver::Runtime;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Where and how to connect. One value serves any number of listeners.
///
/// ```no_run
/// # #[cfg(feature = "tokio")] {
/// use piko_client::{Event, Upstream};
/// use piko_client::tokio::Tokio;
/// use std::time::Duration;
///
/// # async fn app() -> Result<(), Box<dyn std::error::Error>> {
/// let upstream = Upstream::new(Tokio::current(), "https://piko-1.example.com")?
///     .fallback("https://piko-2.example.com")?
///     .token_provider(|| async { std::fs::read_to_string("/run/secrets/piko").map(|text| text.trim().to_owned()) })
///     .backoff_bounds(Duration::from_millis(100), Duration::from_secs(5))
///     .on_event(|event| match event {
///         Event::Connected { url, .. } => println!("connected to {url}"),
///         Event::Lost { reason, .. } => println!("lost: {reason}"),
///         Event::Failed { error, .. } => println!("failed: {error}"),
///         _ => {}
///     });
/// let listener = upstream.listen("my-endpoint").await?;
/// # drop(listener);
/// # Ok(())
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct Upstream<R> {
    pub(crate) reach: Reach<R>,
    pub(crate) tenant: Option<String>,
    pub(crate) backoff: Backoff,
    pub(crate) mux: MuxConfig,
    /// What our side can do.
    pub(crate) caps: Caps,
    pub(crate) on_event: Arc<dyn Fn(&Event<'_>) + Send + Sync>,
}

impl<R> fmt::Debug for Upstream<R> {
    /// Without the token and without the proxy's login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Upstream");
        self.reach.describe(&mut debug);
        debug.field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Why nothing listens.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// This is no address of a service.
    Addr(String),
    /// What was set under this name cannot be sent: it has a control character, such as a line break at its
    /// end, which would begin a field of its own (RFC 9110 5.5).
    ControlCharacter(&'static str),
    /// The name is no endpoint id.
    Endpoint(BadEndpointId),
    /// The server refused, in a way that another try does not change.
    Refused(DialError),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "invalid addr: {addr:?} (examples: 4000, host:4000, unix:/path)"),
            Self::ControlCharacter(what) => {
                write!(f, "{what}: a control character (such as a line break at the end)")
            }
            Self::Endpoint(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "connect: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl<R: Runtime> Upstream<R> {
    /// The server of this machine, at the default of the Go SDK.
    pub fn local(rt: R) -> Self {
        Self::to(rt, Url::from_parts(false, "localhost", 8001, ""))
    }

    /// The upstream port of a server, such as `http://localhost:8001`. A path is kept as a prefix.
    ///
    /// # Errors
    ///
    /// Why the text is no URL of a server.
    pub fn new(rt: R, url: &str) -> Result<Self, BadUrl> {
        Ok(Self::to(rt, Url::parse(url)?))
    }

    /// As [`Self::new`], for a URL that has been parsed.
    pub fn to(rt: R, url: Url) -> Self {
        Self {
            reach: Reach::new(rt, url),
            tenant: None,
            backoff: Backoff::default(),
            mux: MuxConfig::default(),
            caps: Caps::ours(),
            on_event: Arc::new(|_| {}),
        }
    }

    /// Sent as `X-Piko-Tenant-Id`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    reach_options!();

    /// Another token for connections from here on, also those of listeners that are there already; tunnels that are up
    /// stay. Clones made before share it. Without effect where a
    /// provider is asked.
    ///
    /// # Errors
    /// The token cannot be sent; the one before stays.
    pub fn set_token(&self, token: Option<String>) -> Result<(), ListenError> {
        if self.reach.set_token(token) { Ok(()) } else { Err(ListenError::ControlCharacter("token")) }
    }

    /// The bounds of the width of pauses between two rounds of attempts: 100 ms and 15 s unless set, as in Go. It starts at
    /// `min` and doubles up to `max`, and each pause is drawn evenly **from zero** up to it (full jitter), so that those who
    /// lost one server together do not come back together; Go draws from the upper tenth. While a server has been gone for
    /// less than 30 s, the width is at most 600 ms ([`Backoff::max_after_loss`]), or `min` where that is longer.
    #[must_use]
    pub fn backoff_bounds(mut self, min: Duration, max: Duration) -> Self {
        (self.backoff.min, self.backoff.max) = (min, max);
        self
    }

    /// All of how long attempts last and how long to wait between them.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Limits of the tunnel, and whether clients of TCP hear at once that a stream was accepted
    /// ([`MuxConfig::prompt_acks`]).
    #[must_use]
    pub fn mux(mut self, config: MuxConfig) -> Self {
        self.mux = config;
        self
    }

    /// Asks the server to begin each stream with a PROXY protocol header that names the client. One that does is told by
    /// [`Stream::proxy_header`](piko_driver::Stream::proxy_header): Go's servers, and older ones of ours, do not.
    #[must_use]
    pub fn proxy_header(mut self, version: HeaderVersion) -> Self {
        self.caps.proxy_header = Some(version);
        self
    }

    /// Called at every change of a listener's state: see [`Event`]. Must not block.
    #[must_use]
    pub fn on_event(mut self, f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.on_event = Arc::new(f);
        self
    }

    /// Listens on `endpoint`; ready once the tunnel is up. Waits for a server that is not there yet,
    /// and fails only when every server refuses for good. Giving up the wait ends the attempts; a timeout around it is a
    /// timeout of the first connection only.
    ///
    /// Several listeners for one endpoint, here or elsewhere, share its requests.
    ///
    /// # Errors
    ///
    /// What cannot be sent, before anything connects; the refusal.
    pub async fn listen(&self, endpoint: &str) -> Result<Listener<R>, ListenError> {
        let listener = self.listen_in_background(endpoint)?;
        listener.connected().await.map_err(ListenError::Refused)?;
        Ok(listener)
    }

    /// As [`Self::listen`], ready at once: the tunnel comes up when the server does.
    ///
    /// # Errors
    ///
    /// What cannot be sent.
    pub fn listen_in_background(&self, endpoint: &str) -> Result<Listener<R>, ListenError> {
        let endpoint = EndpointId::new(endpoint.as_bytes()).map_err(ListenError::Endpoint)?;
        if self.reach.has_bad_token() {
            return Err(ListenError::ControlCharacter("token"));
        }
        if self.tenant.as_ref().is_some_and(|tenant| has_control(tenant)) {
            return Err(ListenError::ControlCharacter("tenant"));
        }
        Ok(Listener::start(self.clone(), endpoint))
    }

    /// Listens on the TCP `endpoint` and connects each of its connections with the service at `addr`, in the
    /// background: `4000` (of `localhost`), `host:4000`, or `unix:/path`. The name is resolved for each of them.
    ///
    /// Each direction ends by itself. A service that cannot be reached within 10 s is a reset for the client, and a
    /// warning in the log (target `client`).
    ///
    /// # Errors
    ///
    /// As [`Self::listen`], and an `addr` that is none.
    pub async fn listen_and_forward(&self, endpoint: &str, addr: &str) -> Result<Forwarder<R>, ListenError> {
        let target = Target::parse(addr).ok_or_else(|| ListenError::Addr(addr.to_owned()))?;
        let mut prompt = self.clone();
        prompt.mux.prompt_acks = true;
        Ok(Forwarder::start(prompt.listen(endpoint).await?, target))
    }
}
