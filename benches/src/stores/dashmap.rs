//! dashmap: shards of a hash table, each behind a reader-writer lock.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: no. Blocks: readers and writers of a shard
//! on its lock, and the readers' lock word is written by every read.

use dashmap::DashMap;

use super::{Hasher, NoHeld, Promises, Reader, Store};

/// See above.
pub struct Dash(DashMap<u64, u64, Hasher>);

/// See [`Dash`].
pub struct DashReader<'a>(&'a DashMap<u64, u64, Hasher>);

impl Store for Dash {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "readers and writers of a shard",
    };
    type Reader<'a> = DashReader<'a>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> DashReader<'_> {
        DashReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.remove(&key);
    }
}

impl Reader for DashReader<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry)
    }
}
