//! scc's HashMap: buckets of 32 entries, each with its own lock; the table grows incrementally.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: no. Blocks: readers and writers of a
//! bucket on its lock, which every read takes. Loader: `entry`, which keeps the bucket locked while
//! it loads.

use scc::HashMap;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Scc;

impl Family for Scc {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "readers and writers of a bucket",
        loader: Some("entry_sync().or_insert_with"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Scc`].
pub struct Map<K: Key, V: Value>(HashMap<K, V, Hasher>);

/// See [`Scc`].
pub struct MapReader<'a, K: Key, V: Value>(&'a HashMap<K, V, Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.upsert_sync(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove_sync(key);
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.entry_sync(key.clone()).or_insert_with(load).get().clone()
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.read_sync(key, |_, value| value.clone())
    }
}
