//! Payload queues that account for bytes and blocks.
//!
//! Received payload is copied into blocks of 4 or 16 KiB. The blocks of all streams live in one arena, a queue
//! is a chain of them, and freed ones are recycled while the session has streams (performance guide, 4.2, 4.3).

use super::budget::Account;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Capacity of a block for a short payload, in bytes.
const SMALL_BYTES: usize = 4 * 1024;
/// Capacity of a block for a longer one.
const LARGE_BYTES: usize = 16 * 1024;
/// Freed blocks that a session keeps, by class: 96 KiB at most.
const SPARE_SMALL_MAX: u8 = 8;
const SPARE_LARGE_MAX: u8 = 4;
/// The same while the budget is hardly used: 512 KiB, what 64 small requests or two full reads of a transport need at once.
const SPARE_SMALL_CALM: u8 = 64;
const SPARE_LARGE_CALM: u8 = 16;
/// What a block costs besides its capacity.
const OVERHEAD_BYTES: usize = size_of::<Block>();
/// No block.
const NIL: u32 = u32::MAX;

/// The unread bytes of one stream: a chain of blocks.
#[derive(Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    bytes: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, bytes: 0 };

    /// Unread bytes.
    pub(super) const fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// One block: `data[start..]` is unread; its capacity is fixed, zero in a vacant slot.
#[derive(Debug)]
struct Block {
    data: Vec<u8>,
    start: u32,
    next: u32,
}

/// A chain of recycled blocks of one class.
#[derive(Debug)]
struct Spare {
    head: u32,
    count: u8,
}

/// The arena of a session's blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    slots: Vec<Block>,
    vacant: u32,
    small: Spare,
    large: Spare,
    /// Blocks that hold unread bytes.
    filled: u32,
    account: Account,
}

impl Blocks {
    pub(super) fn new(budget: Arc<super::Budget>) -> Self {
        let none = || Spare { head: NIL, count: 0 };
        let account = Account::new(budget);
        Self { slots: Vec::new(), vacant: NIL, small: none(), large: none(), filled: 0, account }
    }

    /// Whether the budget is exceeded and bytes of this session are part of it.
    pub(super) fn is_pressed(&self) -> bool {
        self.filled > 0 && self.account.is_exceeded()
    }

    /// Whether the budget is at its low-water mark, or no bytes of this session are part of it.
    pub(super) fn is_relieved(&self) -> bool {
        self.filled == 0 || self.account.is_low()
    }

    /// What this session holds of the budget, in bytes: its blocks, spare ones too.
    pub(super) fn held(&self) -> usize {
        self.account.charged()
    }

    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Appends `bytes`, after which `more` bytes of the same frame are still to come: together they decide the
    /// size of a new block, so that it does not depend on how the transport cut the frame.
    pub(super) fn append(&mut self, queue: &mut Queue, mut bytes: &[u8], more: usize) {
        while !bytes.is_empty() {
            let tail = match self.slots.get_mut(queue.tail as usize) {
                Some(block) if block.data.len() < block.data.capacity() => block,
                _ => self.chain(queue, bytes.len().saturating_add(more)),
            };
            let n = bytes.len().min(tail.data.capacity() - tail.data.len());
            let (now, later) = bytes.split_at(n);
            tail.data.extend_from_slice(now);
            // A queue holds at most a window, which fits.
            queue.bytes += n as u32;
            bytes = later;
        }
    }

    /// The unread bytes of the first block; empty when the queue is.
    pub(super) fn front(&self, queue: &Queue) -> &[u8] {
        self.slots
            .get(queue.head as usize)
            .and_then(|block| block.data.get(block.start as usize..))
            .unwrap_or_default()
    }

    /// Drops the first `n` bytes and says how many there were.
    pub(super) fn consume(&mut self, queue: &mut Queue, n: usize) -> usize {
        let mut left = n.min(queue.bytes as usize);
        let taken = left;
        while left > 0 {
            let Some(block) = self.slots.get_mut(queue.head as usize) else { break };
            let unread = block.data.len() - block.start as usize;
            if left < unread {
                block.start += left as u32;
                queue.bytes -= left as u32;
                break;
            }
            left -= unread;
            queue.bytes -= unread as u32;
            self.unchain(queue);
        }
        taken
    }

    /// Drops everything.
    pub(super) fn clear(&mut self, queue: &mut Queue) {
        while queue.head != NIL {
            self.unchain(queue);
        }
        queue.bytes = 0;
    }

    /// Gives all memory back; the session has no streams.
    pub(super) fn rest(&mut self) {
        if self.filled == 0 {
            while self.small.count > 0 || self.large.count > 0 {
                let spare = if self.small.count > 0 { &mut self.small } else { &mut self.large };
                let at = spare.head;
                spare.count -= 1;
                let block = &mut self.slots[at as usize];
                spare.head = block.next;
                self.account.release(block.data.capacity() + OVERHEAD_BYTES);
            }
            self.slots = Vec::new();
            self.vacant = NIL;
        }
    }

