//! The streams of a session and the lists they stand in.
//!
//! Streams live in a slab; an index finds them by id. Every list is doubly linked through the streams, so that
//! joining and leaving one costs a few stores and no memory, and no call has to walk all streams.

use super::config::FRONT_BYTES_MAX;
use super::index::StreamIndex;
use super::stream::Stream;
use crate::id::StreamId;
use alloc::vec::Vec;

/// No stream.
pub(super) const NIL: u32 = u32::MAX;
/// The mark of a link whose stream is in no list.
const OUT: u32 = u32::MAX - 1;
/// Links per stream; the timers share one, since a stream runs at most one.
pub(super) const LINKS: usize = 6;
const LISTS: usize = 9;

/// A list that streams stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Waiting for `accept`.
    Backlog = 0,
    /// With a queued event.
    Events = 1,
    /// Refused writers with credit and much to write, in the order of their refusal.
    Line = 2,
    /// Owing control frames.
    Owed = 3,
    /// Holding unread bytes, those without progress for longest first.
    Unread = 4,
    /// Timer: waiting for the ACK. Each timer has a fixed span, so the order of joining is that of expiry.
    Opening = 5,
    /// Timer: waiting for the peer's FIN; joined anew whenever something passes.
    Closing = 6,
    /// Timer: in discard mode.
    Discarding = 7,
    /// Refused writers with credit and little to write, in the order of their refusal.
    Front = 8,
}

impl List {
    /// The three lists that are timers.
    pub(super) const TIMERS: [Self; 3] = [Self::Opening, Self::Closing, Self::Discarding];

    const fn link(self) -> usize {
        match self {
            Self::Opening | Self::Closing | Self::Discarding => LINKS - 1,
            Self::Front => Self::Line as usize,
            other => other as usize,
        }
    }
}

/// The neighbours of a stream in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    prev: u32,
    next: u32,
    list: u8,
}

impl Link {
    pub(super) const OUT: Self = Self { prev: NIL, next: OUT, list: 0 };
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
    len: u32,
}

/// A slot of the slab.
#[derive(Debug)]
enum Slot {
    Taken(Stream),
    Vacant { next: u32 },
}

/// All streams of a session.
#[derive(Debug)]
pub(super) struct Table {
    index: StreamIndex,
    slots: Vec<Slot>,
    vacant: u32,
    lists: [Ends; LISTS],
}

impl Table {
    pub(super) fn new() -> Self {
        let empty = Ends { head: NIL, tail: NIL, len: 0 };
        Self { index: StreamIndex::default(), slots: Vec::new(), vacant: NIL, lists: [empty; LISTS] }
    }

    /// Streams that are not gone yet.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The handle of stream `id`.
    pub(super) fn find(&self, id: u32) -> Option<u32> {
        self.index.get(StreamId(id))
    }

