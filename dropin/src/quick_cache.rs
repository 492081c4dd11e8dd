//! `quick_cache::sync::Cache` over coeval.

pub mod sync {
    use coeval::{Equivalent, ToKey};
    use std::hash::Hash;

    /// `quick_cache::sync::Cache`, with the default weight of one for each entry.
    pub struct Cache<K, V>(coeval::Cache<K, V>);

    impl<K, V> Cache<K, V>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        #[must_use]
        pub fn new(items_capacity: usize) -> Self {
            Self(coeval::Cache::builder().max_capacity(items_capacity as u64).build())
        }

        /// With `weigher` in place of quick_cache's trait.
        #[must_use]
        pub fn with_weigher(
            weight_capacity: u64,
            weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static,
        ) -> Self {
            Self(coeval::Cache::builder().max_capacity(weight_capacity).weigher(weigher).build())
        }

        pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
            self.0.get(key)
        }

        pub fn peek<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
            self.0.peek(key)
        }

        pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
            self.0.contains_key(key)
        }

        pub fn insert(&self, key: K, value: V) {
            self.0.insert(key, value);
        }

        pub fn get_or_insert_with<Q, E: Clone>(
            &self,
            key: &Q,
            with: impl FnOnce() -> Result<V, E>,
        ) -> Result<V, E>
        where
            Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
        {
            self.0.try_get_with_ref(key, with).map_err(|error| (*error).clone())
        }

        pub fn replace(&self, key: K, value: V) -> Result<(), (K, V)> {
            let mut refused = Some(value);
            self.0.entry_by_ref(&key).and_compute_with(|present| match (present, refused.take()) {
                (Some(_), Some(value)) => coeval::Op::Put(value),
                (_, value) => {
                    refused = value;
                    coeval::Op::Nop
                }
            });
            refused.map_or(Ok(()), |value| Err((key, value)))
        }

        pub fn remove<Q: Hash + Equivalent<K> + ToKey<K> + ?Sized>(
            &self,
            key: &Q,
        ) -> Option<(K, V)> {
            self.0.remove(key).map(|value| (key.to_key(), value))
        }

        pub fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
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

        #[must_use]
        pub fn weight(&self) -> u64 {
            self.0.weighted_size()
        }

        #[must_use]
        pub fn capacity(&self) -> u64 {
            self.0.policy().max_capacity().unwrap_or(u64::MAX)
        }

        pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
            self.0.iter()
        }
    }
}
