//! The Piko forwarder, generic over its runtime: local ports that lead to endpoints.

mod complaints;
mod forwarder;
mod listen;
mod reload;

pub mod program;

pub use forwarder::{Forwarder, RunError};
