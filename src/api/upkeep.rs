//! Maintenance on demand.

use super::cache::Cache;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};

/// # Maintenance
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Does all maintenance that is due, and reclaims the memory of values that no reader can see
    /// any more: removed, replaced, evicted, cleared or expired ones. Keys and values that nothing
    /// keeps are dropped. Returns how many objects are still retired; 0 if nothing keeps any.
    ///
    /// Writes do most of this by themselves, a little each, so a value is dropped some thousands of
    /// writes after its removal. Call `collect` to have it done now, or when no writes follow.
    /// These keep memory:
    /// - open views, [pinned](Self::pin) guards and operations under way on other threads (if the
    ///   calling thread itself holds a guard, nothing is reclaimed);
    /// - other live threads: what one has retired, up to about a thousand objects, waits for its
    ///   own calls;
    /// - the capacity bound and the deadlines, which keep keys only: a removed key may stay until
    ///   its turn comes.
    ///
    /// `collect` also removes values that a tag or an input has ended. Writes do that only if the
    /// cache was [built](crate::Builder::sweep_ended) so. A value that is loaded later does not
    /// have the [tags](Self#tags) of a value that was removed, and a value that is derived later is
    /// not compared with it.
    ///
    /// O(n) after [`invalidate_all`](Self::invalidate_all) or
    /// [`invalidate_tag`](Self::invalidate_tag), or if there are [derived](Self::derive) values;
    /// else proportional to what is due. Lock-free. Calls the
    /// [listener](crate::Builder::eviction_listener) for the entries that leave by it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let (cache, value) = (coeval::Cache::new(), Arc::new("large"));
    /// cache.insert("key", Arc::clone(&value));
    /// cache.remove("key");
    /// assert_eq!(cache.collect(), 0);
    /// assert_eq!(Arc::strong_count(&value), 1);
    /// ```
    pub fn collect(&self) -> u64 {
        self.engine().collect() as u64
    }

    /// Does at most `steps` steps of the maintenance that is due. A step is about as much as a
    /// write does beside its own work. Returns whether there is more to do.
    ///
    /// Writes maintain the cache by themselves. `maintain` is for a program that writes seldom, or
    /// that wants its writes free of this work: a thread calls it now and then. It is also for a
    /// cache in which tags or inputs end values, because writes remove such values only if the
    /// cache was [built](crate::Builder::sweep_ended) so.
    ///
    /// `maintain` does a bounded part of what [`collect`](Self::collect) does all at once, with the
    /// same effects, and the same things keep memory. Lock-free; any number of threads may call it.
    /// Calls the [listener](crate::Builder::eviction_listener) for the entries that leave by it.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// for n in 0..1000 {
    ///     cache.insert_tagged(n, n, &["odd".into(), "even".into()][n % 2..][..1]);
    /// }
    /// cache.invalidate_tag("even");
    /// assert_eq!(cache.len(), 1000);
    /// while cache.maintain(100) {}
    /// assert_eq!(cache.len(), 500);
    /// ```
    pub fn maintain(&self, steps: usize) -> bool {
        self.engine().tell_old_view();
        self.engine().maintain(steps)
    }

    /// Returns the number of entries that a reader sees now. O(n): it counts them in a view.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert_tagged("cart", 30, &["tenant:7".into()]);
    /// cache.insert("name", 10);
    /// cache.invalidate_tag("tenant:7");
    /// assert_eq!((cache.len(), cache.present_len()), (2, 1));
    /// cache.collect();
    /// assert_eq!((cache.len(), cache.present_len()), (1, 1));
    /// ```
    #[must_use]
    pub fn present_len(&self) -> usize {
        self.view().len()
    }
}
