//! papaya: a lock-free hash table, keys one by one.
//!
//! Atomic batch: no (a group is eight inserts under one pin). Consistent group read: no (eight gets
//! under one pin, torn). Bounded: no. Blocks: a resize makes some writers wait for a copy.

use papaya::{HashMap, HashMapRef, LocalGuard};

use super::{GROUP, Hasher, Promises, Reader, Store};

/// See above.
pub struct Papaya(HashMap<u64, u64, Hasher>);

/// Pins for every call.
pub struct PinPerCall<'a>(&'a HashMap<u64, u64, Hasher>);

/// Pinned once.
pub struct PinHeld<'a>(HashMapRef<'a, u64, u64, Hasher, LocalGuard<'a>>);

impl Store for Papaya {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "writers, at times in a resize",
    };
    type Reader<'a> = PinPerCall<'a>;
    type Held<'a> = PinHeld<'a>;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> PinPerCall<'_> {
        PinPerCall(&self.0)
    }

    fn held(&self) -> Option<PinHeld<'_>> {
        Some(PinHeld(self.0.pin()))
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.pin().insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.pin().remove(&key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        let map = self.0.pin();
        for key in keys {
            map.insert(*key, value);
        }
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("guard", self.0.pin())
    }
}

impl Reader for PinPerCall<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).copied()
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        let map = self.0.pin();
        keys.map(|key| map.get(&key).copied())
    }
}

impl Reader for PinHeld<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}
