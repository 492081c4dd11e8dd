//! papaya: a lock-free open-addressing table; each entry is boxed.
//!
//! Atomic batch: no. Consistent group read: no. (Groups are written and read key by key under one
//! pin.) Bounded: no. Blocks: a resize makes some writers wait for a copy. Loader:
//! `get_or_insert_with`; callers of one missing key each load.

use papaya::{HashMap, HashMapRef, LocalGuard};

use super::{Family, Hasher, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Papaya;

impl Family for Papaya {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: false,
        blocks: "writers, at times in a resize",
        loader: Some("get_or_insert_with"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Papaya`].
pub struct Map<K, V>(HashMap<K, V, Hasher>);

/// Pins for every call.
pub struct PinPerCall<'a, K, V>(&'a HashMap<K, V, Hasher>);

/// Pinned once.
pub struct PinHeld<'a, K, V>(HashMapRef<'a, K, V, Hasher, LocalGuard<'a>>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = PinPerCall<'a, K, V>;
    type Held<'a> = PinHeld<'a, K, V>;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, Hasher::default()))
    }

    fn reader(&self) -> PinPerCall<'_, K, V> {
        PinPerCall(&self.0)
    }

    fn held(&self) -> Option<PinHeld<'_, K, V>> {
        Some(PinHeld(self.0.pin()))
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

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.pin().get_or_insert_with(key.clone(), load).clone()
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("guard", self.0.pin())
    }
}

impl<K: Key, V: Value> Reader<K, V> for PinPerCall<'_, K, V> {
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

impl<K: Key, V: Value> Reader<K, V> for PinHeld<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
