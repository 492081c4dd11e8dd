//! mini-moka's synchronous cache: dashmap with moka's policies, which queues feed.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: yes. Where nothing may be evicted, it has
//! no bound. Blocks: readers and writers of a shard, and housekeeping in a caller's thread. Loader:
//! none.

use mini_moka::sync::{Cache, ConcurrentCacheExt};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct MiniMoka;

impl Family for MiniMoka {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a shard",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`MiniMoka`].
pub struct Map<K: Key, V: Value>(Cache<K, V, Hasher>);

/// See [`MiniMoka`].
pub struct MapReader<'a, K: Key, V: Value>(&'a Cache<K, V, Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(Cache::builder().initial_capacity(entries).build_with_hasher(Hasher::default()))
    }

    fn bounded(entries: usize) -> Option<Self> {
        let builder = Cache::builder().max_capacity(entries as u64);
        Some(Self(builder.build_with_hasher(Hasher::default())))
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
        self.0.invalidate(key);
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        entries.for_each(|(key, value)| self.0.insert(key, value));
        self.0.sync();
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key)
    }
}
