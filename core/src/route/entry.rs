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

/// So many requests per listener more than another one's are chance, whatever their share.
const TAKEN_SLACK: usize = 4;

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

    pub(super) fn has_other(&self, exclude: &[Route]) -> bool {
        let is_left = |(tunnel, _): &(TunnelId, _)| !exclude.contains(&Route::Local(*tunnel));
        self.locals.iter().any(is_left) || self.remotes.iter().any(|remote| remote.is_usable(exclude))
    }

    /// There is this one tunnel and nobody else.
    pub(super) fn only_one(&self) -> Option<TunnelId> {
        match (self.locals.as_slice(), self.remotes.as_slice()) {
            ([(tunnel, _)], []) => Some(*tunnel),
            _ => None,
        }
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

    /// How local tunnels stand: those that `local` stands for, for few of them.
    pub(super) fn local_stand(&self, local: BestLocal) -> Stand {
        if self.locals.len() > LOCALS_SUMMED_MAX {
            let taken = self.locals.get(local.at).map_or(0, |(_, load)| load.taken());
            return Stand { queue: local.outstanding, taken, listeners: 1 };
        }
        let none = Stand { queue: 0, taken: 0, listeners: self.locals.len() };
        self.locals.iter().fold(none, |sum, (_, load)| Stand {
            queue: sum.queue.saturating_add(load.outstanding()),
            taken: sum.taken.saturating_add(load.taken()),
            ..sum
        })
    }

    /// What was long ago counts for less in an even spread.
    pub(super) fn forget_half(&self) {
        let locals = self.locals.iter().map(|(_, load)| load);
        locals.chain(self.remotes.iter().map(|remote| &remote.load)).for_each(|load| load.forget_half());
    }

    pub(super) fn pick_local(&self, now: Instant, at: usize) -> Option<Pick> {
        let (tunnel, load) = self.locals.get(at)?;
        Some(Pick::new(now, Route::Local(*tunnel), load, None, None))
    }

    pub(super) fn best_remote_rank(&self, choice: Choice<'_>) -> Option<Rank> {
        let usable = self.remotes.iter().filter(|remote| remote.is_usable(choice.exclude));
        usable.map(|remote| remote.rank(choice.now)).min()
    }

    /// As [`Stand::gives_way_to`], of two nodes.
    pub(super) fn gives_way_to(&self, one: usize, two: usize, now: Instant) -> bool {
        let (Some(one), Some(two)) = (self.remotes.get(one), self.remotes.get(two)) else { return false };
        one.stand(now).gives_way_to(two.stand(now))
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

    pub(super) fn stand(&self, now: Instant) -> Stand {
        Stand { queue: self.load.queue(now), taken: self.load.taken(), listeners: self.listeners as usize }
    }
}

/// How local tunnels, or those of another node, stand when requests are to be spread evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// Requests under way there.
    pub(super) queue: usize,
    /// Requests of late that they were chosen for here.
    pub(super) taken: usize,
    pub(super) listeners: usize,
}

impl Stand {
    /// Whether `other` gets the request that chance has given to this one.
    ///
    /// Where the other one is clearly less busy, as long as it has not had many more; where neither is, when it has had
    /// fewer, be it by chance or since it was passed over for a moment. How busy each is cannot be told exactly, as what is
    /// between nodes counts with whoever sent it, so that without a limit whoever is measured best, which are local tunnels,
    /// would be favoured.
    pub(super) fn gives_way_to(self, other: Self) -> bool {
        // In words: at most three eighths more than this one.
        let has_had_many_more = || other.has_had_more_than(self, 11);
        match self.cmp_queues(other) {
            Ordering::Greater => !has_had_many_more(),
            Ordering::Equal => self.has_had_more_than(other, 9),
            Ordering::Less => false,
        }
    }

    /// More requests per listener of late than so many eighths of what the other one has had, and a few.
    fn has_had_more_than(self, other: Self, eighths: usize) -> bool {
        let slack = self.listeners.saturating_mul(other.listeners).saturating_mul(TAKEN_SLACK);
        let ours = self.taken.saturating_mul(other.listeners);
        let theirs = other.taken.saturating_mul(self.listeners);
        ours > (theirs.saturating_mul(eighths) / 8).saturating_add(slack)
    }

    /// Whose requests under way per listener are clearly fewer than those of another: by half and two. The draw has spread
    /// them evenly already, and the numbers of one moment are chance.
    fn cmp_queues(self, other: Self) -> Ordering {
        let slack = self.listeners.saturating_mul(other.listeners).saturating_mul(2);
        let ours = self.queue.saturating_mul(other.listeners);
        let theirs = other.queue.saturating_mul(self.listeners);
        let clearly = |more: usize, less: usize| more > less.saturating_mul(2).saturating_add(slack);
        if clearly(ours, theirs) {
            Ordering::Greater
        } else if clearly(theirs, ours) {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }
}
