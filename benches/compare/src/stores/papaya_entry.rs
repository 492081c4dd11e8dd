//! papaya with a whole group of eight in one entry. This is not general (each key belongs to one
//! group, which is known in advance), and unfair to all other stores, because a group is then one
//! look-up. It shows an upper limit.
//!
//! Atomic batch: yes, within a group. Consistent group read: yes, within a group. Bounded: no.
//! Blocks: like papaya. Loader: not used.

use papaya::HashMap;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

const GROUP: usize = 8;

/// The store that the module describes.
pub struct PapayaEntry;

impl Family for PapayaEntry {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers, at times in a resize",
        loader: None,
    };
    const GROUPS_ONLY: bool = true;
    const GROUP_SIZE: Option<usize> = Some(GROUP);
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// Groups by their first key.
pub struct Map<K, V>(HashMap<K, [V; GROUP], Hasher>);

/// Pins for every call.
pub struct EntryReader<'a, K, V>(&'a HashMap<K, [V; GROUP], Hasher>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = EntryReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries / GROUP, Hasher::default()))
    }

    fn reader(&self) -> EntryReader<'_, K, V> {
        EntryReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.pin().insert(key, std::array::from_fn(|_| value.clone()));
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.pin().remove(key);
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        self.insert(keys[0].clone(), value.clone());
    }
}

impl<K: Key, V: Value> Reader<K, V> for EntryReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.pin().get(key).map(|group| group[0].clone())
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let map = self.0.pin();
        let group = map.get(&keys[0]);
        std::array::from_fn(|i| group.and_then(|group| group.get(i)).cloned())
    }
}
