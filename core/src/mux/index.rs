//! Streams by id: a small open-addressed table.

use crate::id::StreamId;
use alloc::boxed::Box;

/// Finds a number by the id of a stream, in a few instructions; a tree costs a tenth of a small request's user time.
///
/// Empty it owns no memory, and it never shrinks but by [`clear`](Self::clear). It is walked by nobody, so that
/// no order can come out of it. A peer that chooses its ids badly makes its own tunnel slow, by a walk over as many
/// words as it has streams open.
#[derive(Debug, Default)]
pub struct StreamIndex {
    /// A power of two of places, at most three quarters of them taken.
    places: Box<[(u32, u32)]>,
    len: u32,
}

/// 2^32 divided by the golden ratio: neighbouring ids come to lie far apart (Knuth, volume 3, 6.4).
const SPREAD: u32 = 0x9e37_79b9;
const FIRST_PLACES: usize = 8;
/// A place without an id; no number is as large.
const FREE: (u32, u32) = (0, u32::MAX);

impl StreamIndex {
    /// How many ids it has.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of `id`.
    pub fn get(&self, id: StreamId) -> Option<u32> {
        match self.places.get(self.seek(id.0)?) {
            Some(place) if place.0 == id.0 && *place != FREE => Some(place.1),
            _ => None,
        }
    }

    /// Sets the number of `id`, which is below [`u32::MAX`], and gives the one it had.
    pub fn insert(&mut self, id: StreamId, value: u32) -> Option<u32> {
        debug_assert_ne!(value, FREE.1, "the mark of a free place");
        if (self.len() + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        let at = self.seek(id.0)?;
        let place = self.places.get_mut(at)?;
        let old = (*place != FREE).then_some(place.1);
        *place = (id.0, value);
        self.len += u32::from(old.is_none());
        old
    }

    /// Forgets `id`, and gives its number.
    pub fn remove(&mut self, id: StreamId) -> Option<u32> {
        let mut hole = self.seek(id.0)?;
        let found = *self.places.get(hole)?;
        if found == FREE {
            return None;
        }
        self.len -= 1;
        // What stands behind it and would no longer be found moves up, so that there are no marks of the dead.
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(&entry) = self.places.get(at).filter(|entry| **entry != FREE) else { break };
            let from_home = at.wrapping_sub(self.home(entry.0)) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.put(hole, entry);
                hole = at;
            }
        }
        self.put(hole, FREE);
        Some(found.1)
    }

    /// Forgets everything, and gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where `id` stands, or the free place where it would.
    fn seek(&self, id: u32) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = self.home(id);
        // A quarter of the places is free, so that this ends.
        while let Some(place) = self.places.get(at) {
            if place.0 == id || *place == FREE {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn home(&self, id: u32) -> usize {
        let spread = id.wrapping_mul(SPREAD);
        // The upper bits are the well-spread ones.
        let bits = self.places.len().trailing_zeros();
        (u64::from(spread) >> (32 - bits.min(32))) as usize
    }

    fn put(&mut self, at: usize, entry: (u32, u32)) {
        if let Some(place) = self.places.get_mut(at) {
            *place = entry;
        }
    }

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(FIRST_PLACES);
        let old = core::mem::replace(&mut self.places, alloc::vec![FREE; places].into());
        for entry in old.into_iter().filter(|entry| *entry != FREE) {
            if let Some(at) = self.seek(entry.0) {
                self.put(at, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::collections::BTreeMap;

    /// Ids as a session has them, and such as a hostile peer would choose: multiples that all fall on one place.
    fn id_of(rng: &mut Rng, hostile: bool) -> StreamId {
        let n = rng.below(400) as u32;
        StreamId(if hostile { n.wrapping_mul(SPREAD.wrapping_mul(SPREAD) | 1) } else { n })
    }

    #[test]
    fn it_says_what_a_tree_says() {
        for hostile in [false, true] {
            let mut rng = Rng::new(7);
            let mut index = StreamIndex::default();
            let mut tree = BTreeMap::new();
            for step in 0..40_000u32 {
                let id = id_of(&mut rng, hostile);
                match rng.below(8) {
                    0..=2 => assert_eq!(index.insert(id, step), tree.insert(id.0, step)),
                    3..=6 => assert_eq!(index.remove(id), tree.remove(&id.0)),
                    _ => assert_eq!(index.get(id), tree.get(&id.0).copied()),
                }
                assert_eq!((index.len(), index.is_empty()), (tree.len(), tree.is_empty()));
            }
            tree.iter().for_each(|(id, value)| assert_eq!(index.get(StreamId(*id)), Some(*value)));
            index.clear();
            assert!(
                index.is_empty() && index.get(StreamId(1)).is_none() && index.remove(StreamId(1)).is_none()
            );
        }
    }
}
