//! The Rust SDK of Piko: listen on an endpoint without an open port, on any runtime.
//!
//! ```ignore
//! let upstream = Upstream::new(rt, "http://localhost:8001")?.token("…");
//! let listener = upstream.listen("my-endpoint").await?;
//! while let Ok(stream) = listener.accept().await {
//!     // `stream` reads and writes like a socket (futures-io traits).
//! }
//! ```
//!
//! A listener reconnects on every end that was not asked for, for ever.

mod dial;
mod listener;
mod url;

pub use dial::DialError;
pub use listener::{Closed, Event, Listener};
pub use url::{BadUrl, Url};

use piko_core::id::{BadEndpointId, EndpointId};
use piko_core::tunnel::Backoff;
use piko_driver::Runtime;
use std::fmt;
use std::sync::Arc;

/// Where and how to connect. One value serves any number of listeners.
#[derive(Clone)]
pub struct Upstream<R> {
    pub(crate) rt: R,
    pub(crate) url: Url,
    pub(crate) token: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) backoff: Backoff,
    pub(crate) mux: piko_core::mux::Config,
    pub(crate) on_event: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl<R: fmt::Debug> fmt::Debug for Upstream<R> {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("url", &self.url)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Why nothing listens.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The name is no endpoint id.
    Endpoint(BadEndpointId),
    /// The server refused, in a way that another try does not change.
    Refused(DialError),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "connect: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl<R: Runtime> Upstream<R> {
    /// The upstream port of a server, such as `http://localhost:8001`. A path is kept as a prefix.
    pub fn new(rt: R, url: &str) -> Result<Self, BadUrl> {
        Ok(Self {
            rt,
            url: Url::parse(url)?,
            token: None,
            tenant: None,
            backoff: Backoff::default(),
            mux: piko_core::mux::Config::default(),
            on_event: Arc::new(|_| {}),
        })
    }

    /// Sent as `Authorization: Bearer <token>`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sent as `X-Piko-Tenant-Id`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// How long to wait between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Limits of the tunnel.
    #[must_use]
    pub fn mux(mut self, config: piko_core::mux::Config) -> Self {
        self.mux = config;
        self
    }

    /// Called when the tunnel comes up, is lost, or an attempt fails. Must not block.
    #[must_use]
    pub fn on_event(mut self, f: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Arc::new(f);
        self
    }

    /// Listens on `endpoint`; ready once the tunnel is up. Waits for a server that is not there yet,
    /// and fails only when the server refuses for good.
    pub async fn listen(&self, endpoint: &str) -> Result<Listener<R>, ListenError> {
        let listener = self.listen_in_background(endpoint)?;
        listener.connected().await.map_err(ListenError::Refused)?;
        Ok(listener)
    }

    /// As [`Self::listen`], ready at once: the tunnel comes up when the server does.
    pub fn listen_in_background(&self, endpoint: &str) -> Result<Listener<R>, ListenError> {
        let endpoint = EndpointId::new(endpoint.as_bytes()).map_err(ListenError::Endpoint)?;
        Ok(Listener::start(self.clone(), endpoint))
    }
}
