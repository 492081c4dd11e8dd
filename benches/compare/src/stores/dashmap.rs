//! dashmap: shards of a hash table, each behind a reader-writer lock.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: no. Blocks: readers and writers of a shard
//! on its lock; every read writes the lock word. Loader: `entry`, which keeps the shard locked
//! while it loads.

use dashmap::DashMap;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Dash;

impl Family for Dash {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "readers and writers of a shard",
        loader: Some("entry().or_insert_with"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Dash`].
pub struct Map<K: Key, V: Value>(DashMap<K, V, Hasher>);

/// See [`Dash`].
pub struct MapReader<'a, K: Key, V: Value>(&'a DashMap<K, V, Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.entry(key.clone()).or_insert_with(load).value().clone()
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }
}
