//! The system allocator, with a count of allocations and of the largest one, per thread.
//!
//! ```
//! #[global_allocator]
//! static ALLOC: piko_counting_alloc::Counting = piko_counting_alloc::Counting;
//!
//! let before = piko_counting_alloc::here();
//! let kept = Box::new(7);
//! assert_eq!(piko_counting_alloc::here().calls - before.calls, 1);
//! # drop(kept);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts and passes on to the system's allocator.
#[derive(Debug)]
pub struct Counting;

/// What a thread has asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Allocations and reallocations.
    pub calls: u64,
    /// The largest request since [`reset_largest`], in bytes.
    pub largest: usize,
}

thread_local! {
    // Const-initialised and without a destructor: touching it never allocates.
    static COUNT: Cell<Count> = const { Cell::new(Count { calls: 0, largest: 0 }) };
}

/// The count of the calling thread.
pub fn here() -> Count {
    COUNT.with(Cell::get)
}

/// Forgets the largest request of the calling thread.
pub fn reset_largest() {
    COUNT.with(|count| count.set(Count { largest: 0, ..count.get() }));
}

fn note(bytes: usize) {
    // A thread that is being torn down has no count any more.
    let _ = COUNT.try_with(|count| {
        let Count { calls, largest } = count.get();
        count.set(Count { calls: calls + 1, largest: largest.max(bytes) });
    });
}

// SAFETY: every call goes to `System` with the caller's own arguments, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from `System`, since every allocation does.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
