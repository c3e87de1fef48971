//! Which tunnel or node serves an endpoint. Plain data; time and chance are arguments.
//!
//! A [`Router`] maps endpoint ids to the tunnels of this process and to the other nodes that advertise
//! the endpoint. [`Router::select`] reads only, so one table behind a reader-writer lock serves all
//! threads; what changes with every request (requests under way, suspicion) lives in atomics of the
//! word size inside the entries. Changes touch one entry.
//!
//! The order of preference is: a local tunnel, another node, a suspected local tunnel, a suspected node.
//! Go Piko takes local tunnels first and other nodes only on the first hop; both hold here.

mod balance;
mod router;

pub use router::{Advert, Hop, Route, Router};

#[cfg(test)]
mod tests;
