//! The standard HashMap behind one reader-writer lock (parking_lot).
//!
//! Atomic batch: yes, under the lock. Consistent group read: yes, under the lock. Bounded: no.
//! Blocks: all threads on all others; every read writes the lock word. Loader: none.

use std::collections::HashMap;

use parking_lot::{RwLock, RwLockReadGuard};

use super::{Family, Hasher, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Locked;

impl Family for Locked {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "everybody",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

type Inner<K, V> = HashMap<K, V, Hasher>;

/// See [`Locked`].
pub struct Map<K, V>(RwLock<Inner<K, V>>);

/// Takes the lock for every call.
pub struct LockPerCall<'a, K, V>(&'a RwLock<Inner<K, V>>);

/// Holds the lock.
pub struct LockHeld<'a, K, V>(RwLockReadGuard<'a, Inner<K, V>>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = LockPerCall<'a, K, V>;
    type Held<'a> = LockHeld<'a, K, V>;

    fn with_capacity(entries: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity_and_hasher(entries, Hasher::default())))
    }

    fn reader(&self) -> LockPerCall<'_, K, V> {
        LockPerCall(&self.0)
    }

    fn held(&self) -> Option<LockHeld<'_, K, V>> {
        Some(LockHeld(self.0.read()))
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.write().insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.write().remove(key);
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        let mut map = self.0.write();
        for key in keys {
            map.insert(key.clone(), value.clone());
        }
    }
}

impl<K: Key, V: Value> Reader<K, V> for LockPerCall<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.read().get(key).cloned()
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let map = self.0.read();
        keys.each_ref().map(|key| map.get(key).cloned())
    }
}

impl<K: Key, V: Value> Reader<K, V> for LockHeld<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
