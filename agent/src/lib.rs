//! The Piko agent, generic over its runtime: serves endpoints from services next to it.

mod agent;
mod dial;
#[cfg_attr(
    not(feature = "yaml"),
    expect(dead_code, reason = "kept for a new configuration, which comes from a file")
)]
mod fleet;
mod http;
mod metrics;
mod tcp;
mod tls;

pub mod program;

pub use agent::{Agent, RunError};
pub use piko_client::Event;
pub use tls::Crypto;
