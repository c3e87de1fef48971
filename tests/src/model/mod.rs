//! Reference models: small enough to be obviously right.

pub mod gossip;
pub mod mux;
