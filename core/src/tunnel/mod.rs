//! A tunnel: one mux session with its endpoint, its drain and its capabilities; and when to dial again.
//!
//! ```text
//!   socket ⇄ WebSocket ⇄ chunks ⇄ Tunnel ⇄ streams          Reconnector ──► dial now
//! ```
//!
//! A [`Tunnel`] sees chunks whose borders mean nothing, so raw TCP, a WebSocket or memory carry it equally
//! well. A [`Reconnector`] never dials: it says when, and is told what became of it.

mod backoff;
mod caps;
mod reconnect;
#[cfg(test)]
mod tests;
#[allow(clippy::module_inception)] // The folder's type: one file per type, named after it.
mod tunnel;

pub use backoff::Backoff;
pub use caps::Caps;
pub use reconnect::{Action, Attempt, Failure, Reconnector};
pub use tunnel::{Grant, TransportEnd, Tunnel, TunnelEvent};
