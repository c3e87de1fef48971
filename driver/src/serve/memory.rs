//! What requests hold in memory, for the whole process: unfinished heads (design guide A.3, "who holds what"), copies
//! for another try, and what clients sent ahead.

use crate::slab::Slab;
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// A head below this size is nobody's business: one read brings most heads whole. It has to be small, for a
/// peer can leave unfinished heads on thousands of streams of one tunnel.
const FREE_BYTES: usize = 2 * 1024;
/// Copies are charged in steps of this size, in bytes, and not at all up to the first: nearly all requests are smaller.
const COPY_STEP: usize = 8 * 1024;
/// One read of a client between two requests takes this much: a pipelined request is read ahead so far, and more stays
/// with the kernel.
const READ_BYTES: usize = 16 * 1024;
/// While clients have sent so much ahead, in all, a read takes [`FREE_BYTES`].
const AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug)]
struct Holder {
    bytes: usize,
    evicted: Arc<AtomicBool>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Holders {
    total: usize,
    all: Slab<Holder>,
}

/// Counts what the requests of a process hold, beside the buffers of what is on its way.
///
/// * Unfinished heads above 2 KiB: beyond 16 MiB together, the largest one has to go.
/// * Copies above 8 KiB that are kept for another try: beyond the limit requests go without, and are not tried again
///   once they have been handed over.
/// * What came behind a request that is still under way: beyond 8 MiB clients are read in pieces of 2 KiB.
#[derive(Debug)]
pub struct RequestBudget {
    heads: Mutex<Holders>,
    copies: AtomicUsize,
    copies_max: usize,
    ahead: AtomicUsize,
}

/// One connection's share, given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<RequestBudget>,
    key: Option<u32>,
    /// Bytes, in numbers as small as the limits allow: every connection has these.
    copy: u32,
    ahead: u32,
    /// Few connections ever hold so much that they need one.
    evicted: Option<Arc<AtomicBool>>,
}

impl RequestBudget {
    /// What all larger heads may hold together, in bytes: no head is longer, whatever else is allowed.
    pub const HEAD_BYTES: usize = 16 * 1024 * 1024;

    /// With so many bytes for copies.
    pub fn new(copies_max: usize) -> Self {
        Self { heads: Mutex::default(), copies: AtomicUsize::new(0), copies_max, ahead: AtomicUsize::new(0) }
    }
}

impl Share {
    pub(super) fn new(budget: Arc<RequestBudget>) -> Self {
        Self { budget, key: None, copy: 0, ahead: 0, evicted: None }
    }

    /// What one read of a client may take between two requests, in bytes.
    pub(super) fn read_bytes(&self) -> usize {
        if self.budget.ahead.load(Ordering::Relaxed) > AHEAD_BYTES_MAX { FREE_BYTES } else { READ_BYTES }
    }

    /// So many bytes came behind a request that is under way. They count until it is over, though some may be used
    /// earlier.
    pub(super) fn note_ahead(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes > self.ahead {
            self.budget.ahead.fetch_add((bytes - self.ahead) as usize, Ordering::Relaxed);
            self.ahead = bytes;
        }
    }

    /// A copy of so many bytes is kept for another try. False: there is no room for it.
    #[must_use]
    pub(super) fn keep(&mut self, bytes: usize) -> bool {
        if bytes <= COPY_STEP.max(self.copy as usize) {
            return true;
        }
        let Self { budget, copy, .. } = self;
        let Some(wanted) =
            u32::try_from(bytes).ok().and_then(|bytes| bytes.checked_next_multiple_of(COPY_STEP as u32))
        else {
            return false;
        };
        let grown = (wanted - *copy) as usize;
        let more = |used: usize| used.checked_add(grown).filter(|sum| *sum <= budget.copies_max);
        let fits = budget.copies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if fits {
            *copy = wanted;
        }
        fits
    }

    /// The copy is gone.
    pub(super) fn forget_copy(&mut self) {
        if self.copy > 0 {
            self.budget.copies.fetch_sub(std::mem::take(&mut self.copy) as usize, Ordering::Relaxed);
        }
    }

