//! What changes with every request: counts, hints, and how much an upstream is trusted.
//!
//! All of it lives in atomics of the word size with relaxed ordering: the numbers steer a choice, and
//! nothing else is published through them.

use crate::time::Instant;
use core::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

/// How long a tunnel or node that failed is passed over, in milliseconds (design guide, A.4). One second
/// outlasts a restart's refused connections and is short enough that a mistaken suspicion does no harm.
pub(super) const SUSPECTED_MS: usize = 1_000;
/// So many failures in a row, and it is set aside: a burst of bad luck is shorter, an outage is not.
pub(super) const FAILURES_MAX: usize = 5;
/// For how long it is set aside at first, in milliseconds; doubled with each trial that fails.
pub(super) const ASIDE_MS: usize = 10_000;
/// The longest that it is set aside between two trials, and the longest that a trial is waited for.
pub(super) const ASIDE_MS_MAX: usize = 60_000;
/// So many requests without one answer make an upstream look stalled…
const STALLED_MIN: usize = 4;
/// … once the first of them has waited this long, in milliseconds. An upstream whose every answer takes
/// longer looks stalled too, as do its equals then, so that nothing changes between them.
const STALLED_MS: usize = 250;
/// How long that has to last, in milliseconds, where there have been answers: a hundred clients that are answered in one
/// turn ask again in the next one.
const QUIET_MS: usize = 5;
/// So many requests since its last answer, and a local tunnel gives way to others that answer. A queue moves; one that
/// does not is no queue, however many wait elsewhere. Of upstreams that answer out of order, one in 500 requests meets
/// nine others, and is as well served by the next one.
pub(super) const QUIET_LOCAL: usize = 9;
/// As [`QUIET_LOCAL`], for each listener of another node: fewer, since each node that sends there has to find out for
/// itself.
pub(super) const QUIET_REMOTE: usize = STALLED_MIN;
/// How many of a node's may be of one endpoint: a node stands still when two are silent.
const NODE_SHARE: usize = 3;
/// One that looks stalled gets a request after so many milliseconds, to find out whether it is; the next one after three
/// times as long, up to [`ASIDE_MS_MAX`]. Clients that give up before the server does leave no failure behind, so that what
/// they met is never set aside, and every node has to find out for itself.
const STALLED_TRIAL_MS: usize = ASIDE_MS;
/// The latest word of a node counts for one part in so many of what is believed.
const HINT_SHARE: isize = 8;
/// How long another node's word about its load is believed, in milliseconds.
const HINT_MS: usize = 2_000;
/// The latest response counts for one part in so many of the moving average.
const BODY_SHARE: usize = 8;
/// A larger body counts as this many bytes, so that one download does not outweigh the small answers of a minute.
const BODY_BYTES_MAX: usize = 1 << 20;

/// So many requests of one upstream or node are remembered for an even spread. Enough for chance to be small among them,
/// and few enough for who comes back to have its share again soon.
const TAKEN_MAX: usize = 512;

/// More requests than a node has at once.
const FOREIGN_MAX: isize = 1 << 20;

/// How good a choice is; the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Nothing speaks against it.
    Good,
    /// It has taken several requests since its last answer, which may be chance, or the start of a stall.
    Quiet,
    /// A node that is about to go: it serves, but what is opened there does not live long.
    Draining,
    /// It has failed within the last second, or takes requests and answers none.
    Suspected,
    /// It has failed time and again: for the case that there is nothing else.
    Aside,
}

/// Requests under way to one tunnel, or to one endpoint's listeners on one node.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Requests under way from here.
    outstanding: AtomicUsize,
    silence: Silence,
    /// Requests under way there that are not from here, as the node says: a moving average, times [`HINT_SHARE`]. It may be
    /// below zero, since the node's count and ours are not of the same moment.
    foreign: AtomicIsize,
    /// Until when that is believed.
    foreign_until: AtomicUsize,
    /// The moving average of what responses announced, in bytes.
    body_bytes: AtomicUsize,
    /// Requests of late that this process chose it for, for an even spread.
    taken: AtomicUsize,
    pub(super) health: Health,
}

impl Load {
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Own requests, and what the node said of those of others.
    pub(super) fn estimate(&self, now: Instant) -> usize {
        self.outstanding().saturating_add_signed(self.foreign(now).max(0))
    }

    /// What is under way at the node itself: of the own requests those that are between here and there do not count. To be
    /// compared with a local tunnel, which has no way to it; where services answer at once, the way is most of the time, and
    /// a local tunnel would get twice the requests of one elsewhere.
    pub(super) fn queue(&self, now: Instant) -> usize {
        self.outstanding().saturating_add_signed(self.foreign(now))
    }

    fn foreign(&self, now: Instant) -> isize {
        let is_believed = is_before(now, self.foreign_until.load(Ordering::Relaxed), HINT_MS);
        if is_believed { self.foreign.load(Ordering::Relaxed) / HINT_SHARE } else { 0 }
    }

