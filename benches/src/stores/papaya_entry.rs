//! papaya with a whole group in one entry: not general (a key belongs to one group, known ahead), and
//! unfair to everybody else, for a group is then one look-up. The bar to look up to.
//!
//! Atomic batch: yes, within a group. Consistent group read: yes, within a group. Bounded: no.
//! Blocks: as papaya does.

use papaya::HashMap;

use super::{GROUP, Hasher, NoHeld, Promises, Reader, Store};

/// Groups by their first key.
pub struct PapayaEntry(HashMap<u64, [u64; GROUP], Hasher>);

/// Pins for every call.
pub struct EntryReader<'a>(&'a HashMap<u64, [u64; GROUP], Hasher>);

impl Store for PapayaEntry {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers, at times in a resize",
    };
    const GROUPS_ONLY: bool = true;
    type Reader<'a> = EntryReader<'a>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries / GROUP, Hasher::default()))
    }

    fn reader(&self) -> EntryReader<'_> {
        EntryReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.pin().insert(key, [value; GROUP]);
    }

    fn remove(&self, key: u64) {
        self.0.pin().remove(&key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        self.insert(keys[0], value);
    }
}

impl Reader for EntryReader<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).map(|group| group[0])
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        match self.0.pin().get(&keys[0]) {
            Some(group) => group.map(Some),
            None => [None; GROUP],
        }
    }
}
