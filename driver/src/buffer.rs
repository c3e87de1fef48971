//! Memory that is lent for one turn: the thread's read buffer, and a pool of output buffers.
//!
//! An idle connection owns no buffer (performance guide 4.1): it reads into its thread's, and takes an
//! output buffer only while bytes wait.

use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// One read takes at most this much: all that a tunnel's peer writes at once. Parts of a write that are read one by one reach
/// their readers one by one, and cost each of them a turn and a system call more.
pub const READ_BYTES: usize = piko_core::mux::INPUT_BYTES_MAX;
/// Buffers that a thread keeps for reuse, and the size above which one is not worth keeping:
/// 64 × 80 KiB = 5 MiB per thread at most.
const POOL_BUFFERS: usize = 64;
const POOL_BYTES_MAX: usize = 80 * 1024;
/// The smallest buffer.
const POOL_BYTES_MIN: usize = 1024;

/// Read buffers of tunnels that a thread keeps, though readers may still hold parts of them: of a full one all parts are
/// usually read before the next but one is filled.
const LENT_BUFFERS: usize = 2;

thread_local! {
    static LENT: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
    static UNUSED: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static READ: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's read buffer. Whoever finds it taken (an executor that runs a task inside
/// another's poll) gets a fresh one.
pub fn with_read_buffer<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buf = READ.take().unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
    let result = f(&mut buf);
    READ.set(Some(buf));
    result
}

/// A buffer of [`READ_BYTES`] whose content may be shared once it is filled.
pub(crate) fn borrow() -> BytesMut {
    if let Some(unused) = UNUSED.take() {
        return unused;
    }
    LENT.with_borrow_mut(|lent| {
        // From the end, where the one lies that the processor knows best.
        for at in (0..lent.len()).rev() {
            match std::mem::take(&mut lent[at]).try_into_mut() {
                Ok(free) => {
                    lent.remove(at);
                    return free;
                }
                Err(held) => lent[at] = held,
            }
        }
        BytesMut::zeroed(READ_BYTES)
    })
}

/// Takes back what [`borrow`] gave and nobody shares.
pub(crate) fn give_back_unused(buf: BytesMut) {
    UNUSED.set(Some(buf));
}

/// Takes back what [`borrow`] gave, also while readers hold parts of it.
pub(crate) fn give_back(buf: Bytes) {
    LENT.with_borrow_mut(|lent| {
        if lent.len() >= LENT_BUFFERS {
            // If it is held, its readers free it.
            lent.remove(0);
        }
        lent.push(buf);
    });
}

/// The right to keep large buffers between turns. Allocators that give 80 KiB back to the system at once (musl's)
/// made every body of 64 KiB cost twice the CPU: two system calls and twenty page faults for each.
#[derive(Debug)]
pub(crate) struct Slot(());

/// How many there are in a process: 16 tunnels with two outboxes of 280 KiB are 9 MiB.
const SLOTS: usize = 16;
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    /// One, unless all are taken.
    pub(crate) fn take() -> Option<Self> {
        let more = |taken| (taken < SLOTS).then_some(taken + 1);
        TAKEN.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Self(()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Relaxed);
    }
}

fn take() -> Vec<u8> {
    // Large enough for a usual head from the start: growing by doubling would cost five allocations, and
    // what stays below the minimum is not kept.
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(POOL_BYTES_MIN))
}

fn give(mut buf: Vec<u8>) {
    if (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&buf.capacity()) {
        buf.clear();
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOL_BUFFERS {
                pool.push(buf);
            }
        });
    }
}

/// A queue of bytes in pooled memory: appended behind, consumed in front, owning nothing while empty.
///
/// While `keep` is set, consumed bytes stay, so that [`Self::rewind`] can give all of it once more.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    start: usize,
    keep: bool,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What waits.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// As [`Self::pending`], to be changed in place.
    #[cfg(feature = "tls")]
    pub(crate) fn pending_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = take();
        }
        &mut self.bytes
    }

    /// Appends `data`.
    pub(crate) fn extend(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.tail().extend_from_slice(data);
        }
    }

    /// Drops `n` bytes in front; the memory goes back to the pool when nothing is left.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
        if self.start == self.bytes.len() && !self.keep {
            self.clear();
        }
    }

    /// Keeps consumed bytes from here on.
    pub(crate) fn set_keep(&mut self, keep: bool) {
        self.keep = keep;
        if !keep && self.is_empty() {
            self.clear();
        }
    }

    /// Bytes that wait or are kept.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// True while consumed bytes are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.keep
    }

    /// All bytes since `set_keep(true)` wait again.
    pub(crate) fn rewind(&mut self) {
        self.start = 0;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > 0 {
            give(std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Queue {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

/// Non-empty slices of `parts`, at most four, for one vectored write.
pub(crate) fn gather<'a>(parts: [&'a [u8]; 3]) -> ([IoSlice<'a>; 3], usize) {
    let mut slices = [IoSlice::new(&[]); 3];
    let mut n = 0;
    for part in parts {
        if !part.is_empty() {
            slices[n] = IoSlice::new(part);
            n += 1;
        }
    }
    (slices, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_order_and_rewinds_while_it_keeps() {
        let mut q = Queue::new();
        q.set_keep(true);
        q.extend(b"head");
        q.consume(2);
        q.extend(b"body");
        assert_eq!(q.pending(), b"adbody");
        q.consume(6);
        assert!(q.is_empty());
        q.rewind();
        assert_eq!(q.pending(), b"headbody");
        q.set_keep(false);
        q.consume(8);
        assert_eq!(q.bytes.capacity(), 0, "an empty queue owns nothing");
    }

    #[test]
    fn what_readers_hold_is_not_lent_again() {
        let mut first = borrow();
        first[..4].copy_from_slice(b"held");
        let first = first.freeze();
        let held = first.slice(..4);
        give_back(first);
        let mut second = borrow();
        second[..4].copy_from_slice(b"next");
        assert_eq!(&held[..], b"held");
        let at = second.as_ptr();
        give_back(second.freeze());
        assert_eq!(borrow().as_ptr(), at, "a free one is used again");
        let held: Vec<_> = (0..10).map(|_| borrow().freeze()).collect();
        held.iter().cloned().for_each(give_back);
        LENT.with_borrow(|lent| assert_eq!(lent.len(), LENT_BUFFERS));
        drop(held);
        assert_eq!(borrow().len(), READ_BYTES, "what comes back is whole");
    }

    #[test]
    fn slots_are_bounded_and_come_back() {
        // Other tests of this process may hold some.
        let mut held: Vec<Slot> = std::iter::from_fn(Slot::take).collect();
        assert!(!held.is_empty() && held.len() <= SLOTS);
        assert!(Slot::take().is_none());
        held.pop();
        assert!(Slot::take().is_some());
    }

    #[test]
    fn the_read_buffer_can_be_asked_for_twice() {
        with_read_buffer(|a| {
            a[0] = 1;
            with_read_buffer(|b| b[0] = 2);
            assert_eq!(a[0], 1);
        });
    }
}
