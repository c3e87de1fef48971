//! The Piko agent, generic over its runtime: serves endpoints from services next to it.

mod agent;
mod http;
mod metrics;
#[cfg(feature = "yaml")]
mod reload;
mod tls;

pub mod program;

pub use agent::{Agent, RunError};
pub use piko_client::Event;
pub use tls::Crypto;
