//! An immutable map (imbl's hash trie) behind an `ArcSwap`. A writer makes a changed copy, which
//! shares most of its nodes with the old map, and swaps it in. If another writer was first, it
//! begins again.
//!
//! Atomic batch: yes, one swap. Consistent group read: yes, one map. Bounded: no. Blocks: nowhere,
//! but a writer may repeat its work without a bound. Loader: none.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use imbl::{GenericHashMap, shared_ptr::DefaultSharedPtr};

use super::{Family, Hasher, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct ArcSwapImbl;

impl Family for ArcSwapImbl {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "nowhere; writers repeat",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

type Trie<K, V> = GenericHashMap<K, V, Hasher, DefaultSharedPtr>;

/// See [`ArcSwapImbl`].
pub struct Map<K: Key, V: Value>(ArcSwap<Trie<K, V>>);

/// Loads the newest map for every call.
pub struct NewestMap<'a, K: Key, V: Value>(&'a ArcSwap<Trie<K, V>>);

/// Uses one map throughout.
pub struct OneMap<K: Key, V: Value>(Guard<Arc<Trie<K, V>>>);

impl<K: Key, V: Value> Map<K, V> {
    #[inline]
    fn change(&self, change: impl Fn(&mut Trie<K, V>)) {
        self.0.rcu(|map| {
            let mut map = Trie::clone(map);
            change(&mut map);
            map
        });
    }
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = NewestMap<'a, K, V>;
    type Held<'a> = OneMap<K, V>;

    fn with_capacity(_: usize) -> Self {
        Self(ArcSwap::from_pointee(Trie::with_hasher(Hasher::default())))
    }

    fn reader(&self) -> NewestMap<'_, K, V> {
        NewestMap(&self.0)
    }

    fn held(&self) -> Option<OneMap<K, V>> {
        Some(OneMap(self.0.load()))
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.change(|map| {
            map.insert(key.clone(), value.clone());
        });
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.change(|map| {
            map.remove(key);
        });
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        self.change(|map| {
            for key in keys {
                map.insert(key.clone(), value.clone());
            }
        });
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        let mut map = Trie::clone(&self.0.load());
        map.extend(entries);
        self.0.store(Arc::new(map));
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("map", self.0.load_full())
    }
}

impl<K: Key, V: Value> Reader<K, V> for NewestMap<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.load().get(key).cloned()
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let map = self.0.load();
        keys.each_ref().map(|key| map.get(key).cloned())
    }
}

impl<K: Key, V: Value> Reader<K, V> for OneMap<K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
