//! The standard HashMap without synchronization: an upper limit, not a competitor. It takes part
//! only with one thread, or without writes.
//!
//! Atomic batch and consistent group read: trivially, with one thread. Bounded: no. Blocks:
//! nowhere. Loader: none.

use std::{cell::UnsafeCell, collections::HashMap};

use super::{Family, Hasher, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Unsynchronised;

impl Family for Unsynchronised {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "one thread only, or reads only",
        loader: None,
    };
    const SHARED: bool = false;
    type Map<K: Key, V: Value> = Map<K, V>;
}

type Inner<K, V> = UnsafeCell<HashMap<K, V, Hasher>>;

/// See [`Unsynchronised`].
pub struct Map<K, V>(Inner<K, V>);

// SAFETY: `SHARED` is false, so no workload writes while another thread uses the store. Reads by
// several threads need `Sync` keys and values. A drop on another thread needs them to be `Send`.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Map<K, V> {}

/// See [`Unsynchronised`].
pub struct MapReader<'a, K, V>(&'a Inner<K, V>);

impl<K, V> Map<K, V> {
    #[allow(clippy::mut_from_ref)]
    #[inline]
    fn map(&self) -> &mut HashMap<K, V, Hasher> {
        // SAFETY: `SHARED` is false, so a writing thread is the only thread that uses the store,
        // and no reference outlives a call.
        unsafe { &mut *self.0.get() }
    }
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = MapReader<'a, K, V>;

    fn with_capacity(entries: usize) -> Self {
        Self(UnsafeCell::new(HashMap::with_capacity_and_hasher(entries, Hasher::default())))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<MapReader<'_, K, V>> {
        Some(MapReader(&self.0))
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.map().insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.map().remove(key);
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        // SAFETY: as in `map`: no thread writes while this shared reference lives.
        unsafe { (*self.0.get()).get(key).cloned() }
    }
}
