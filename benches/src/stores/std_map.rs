//! The standard HashMap without any synchronisation: the limit, not a contender. Reads only, or one
//! thread only.
//!
//! Atomic batch, consistent group read: trivially, alone. Bounded: no. Blocks: nowhere.

use std::{cell::UnsafeCell, collections::HashMap};

use super::{GROUP, Hasher, Promises, Reader, Store};

type Map = HashMap<u64, u64, Hasher>;

/// See above.
pub struct Unsynchronised(UnsafeCell<Map>);

// SAFETY: `SHARED` is false, and so no workload writes while another thread uses the store.
unsafe impl Sync for Unsynchronised {}

/// See [`Unsynchronised`].
pub struct MapReader<'a>(&'a UnsafeCell<Map>);

impl Unsynchronised {
    #[allow(clippy::mut_from_ref)]
    fn map(&self) -> &mut Map {
        // SAFETY: `SHARED` is false: whoever writes is the only thread that uses the store, and no
        // reference outlives a call.
        unsafe { &mut *self.0.get() }
    }
}

impl Store for Unsynchronised {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "one thread only, or reads only",
    };
    const SHARED: bool = false;
    type Reader<'a> = MapReader<'a>;
    type Held<'a> = MapReader<'a>;

    fn with_capacity(entries: usize) -> Self {
        Self(UnsafeCell::new(HashMap::with_capacity_and_hasher(entries, Hasher::default())))
    }

    fn reader(&self) -> MapReader<'_> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<MapReader<'_>> {
        Some(MapReader(&self.0))
    }

    fn insert(&self, key: u64, value: u64) {
        self.map().insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.map().remove(&key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        let map = self.map();
        for key in keys {
            map.insert(*key, value);
        }
    }
}

impl Reader for MapReader<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        // SAFETY: as in `map`: nobody writes while this shared reference lives.
        unsafe { (*self.0.get()).get(&key).copied() }
    }
}