    /// Puts an empty block for `want` bytes behind the last one.
    fn chain(&mut self, queue: &mut Queue, want: usize) -> &mut Block {
        let at = self.take(want);
        self.filled += 1;
        if let Some(tail) = self.slots.get_mut(queue.tail as usize) {
            tail.next = at;
        } else {
            queue.head = at;
        }
        queue.tail = at;
        &mut self.slots[at as usize]
    }

    /// Frees the first block.
    fn unchain(&mut self, queue: &mut Queue) {
        let at = queue.head;
        let Some(block) = self.slots.get(at as usize) else { return };
        queue.head = block.next;
        if queue.head == NIL {
            queue.tail = NIL;
        }
        self.filled -= 1;
        self.give(at);
    }

    fn take(&mut self, want: usize) -> u32 {
        let (spare, size) =
            if want > SMALL_BYTES { (&mut self.large, LARGE_BYTES) } else { (&mut self.small, SMALL_BYTES) };
        if spare.count > 0 {
            let at = spare.head;
            let block = &mut self.slots[at as usize];
            spare.head = block.next;
            spare.count -= 1;
            block.next = NIL;
            return at;
        }
        let block = Block { data: Vec::with_capacity(size), start: 0, next: NIL };
        self.account.charge(block.data.capacity() + OVERHEAD_BYTES);
        let at = self.vacant;
        if let Some(slot) = self.slots.get_mut(at as usize) {
            self.vacant = slot.next;
            *slot = block;
            return at;
        }
        self.slots.push(block);
        // Four billion blocks are more than 16 TB: the index fits.
        (self.slots.len() - 1) as u32
    }

    fn give(&mut self, at: u32) {
        let (keep, calm) = (!self.account.is_exceeded(), self.account.is_calm());
        let block = &mut self.slots[at as usize];
        block.start = 0;
        block.data.clear();
        let large = block.data.capacity() >= LARGE_BYTES;
        let (spare, max) = match (large, calm) {
            (true, true) => (&mut self.large, SPARE_LARGE_CALM),
            (true, false) => (&mut self.large, SPARE_LARGE_MAX),
            (false, true) => (&mut self.small, SPARE_SMALL_CALM),
            (false, false) => (&mut self.small, SPARE_SMALL_MAX),
        };
        if keep && spare.count < max {
            block.next = spare.head;
            spare.head = at;
            spare.count += 1;
        } else {
            self.account.release(block.data.capacity() + OVERHEAD_BYTES);
            block.data = Vec::new();
            block.next = self.vacant;
            self.vacant = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn arena() -> (Blocks, Arc<super::super::Budget>) {
        let budget = Arc::new(super::super::Budget::default());
        (Blocks::new(budget.clone()), budget)
    }

    #[test]
    fn bytes_come_out_in_order_and_memory_goes_back() {
        let (mut blocks, budget) = arena();
        let mut queue = Queue::EMPTY;
        let data: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        for piece in data.chunks(777) {
            blocks.append(&mut queue, piece, 0);
        }
        assert_eq!(queue.bytes(), 100_000);
        let mut read = Vec::new();
        while !queue.is_empty() {
            let n = blocks.front(&queue).len().min(1000);
            read.extend_from_slice(&blocks.front(&queue)[..n]);
            assert_eq!(blocks.consume(&mut queue, n), n);
        }
        assert_eq!(read, data);
        assert!(budget.used() > 0, "spare blocks are charged");
        blocks.rest();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn block_borders_do_not_depend_on_how_a_frame_arrives() {
        let data = vec![7; 40_000];
        let borders = |cut: usize| {
            let (mut blocks, _) = arena();
            let mut queue = Queue::EMPTY;
            blocks.append(&mut queue, &data[..cut], data.len() - cut);
            blocks.append(&mut queue, &data[cut..], 0);
            let mut lens = Vec::new();
            while !queue.is_empty() {
                lens.push(blocks.front(&queue).len());
                blocks.consume(&mut queue, *lens.last().unwrap());
            }
            lens
        };
        let whole = borders(40_000);
        assert_eq!(whole, [16_384, 16_384, 7_232]);
        for cut in [0, 1, 4095, 16_384, 16_385, 36_000, 39_999] {
            assert_eq!(borders(cut), whole, "cut at {cut}");
        }
    }

    #[test]
    fn tiny_frames_share_blocks() {
        let (mut blocks, budget) = arena();
        let mut queue = Queue::EMPTY;
        for _ in 0..4096 {
            blocks.append(&mut queue, b"x", 0);
        }
        assert_eq!(budget.used(), SMALL_BYTES + OVERHEAD_BYTES);
        blocks.clear(&mut queue);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_pressed_arena_keeps_no_spare_blocks() {
        let budget = Arc::new(super::super::Budget::new(1));
        let mut blocks = Blocks::new(budget.clone());
        let mut queue = Queue::EMPTY;
        blocks.append(&mut queue, b"x", 0);
        assert!(blocks.is_pressed());
        blocks.consume(&mut queue, 1);
        assert_eq!(budget.used(), 0);
        assert!(!blocks.is_pressed());
    }
}
