//! Turn-taking among equals, draws by weight, and the choice of what to shed.

use crate::id::TunnelId;
use alloc::vec::Vec;

/// Up to so many candidates are all looked at; of more, two.
const SCAN_MAX: usize = 8;

/// Picks the best of `count` candidates by `cost`: small is good, `None` is out of the question. Among
/// equals it is whose `turn` it is, so that idle tunnels are served strictly in turn, as in Go.
///
/// Of many candidates it is the one whose turn it is or a random other one. `is_fine` says that a cost needs
/// no further search; only where neither of the two is fine, all are looked at.
pub(super) fn pick<C: Ord + Copy>(
    count: usize,
    turn: usize,
    dice: u64,
    cost: impl Fn(usize) -> Option<C>,
    is_fine: impl Fn(&C) -> bool,
) -> Option<(usize, C)> {
    let first = turn.checked_rem(count)?;
    let all_from = |start: usize| (start..count).chain(0..start).filter_map(|at| Some((at, cost(at)?)));
    if count > SCAN_MAX {
        let fine_from = |start: usize| all_from(start).find(|(_, cost)| is_fine(cost));
        if let Some(in_turn) = fine_from(first) {
            let random = fine_from((dice % count as u64) as usize).filter(|random| random.1 < in_turn.1);
            return Some(random.unwrap_or(in_turn));
        }
    }
    all_from(first).min_by_key(|(_, cost)| *cost)
}

/// Picks by weight: `weight` is zero for those that may not be picked. Two draws out of one `dice`, of which
/// `better(one, two)` says whether the second wins.
pub(super) fn pick_weighted(
    count: usize,
    dice: u64,
    weight: impl Fn(usize) -> u32,
    second_is_better: impl Fn(usize, usize) -> bool,
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
    Some(if one != two && second_is_better(one, two) { two } else { one })
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
