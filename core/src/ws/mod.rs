//! WebSocket framing and handshake without IO (RFC 6455; wire protocol, section 3).
//!
//! Only what Piko needs: binary messages as one byte stream, whose message borders mean nothing. There
//! is no text, no extension and no subprotocol.
//!
//! ```text
//!   wire ──► Conn::handle_input ──► payload, unmasked and without gaps, in the caller's own buffer
//!   wire ◄── Conn::frame        ◄── one message around whatever the mux has queued
//!   wire ◄── Conn::poll_transmit    the pong or close that is owed
//! ```
//!
//! [`handshake`] turns an HTTP/1.1 connection into one that carries frames, on both sides.

mod conn;
mod control;
mod frame;
pub mod handshake;
mod json;
mod mask;
mod sha1;
#[cfg(test)]
mod tests;

pub use conn::{Conn, End, Input};
pub use frame::{FRONT_ROOM, Role};
