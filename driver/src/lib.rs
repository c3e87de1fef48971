//! The async shell around `piko-core`: generic over a [`Runtime`], static dispatch, public API of core only.
//!
//! * [`TunnelLoop`] joins a [`Transport`] and a tunnel; [`TunnelHandle`] opens and accepts [`Stream`]s.
//! * [`serve`] serves one HTTP/1 connection for a [`Service`].
//! * [`accept`] gives every connection a task; [`Shutdown`] and [`Tasks`] end them in order.

mod accept;
mod buffer;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod drive;
mod entropy;
#[cfg(feature = "cluster")]
mod hearing;
mod maybe_tls;
mod pool;
mod relay;
mod reload;
mod runtime;
#[cfg(feature = "cluster")]
mod seal;
mod serve;
mod setting;
mod shutdown;
mod slab;
mod stream;
mod sync;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
mod tunnel;
mod upgrade;
mod wait;
mod wire;
mod ws_stream;

pub use accept::accept;
pub use buffer::{READ_BYTES, with_read_buffer};
pub use clock::Clock;
#[cfg(feature = "cluster")]
pub use cluster::{Gossip, Joined};
pub use drive::TunnelLoop;
pub use entropy::random_bytes;
pub use maybe_tls::MaybeTls;
pub use pool::Pool;
pub use relay::{Ends, Relayed, relay, relay_early, relay_until, relay_websocket};
pub use reload::{LoadError, Reload, Reloader, Reread, Stamp, Terminal};
pub use runtime::{
    Addr, CHUNK_BYTES, Datagram, Fetched, Io, IoInfo, ListenOptions, Listener, Probe, Runtime, Timer, Turn,
};
#[cfg(feature = "cluster")]
pub use seal::{Members, Proof, Seal};
pub use serve::{Attempt, Connected, Decision, Opaque, Port, RequestBudget, Served, Service, serve};
pub use setting::Setting;
pub use shutdown::{Shutdown, ShutdownListener, TaskGuard, Tasks};
pub use stream::Stream;
#[cfg(feature = "tls")]
pub use tls::TlsIo;
#[cfg(feature = "tungstenite")]
pub use transport::TungsteniteTransport;
pub use transport::{RawTransport, Received, Transport, WsTransport};
pub use tunnel::TunnelHandle;
pub use upgrade::{UpgradeError, Upgraded, upgrade};
pub use wait::{Elapsed, sleep_until, timeout_at};
pub use wire::limit_untaken;
pub use ws_stream::WsStream;
