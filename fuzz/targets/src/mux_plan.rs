//! What the first bytes of an input choose, and the peer's bytes that the rest stands for.

use piko_core::mux::{Budget, Config, Session, Side};
use piko_core::time::Instant;
use std::sync::Arc;

/// All bytes of the peer together: two windows and a little.
const WIRE_BYTES_MAX: usize = 640 * 1024;
/// A session on a device with little memory.
const SMALL_BUDGET_BYTES: usize = 32 * 1024;

/// `[flags][cuts][n][n script bytes][peer's bytes, or frames in short form]`.
///
/// Flags: 1 client side; 2 tiny limits; 4 room for a WebSocket header; 8 small budget; 16 short form; 32 and 64
/// how many streams are opened first.
pub(crate) struct Plan<'d> {
    flags: u8,
    pub(crate) cuts: u8,
    /// What the application does between the pieces: pairs of verb and argument.
    pub(crate) script: &'d [u8],
    pub(crate) wire: Vec<u8>,
}

impl<'d> Plan<'d> {
    /// `None` when the input is too short.
    pub(crate) fn new(data: &'d [u8]) -> Option<Self> {
        let [flags, cuts, n, rest @ ..] = data else { return None };
        let (script, rest) = rest.split_at(usize::from(*n).min(rest.len()));
        let wire = if flags & 16 == 0 { rest.to_vec() } else { expand(rest) };
        Some(Self { flags: *flags, cuts: *cuts, script, wire })
    }

    pub(crate) fn session(&self) -> (Session, Arc<Budget>) {
        let budget =
            Arc::new(if self.flags & 8 == 0 { Budget::default() } else { Budget::new(SMALL_BUDGET_BYTES) });
        let mut config = Config::default();
        config.front_room = self.front_room();
        config.budget = budget.clone();
        if self.flags & 2 != 0 {
            config.incoming_max = 3;
            config.accept_backlog = 2;
            config.unacked_max = 2;
            config.quantum = 7;
        }
        let side = if self.flags & 1 == 0 { Side::Server } else { Side::Client };
        (Session::new(side, config, Instant::ZERO), budget)
    }

    pub(crate) fn front_room(&self) -> usize {
        if self.flags & 4 == 0 { 0 } else { 14 }
    }

    /// Streams that the application opens before the peer says anything.
    pub(crate) fn opened_first(&self) -> usize {
        usize::from(self.flags >> 5 & 3)
    }

    /// The first id that this side gives, and the parity of all of them.
    pub(crate) fn first_id(&self) -> u32 {
        if self.flags & 1 == 0 { 2 } else { 1 }
    }
}

/// Frames in short form, four bytes each: `[kind and flags][id][length, high][length, low]`. A data frame gets a
/// body of that length, and with its top bit set one of sixteen times the length, so that a short input can
/// fill windows.
fn expand(short: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in short.chunks_exact(4) {
        let &[what, id, high, low] = frame else { continue };
        let (kind, flags) = (what & 3, what >> 2 & 0x1f);
        let length = u32::from(u16::from_be_bytes([high, low]));
        let length = if what & 0x80 == 0 { length } else { length * 16 };
        wire.extend_from_slice(&[0, kind, 0, flags, 0, 0, 0, id]);
        wire.extend_from_slice(&length.to_be_bytes());
        if kind == 0 {
            // The last one may be cut.
            let length = (length as usize).min(WIRE_BYTES_MAX.saturating_sub(wire.len()));
            wire.extend((0..length).map(|at| (at as u8).wrapping_mul(29) ^ low));
        }
        if wire.len() >= WIRE_BYTES_MAX {
            break;
        }
    }
    wire
}
