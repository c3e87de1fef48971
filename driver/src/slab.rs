//! Values that are found again by the place they were given, and by nothing else.

/// Places that stay allocated when the last value goes.
const KEPT_PLACES: usize = 64;

/// A vector with a list of its gaps: less memory per value than a tree, and a fraction of the code. Places are given
/// again after [`Self::remove`].
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    gaps: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), gaps: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps `value` and says where.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.gaps.pop() {
            Some(at) => {
                self.places[at as usize] = Some(value);
                at
            }
            None => {
                self.places.push(Some(value));
                // Each value belongs to a connection or a stream; there are never 2^32 of them.
                (self.places.len() - 1) as u32
            }
        }
    }

    /// The value at a place.
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    /// Takes the value of a place away. The last one takes the memory with it, unless that is little: where
    /// one comes as the other goes, each would cost two allocations.
    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.places.get_mut(at as usize)?.take()?;
        self.gaps.push(at);
        if self.is_empty() {
            if self.places.capacity() > KEPT_PLACES {
                *self = Self::default();
            } else {
                self.places.clear();
                self.gaps.clear();
            }
        }
        Some(value)
    }

    /// True when there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.len() == self.gaps.len()
    }

    /// All values.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten()
    }

    /// All values, taken out.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.places.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_were_put() {
        let mut slab = Slab::default();
        let (a, b, c) = (slab.insert('a'), slab.insert('b'), slab.insert('c'));
        assert_eq!(slab.remove(b), Some('b'));
        assert_eq!((slab.remove(b), slab.get_mut(b)), (None, None), "a place that is empty");
        let d = slab.insert('d');
        assert_eq!(d, b, "gaps are filled first");
        assert_eq!(slab.get_mut(d), Some(&mut 'd'));
        assert_eq!(slab.iter_mut().map(|value| *value).collect::<String>(), "adc");
        assert_eq!(slab.get_mut(9), None);
        assert_eq!((slab.remove(a), slab.remove(c)), (Some('a'), Some('c')));
        assert!(!slab.is_empty());
        assert_eq!(slab.remove(d), Some('d'));
        assert!(slab.is_empty() && slab.places.capacity() <= KEPT_PLACES);
        assert_eq!(slab.insert('e'), 0);
        assert_eq!(slab.into_values().collect::<String>(), "e");
    }

    #[test]
    fn an_empty_one_keeps_little() {
        let mut slab = Slab::default();
        let places: Vec<u32> = (0..100).map(|n| slab.insert(n)).collect();
        for at in places {
            assert!(slab.remove(at).is_some());
        }
        assert_eq!((slab.places.capacity(), slab.gaps.capacity()), (0, 0));
    }
}
