//! moka's synchronous cache: a lock-free table with policies fed through queues.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: yes; here with room for everything, and so
//! without a bound. Blocks: housekeeping behind a lock that one caller at a time takes.

use moka::sync::Cache;

use super::{Hasher, NoHeld, Promises, Reader, Store};

/// See above.
pub struct Moka(Cache<u64, u64, Hasher>);

/// See [`Moka`].
pub struct MokaReader<'a>(&'a Cache<u64, u64, Hasher>);

impl Store for Moka {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "housekeeping, in a caller's thread",
    };
    type Reader<'a> = MokaReader<'a>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(Cache::builder().initial_capacity(entries).build_with_hasher(Hasher::default()))
    }

    fn reader(&self) -> MokaReader<'_> {
        MokaReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.invalidate(&key);
    }
}

impl Reader for MokaReader<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}
