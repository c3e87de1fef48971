//! The Piko agent, generic over its runtime: serves endpoints from services next to it.

mod agent;
mod dial;
mod fleet;
mod http;
mod metrics;
mod tcp;
mod tls;

pub mod program;

pub use agent::{Agent, RunError};
pub use piko_client::Event;
pub use tls::Crypto;
