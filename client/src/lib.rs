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
//!
//! On Windows there is `tokio` alone: the reactor under `smol` is for Unix, so `piko_client::smol` is an empty module there
//! and `Smol` is no type. Everything else of the crate is for both.

mod away;
mod dialer;
mod error;
mod favourite;
mod forward;
mod known;
mod listener;
mod options;
#[cfg(feature = "proxy")]
mod proxy;
mod reach;
mod token;
mod upstream;
mod url;

#[cfg(feature = "smol")]
pub use piko_runtime_smol as smol;
#[cfg(feature = "tokio")]
pub use piko_runtime_tokio as tokio;

pub use dialer::{Connection, Dialer, Raw, Retry};
pub use error::DialError;
pub use forward::Forwarder;
pub use listener::{Closed, Event, Listener};
#[cfg(feature = "proxy")]
pub use proxy::{Proxy, ProxyError, ProxyFault, ProxyUnfit};
pub use upstream::{ListenError, Upstream};
pub use url::{BadUrl, Url};

pub use piko_core::id::{BadEndpointId, EndpointId};
pub use piko_core::mux::{CloseReason, Config as MuxConfig};
pub use piko_core::preface::HeaderVersion;
pub use piko_core::tunnel::Backoff;
#[cfg(feature = "tls")]
pub use piko_driver::tls;
pub use piko_driver::{Runtime, Stream};
