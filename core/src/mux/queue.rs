//! Payload queues that account for bytes and blocks.
//!
//! Received payload is copied into blocks of 4 or 16 KiB. The blocks of all streams live in one arena, a queue
//! is a chain of them, and freed ones are recycled while the session has streams (performance guide, 4.2, 4.3).
//! A long payload in memory that can be shared is not copied: its block is a slice of that memory.

use super::budget::Account;
use super::config::INPUT_BYTES_MAX;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

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
/// A shorter payload is copied though it could be shared: it keeps all of the memory it lies in, which is that of one
/// read of the transport ([`INPUT_BYTES_MAX`]).
const SHARED_BYTES_MIN: usize = 32 * 1024;
/// What of the budget may be used for payloads to be shared: so much of it in the shortest ones holds, in memory, the whole.
const SHARED_PART: usize = INPUT_BYTES_MAX / SHARED_BYTES_MIN;
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

/// The memory of a block.
#[derive(Debug)]
enum Data {
    /// Its capacity is fixed, zero in a vacant slot.
    Own(Vec<u8>),
    /// Others hold a part of it, too; never added to.
    Shared(Bytes),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// What the budget is charged for it.
    fn charged(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Own(bytes) => bytes.capacity(),
                Self::Shared(bytes) => bytes.len(),
            }
    }
}

/// One block: `data[start..]` is unread.
#[derive(Debug)]
struct Block {
    data: Data,
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
            let has_room = |data: &Data| matches!(data, Data::Own(own) if own.len() < own.capacity());
            let at = queue.tail;
            let at = match self.slots.get(at as usize) {
                Some(block) if has_room(&block.data) => at,
                _ => {
                    let block = self.take(bytes.len().saturating_add(more));
                    self.chain(queue, block)
                }
            };
            // A block with room is of its own memory, and so is one that `take` gave.
            let Some(Block { data: Data::Own(tail), .. }) = self.slots.get_mut(at as usize) else { return };
            let n = bytes.len().min(tail.capacity() - tail.len());
            let (now, later) = bytes.split_at(n);
            tail.extend_from_slice(now);
            // A queue holds at most a window, which fits.
            queue.bytes += n as u32;
            bytes = later;
        }
    }

    /// As [`Self::append`], for bytes that are part of `whole`: they are not copied where that is worth it.
    pub(super) fn append_shared(&mut self, queue: &mut Queue, bytes: &[u8], more: usize, whole: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN || !self.account.is_within(SHARED_PART) {
            return self.append(queue, bytes, more);
        }
        let at = self.insert(Data::Shared(whole.slice_ref(bytes)));
        self.chain(queue, at);
        queue.bytes += bytes.len() as u32;
    }

    /// As [`Self::front`], at most `most` bytes, where that is shared.
    pub(super) fn front_shared(&self, queue: &Queue, most: usize) -> Option<Bytes> {
        let block = self.slots.get(queue.head as usize)?;
        let Data::Shared(data) = &block.data else { return None };
        let start = block.start as usize;
        Some(data.slice(start..data.len().min(start.saturating_add(most))))
    }

    /// The unread bytes of the first block; empty when the queue is.
    pub(super) fn front(&self, queue: &Queue) -> &[u8] {
        self.slots
            .get(queue.head as usize)
            .and_then(|block| block.data.bytes().get(block.start as usize..))
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
                self.account.release(block.data.charged());
            }
            self.slots = Vec::new();
            self.vacant = NIL;
        }
    }

    /// Puts a block behind the last one; says which.
    fn chain(&mut self, queue: &mut Queue, at: u32) -> u32 {
        self.filled += 1;
        if let Some(tail) = self.slots.get_mut(queue.tail as usize) {
            tail.next = at;
        } else {
            queue.head = at;
        }
        queue.tail = at;
        at
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

    /// An empty block for `want` bytes.
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
        self.insert(Data::Own(Vec::with_capacity(size)))
    }

    fn insert(&mut self, data: Data) -> u32 {
        self.account.charge(data.charged());
        let block = Block { data, start: 0, next: NIL };
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
        let charged = block.data.charged();
        let capacity = match &mut block.data {
            Data::Own(own) => {
                own.clear();
                own.capacity()
            }
            Data::Shared(_) => 0,
        };
        let large = capacity >= LARGE_BYTES;
        let (spare, max) = match (large, calm) {
            (true, true) => (&mut self.large, SPARE_LARGE_CALM),
            (true, false) => (&mut self.large, SPARE_LARGE_MAX),
            (false, true) => (&mut self.small, SPARE_SMALL_CALM),
            (false, false) => (&mut self.small, SPARE_SMALL_MAX),
        };
        if keep && capacity > 0 && spare.count < max {
            block.next = spare.head;
            spare.head = at;
            spare.count += 1;
        } else {
            self.account.release(charged);
            block.data = Data::Own(Vec::new());
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
    fn long_payloads_stay_where_they_are_while_memory_is_plenty() {
        let (mut blocks, budget) = arena();
        let mut queue = Queue::EMPTY;
        let whole: Bytes = (0..100_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
        blocks.append(&mut queue, &whole[..10], 0);
        blocks.append_shared(&mut queue, &whole[10..90_000], 0, &whole);
        blocks.append_shared(&mut queue, &whole[90_000..], 0, &whole);
        assert_eq!(blocks.front_shared(&queue, 100), None, "a short one is copied");
        assert_eq!(blocks.consume(&mut queue, 10), 10);
        let part = blocks.front_shared(&queue, 40_000).unwrap();
        assert_eq!((part.as_ptr(), part.len()), (whole[10..].as_ptr(), 40_000));
        assert_eq!(blocks.consume(&mut queue, 40_000), 40_000);
        let mut read = part.to_vec();
        while !queue.is_empty() {
            let n = blocks.front(&queue).len().min(7_000);
            read.extend_from_slice(&blocks.front(&queue)[..n]);
            blocks.consume(&mut queue, n);
        }
        assert_eq!(read, whole[10..]);
        blocks.rest();
        assert_eq!(budget.used(), 0);
        drop(part);
        assert!(whole.is_unique(), "nothing is held behind the last byte");
    }

    #[test]
    fn payloads_are_copied_once_memory_is_short() {
        let budget = Arc::new(super::super::Budget::new(100_000));
        let mut blocks = Blocks::new(budget);
        let whole = Bytes::from(vec![1; 40_000]);
        let mut queue = Queue::EMPTY;
        blocks.append_shared(&mut queue, &whole, 0, &whole);
        assert!(blocks.front_shared(&queue, 1).is_some());
        let mut second = Queue::EMPTY;
        blocks.append_shared(&mut second, &whole, 0, &whole);
        assert!(blocks.front_shared(&second, 1).is_none());
        blocks.clear(&mut queue);
        blocks.clear(&mut second);
        assert!(whole.is_unique());
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