    pub(super) fn get(&self, at: u32) -> Option<&Stream> {
        match self.slots.get(at as usize) {
            Some(Slot::Taken(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Stream> {
        match self.slots.get_mut(at as usize) {
            Some(Slot::Taken(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Adds a stream whose id is free.
    pub(super) fn insert(&mut self, stream: Stream) -> u32 {
        let id = stream.id;
        let at = self.vacant;
        let at = match self.slots.get_mut(at as usize) {
            Some(slot) => {
                if let Slot::Vacant { next } = slot {
                    self.vacant = *next;
                }
                *slot = Slot::Taken(stream);
                at
            }
            None => {
                self.slots.push(Slot::Taken(stream));
                // Ids are 32 bits wide and two are marks, of which this side never gets to the end in memory.
                (self.slots.len() - 1) as u32
            }
        };
        let old = self.index.insert(StreamId(id), at);
        debug_assert!(old.is_none(), "the caller checked that the id is free");
        at
    }

    /// Takes a stream out of the table and of all lists; false when there is none.
    pub(super) fn remove(&mut self, at: u32) -> bool {
        let Some(stream) = self.get(at) else { return false };
        let id = stream.id;
        for link in 0..LINKS {
            self.unlink(link, at);
        }
        let Some(slot) = self.slots.get_mut(at as usize) else { return false };
        *slot = Slot::Vacant { next: self.vacant };
        self.vacant = at;
        self.index.remove(StreamId(id));
        if self.index.is_empty() {
            self.slots.clear();
            self.vacant = NIL;
        }
        true
    }

    /// Gives all memory back; there are no streams.
    pub(super) fn rest(&mut self) {
        if self.index.is_empty() {
            self.slots = Vec::new();
            self.index.clear();
        }
    }

    /// Every stream, for the end of a session.
    pub(super) fn all(&self) -> Vec<u32> {
        let taken = |(at, slot): (usize, &Slot)| matches!(slot, Slot::Taken(_)).then_some(at as u32);
        // As above: the numbers fit.
        self.slots.iter().enumerate().filter_map(taken).collect()
    }

    pub(super) fn head(&self, list: List) -> Option<u32> {
        let head = self.lists[list as usize].head;
        (head != NIL).then_some(head)
    }

    /// Streams in `list`.
    pub(super) fn count(&self, list: List) -> usize {
        self.lists[list as usize].len as usize
    }

    #[inline]
    pub(super) fn is_in(&self, list: List, at: u32) -> bool {
        self.get(at).is_some_and(|s| {
            let link = s.links[list.link()];
            link.next != OUT && link.list == list as u8
        })
    }

    /// Puts the stream at the end of `list`; a stream that stands there already keeps its place.
    pub(super) fn join(&mut self, list: List, at: u32) {
        if self.is_in(list, at) {
            return;
        }
        let tail = self.lists[list as usize].tail;
        let Some(stream) = self.get_mut(at) else { return };
        debug_assert!(stream.links[list.link()].next == OUT, "a stream runs one timer");
        stream.links[list.link()] = Link { prev: tail, next: NIL, list: list as u8 };
        match self.get_mut(tail) {
            Some(last) => last.links[list.link()].next = at,
            None => self.lists[list as usize].head = at,
        }
        let ends = &mut self.lists[list as usize];
        ends.tail = at;
        ends.len += 1;
    }

    pub(super) fn leave(&mut self, list: List, at: u32) {
        if self.is_in(list, at) {
            self.cut(list.link(), at);
        }
    }

    /// Takes the stream out of the list that it stands in by `link`, if any.
    #[inline]
    fn unlink(&mut self, link: usize, at: u32) {
        if self.get(at).is_some_and(|stream| stream.links[link].next != OUT) {
            self.cut(link, at);
        }
    }

    /// As [`Self::unlink`], of a stream that stands in one.
    fn cut(&mut self, link: usize, at: u32) {
        let Some(stream) = self.get_mut(at) else { return };
        let Link { prev, next, list } = core::mem::replace(&mut stream.links[link], Link::OUT);
        match self.get_mut(prev) {
            Some(before) => before.links[link].next = next,
            None => self.lists[usize::from(list)].head = next,
        }
        match self.get_mut(next) {
            Some(behind) => behind.links[link].prev = prev,
            None => self.lists[usize::from(list)].tail = prev,
        }
        self.lists[usize::from(list)].len -= 1;
    }

    /// Puts a refused writer at the end of its line.
    pub(super) fn join_line(&mut self, at: u32) {
        let Some(stream) = self.get(at) else { return };
        let small = stream.asked as usize <= FRONT_BYTES_MAX;
        let (list, other) = if small { (List::Front, List::Line) } else { (List::Line, List::Front) };
        self.leave(other, at);
        self.join(list, at);
    }

    /// Takes a writer out of the line it stands in.
    pub(super) fn leave_line(&mut self, at: u32) {
        // Both lines share a link.
        self.unlink(List::Line.link(), at);
    }

    /// Refused writers that wait for room.
    pub(super) fn in_line(&self) -> usize {
        self.count(List::Line) + self.count(List::Front)
    }

    /// Stops whatever timer the stream runs.
    pub(super) fn leave_timer(&mut self, at: u32) {
        // All timers share a link.
        self.unlink(List::Opening.link(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_the_order_of_joining() {
        let mut table = Table::new();
        let at: Vec<u32> = (1..6).map(|id| table.insert(Stream::incoming(id))).collect();
        for &at in &at {
            table.join(List::Line, at);
            table.join(List::Line, at);
        }
        assert_eq!(table.count(List::Line), 5);
        table.leave(List::Line, at[0]);
        table.leave(List::Line, at[2]);
        table.leave(List::Line, at[4]);
        table.join(List::Line, at[0]);
        let mut order = Vec::new();
        while let Some(head) = table.head(List::Line) {
            order.push(head);
            table.leave(List::Line, head);
        }
        assert_eq!(order, [at[1], at[3], at[0]]);
    }

    #[test]
    fn a_removed_stream_leaves_every_list_and_its_slot_is_used_again() {
        let mut table = Table::new();
        let a = table.insert(Stream::incoming(2));
        let b = table.insert(Stream::incoming(4));
        for list in [List::Backlog, List::Events, List::Line, List::Owed, List::Unread, List::Closing] {
            table.join(list, a);
            table.join(list, b);
        }
        assert!(table.remove(a));
        assert!(!table.remove(a));
        assert_eq!(table.head(List::Closing), Some(b));
        assert_eq!(table.count(List::Owed), 1);
        assert_eq!(table.find(2), None);
        assert_eq!(table.insert(Stream::incoming(6)), a);
    }
}
