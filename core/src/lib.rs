//! Pure state machines: bytes, time and commands go in; bytes, deadlines and events come out.
//!
//! # The contract of every machine
//!
//! | prefix | direction | rule |
//! |---|---|---|
//! | `handle_*` | world → machine | takes `now`; fails only because of the peer; never blocks, never sleeps |
//! | plain verbs | application → machine | may be refused (`Blocked`), never waits |
//! | `poll_transmit` | machine → wire | fills memory that the caller owns, up to a budget |
//! | `poll_event`, `poll_timeout` | machine → application, clock | `poll_timeout` is a pure read, O(1) |
//!
//! Extra, early or reordered calls cost latency, never correctness. The same bytes in other chunks
//! give the same result. Every queue is bounded in bytes and in count. No input of a peer panics.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod base64;
pub mod gossip;
pub mod http1;
pub mod id;
pub mod mux;
pub mod preface;
pub mod proxy;
pub mod rng;
pub mod route;
pub mod time;
pub mod tunnel;
pub mod via;
pub mod ws;
