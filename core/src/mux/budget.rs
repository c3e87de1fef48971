//! Memory shared by sessions: what is buffered, and credit promised beyond the protocol's window.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The default limit of a process: 64 MiB of received, unread bytes in all its sessions.
const DEFAULT_BYTES: usize = 64 << 20;

/// A limit in bytes on what sessions buffer together.
///
/// The initial window of a stream cannot be refused, so what arrives is always taken and charged; beyond the
/// limit the sessions ask their drivers to stop reading ([`super::Session::wants_input`]), which can
/// overshoot by what each session was handed at once. Only growth of windows is refused outright.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Credit beyond the initial windows. Not a part of `used`: the bytes that use it up are charged there
    /// when they arrive, and counting both would call the budget exceeded at half of its limit.
    promised: AtomicUsize,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { limit: bytes, used: AtomicUsize::new(0), promised: AtomicUsize::new(0) }
    }

    /// Bytes buffered at this moment.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of credit promised beyond the protocol's windows at this moment.
    pub fn promised(&self) -> usize {
        self.promised.load(Ordering::Relaxed)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more is buffered than the limit.
    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.limit
    }

    /// The consumption, in bytes, that is worth another wait of 2 s: 1 MiB of 32 MiB. Less is none to speak of, or
    /// one reader of a byte per second could hold up all others.
    pub(super) fn progress(&self) -> usize {
        self.limit / 32
    }

    /// Whether a quarter of the limit is free again: the low-water mark.
    pub(super) fn is_low(&self) -> bool {
        self.used() <= self.low_water()
    }

    /// Whether at most a quarter of the limit is used: there is room for luxury.
    fn is_calm(&self) -> bool {
        self.used() <= self.limit - self.low_water()
    }

    /// Whether at most this part of the limit (2 is the half) is used.
    fn is_within(&self, part: usize) -> bool {
        self.used() <= self.limit / part
    }

    fn low_water(&self) -> usize {
        self.limit - self.limit / 4
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

/// What one session took from its budget; gives all of it back when dropped.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    charged: usize,
    promised: usize,
}

impl Account {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, charged: 0, promised: 0 }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.budget.is_exceeded()
    }

    pub(super) fn is_low(&self) -> bool {
        self.budget.is_low()
    }

    pub(super) fn is_calm(&self) -> bool {
        self.budget.is_calm()
    }

    pub(super) fn is_within(&self, part: usize) -> bool {
        self.budget.is_within(part)
    }

    /// What this session has charged, in bytes.
    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Takes `bytes`, also beyond the limit.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.charged += bytes;
    }

    /// Promises `bytes` of credit only while at most a quarter of the budget is buffered, and three quarters of it are
    /// promised afterwards: growth is a luxury, and all of it together fits the budget.
    pub(super) fn promise(&mut self, bytes: usize) -> bool {
        // Looked at and taken in one: other threads promise from the same budget.
        let spare = |promised: usize| {
            let promised = promised.saturating_add(bytes);
            (self.budget.is_calm() && promised <= self.budget.low_water()).then_some(promised)
        };
        let promised = self.budget.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spare);
        if promised.is_ok() {
            self.promised += bytes;
        }
        promised.is_ok()
    }

    /// Takes back what was promised to a stream that is over.
    pub(super) fn forget(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.promised, "forgot more than was promised");
        let bytes = bytes.min(self.promised);
        if bytes == 0 {
            // Nearly always, and the counter is shared by all threads.
            return;
        }
        self.promised -= bytes;
        self.budget.promised.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.charged, "released more than was charged");
        let bytes = bytes.min(self.charged);
        self.charged -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.release(self.charged);
        self.forget(self.promised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_account_gives_everything_back() {
        let budget = Arc::new(Budget::new(100));
        let mut a = Account::new(budget.clone());
        a.charge(80);
        let mut b = Account::new(budget.clone());
        b.charge(30);
        assert!(budget.is_exceeded());
        b.release(10);
        assert!(!budget.is_exceeded());
        drop(a);
        assert_eq!(budget.used(), 20);
        drop(b);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn growth_ends_at_the_low_water_mark() {
        let budget = Arc::new(Budget::new(100));
        let mut a = Account::new(budget.clone());
        a.charge(26);
        assert!(!a.promise(1));
        a.release(26);
        assert!(a.promise(75));
        assert!(!a.promise(1));
        assert_eq!((budget.used(), budget.promised()), (0, 75));
        // What arrives on the strength of a promise is counted once.
        a.charge(100);
        assert!(!budget.is_exceeded());
        a.charge(1);
        assert!(budget.is_exceeded());
        drop(a);
        assert_eq!((budget.used(), budget.promised()), (0, 0));
    }
}
