//! `papaya::HashMap` over coeval. What papaya returns by reference from a write is a clone here.

use coeval::{Entry, Equivalent, Op};
use std::hash::Hash;

/// `papaya::HashMap`.
#[derive(Clone)]
pub struct HashMap<K, V>(coeval::Cache<K, V>);

/// `papaya::HashMapRef`.
pub struct HashMapRef<'m, K, V> {
    map: &'m coeval::Cache<K, V>,
    pinned: coeval::Pinned<'m, K, V, coeval::RandomState, coeval::reclaim::Asymmetric>,
}

impl<K, V> Default for HashMap<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> HashMap<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[must_use]
    pub fn new() -> Self {
        Self(coeval::Cache::new())
    }

    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(coeval::Cache::builder().initial_capacity(capacity).build())
    }

    #[must_use]
    pub fn pin(&self) -> HashMapRef<'_, K, V> {
        HashMapRef { map: &self.0, pinned: self.0.pin() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> HashMapRef<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.pinned.get(key)
    }

    pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.pinned.contains_key(key)
    }

    /// Returns the value before.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.map.get_and_update(key, |_| Some(value.clone()))
    }

    /// Returns the value that is there, as the error.
    pub fn try_insert(&self, key: K, value: V) -> Result<(), V> {
        let entry = self.map.entry(key).or_insert(value);
        if entry.is_fresh() { Ok(()) } else { Err(entry.into_value()) }
    }

    pub fn get_or_insert(&self, key: K, value: V) -> V {
        self.map.entry(key).or_insert(value).into_value()
    }

    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        self.map.entry(key).or_insert_with(make).into_value()
    }

    /// Returns the new value. The closure may run again.
    pub fn update(&self, key: K, update: impl Fn(&V) -> V) -> Option<V> {
        let result = self.map.entry(key).and_compute_with(|present| match present {
            Some(entry) => Op::Put(update(entry.value())),
            None => Op::Nop,
        });
        result.into_entry().map(Entry::into_value)
    }

    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.map.remove(key)
    }

    pub fn retain(&mut self, keep: impl FnMut(&K, &V) -> bool) {
        self.map.retain(keep);
    }

    pub fn clear(&self) {
        self.map.invalidate_all();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.map.iter()
    }
}
