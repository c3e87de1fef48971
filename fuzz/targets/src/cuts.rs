//! Where a stream of bytes is cut, derived from one byte of the input.

use piko_core::rng::Rng;

/// Longer than any input that the fuzzer makes itself.
const LONG_BYTES: usize = 4096;

/// Sizes of pieces, for ever.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    rng: Rng,
    widest: u64,
}

impl Cuts {
    /// Pieces of `wire`. The low three bits of `seed` are the widest piece as a power of two, so that 0 means
    /// byte by byte; the pieces of a long wire are wider, which keeps a run short.
    pub(crate) fn new(seed: u8, wire: &[u8]) -> Self {
        let longer = if wire.len() > LONG_BYTES { 7 } else { 0 };
        Self { rng: Rng::new(u64::from(seed)), widest: 1 << (seed % 8 + longer) }
    }

    /// Everything in one piece.
    pub(crate) fn whole() -> Self {
        Self { rng: Rng::new(0), widest: 0 }
    }

    /// Splits the next piece off `wire`; it is empty only when `wire` is.
    pub(crate) fn next<'w>(&mut self, wire: &mut &'w [u8]) -> &'w [u8] {
        let n = match self.widest {
            0 => wire.len(),
            // At most 16 KiB.
            widest => (1 + self.rng.below(widest) as usize).min(wire.len()),
        };
        let (piece, rest) = wire.split_at(n);
        *wire = rest;
        piece
    }
}
