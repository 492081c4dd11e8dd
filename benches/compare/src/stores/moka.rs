//! moka's synchronous cache: a lock-free table with policies that queues feed.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: yes. Where nothing may be evicted, it has
//! no bound. Blocks: housekeeping behind a lock that one caller at a time takes. Loader:
//! `get_with`; callers of one missing key wait for one load.

use moka::sync::Cache;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Moka;

impl Family for Moka {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "housekeeping, in a caller's thread",
        loader: Some("get_with"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Moka`].
pub struct Map<K: Key, V: Value>(Cache<K, V, Hasher>);

/// See [`Moka`].
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

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.get_with_by_ref(key, load)
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        entries.for_each(|(key, value)| self.0.insert(key, value));
        self.0.run_pending_tasks();
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key)
    }
}
