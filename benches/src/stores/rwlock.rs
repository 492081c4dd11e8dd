//! The standard HashMap behind one reader-writer lock (parking_lot).
//!
//! Atomic batch: yes, under the lock. Consistent group read: yes, under the lock. Bounded: no.
//! Blocks: everybody on everybody, and the lock word is written by every read.

use std::collections::HashMap;

use parking_lot::{RwLock, RwLockReadGuard};

use super::{GROUP, Hasher, Promises, Reader, Store};

type Map = HashMap<u64, u64, Hasher>;

/// See above.
pub struct Locked(RwLock<Map>);

/// Takes the lock for every call.
pub struct LockPerCall<'a>(&'a RwLock<Map>);

/// Holds the lock.
pub struct LockHeld<'a>(RwLockReadGuard<'a, Map>);

impl Store for Locked {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "everybody",
    };
    type Reader<'a> = LockPerCall<'a>;
    type Held<'a> = LockHeld<'a>;

    fn with_capacity(entries: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity_and_hasher(entries, Hasher::default())))
    }

    fn reader(&self) -> LockPerCall<'_> {
        LockPerCall(&self.0)
    }

    fn held(&self) -> Option<LockHeld<'_>> {
        Some(LockHeld(self.0.read()))
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.write().insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.write().remove(&key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        let mut map = self.0.write();
        for key in keys {
            map.insert(*key, value);
        }
    }
}

impl Reader for LockPerCall<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.read().get(&key).copied()
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        let map = self.0.read();
        keys.map(|key| map.get(&key).copied())
    }
}

impl Reader for LockHeld<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}
