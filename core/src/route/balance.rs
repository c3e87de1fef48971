//! Turn-taking among equals, suspicion, and the choice of what to shed.

use crate::id::TunnelId;
use crate::time::Instant;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

/// How long a tunnel or node that failed is passed over, in milliseconds (design guide, A.4). One second
/// outlasts a restart's refused connections and is short enough that a mistaken suspicion does no harm.
pub(super) const SUSPECTED_MS: usize = 1_000;

/// What changes with every request to one tunnel or node.
///
/// Relaxed ordering everywhere: the numbers steer a choice, and nothing else is published through them.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Requests under way.
    outstanding: AtomicUsize,
    /// Milliseconds of the caller's clock until which it is suspected, cut to a word; zero is never.
    suspected_until: AtomicUsize,
}

impl Load {
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(super) fn count_in(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops at zero, so that a release too many cannot make a tunnel look endlessly busy.
    pub(super) fn count_out(&self) {
        let less = |n: usize| n.checked_sub(1);
        // The error case is the count that was zero already, which is what stopping at zero means.
        let _ = self.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn suspect(&self, now: Instant) {
        let until = millis(now).wrapping_add(SUSPECTED_MS);
        self.suspected_until.store(until.max(1), Ordering::Relaxed);
    }

    /// On 32-bit targets the clock wraps after 49 days. The difference is right across the wrap, and an
    /// old mark is taken for a new one during one second in 49 days, which costs a detour at most.
    pub(super) fn is_suspected(&self, now: Instant) -> bool {
        let until = self.suspected_until.load(Ordering::Relaxed);
        until != 0 && (1..=SUSPECTED_MS).contains(&until.wrapping_sub(millis(now)))
    }
}

/// Milliseconds of the clock; losing the upper half on 32-bit targets is intended (see `is_suspected`).
fn millis(now: Instant) -> usize {
    (now.as_nanos() / 1_000_000) as usize
}

/// Picks one of `count` candidates: the one whose turn it is or a random other one, whichever has fewer
/// requests under way. Idle tunnels are so served strictly in turn, as in Go, and a slow one is avoided.
///
/// `usable` says which may be picked, `outstanding` how busy one is.
pub(super) fn pick(
    count: usize,
    turn: usize,
    dice: u64,
    usable: impl Fn(usize) -> bool,
    outstanding: impl Fn(usize) -> usize,
) -> Option<usize> {
    let first_from = |start: usize| (start..count).chain(0..start).find(|&at| usable(at));
    let in_turn = first_from(turn.checked_rem(count)?)?;
    let random = first_from((dice % count as u64) as usize)?;
    Some(if outstanding(random) < outstanding(in_turn) { random } else { in_turn })
}

/// Picks by weight: `weight` is zero for those that may not be picked.
///
/// Two draws out of one `dice`, of which the one with fewer requests under way wins.
pub(super) fn pick_weighted(
    count: usize,
    dice: u64,
    weight: impl Fn(usize) -> u32,
    outstanding: impl Fn(usize) -> usize,
) -> Option<usize> {
    let total = (0..count).map(|at| u64::from(weight(at))).fold(0, u64::saturating_add);
    let draw = |number: u64| {
        let mut left = number.checked_rem(total)?;
        (0..count).find(|&at| match left.checked_sub(u64::from(weight(at))) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    };
    let (one, two) = (draw(dice)?, draw(dice.rotate_left(32))?);
    Some(if outstanding(two) < outstanding(one) { two } else { one })
}

/// One tunnel that could be shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Tunnels that its endpoint has before this one goes.
    pub(super) siblings: usize,
    pub(super) outstanding: usize,
    pub(super) tunnel: TunnelId,
}

/// The `count` best tunnels to shed: out of the endpoints that have the most, so that an endpoint loses
/// its last tunnel only when no other has two; then the least busy; then the youngest.
pub(super) fn shed(mut candidates: Vec<Candidate>, count: usize) -> Vec<TunnelId> {
    candidates.sort_unstable_by(|a, b| {
        (b.siblings.cmp(&a.siblings)).then(a.outstanding.cmp(&b.outstanding)).then(b.tunnel.cmp(&a.tunnel))
    });
    candidates.truncate(count);
    candidates.into_iter().map(|candidate| candidate.tunnel).collect()
}
