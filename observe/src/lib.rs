//! What server and agent show of themselves, written once for both: log lines, the access log, metrics.
//!
//! | module | what | where it goes |
//! |---|---|---|
//! | [`log`] | every `tracing` event as one JSON line, in the shape of Go Piko | stderr, one write per line |
//! | [`access`] | one JSON line per request, formatted by hand | stderr, in batches, never blocking a request |
//! | [`complain`](complain()) | one line for the user, such as a mistake of the command line | stderr, if somebody reads |
//! | [`metrics`] | cells and their text | the caller's `String`, for `GET /metrics` |
//!
//! The crate is linked into the small agent: no subscriber framework, no serialiser, no registry.

mod complain;
mod json;
mod options;
mod sink;
mod stamp;

pub mod access;
pub mod log;
pub mod metrics;

pub use complain::complain;
