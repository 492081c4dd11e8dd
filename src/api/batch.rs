//! Several writes in one commit.

use super::hasher::RandomState;
use crate::engine::{Changes, Engine, WriteTerms};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Several writes that one commit publishes; made by [`Cache::batch`](crate::Cache::batch).
///
/// The last write of a key wins. Nothing happens before [`commit`](Self::commit). Dropping a batch
/// changes nothing.
///
/// ```
/// let cache = coeval::Cache::new();
/// cache.insert("stale", 0);
/// let version = cache.batch().insert("a", 1).insert("b", 2).remove("stale").commit();
/// assert_eq!(cache.get_versioned("a"), Some((1, version)));
/// assert_eq!(cache.get_versioned("b"), Some((2, version)));
/// assert_eq!(cache.get("stale"), None);
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'c, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: &'c Engine<K, V, S, R>,
    changes: Changes<K, V>,
}

impl<'c, K, V, S, R> Batch<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: &'c Engine<K, V, S, R>) -> Self {
        Self { engine, changes: engine.changes() }
    }

    /// Sets `key` and applies its declared relations. The cache's settings determine how long the
    /// value is kept. The value has no tags, even if the previous one had some.
    /// [`insert_with`](Self::insert_with) can specify otherwise.
    pub fn insert(mut self, key: K, value: V) -> Self {
        self.changes.set(self.engine.hash(&key), key, value, WriteTerms::Default);
        self
    }

    /// Sets `key` to a value that becomes absent after `time_to_live`, regardless of the cache's
    /// own time, and applies the key's declared relations. Values that one batch inserts with the
    /// same time end at the same time.
    pub fn insert_with_ttl(mut self, key: K, value: V, time_to_live: Duration) -> Self {
        let terms = WriteTerms::TimeToLive(time_to_live);
        self.changes.set(self.engine.hash(&key), key, value, terms);
        self
    }

    /// Sets `key` to a value with these tags, and applies the key's declared relations. The values
    /// that relations write have no tags. May call the allocator.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.batch().insert_tagged("cart", 30, &["tenant:7".into()]).insert("name", 10).commit();
    /// cache.invalidate_tag("tenant:7");
    /// assert_eq!(cache.get_many(["cart", "name"]), [None, Some(10)]);
    /// ```
    pub fn insert_tagged(self, key: K, value: V, tags: &[Tag]) -> Self {
        self.insert_with(key, value, Terms::new().tags(tags))
    }

    /// Sets `key` with these [terms](Terms), and applies the key's declared relations. The terms
    /// specify how long the value is kept and which tags it has, or that all of this stays as it
    /// was. May call the allocator.
    pub fn insert_with(mut self, key: K, value: V, terms: Terms) -> Self {
        let keep = self.changes.add_terms(terms);
        self.changes.set(self.engine.hash(&key), key, value, keep);
        self
    }

    /// Removes `key` alone.
    pub fn remove(mut self, key: K) -> Self {
        self.changes.remove(self.engine.hash(&key), key, false);
        self
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(mut self, key: K) -> Self {
        self.changes.remove(self.engine.hash(&key), key, true);
        self
    }

    /// Publishes all writes in one atomic step and returns their version. O(n log n) for n writes.
    /// Lock-free: a thread that needs one of the keys helps the commit to its end. An empty batch
    /// is a commit like any other: it takes a version, as of which nothing is different.
    ///
    /// # Panics
    /// Panics only if `Eq`, a relation's closure or the weigher does. Nothing is written then.
    pub fn commit(self) -> Version {
        self.engine.commit(self.changes)
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Batch<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("writes", &self.changes.len()).finish_non_exhaustive()
    }
}