    /// The node says that `total` requests are under way there, those from here included.
    pub(super) fn hint(&self, now: Instant, total: usize) {
        // Answers that are read in another order than they were written err in both directions; cut off at zero one by one
        // their mean would be above what is there, and the node seem busier than it is.
        let cut = |n: usize| isize::try_from(n).unwrap_or(isize::MAX).min(FOREIGN_MAX);
        let latest = cut(total) - cut(self.outstanding());
        let before = self.foreign.load(Ordering::Relaxed);
        let is_believed = is_before(now, self.foreign_until.load(Ordering::Relaxed), HINT_MS);
        let after = if is_believed { before - before / HINT_SHARE + latest } else { latest * HINT_SHARE };
        self.foreign.store(after, Ordering::Relaxed);
        self.foreign_until.store(later(now, HINT_MS), Ordering::Relaxed);
    }

    /// A response has a body of so many bytes. Two at once may count as one.
    pub(super) fn note_body(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(BODY_BYTES_MAX);
        let before = self.body_bytes.load(Ordering::Relaxed);
        let after = before - before / BODY_SHARE + bytes / BODY_SHARE;
        if after != before {
            self.body_bytes.store(after, Ordering::Relaxed);
        }
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Counts a request in that this process chose it for; true when it is time to [forget](Self::forget_half).
    pub(super) fn take(&self) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed) >= TAKEN_MAX
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// What was long ago counts for less than what was just now. A few that come in between may be lost.
    pub(super) fn forget_half(&self) {
        self.taken.store(self.taken() / 2, Ordering::Relaxed);
    }

    pub(super) fn count_in(&self, now: Instant) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.silence.request(now);
    }

    /// Whether a further request that is not answered may say something about the node.
    pub(super) fn tells_of_node(&self) -> bool {
        self.silence.unanswered.load(Ordering::Relaxed) < NODE_SHARE
    }

    /// Stops at zero, so that no order of calls can make a tunnel look endlessly busy.
    pub(super) fn count_out(&self) {
        decrease(&self.outstanding);
    }

    /// A connection was taken, which says nothing of who is behind.
    pub(super) fn accepted(&self) {
        self.silence.answer();
    }

    pub(super) fn answered(&self) {
        self.silence.answer();
        self.health.succeed();
    }

    /// A request was refused: nobody waits for its answer any more.
    pub(super) fn refused(&self) {
        self.silence.less();
    }

    /// `quiet` is how many requests without an answer are one too many.
    pub(super) fn rank(&self, now: Instant, quiet: usize) -> Rank {
        let unanswered = self.silence.unanswered.load(Ordering::Relaxed);
        // Where many are under way, many come between two batches of answers; what hangs has answered none of them.
        let waited = millis(now).wrapping_sub(self.silence.since.load(Ordering::Relaxed));
        let waited = waited >= QUIET_MS || !self.silence.heard.load(Ordering::Relaxed);
        let is_quiet = unanswered >= quiet
            && waited
            && unanswered.saturating_mul(4) >= self.outstanding().saturating_mul(3);
        let quiet = if is_quiet { Rank::Quiet } else { Rank::Good };
        self.health.rank(now).max(self.silence.rank(now)).max(quiet)
    }

    /// Set aside after failures in a row, whether or not a trial is due.
    pub(super) fn is_aside(&self) -> bool {
        self.health.aside_until.load(Ordering::Relaxed) != 0
    }

    /// True for one caller when this upstream, which is passed over, is due for a trial.
    pub(super) fn claim_trial(&self, now: Instant) -> Option<Trial> {
        if self.health.claim(now) {
            Some(Trial::Upstream)
        } else if self.health.rank(now) == Rank::Good && self.silence.claim(now) {
            Some(Trial::Stalled)
        } else {
            None
        }
    }
}

fn decrease(count: &AtomicUsize) {
    let less = |n: usize| n.checked_sub(1);
    // The error case is the count that was zero already, which is what stopping at zero means.
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

/// Requests that wait for an answer: a tunnel or node that takes them and says nothing is noticed long before
/// the first one times out.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Requests since the last answer.
    unanswered: AtomicUsize,
    /// When the first of those came, in milliseconds.
    since: AtomicUsize,
    /// When it was last tried although it looked stalled.
    tried: AtomicUsize,
    /// How often it has been tried since the last answer.
    trials: AtomicUsize,
    /// It has answered at all.
    heard: AtomicBool,
}

