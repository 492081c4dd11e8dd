//! What a program may ask of a cache in use without changing it, and the bound while in use.

use super::cache::Cache;
use crate::metrics::{LoadInfo, ViewInfo};
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// # Introspection
///
/// These calls count neither as uses of an entry nor in the statistics.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the newest committed value of `key`, cloned, as [`get`](Self::get) does. The call
    /// counts neither as a use nor in the statistics. Wait-free, except that it helps a commit that
    /// it meets between its decision and its number.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("key", 1);
    /// assert_eq!((cache.peek("key"), cache.peek("other")), (Some(1), None));
    /// assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine().look_up::<Q, _, false>(key, |found| found.value().clone())
    }

    /// Returns the key with this hash, if the cache knows one: the hash that an
    /// [event](crate::Event), a [load under way](Self::loads_under_way), an
    /// [explanation](Self::explain) or a field `cache.key_hash` of `tracing` shows. The cache also
    /// knows keys that hold no value, for a while. If several keys have this hash, which is seldom,
    /// it is one of them. O(1), lock-free.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("key", 1);
    /// let hash = cache.explain(&"key").key_hash;
    /// assert_eq!(cache.key_with_hash(hash), Some("key"));
    /// assert_eq!(cache.key_with_hash(hash ^ 1), None);
    /// ```
    #[must_use]
    pub fn key_with_hash(&self, hash: u32) -> Option<K>
    where
        K: Clone,
    {
        self.engine().key_with_hash(hash)
    }

    /// Returns how long the value of `key` is still kept if it is neither read nor written;
    /// [`Duration::MAX`] if it has no deadline. Returns `None` if the key holds no value. O(1),
    /// lock-free.
    ///
    /// The time is that of the value itself. A value may be gone earlier: evicted, or ended by a
    /// tag or an input.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// cache.insert_with_ttl("token", 7, Duration::from_secs(60));
    /// cache.insert("name", 8);
    /// clock.advance(Duration::from_secs(20));
    /// assert_eq!(cache.time_to_live_left("token"), Some(Duration::from_secs(40)));
    /// assert_eq!(cache.time_to_live_left("name"), Some(Duration::MAX));
    /// assert_eq!(cache.time_to_live_left("other"), None);
    /// ```
    #[must_use]
    pub fn time_to_live_left<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine().time_left(key).map(|left| left.unwrap_or(Duration::MAX))
    }

    /// Returns the keys of at most `most` entries, cloned: those that would leave last if there
    /// were no more hits, as far as the eviction policy knows. The hottest one is the first.
    ///
    /// The policy counts up to three hits of an entry since it last looked at it, so hot entries
    /// differ by little. A cache without a [bound](crate::Builder::max_capacity) knows nothing of
    /// this, and the list is empty. While other threads write, the list may lack some entries.
    ///
    /// O(n): it visits all entries, under one guard. While it runs, no thread reclaims memory that
    /// is retired meanwhile. Lock-free; delays no other thread.
    ///
    /// ```
    /// let cache = coeval::Cache::builder().max_capacity(100).build();
    /// for key in 0..100 {
    ///     cache.insert(key, key);
    /// }
    /// for _ in 0..3 {
    ///     cache.get(&7);
    /// }
    /// cache.get(&8);
    /// assert_eq!(cache.hottest(2), [7, 8]);
    /// assert_eq!(cache.coldest(1).len(), 1);
    /// ```
    #[must_use]
    pub fn hottest(&self, most: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.engine().by_heat(most, true, K::clone)
    }

    /// Returns the keys of at most `most` entries, cloned: those that would leave first if there
    /// were no more hits, as far as the eviction policy knows. The coldest one is the first. For
    /// the rest, see [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, most: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.engine().by_heat(most, false, K::clone)
    }

    /// Returns the open views, the oldest first: their versions, for how long they have been open,
    /// and, with the feature `metrics` or `tracing`, the places in the code that opened them.
    /// O(views), lock-free. A view that opens or closes meanwhile may be left out.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let version = cache.insert("key", 1);
    /// let view = cache.view();
    /// let open = cache.open_views();
    /// assert_eq!((open.len(), open[0].version), (1, version));
    /// # #[cfg(any(feature = "metrics", feature = "tracing"))]
    /// assert!(open[0].opened_at.unwrap().file().ends_with(".rs"));
    /// drop(view);
    /// assert!(cache.open_views().is_empty());
    /// ```
    #[must_use]
    pub fn open_views(&self) -> Vec<ViewInfo> {
        self.engine().open_views()
    }

    /// Returns the loads under way, in no particular order: the hash of the key, for how long the
    /// load has lasted, and how many callers wait for it. O(loads and their waiters), lock-free. A
    /// load that begins or ends meanwhile may be left out.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.get_with("key", || {
    ///     let loads = cache.loads_under_way();
    ///     assert_eq!((loads.len(), loads[0].waiters), (1, 0));
    /// });
    /// assert!(cache.loads_under_way().is_empty());
    /// ```
    #[must_use]
    pub fn loads_under_way(&self) -> Vec<LoadInfo> {
        self.engine().loads_under_way()
    }

    /// Changes the [bound](crate::Builder::max_capacity) of the total weight, and returns the
    /// former one. A cache that was built without a bound has no record of uses: it gets none,
    /// nothing changes, and the result is `None`.
    ///
    /// Writes that begin after this call keep the new bound. If the cache is above it, this call
    /// evicts nothing itself: each later write evicts up to 32 entries more than it brings, until
    /// the bound is kept. [`maintain`](Self::maintain) and [`collect`](Self::collect) do so, too.
    /// An entry that alone is heavier than the new bound stays until one of them evicts it.
    ///
    /// O(1), lock-free; may be called at any time and by any thread. After the bound has grown, the
    /// policy's record of evictions grows with it. The record does not become smaller again.
    ///
    /// ```
    /// let cache = coeval::Cache::builder().max_capacity(1_000).build();
    /// for key in 0..1_000 {
    ///     cache.insert(key, key);
    /// }
    /// assert_eq!(cache.resize(100), Some(1_000));
    /// assert_eq!((cache.len(), cache.policy().max_capacity()), (1_000, Some(100)));
    /// for key in 0..50 {
    ///     cache.insert(key, 0);
    /// }
    /// assert_eq!(cache.len(), 100);
    /// ```
    pub fn resize(&self, weight: u64) -> Option<u64> {
        self.engine().resize(weight)
    }
}
