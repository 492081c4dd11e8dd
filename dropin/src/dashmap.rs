//! `dashmap::DashMap` over coeval. What DashMap lends under a lock is a clone here.

use coeval::{Entry as Found, Equivalent, Op, ToKey};
use std::hash::Hash;

/// `dashmap::DashMap`.
#[derive(Clone)]
pub struct DashMap<K, V>(coeval::Cache<K, V>);

/// The entry of a key, after `and_modify` or before it.
pub struct Entry<'m, K, V> {
    map: &'m coeval::Cache<K, V>,
    key: K,
}

impl<K, V> Default for DashMap<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> DashMap<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[must_use]
    pub fn new() -> Self {
        Self(coeval::Cache::new())
    }

    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.0.get(key)
    }

    pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.0.contains_key(key)
    }

    pub fn view<Q, T>(&self, key: &Q, view: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.pin().get(key).map(view)
    }

    /// Returns the value before.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.0.get_and_update(key, |_| Some(value.clone()))
    }

    pub fn remove<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        self.0.remove(key).map(|value| (key.to_key(), value))
    }

    pub fn remove_if<Q>(&self, key: &Q, goes: impl Fn(&V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let result = self.0.entry_by_ref(key).and_compute_with(|present| match present {
            Some(entry) if goes(entry.value()) => Op::Remove,
            _ => Op::Nop,
        });
        match result {
            coeval::CompResult::Removed(entry) => Some(entry.into_value()),
            _ => None,
        }
    }

    /// The closure may run again, so it gets a clone of the value each time.
    pub fn alter<Q>(&self, key: &Q, change: impl Fn(&K, V) -> V)
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let owned = key.to_key();
        self.0.entry_by_ref(key).and_compute_with(|present| match present {
            Some(entry) => Op::Put(change(&owned, entry.into_value())),
            None => Op::Nop,
        });
    }

    #[must_use]
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        Entry { map: &self.0, key }
    }

    /// Keeps what the closure says. Here the closure cannot change the values.
    pub fn retain(&self, keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(keep);
    }

    pub fn clear(&self) {
        self.0.invalidate_all();
        self.0.collect();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.0.iter()
    }
}

impl<K, V> Entry<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The closure may run again, on a new clone.
    #[must_use]
    pub fn and_modify(self, modify: impl Fn(&mut V)) -> Self {
        self.map.entry_by_ref(&self.key).and_compute_with(|present| match present {
            Some(entry) => {
                let mut value = entry.into_value();
                modify(&mut value);
                Op::Put(value)
            }
            None => Op::Nop,
        });
        self
    }

    pub fn or_insert(self, value: V) -> V {
        self.map.entry(self.key).or_insert(value).into_value()
    }

    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> V {
        self.map.entry(self.key).or_insert_with(make).into_value()
    }

    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.map.entry(self.key).or_default().into_value()
    }

    pub fn insert(self, value: V) -> Found<K, V> {
        self.map.entry(self.key).and_upsert_with(|_| value.clone())
    }
}
