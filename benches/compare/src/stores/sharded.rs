//! The standard HashMap in 64 shards, each behind a reader-writer lock (parking_lot) on its own
//! cache lines: what a programmer writes without a library.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: no. Blocks: readers and writers of a shard
//! on its lock; every read writes the lock word. Loader: none.

use std::{collections::HashMap, hash::BuildHasher};

use parking_lot::RwLock;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

const SHARDS: usize = 64;

/// The store that the module describes.
pub struct Sharded;

impl Family for Sharded {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "readers and writers of a shard",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// Two cache lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Shard<K, V>(RwLock<HashMap<K, V, Hasher>>);

/// See [`Sharded`].
pub struct Map<K, V>(Box<[Shard<K, V>]>);

/// See [`Sharded`].
pub struct MapReader<'a, K, V>(&'a Map<K, V>);

impl<K: Key, V: Value> Map<K, V> {
    #[inline]
    fn shard(&self, key: &K) -> &RwLock<HashMap<K, V, Hasher>> {
        // Bits that the table within the shard uses neither as its index nor as its tag.
        let hash = Hasher::default().hash_one(key);
        &self.0[(hash >> 48) as usize % SHARDS].0
    }
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        // A tenth more, for the shards that get more than their share.
        let each = (entries + entries / 10) / SHARDS;
        let map = || HashMap::with_capacity_and_hasher(each, Hasher::default());
        Self((0..SHARDS).map(|_| Shard(RwLock::new(map()))).collect())
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(self)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.shard(&key).write().insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.shard(key).write().remove(key);
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.shard(key).read().get(key).cloned()
    }
}
