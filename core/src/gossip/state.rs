//! The versioned keys of one node; tombstones; compaction.

use super::codec::Entry;
use super::types::{Key, KeyView, Value};
use alloc::collections::BTreeMap;
use core::ops::Bound;

/// The internal key that marks a leave (wire protocol 7.9).
pub(super) const LEFT: &[u8] = b"_internal:left";
/// The internal key that names the highest version whose entries are gone (wire protocol 7.9).
pub(super) const COMPACT: &[u8] = b"_internal:compact";
/// What an entry costs beside key and value: its places in two trees and its counters, in bytes.
const ENTRY_BYTES: usize = 192;
/// Tombstones that are not worth a compaction (Go's threshold, wire protocol 7.9).
pub(super) const TOMBSTONES_MIN: usize = 100;

/// The keys of one node, in two orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    version: u64,
    items: BTreeMap<Key, Item>,
    order: BTreeMap<u64, Key>,
    deleted: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Item {
    value: Value,
    version: u64,
    internal: bool,
    deleted: bool,
}

impl Keys {
    /// Without any key, above `version`.
    pub(super) fn above(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// The version of the newest entry that was ever here.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Memory charged for the entries, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry that is no tombstone.
    pub(super) fn live(&self, key: &[u8]) -> Option<(&Value, bool)> {
        let item = self.items.get(key).filter(|item| !item.deleted)?;
        Some((&item.value, item.internal))
    }

    /// The keys that are no tombstones.
    pub(super) fn live_keys(&self) -> impl Iterator<Item = &Key> {
        self.items.iter().filter(|(_, item)| !item.deleted).map(|(key, _)| key)
    }

    /// Entries above `version`, by growing version.
    pub(super) fn after(&self, version: u64) -> impl Iterator<Item = KeyView<'_>> {
        let range = (Bound::Excluded(version), Bound::Unbounded);
        self.order.range(range).filter_map(|(version, key)| {
            let item = self.items.get(key)?;
            Some(KeyView {
                key: key.as_bytes(),
                value: item.value.as_bytes(),
                version: *version,
                internal: item.internal,
                deleted: item.deleted,
            })
        })
    }

    /// How many entries are above `version`, counted up to `max`.
    pub(super) fn pending(&self, version: u64, max: usize) -> usize {
        if version >= self.version {
            return 0;
        }
        self.order.range((Bound::Excluded(version), Bound::Unbounded)).take(max).count()
    }

    /// Stores an entry as the newest one.
    pub(super) fn put(&mut self, entry: &Entry<'_>) {
        debug_assert!(entry.version > self.version, "versions grow");
        self.version = entry.version;
        let item = Item {
            value: Value::new(entry.value),
            version: entry.version,
            internal: entry.internal,
            deleted: entry.deleted,
        };
        let key = match self.items.get_key_value(entry.key) {
            Some((key, old)) => {
                let key = key.clone();
                self.order.remove(&old.version);
                self.deleted -= usize::from(old.deleted);
                self.bytes -= cost(&key, &old.value);
                key
            }
            None => Key::new(entry.key),
        };
        self.deleted += usize::from(item.deleted);
        self.bytes += cost(&key, &item.value);
        self.order.insert(item.version, key.clone());
        self.items.insert(key, item);
    }

    /// What storing the entry would add to [`bytes`](Self::bytes) at most.
    pub(super) fn cost_of(entry: &Entry<'_>) -> usize {
        ENTRY_BYTES + entry.key.len() + entry.value.len()
    }

    /// Drops every entry up to `version` and gives the keys that were no tombstones.
    pub(super) fn drop_until(&mut self, version: u64, mut dropped: impl FnMut(Key)) {
        while let Some(first) = self.order.first_entry().filter(|first| *first.key() <= version) {
            let key = first.remove();
            if let Some(item) = self.items.remove(&key) {
                self.deleted -= usize::from(item.deleted);
                self.bytes -= cost(&key, &item.value);
                if !item.deleted {
                    dropped(key);
                }
            }
        }
    }

    /// Sets an own key: nothing happens when it has the value already.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], internal: bool) {
        if self.live(key).is_some_and(|(old, was)| old.as_bytes() == value && was == internal) {
            return;
        }
        self.put(&Entry { key, value, version: self.version + 1, internal, deleted: false });
    }

    /// Deletes an own key, if it is there.
    pub(super) fn unset(&mut self, key: &[u8]) {
        if let Some((_, internal)) = self.live(key) {
            self.put(&Entry { key, value: b"", version: self.version + 1, internal, deleted: true });
        }
    }

    /// Whether tombstones are the larger part of an own map, and enough of them (against weakness G6: the cost of
    /// sending the rest again is then paid for by as many deletions).
    pub(super) fn wants_compaction(&self) -> bool {
        self.deleted >= TOMBSTONES_MIN && self.deleted * 2 > self.items.len()
    }

    /// Gives every live entry of an own map a new version above `base` and its own newest, in the old order, drops
    /// the tombstones, and closes with the mark that tells peers to do the same (wire protocol 7.9).
    pub(super) fn compact(&mut self, base: u64) {
        let base = base.max(self.version);
        let old = core::mem::replace(self, Self::above(base));
        for entry in old.after(0).filter(|entry| !entry.deleted && entry.key != COMPACT) {
            let KeyView { key, value, internal, .. } = entry;
            self.put(&Entry { key, value, version: self.version + 1, internal, deleted: false });
        }
        self.mark(base);
    }

    /// Tells peers that all entries up to `base` are gone.
    pub(super) fn mark(&mut self, base: u64) {
        let mut digits = [0; 20];
        self.set(COMPACT, decimal(base, &mut digits), true);
    }
}

fn cost(key: &Key, value: &Value) -> usize {
    ENTRY_BYTES + key.as_bytes().len() + value.as_bytes().len()
}

/// The decimal digits of a number, without a heap.
fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}
