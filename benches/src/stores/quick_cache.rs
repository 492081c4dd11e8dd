//! quick_cache: shards of a bounded map (S3-FIFO-like), each behind a reader-writer lock.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: always; here to far more than is put in.
//! Blocks: readers and writers of a shard on its lock.

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{Hasher, NoHeld, Promises, Reader, Store};

/// Room for everything that is ever put in.
const BOUND: u64 = 1 << 32;

type Map = Cache<u64, u64, UnitWeighter, Hasher, DefaultLifecycle<u64, u64>>;

/// See above.
pub struct Quick(Map);

/// See [`Quick`].
pub struct QuickReader<'a>(&'a Map);

impl Store for Quick {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a shard",
    };
    type Reader<'a> = QuickReader<'a>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        let (hasher, lifecycle) = (Hasher::default(), DefaultLifecycle::default());
        Self(Cache::with(entries, BOUND, UnitWeighter, hasher, lifecycle))
    }

    fn reader(&self) -> QuickReader<'_> {
        QuickReader(&self.0)
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

impl Reader for QuickReader<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}
