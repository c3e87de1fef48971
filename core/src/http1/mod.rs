//! HTTP/1 on both sides of a proxy (RFC 9110, RFC 9112): heads, bodies, keep-alive. No sockets, no proxying.
//!
//! [`ServerConn`] faces a client, [`ClientConn`] a service. Each owns the framing of one connection and no
//! bytes: the caller keeps what is not done with and hands in the whole rest each time.
//!
//! ```text
//!               head               data*, trailers?, end
//!   request   Idle ──────► Body ──────────────────────────► Done ──┐ both Done, nobody asked for the end:
//!   response  Idle ──────► Body ──────────────────────────► Done ──┴─► Idle, Idle   (the next request)
//!              │ ▲ 1xx      │ cut, malformed                  │
//!              └─┘          ▼                                 │ 101, or 2xx to CONNECT
//!                         Failed (never complete)             ▼
//!                                                          Switched (opaque bytes both ways)
//! ```
//!
//! # Requests are judged strictly
//!
//! What two parsers could read differently is refused, with the status in brackets: content-length together
//! with transfer-encoding, differing lengths, lengths that are no numbers, transfer-encoding in HTTP/1.0 or
//! other than one final `chunked` (400, for unknown codings 501), folded lines, whitespace around names, bare
//! CR or LF, control characters, several, missing or malformed Host fields, targets in no legal form (400),
//! other major versions (505), other expectations than `100-continue` (417), heads beyond the limits (431). One empty
//! line before a request is forgiven. A first line that cannot become legal is refused before its head is complete.
//!
//! # Responses are normalised where one reading is certain
//!
//! Transfer-encoding wins over a length, and identical lengths collapse; the connection is not reused after
//! the former. Bare LF ends a line of a head. Whitespace between a name and its colon is read over, in trailers
//! too (RFC 9112 5.1). Folded lines are repaired by the caller with [`unfold`]. Whatever is beyond that is 502.
//!
//! # What is written is canonical
//!
//! Fields keep their names, order and values; framing and connection fields are written by the machine alone.

mod body;
mod chars;
mod client;
mod config;
mod error;
mod facts;
mod fields;
mod head;
mod kind;
mod marks;
mod parse;
mod respond;
mod scan;
mod server;
mod state;
mod target;
mod write;

pub(crate) use chars::is_reg_name_byte;
pub use client::{ClientConn, Reuse};
pub use config::Config;
pub use error::{Fault, Refused};
pub use fields::{FieldIter, Fields, is_name, is_token, is_value, list_has, list_members, write_field};
pub(crate) use fields::{Line, is_usual_option};
pub use head::{BodyLength, Part, RequestHead, RequestPart, ResponseHead, ResponsePart, Version};
pub use kind::NODE_FIELD;
pub(crate) use kind::{Kind, LOAD_FIELD};
pub use parse::peek_request_line;
pub use respond::Next;
pub use scan::unfold;
pub use server::ServerConn;
