//! The multiplexer: yamux streams over one ordered byte pipe (wire protocol, section 4).
//!
//! [`Session`] is one end of the pipe. Bytes from the transport go into [`Session::handle_input`], bytes for
//! it come out of [`Session::poll_transmit`]; streams are read and written through the borrowed views
//! [`RecvStream`] and [`SendStream`].
//!
//! # The life of a stream
//!
//! Each half ends on its own; a reset ends both at once.
//!
//! ```text
//!   open: SYN queued                         SYN received ── backlog full, limit, go-away ──► RST, never a stream
//!        │                                        │
//!        │ (data may follow at once)          waits in the backlog
//!        ▼                                        ▼
//!     unacknowledged ──75 s──► RST            accept: ACK owed
//!        │ ACK, data or FIN received              │
//!        └──────────────────┬─────────────────────┘
//!                           ▼
//!   send half:  Open ── finish ──► FinOwed ── poll_transmit ──► FinSent ── 5 min of silence ──► RST
//!   recv half:  Open ── FIN received ──► Ended (buffered bytes first, then the clean end)
//!   both:       RST received, or reset ──► reset (bytes from before a received RST first, then the error)
//!
//!   release:    not finished ──► RST owed ──► gone
//!               finished, FIN not yet received ──► discard mode ── FIN, or 1 MiB or 10 s and RST ──► gone
//!               finished, FIN received ──► gone once the own FIN was handed out
//! ```
//!
//! An id that [`Session::open`] or [`Session::accept`] gave stays valid until [`Session::release`].
//!
//! # What is owed, not queued
//!
//! ACK, credit, FIN and RST are flags of their stream until [`Session::poll_transmit`] turns them into
//! frames, so no flood can grow a queue. The bytes that exist before the wire asks for them are those of one
//! outbox of at most 280 KiB: SYN and data frames, copied there once.

mod budget;
mod config;
mod error;
mod flow;
mod frame;
mod handle;
mod index;
mod input;
mod keepalive;
mod line;
mod outbox;
mod output;
mod pressure;
mod queue;
mod session;
mod stream;
mod table;
mod timeouts;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use config::{Config, FAST_TURN, INITIAL_WINDOW_BYTES, INPUT_BYTES_MAX, LAZY_TIME, LAZY_TIME_CALM};
pub use error::{CloseReason, GoAway, OpenError, ReadError, WriteError};
pub use handle::{Finish, FrameWriter, RecvStream, SendStream};
pub use index::StreamIndex;
pub use session::{Event, Session, Side};
