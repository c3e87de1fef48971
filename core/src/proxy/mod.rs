//! One proxied request: routing fields, header rules, deadlines, retries, local answers. Knows no framing.
//!
//! ```text
//!          handle_request            handle_response
//!  Idle ───────┬──────────► Waiting ───────┬──────────► Responding ──► finish: Complete
//!              │             │  ▲          │ 101
//!              │ TCP path    │  │ Retry    ▼
//!              ├───────────► Opening ──► Switched ───────────────────► finish: Switched
//!              │             │
//!              ▼             ▼
//!            Ended (an answer made here, or the exchange is aborted)
//! ```
//!
//! The driver owns both connections and moves the bytes; an [`Exchange`] says what to do with them. The
//! rules are those of Piko's wire protocol, section 6, with RFC 9110 (7.6, 9.2.2, 10.1) and RFC 9112 (3.2).

mod answer;
mod budget;
mod config;
mod deadlines;
mod endpoint;
mod exchange;
pub mod fields;
mod record;
mod retry;
mod step;
mod target;
mod trouble;

pub use crate::http1::NODE_FIELD;
pub use answer::{Answer, cause};
pub use budget::RetryBudget;
pub use config::{Config, Place};
pub use exchange::Exchange;
pub use record::{Ended, Method, Record};
pub use step::{Failure, Leg, Peer, Step};
pub use trouble::{Sender, Trouble, is_without_tls, load_of, trouble};

#[cfg(test)]
mod tests;