impl Silence {
    pub(super) fn request(&self, now: Instant) {
        if self.unanswered.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since.store(millis(now), Ordering::Relaxed);
            self.tried.store(millis(now), Ordering::Relaxed);
        }
    }

    pub(super) fn answer(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
        if self.trials.load(Ordering::Relaxed) != 0 {
            self.trials.store(0, Ordering::Relaxed);
        }
    }

    fn less(&self) {
        decrease(&self.unanswered);
    }

    /// Requests come and none is answered. That their clients give up and leave does not make it better.
    pub(super) fn rank(&self, now: Instant) -> Rank {
        let is_stalled = self.unanswered.load(Ordering::Relaxed) >= STALLED_MIN
            && millis(now).wrapping_sub(self.since.load(Ordering::Relaxed)) >= STALLED_MS;
        if is_stalled { Rank::Suspected } else { Rank::Good }
    }

    /// True for one caller per while: what looks stalled gets a request to prove itself.
    pub(super) fn claim(&self, now: Instant) -> bool {
        let tried = self.tried.load(Ordering::Relaxed);
        let trials = self.trials.load(Ordering::Relaxed);
        let pause = (STALLED_TRIAL_MS * 3_usize.pow(trials.min(4) as u32)).min(ASIDE_MS_MAX);
        let claimed = self.rank(now) != Rank::Good
            && millis(now).wrapping_sub(tried) >= pause
            && self.tried.compare_exchange(tried, millis(now), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if claimed {
            self.trials.store(trials + 1, Ordering::Relaxed);
        }
        claimed
    }
}

/// What a request is a trial of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// The node was set aside.
    Node,
    /// The upstream, or its node, looked stalled.
    Stalled,
    /// The upstream was set aside.
    Upstream,
}

/// How much a tunnel, a node, or a node's listeners of one endpoint are trusted.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Milliseconds of the caller's clock until which it is suspected, cut to a word; zero is never.
    suspected_until: AtomicUsize,
    /// Failures since the last answer.
    failures: AtomicUsize,
    /// Until when it is set aside; zero is not at all. Once that has passed, it is due for a trial.
    aside_until: AtomicUsize,
    /// Trials in a row that failed.
    trials_failed: AtomicUsize,
}

impl Health {
    pub(super) fn rank(&self, now: Instant) -> Rank {
        if self.aside_until.load(Ordering::Relaxed) != 0 {
            Rank::Aside
        } else if is_before(now, self.suspected_until.load(Ordering::Relaxed), SUSPECTED_MS) {
            Rank::Suspected
        } else {
            Rank::Good
        }
    }

    pub(super) fn suspect(&self, now: Instant) {
        self.suspected_until.store(later(now, SUSPECTED_MS), Ordering::Relaxed);
    }

    /// One failure more. What is set aside already stays so: stragglers of the same outage tell nothing new,
    /// unless the failure is that of the `trial`.
    pub(super) fn fail(&self, now: Instant, trial: bool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_aside = self.aside_until.load(Ordering::Relaxed) != 0;
        let span = if trial {
            let failed = self.trials_failed.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            ASIDE_MS.checked_shl(failed.min(8) as u32).unwrap_or(ASIDE_MS_MAX).min(ASIDE_MS_MAX)
        } else if !is_aside && failures >= FAILURES_MAX {
            self.trials_failed.store(0, Ordering::Relaxed);
            ASIDE_MS
        } else {
            return;
        };
        self.aside_until.store(later(now, span), Ordering::Relaxed);
    }

    /// It has answered. Reads only, as long as all is well.
    pub(super) fn succeed(&self) {
        for cell in [&self.failures, &self.aside_until, &self.suspected_until] {
            if cell.load(Ordering::Relaxed) != 0 {
                cell.store(0, Ordering::Relaxed);
            }
        }
    }

    /// True for one caller once the time is up. Nobody else gets it until that trial is judged, or for
    /// [`ASIDE_MS_MAX`].
    pub(super) fn claim(&self, now: Instant) -> bool {
        let until = self.aside_until.load(Ordering::Relaxed);
        until != 0
            && !is_before(now, until, ASIDE_MS_MAX)
            && self
                .aside_until
                .compare_exchange(until, later(now, ASIDE_MS_MAX), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The trial ended without a verdict: the next request may be one.
    pub(super) fn give_back(&self) {
        let unless_cleared = |until: usize| (until != 0).then_some(DUE);
        let _ = self.aside_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, unless_cleared);
    }
}

/// A moment that has passed: the first millisecond of the clock.
const DUE: usize = 1;

/// Milliseconds of the clock; losing the upper half on 32-bit targets is intended (see `is_before`).
fn millis(now: Instant) -> usize {
    (now.as_nanos() / 1_000_000) as usize
}

/// `span_ms` from now, never zero.
fn later(now: Instant, span_ms: usize) -> usize {
    millis(now).wrapping_add(span_ms).max(1)
}

/// On 32-bit targets the clock wraps after 49 days. The difference is right across the wrap, and an old
/// mark is taken for a new one during `span_ms` in 49 days, which costs a detour at most.
fn is_before(now: Instant, until: usize, span_ms: usize) -> bool {
    until != 0 && (1..=span_ms).contains(&until.wrapping_sub(millis(now)))
}
