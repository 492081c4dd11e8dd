//! quick_cache: shards of a bounded map (similar to S3-FIFO), each behind a reader-writer lock.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: always. Where nothing may be evicted, the
//! bound is far above the number of entries. Blocks: readers and writers of a shard on its lock.
//! Loader: `get_value_or_guard`; callers of one missing key wait for one load.

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle, GuardResult},
};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// Room for every entry of any workload.
const BOUND: u64 = 1 << 32;

type Inner<K, V> = Cache<K, V, UnitWeighter, Hasher, DefaultLifecycle<K, V>>;

fn made<K: Key, V: Value>(entries: usize, bound: u64) -> Inner<K, V> {
    Cache::with(entries, bound, UnitWeighter, Hasher::default(), DefaultLifecycle::default())
}

/// The store that the module describes.
pub struct Quick;

impl Family for Quick {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a shard",
        loader: Some("get_value_or_guard"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Quick`].
pub struct Map<K: Key, V: Value>(Inner<K, V>);

/// See [`Quick`].
pub struct MapReader<'a, K: Key, V: Value>(&'a Inner<K, V>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(made(entries, BOUND))
    }

    fn bounded(entries: usize) -> Option<Self> {
        Some(Self(made(entries, entries as u64)))
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
        match self.0.get_value_or_guard(key, None) {
            GuardResult::Value(value) => value,
            GuardResult::Guard(guard) => {
                let value = load();
                // Refused if the key was removed in the meantime. The value is then only returned.
                let _ = guard.insert(value.clone());
                value
            }
            GuardResult::Timeout => unreachable!("no timeout was given"),
        }
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key)
    }
}
