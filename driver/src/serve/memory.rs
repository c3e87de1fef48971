//! Memory of unfinished request heads, for the whole process (design guide A.3, "who holds what").

use crate::slab::Slab;
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

/// A head below this size is nobody's business: one read brings most heads whole. It has to be small, for a
/// peer can leave unfinished heads on thousands of streams of one tunnel.
const FREE_BYTES: usize = 2 * 1024;

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

/// Counts unfinished heads above 2 KiB; beyond 16 MiB together, the largest one has to go.
#[derive(Debug, Default)]
pub struct HeadBudget(Mutex<Holders>);

/// One connection's share, given back on drop.
#[derive(Debug)]
pub(super) struct HeadShare {
    budget: Arc<HeadBudget>,
    key: Option<u32>,
    /// Few connections ever hold so much that they need one.
    evicted: Option<Arc<AtomicBool>>,
}

impl HeadBudget {
    /// What all larger ones may hold together, in bytes: no head is longer, whatever else is allowed.
    pub const BYTES: usize = 16 * 1024 * 1024;
}

impl HeadShare {
    pub(super) fn new(budget: Arc<HeadBudget>) -> Self {
        Self { budget, key: None, evicted: None }
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
            let mut holders = self.budget.0.lock();
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
            if holders.total > HeadBudget::BYTES {
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
            let mut holders = self.budget.0.lock();
            if let Some(holder) = holders.all.remove(key) {
                holders.total -= holder.bytes;
            }
            self.evicted = None;
        }
    }
}

impl Drop for HeadShare {
    fn drop(&mut self) {
        self.release();
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
        let budget = Arc::new(HeadBudget::default());
        let mut large = HeadShare::new(budget.clone());
        large.hold(&cx, 1024 * 1024);
        let mut small: Vec<_> = (0..31).map(|_| HeadShare::new(budget.clone())).collect();
        for share in &mut small {
            share.hold(&cx, 512 * 1024);
        }
        assert!(large.is_evicted());
        assert!(small.iter().all(|share| !share.is_evicted()));
        large.release();
        assert!(!large.is_evicted());
        drop(small);
        assert_eq!(budget.0.lock().total, 0);
    }
}
