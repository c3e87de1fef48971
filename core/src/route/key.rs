//! How the table of endpoints is ordered: by a hash first, then by the name.
//!
//! A search compares numbers that lie in the tree. Names lie elsewhere, each in memory of its own, and begin
//! alike: comparing them on the way through a large table costs more than everything else about a choice. The
//! hash needs no key: whoever makes names of one hash gets a search by name, which is no longer.

use crate::id::EndpointId;
use core::borrow::Borrow;
use core::cmp::Ordering;

/// An endpoint and the hash of its name.
#[derive(Clone, Debug)]
pub(super) struct Key {
    hash: u64,
    pub(super) endpoint: EndpointId,
}

impl Key {
    pub(super) fn new(endpoint: EndpointId) -> Self {
        Self { hash: hash(endpoint.as_bytes()), endpoint }
    }
}

/// What a key and a name that is looked for have in common.
pub(super) trait Name {
    fn parts(&self) -> (u64, &[u8]);
}

impl Name for Key {
    fn parts(&self) -> (u64, &[u8]) {
        (self.hash, self.endpoint.as_bytes())
    }
}

/// A name that is looked for, without a copy of it.
pub(super) struct Wanted<'a>(u64, &'a [u8]);

impl<'a> Wanted<'a> {
    pub(super) fn new(name: &'a [u8]) -> Self {
        Self(hash(name), name)
    }
}

impl Name for Wanted<'_> {
    fn parts(&self) -> (u64, &[u8]) {
        (self.0, self.1)
    }
}

impl<'a> Borrow<dyn Name + 'a> for Key {
    fn borrow(&self) -> &(dyn Name + 'a) {
        self
    }
}

impl Ord for dyn Name + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for dyn Name + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for dyn Name + '_ {}

impl PartialEq for dyn Name + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Key {}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

/// Eight bytes at a time: multiply, and fold the well-mixed upper half down. Names that differ in a digit get
/// numbers that differ early, which is all that is asked of it.
fn hash(name: &[u8]) -> u64 {
    // The golden ratio: odd, and without a pattern.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for chunk in name.chunks(8) {
        let word = chunk.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b));
        hash = (hash ^ word).wrapping_mul(FACTOR);
        hash ^= hash >> 32;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::format;

    #[test]
    fn names_are_found_by_their_bytes_alone() {
        let names: BTreeSet<_> = (0..1000).map(|n| format!("my-endpoint-{n}")).collect();
        let key = |name: &str| Key::new(EndpointId::new(name.as_bytes()).unwrap());
        let map: BTreeMap<Key, &str> = names.iter().map(|name| (key(name), name.as_str())).collect();
        let find = |name: &[u8]| map.get(&Wanted::new(name) as &dyn Name).copied();
        for name in &names {
            assert_eq!(find(name.as_bytes()), Some(name.as_str()));
        }
        for other in ["", "my-endpoint-", "my-endpoint-1000", "my-endpoint-1\0", "My-endpoint-1"] {
            assert_eq!(find(other.as_bytes()), None, "{other}");
        }
        assert_eq!(map.len(), names.len());
        let hashes: BTreeSet<_> = map.keys().map(|key| key.hash).collect();
        assert_eq!(hashes.len(), names.len(), "usual names do not meet");
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let of = |name: &[u8]| Key { hash: 7, endpoint: EndpointId::new(name).unwrap() };
        let map: BTreeMap<_, _> = [(of(b"a"), 1), (of(b"b"), 2)].into();
        for (name, value) in [(&b"a"[..], Some(&1)), (b"b", Some(&2)), (b"c", None)] {
            assert_eq!(map.get(&Wanted(7, name) as &dyn Name), value);
        }
    }
}
