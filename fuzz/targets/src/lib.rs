//! Fuzz targets as plain functions: each takes any bytes, drives one machine of `piko-core` with them, and
//! panics when an invariant breaks.
//!
//! `cargo fuzz run <name>` calls them through the shells in `fuzz/fuzz_targets`; the test `replay` runs the
//! committed corpora on stable. The first bytes of an input choose the role, the limits and where the rest is
//! cut; the rest is what a peer sends.

mod cuts;
mod gossip_datagram;
mod gossip_peers;
mod gossip_stream;
mod http;
mod http1_request;
mod http1_response;
mod mux_app;
mod mux_input;
mod mux_model;
mod mux_plan;
mod mux_wire;
mod preface;
mod via;
mod ws_input;

pub use gossip_datagram::gossip_datagram;
pub use gossip_stream::gossip_stream;
pub use http1_request::http1_request;
pub use http1_response::http1_response;
pub use mux_input::mux_input;
pub use preface::preface;
pub use via::via;
pub use ws_input::ws_input;

/// A target: panics when an invariant breaks.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus, in alphabetical order.
pub const TARGETS: [(&str, Target); 8] = [
    ("gossip_datagram", gossip_datagram),
    ("gossip_stream", gossip_stream),
    ("http1_request", http1_request),
    ("http1_response", http1_response),
    ("mux_input", mux_input),
    ("preface", preface),
    ("via", via),
    ("ws_input", ws_input),
];
