//! A Piko agent as a WebAssembly module. It imports nothing: whoever hosts it owns the socket, the clock and the
//! source of chance, and `run.mjs` is such a host for node.
//!
//! | export | |
//! | --- | --- |
//! | `alloc(len)` | where the host writes `len` bytes for the next call; valid until then |
//! | `init(now, host_len, endpoint_len)` | begins with 16 random bytes, the value of `Host` and the endpoint id in the buffer; 0, or 1 when there can be no such endpoint |
//! | `handle(now, len)` | the first `len` bytes of the buffer came from the socket |
//! | `handle_eof(now)` | the socket has ended |
//! | `handle_timeout(now)` | the time of `poll_timeout` has come |
//! | `poll_transmit(now, mask)` | how many bytes are to be written to the socket; call again until it says 0 |
//! | `transmit()` | where those bytes are; valid until the next call |
//! | `poll_timeout()` | when `handle_timeout` is wanted; infinite for never |
//! | `wants_input()` | 0 while the socket is not to be read, because too much is buffered |
//! | `state()` | 0 upgrading, 1 connected, 2 ended |
//!
//! Times are milliseconds of one clock that never goes back, as `performance.now()` gives them. `mask` is a new
//! strong random number for each call (RFC 6455 10.3). Calls of any order and number are safe.

mod agent;
#[path = "../../../core/examples/blocking/service.rs"]
mod service;

use agent::Agent;
use piko_core::time::Instant;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of the host in front of the names: the key of the upgrade request (RFC 6455 4.1).
const KEY_BYTES: usize = 16;
/// The most that `alloc` gives, in bytes. Hosts hand over larger chunks in pieces.
const INPUT_BYTES_MAX: usize = 1 << 20;

struct Module {
    agent: Option<Agent>,
    input: Vec<u8>,
}

/// The one agent of this instance: exported functions have no `self`.
static MODULE: Mutex<Module> = Mutex::new(Module { agent: None, input: Vec::new() });

fn module() -> MutexGuard<'static, Module> {
    MODULE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fractions of a millisecond count; what is no time becomes the epoch.
fn time(now: f64) -> Instant {
    Instant::from_nanos((now * 1e6) as u64)
}

/// Room for `len` bytes, at most 1 MiB, which the host fills.
#[allow(unsafe_code)] // The exported name; see Cargo.toml. The same holds for every function below.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    let mut module = module();
    module.input.resize(len.min(INPUT_BYTES_MAX), 0);
    module.input.as_mut_ptr()
}

/// Begins: the buffer holds the key, the value of `Host` and the endpoint id. Says 0, or 1 when it cannot.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn init(now: f64, host_len: usize, endpoint_len: usize) -> u32 {
    let mut module = module();
    let Module { agent, input } = &mut *module;
    *agent = input.split_first_chunk().and_then(|(key, names): (&[u8; KEY_BYTES], _)| {
        let (host, rest) = names.split_at_checked(host_len)?;
        Agent::new(*key, host, rest.get(..endpoint_len)?, time(now))
    });
    u32::from(agent.is_none())
}

/// The first `len` bytes of the buffer came from the socket.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn handle(now: f64, len: usize) {
    let mut module = module();
    let Module { agent: Some(agent), input } = &mut *module else { return };
    agent.handle_input(time(now), input.get_mut(..len).unwrap_or_default());
}

/// The socket has ended.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn handle_eof(now: f64) {
    if let Some(agent) = &mut module().agent {
        agent.handle_eof(time(now));
    }
}

/// The time of [`poll_timeout`] has come.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn handle_timeout(now: f64) {
    if let Some(agent) = &mut module().agent {
        agent.handle_timeout(time(now));
    }
}

/// How many bytes are to be written to the socket.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn poll_transmit(now: f64, mask: u32) -> usize {
    module().agent.as_mut().map_or(0, |agent| agent.poll_transmit(time(now), mask.to_le_bytes()).len())
}

/// Where those bytes are.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn transmit() -> *const u8 {
    module().agent.as_ref().map_or(std::ptr::null(), |agent| agent.transmit().as_ptr())
}

/// When [`handle_timeout`] is wanted.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn poll_timeout() -> f64 {
    let deadline = module().agent.as_ref().and_then(Agent::poll_timeout);
    deadline.map_or(f64::INFINITY, |deadline| deadline.at.as_nanos() as f64 / 1e6)
}

/// Whether the socket is to be read.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn wants_input() -> u32 {
    u32::from(module().agent.as_ref().is_none_or(Agent::wants_input))
}

/// 0 upgrading, 1 connected, 2 ended.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn state() -> u32 {
    module().agent.as_ref().map_or(2, Agent::state)
}
