//! scc's HashCache: a hash table of 32-entry buckets. A full bucket evicts its least recently used
//! entry.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: always, bucket by bucket. Where nothing
//! may be evicted, it may grow to sixteen times the entries, and reserves room for twice as many,
//! so that buckets hardly ever fill up by chance (while it grows from empty, some may). Blocks:
//! readers and writers of a bucket on its lock. Loader: `entry`, which keeps the bucket locked
//! while it loads.

use scc::{HashCache, hash_cache::Entry};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The ratio of the bound to the entries, where nothing may be evicted.
const ROOM: usize = 16;

/// The store that the module describes.
pub struct SccCache;

impl Family for SccCache {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a bucket",
        loader: Some("entry_sync().or_put_with"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`SccCache`].
pub struct Map<K: Key, V: Value>(HashCache<K, V, Hasher>);

/// See [`SccCache`].
pub struct MapReader<'a, K: Key, V: Value>(&'a HashCache<K, V, Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        let most = entries.max(1 << 20).saturating_mul(ROOM);
        Self(HashCache::with_capacity_and_hasher(2 * entries, most, Hasher::default()))
    }

    fn bounded(entries: usize) -> Option<Self> {
        Some(Self(HashCache::with_capacity_and_hasher(0, entries, Hasher::default())))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        match self.0.entry_sync(key) {
            Entry::Occupied(mut entry) => {
                entry.put(value);
            }
            Entry::Vacant(entry) => {
                entry.put_entry(value);
            }
        }
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove_sync(key);
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.entry_sync(key.clone()).or_put_with(load).1.get().clone()
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.read_sync(key, |_, value| value.clone())
    }
}