    /// The request is over.
    pub(super) fn end_request(&mut self) {
        self.forget_copy();
        if self.ahead > 0 {
            self.budget.ahead.fetch_sub(std::mem::take(&mut self.ahead) as usize, Ordering::Relaxed);
        }
    }

    /// True when this head has to be refused.
    pub(super) fn is_evicted(&self) -> bool {
        self.key.is_some() && self.evicted.as_ref().is_some_and(|evicted| evicted.load(Ordering::Acquire))
    }

    /// This connection holds `bytes` of an unfinished head.
    pub(super) fn hold(&mut self, cx: &Context<'_>, bytes: usize) {
        if bytes <= FREE_BYTES {
            self.release();
            return;
        }
        let victim = {
            let mut holders = self.budget.heads.lock();
            let evicted = self.evicted.get_or_insert_default().clone();
            let holder = Holder { bytes, evicted, waker: cx.waker().clone() };
            let before = match self.key.and_then(|key| holders.all.get_mut(key)) {
                Some(place) => std::mem::replace(place, holder).bytes,
                None => {
                    self.key = Some(holders.all.insert(holder));
                    0
                }
            };
            holders.total = holders.total - before + bytes;
            if holders.total > RequestBudget::HEAD_BYTES {
                holders
                    .all
                    .iter_mut()
                    .filter(|holder| !holder.evicted.load(Ordering::Acquire))
                    .max_by_key(|holder| holder.bytes)
                    .map(|holder| {
                        holder.evicted.store(true, Ordering::Release);
                        holder.waker.clone()
                    })
            } else {
                None
            }
        };
        if let Some(waker) = victim {
            waker.wake();
        }
    }

    /// The head is complete or refused.
    pub(super) fn release(&mut self) {
        if let Some(key) = self.key.take() {
            let mut holders = self.budget.heads.lock();
            if let Some(holder) = holders.all.remove(key) {
                holders.total -= holder.bytes;
            }
            self.evicted = None;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
        self.end_request();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn the_largest_head_has_to_go_when_the_budget_is_spent() {
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        let budget = Arc::new(RequestBudget::new(0));
        let mut large = Share::new(budget.clone());
        large.hold(&cx, 1024 * 1024);
        let mut small: Vec<_> = (0..31).map(|_| Share::new(budget.clone())).collect();
        for share in &mut small {
            share.hold(&cx, 512 * 1024);
        }
        assert!(large.is_evicted());
        assert!(small.iter().all(|share| !share.is_evicted()));
        large.release();
        assert!(!large.is_evicted());
        drop(small);
        assert_eq!(budget.heads.lock().total, 0);
    }

    #[test]
    fn copies_are_kept_while_there_is_room() {
        let budget = Arc::new(RequestBudget::new(64 * 1024));
        let mut first = Share::new(budget.clone());
        let mut second = Share::new(budget.clone());
        assert!(first.keep(COPY_STEP), "a small one is nobody's business");
        assert_eq!(budget.copies.load(Ordering::Relaxed), 0);
        assert!(first.keep(20_000) && first.keep(40_000) && first.keep(40_001));
        assert_eq!(budget.copies.load(Ordering::Relaxed), 40 * 1024, "what grows is charged once");
        assert!(second.keep(24 * 1024) && !second.keep(24 * 1024 + 1));
        first.forget_copy();
        assert!(second.keep(64 * 1024) && !first.keep(COPY_STEP + 1));
        drop(second);
        assert_eq!(budget.copies.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn less_is_read_ahead_while_others_have_sent_much() {
        let budget = Arc::new(RequestBudget::new(0));
        let mut all: Vec<_> =
            (0..=AHEAD_BYTES_MAX / READ_BYTES).map(|_| Share::new(budget.clone())).collect();
        for share in &mut all {
            assert_eq!(share.read_bytes(), READ_BYTES);
            share.note_ahead(1);
            share.note_ahead(READ_BYTES);
        }
        assert_eq!(all[0].read_bytes(), FREE_BYTES);
        all[0].end_request();
        assert_eq!(all[0].read_bytes(), READ_BYTES);
        drop(all);
        assert_eq!(budget.ahead.load(Ordering::Relaxed), 0);
    }
}
