//! flurry: Java's ConcurrentHashMap in Rust, with bins of linked entries.
//!
//! Atomic batch: no. Consistent group read: no. (Groups are written and read key by key under one
//! guard.) Bounded: no. Blocks: writers of a bin on its lock. Loader: none.

use flurry::{HashMap, HashMapRef};

use super::{Family, Hasher, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Flurry;

impl Family for Flurry {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "writers of a bin",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Flurry`].
pub struct Map<K, V>(HashMap<K, V, Hasher>);

/// A guard for every call.
pub struct GuardPerCall<'a, K, V>(&'a HashMap<K, V, Hasher>);

/// One guard throughout.
pub struct GuardHeld<'a, K, V>(HashMapRef<'a, K, V, Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = GuardPerCall<'a, K, V>;
    type Held<'a> = GuardHeld<'a, K, V>;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> GuardPerCall<'_, K, V> {
        GuardPerCall(&self.0)
    }

    fn held(&self) -> Option<GuardHeld<'_, K, V>> {
        Some(GuardHeld(self.0.pin()))
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.pin().insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.pin().remove(key);
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        let map = self.0.pin();
        for key in keys {
            map.insert(key.clone(), value.clone());
        }
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("guard", self.0.pin())
    }
}

impl<K: Key, V: Value> Reader<K, V> for GuardPerCall<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.pin().get(key).cloned()
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let map = self.0.pin();
        keys.each_ref().map(|key| map.get(key).cloned())
    }
}

impl<K: Key, V: Value> Reader<K, V> for GuardHeld<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
