//! Who serves one endpoint, and which of them a request gets.

use super::balance;
use super::load::{Load, QUIET_LOCAL, QUIET_REMOTE, Rank};
use super::pick::{NodeState, Pick};
use super::router::Route;
use crate::id::{NodeId, TunnelId};
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

/// Of more local tunnels than these the one in turn, or a less busy one, stands for all: the sum is part of every request.
const LOCALS_SUMMED_MAX: usize = 8;

/// Who serves one endpoint.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// In the order in which they came, which is the order of turns.
    pub(super) locals: Vec<(TunnelId, Arc<Load>)>,
    pub(super) remotes: Vec<Remote>,
    /// Whose turn it is; wraps.
    turn: AtomicUsize,
}

/// Another node's listeners of one endpoint.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) state: Arc<NodeState>,
    pub(super) load: Arc<Load>,
    pub(super) listeners: u32,
}

/// The circumstances of one choice.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) now: Instant,
    pub(super) dice: u64,
    pub(super) exclude: &'a [Route],
}

/// The local tunnel whose turn it is.
#[derive(Clone, Copy)]
pub(super) struct BestLocal {
    pub(super) at: usize,
    pub(super) rank: Rank,
    pub(super) outstanding: usize,
}

impl Entry {
    pub(super) fn listeners(&self) -> u32 {
        u32::try_from(self.locals.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.locals.is_empty() && self.remotes.is_empty()
    }

    pub(super) fn is_served(&self) -> bool {
        !self.locals.is_empty() || self.remotes.iter().any(|remote| remote.state.is_up())
    }

    pub(super) fn best_local(&self, choice: Choice<'_>) -> Option<BestLocal> {
        if self.locals.is_empty() {
            return None;
        }
        let cost = |at: usize| {
            let (tunnel, load) = self.locals.get(at)?;
            let tried = choice.exclude.contains(&Route::Local(*tunnel));
            (!tried).then(|| (load.rank(choice.now, QUIET_LOCAL), load.outstanding()))
        };
        let turn = self.turn.fetch_add(1, Relaxed);
        let is_fine = |cost: &(Rank, usize)| cost.0 == Rank::Good;
        let (at, (rank, outstanding)) = balance::pick(self.locals.len(), turn, choice.dice, cost, is_fine)?;
        Some(BestLocal { at, rank, outstanding })
    }

    /// The requests under way on local tunnels, and on how many: on those that `local` stands for, for few of them.
    pub(super) fn local_share(&self, local: BestLocal) -> (usize, usize) {
        if self.locals.len() > LOCALS_SUMMED_MAX {
            return (local.outstanding, 1);
        }
        let all = self.locals.iter().map(|(_, load)| load.outstanding());
        (all.fold(0, usize::saturating_add), self.locals.len())
    }

    pub(super) fn pick_local(&self, now: Instant, at: usize) -> Option<Pick> {
        let (tunnel, load) = self.locals.get(at)?;
        Some(Pick::new(now, Route::Local(*tunnel), load, None, None))
    }

    pub(super) fn best_remote_rank(&self, choice: Choice<'_>) -> Option<Rank> {
        let usable = self.remotes.iter().filter(|remote| remote.is_usable(choice.exclude));
        usable.map(|remote| remote.rank(choice.now)).min()
    }

    /// Fewer requests under way per listener, compared without dividing.
    pub(super) fn is_less_busy(&self, one: usize, than: usize, now: Instant) -> bool {
        let (Some(one), Some(than)) = (self.remotes.get(one), self.remotes.get(than)) else { return false };
        let busy = |remote: &Remote| remote.load.queue(now) as u64;
        busy(one).saturating_mul(u64::from(than.listeners))
            < busy(than).saturating_mul(u64::from(one.listeners))
    }
}

impl Remote {
    /// A node is excluded by its name: its address may have changed since it was tried.
    pub(super) fn is_usable(&self, exclude: &[Route]) -> bool {
        self.state.is_up()
            && !exclude.iter().any(|tried| matches!(tried, Route::Remote { node, .. } if *node == self.node))
    }

    pub(super) fn rank(&self, now: Instant) -> Rank {
        let quiet = QUIET_REMOTE.saturating_mul(self.listeners as usize);
        self.state.rank(now).max(self.load.rank(now, quiet))
    }

    pub(super) fn weight(&self, choice: Choice<'_>, rank: Rank) -> u32 {
        if self.is_usable(choice.exclude) && self.rank(choice.now) == rank { self.listeners } else { 0 }
    }

    /// Whose requests under way per listener are clearly fewer than those of another, of so many listeners: by half and
    /// two. The draw has spread them evenly already; the numbers of one moment are chance, and would favour whoever is
    /// measured best, which are local tunnels.
    pub(super) fn clearly_cmp(one: (usize, usize), two: (usize, usize)) -> Ordering {
        let slack = one.1.saturating_mul(two.1).saturating_mul(2);
        let (one, two) = (one.0.saturating_mul(two.1), two.0.saturating_mul(one.1));
        let clearly = |more: usize, less: usize| more > less.saturating_mul(2).saturating_add(slack);
        if clearly(one, two) {
            Ordering::Greater
        } else if clearly(two, one) {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }

    /// What is under way at the node, and for how many listeners.
    pub(super) fn share(&self, now: Instant) -> (usize, usize) {
        (self.load.queue(now), self.listeners as usize)
    }
}
