//! The Rust SDK of Piko: listen on an endpoint without an open port, and dial endpoints, on any runtime.
//!
//! ```no_run
//! # #[cfg(feature = "tokio")] {
//! use piko_client::Upstream;
//! use piko_client::tokio::Tokio;
//!
//! # async fn app() -> Result<(), Box<dyn std::error::Error>> {
//! let upstream = Upstream::new(Tokio::current(), "http://localhost:8001")?.token("…");
//! let listener = upstream.listen("my-endpoint").await?;
//! while let Ok(stream) = listener.accept().await {
//!     // `stream` is read and written like a `TcpStream` of tokio.
//! #   drop(stream);
//! }
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! A listener reconnects on every end that was not asked for, for ever. What can end it is
//! [`Listener::close`], which drains, [`Listener::shutdown`] and its drop, which do not, and a server that
//! refuses the very first connection with a status that no further try changes.
//!
//! A server at an `https` or `wss` URL needs the feature `tls` and a `piko_client::tls::Connector`, given by
//! `Upstream::tls`, with the cryptography of the caller's choice.
//!
//! The crate knows no runtime. The features `tokio` and `smol` give the two that Piko comes with the names
//! `piko_client::tokio` and `piko_client::smol`; any other [`Runtime`] will do as well. A stream has the IO
//! traits of its runtime ([`Runtime::Stream`]).

mod dial;
mod dialer;
mod listener;
mod url;

#[cfg(feature = "smol")]
pub use piko_runtime_smol as smol;
#[cfg(feature = "tokio")]
pub use piko_runtime_tokio as tokio;

pub use dial::DialError;
pub use dialer::{Connection, Dialer, Raw};
pub use listener::{Closed, Event, Listener};
pub use url::{BadUrl, Url};

pub use piko_core::id::{BadEndpointId, EndpointId};
pub use piko_core::mux::{CloseReason, Config as MuxConfig};
pub use piko_core::tunnel::Backoff;
#[cfg(feature = "tls")]
pub use piko_driver::tls;
pub use piko_driver::{Runtime, Stream};

use piko_driver::Setting;
use std::fmt;
use std::sync::Arc;

/// Where and how to connect. One value serves any number of listeners.
#[derive(Clone)]
pub struct Upstream<R> {
    pub(crate) rt: R,
    pub(crate) url: Url,
    pub(crate) token: Setting<Option<String>>,
    pub(crate) tenant: Option<String>,
    pub(crate) backoff: Backoff,
    pub(crate) mux: MuxConfig,
    pub(crate) on_event: Arc<dyn Fn(&Event) + Send + Sync>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<tls::Connector>>,
}

impl<R> fmt::Debug for Upstream<R> {
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
    /// The upstream port of a server, such as `http://localhost:8001`. A path is kept as a prefix.
    pub fn new(rt: R, url: &str) -> Result<Self, BadUrl> {
        Ok(Self {
            rt,
            url: Url::parse(url)?,
            token: None.into(),
            tenant: None,
            backoff: Backoff::default(),
            mux: MuxConfig::default(),
            on_event: Arc::new(|_| {}),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Sent as `Authorization: Bearer <token>`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into()).into();
        self
    }

    /// Another token for connections from here on, also those of listeners that are there already; tunnels that are up
    /// stay. Clones made before share it.
    ///
    /// # Errors
    /// The token cannot be sent; the one before stays.
    pub fn set_token(&self, token: Option<String>) -> Result<(), ListenError> {
        check("token", token.as_deref())?;
        self.token.set(token);
        Ok(())
    }

    /// Sent as `X-Piko-Tenant-Id`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// How to speak TLS with a server whose URL asks for it (`https`, `wss`). Without it such a server is refused.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, connector: Arc<tls::Connector>) -> Self {
        self.tls = Some(connector);
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
    pub fn mux(mut self, config: MuxConfig) -> Self {
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
        check("token", self.token.get().as_deref())?;
        check("tenant", self.tenant.as_deref())?;
        Ok(Listener::start(self.clone(), endpoint))
    }
}

/// Whether `text` can be sent in a field.
fn check(what: &'static str, text: Option<&str>) -> Result<(), ListenError> {
    match text.is_some_and(|text| text.bytes().any(|byte| byte.is_ascii_control())) {
        true => Err(ListenError::ControlCharacter(what)),
        false => Ok(()),
    }
}
