//! Metrics as plain cells, and their text for Prometheus (exposition format 0.0.4).
//!
//! Names, labels, buckets and number formats are those of Go Piko v0.9 (operations, section 1), so that existing
//! dashboards and recording rules go on. There is no registry: whoever owns cells renders them, families in the
//! order of their names as the Go client prints them.
//!
//! A request costs a handful of relaxed additions and no lookup of labels. Sums are kept as whole nanoseconds
//! and bytes, so that they are exact.

mod cell;
mod histogram;
mod http;
mod number;
mod process;
mod reloads;
mod tcp;
mod text;

pub use cell::{Counter, CounterVec, Gauge};
pub use http::{HttpMetrics, render_all};
pub use number::Number;
pub use process::{render_build_info, render_process};
pub use reloads::render_reloads;
pub use tcp::{TcpMetrics, render_tcp};
pub use text::{CONTENT_TYPE, Kind, family, sample};
