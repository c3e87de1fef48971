//! The queue of alarms.

use piko_core::time::Instant;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

/// The queue may hold so many alarms that were cleared, beside as many as are set.
const CLEARED_MAX: usize = 64;

/// Alarms in the order of their times. One that is cleared stays in the queue until there are many of that kind: nearly
/// all are cleared long before their time, and to look for each of them was most of what a timer cost.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    queue: BinaryHeap<Reverse<Due>>,
    set: Slab<Alarm>,
    last_number: u64,
}

#[derive(Debug)]
struct Alarm {
    number: u64,
    waker: Waker,
}

/// An alarm that was set: its time, its number, which no other has, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    number: u64,
    place: usize,
}

impl Alarms {
    /// Sets an alarm. True when it is the first of all.
    pub(crate) fn set(&mut self, at: Instant, waker: &Waker) -> (Due, bool) {
        if self.queue.len() > 2 * self.set.len() + CLEARED_MAX {
            self.sweep();
        }
        self.last_number += 1;
        let number = self.last_number;
        let place = self.set.insert(Alarm { number, waker: waker.clone() });
        let due = Due { at, number, place };
        self.queue.push(Reverse(due));
        (due, self.queue.peek() == Some(&Reverse(due)))
    }

    /// Whom it will wake, if it is still set.
    pub(crate) fn get_mut(&mut self, due: Due) -> Option<&mut Waker> {
        let alarm = self.set.get_mut(due.place).filter(|alarm| alarm.number == due.number)?;
        Some(&mut alarm.waker)
    }

    /// Takes an alarm off, if it is still set.
    pub(crate) fn clear(&mut self, due: Due) -> Option<Waker> {
        self.get_mut(due)?;
        self.set.try_remove(due.place).map(|alarm| alarm.waker)
    }

    /// True when none is set; then it also forgets those that were.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.set.is_empty() {
            self.queue.clear();
        }
        self.queue.is_empty()
    }

    /// Takes those whose time has come; when to look again. That may be the time of one that was cleared, of which none is
    /// left behind it: a thread that has nothing to do wakes in vain once.
    pub(crate) fn take_due(&mut self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        while let Some(&Reverse(first)) = self.queue.peek() {
            if first.at > now {
                return Some(first.at);
            }
            match self.clear(first) {
                Some(waker) => {
                    self.queue.pop();
                    wakers.push(waker);
                }
                None => self.sweep(),
            }
        }
        None
    }

    /// Forgets those in the queue that were cleared.
    fn sweep(&mut self) {
        let Self { queue, set, .. } = self;
        queue.retain(|Reverse(due)| set.get(due.place).is_some_and(|alarm| alarm.number == due.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn due(alarms: &mut Alarms, now: u64) -> (usize, Option<Instant>) {
        let mut wakers = Vec::new();
        let next = alarms.take_due(at(now), &mut wakers);
        (wakers.len(), next)
    }

    #[test]
    fn alarms_go_off_in_order_and_once() {
        let mut alarms = Alarms::default();
        let (late, first) = alarms.set(at(30), Waker::noop());
        assert!(first);
        let (early, first) = alarms.set(at(10), Waker::noop());
        assert!(first);
        assert!(!alarms.set(at(20), Waker::noop()).1);
        assert_eq!(due(&mut alarms, 9), (0, Some(at(10))));
        assert_eq!(due(&mut alarms, 20), (2, Some(at(30))));
        assert!(alarms.get_mut(early).is_none() && alarms.clear(early).is_none());
        assert!(alarms.get_mut(late).is_some());
        assert_eq!(due(&mut alarms, 30), (1, None));
        assert!(alarms.is_empty());
    }

    #[test]
    fn those_that_are_cleared_do_not_go_off_and_do_not_pile_up() {
        let mut alarms = Alarms::default();
        let (kept, _) = alarms.set(at(5_000_000), Waker::noop());
        for millis in 0..100_000 {
            let (due, _) = alarms.set(at(1_000 + millis), Waker::noop());
            assert!(alarms.clear(due).is_some());
            assert!(alarms.clear(due).is_none(), "its place is another's now, or nobody's");
        }
        assert!(alarms.queue.len() <= CLEARED_MAX + 3, "{}", alarms.queue.len());
        let (woken, next) = due(&mut alarms, 1_000_000);
        assert_eq!((woken, next), (0, Some(kept.at)));
        assert_eq!(alarms.queue.len(), 1);
    }
}
