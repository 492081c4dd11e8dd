//! `moka::sync::Cache` over coeval.

pub mod sync {
    pub use coeval::{Entry, Equivalent, RemovalCause};
    use std::hash::Hash;
    use std::sync::Arc;
    use std::time::Duration;

    /// `moka::sync::Cache`.
    #[derive(Clone)]
    pub struct Cache<K, V>(coeval::Cache<K, V>);

    /// `moka::sync::CacheBuilder`.
    pub struct CacheBuilder<K, V>(coeval::Builder<K, V>);

    impl<K, V> CacheBuilder<K, V>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        #[must_use]
        pub fn new(max_capacity: u64) -> Self {
            Cache::builder().max_capacity(max_capacity)
        }

        #[must_use]
        pub fn name(self, name: &str) -> Self {
            Self(self.0.name(name))
        }

        #[must_use]
        pub fn max_capacity(self, weight: u64) -> Self {
            Self(self.0.max_capacity(weight))
        }

        #[must_use]
        pub fn initial_capacity(self, entries: usize) -> Self {
            Self(self.0.initial_capacity(entries))
        }

        #[must_use]
        pub fn weigher(self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
            Self(self.0.weigher(weigher))
        }

        #[must_use]
        pub fn time_to_live(self, time: Duration) -> Self {
            Self(self.0.time_to_live(time))
        }

        #[must_use]
        pub fn time_to_idle(self, time: Duration) -> Self {
            Self(self.0.time_to_idle(time))
        }

        #[must_use]
        pub fn eviction_listener<F>(self, listener: F) -> Self
        where
            K: Clone,
            F: Fn(Arc<K>, V, RemovalCause) + Send + Sync + 'static,
        {
            Self(self.0.eviction_listener(move |key, value, cause, _| listener(key, value, cause)))
        }

        /// Closures need no support of their own here.
        #[must_use]
        pub fn support_invalidation_closures(self) -> Self {
            self
        }

        #[must_use]
        pub fn build(self) -> Cache<K, V> {
            Cache(self.0.build())
        }
    }

    impl<K, V> Cache<K, V>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        #[must_use]
        pub fn new(max_capacity: u64) -> Self {
            CacheBuilder::new(max_capacity).build()
        }

        #[must_use]
        pub fn builder() -> CacheBuilder<K, V> {
            CacheBuilder(coeval::Cache::builder())
        }

        #[must_use]
        pub fn name(&self) -> Option<&str> {
            self.0.name()
        }

        pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
            self.0.get(key)
        }

        pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
            self.0.contains_key(key)
        }

        pub fn insert(&self, key: K, value: V) {
            self.0.insert(key, value);
        }

        pub fn get_with(&self, key: K, init: impl FnOnce() -> V) -> V {
            self.0.get_with(key, init)
        }

        pub fn get_with_by_ref<Q>(&self, key: &Q, init: impl FnOnce() -> V) -> V
        where
            Q: Hash + Equivalent<K> + coeval::ToKey<K> + ?Sized,
        {
            self.0.get_with_ref(key, init)
        }

        pub fn optionally_get_with(&self, key: K, init: impl FnOnce() -> Option<V>) -> Option<V> {
            self.0.try_get_with(key, || init().ok_or(())).ok()
        }

        pub fn try_get_with<E>(
            &self,
            key: K,
            init: impl FnOnce() -> Result<V, E>,
        ) -> Result<V, Arc<E>> {
            self.0.try_get_with(key, init)
        }

        pub fn entry(&self, key: K) -> coeval::KeyEntry<'_, K, K, K, V> {
            self.0.entry(key)
        }

        pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
            self.0.remove(key)
        }

        pub fn invalidate<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
            self.0.remove(key);
        }

        pub fn invalidate_all(&self) {
            self.0.invalidate_all();
        }

        /// Removes the entries before it returns.
        pub fn invalidate_entries_if(&self, goes: impl Fn(&K, &V) -> bool) {
            self.0.invalidate_entries_if(goes);
        }

        #[must_use]
        pub fn entry_count(&self) -> u64 {
            self.0.len() as u64
        }

        #[must_use]
        pub fn weighted_size(&self) -> u64 {
            self.0.weighted_size()
        }

        #[must_use]
        pub fn policy(&self) -> coeval::PolicyInfo {
            self.0.policy()
        }

        pub fn run_pending_tasks(&self) {
            self.0.collect();
        }

        pub fn iter(&self) -> impl Iterator<Item = (Arc<K>, V)>
        where
            K: Clone,
        {
            self.0.iter().map(|(key, value)| (Arc::new(key), value))
        }
    }
}
