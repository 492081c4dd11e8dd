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
/// changes nothing. The methods take the batch by value, for chains. In a loop, use the methods of
/// [`BatchMut`], which [`by_ref`](Self::by_ref) lends, or [`extend`](Extend::extend).
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
    writes: BatchMut<'c, K, V, S, R>,
}

/// A [`Batch`] whose methods take it by reference, for loops; made by
/// [`Cache::batch_mut`](crate::Cache::batch_mut).
///
/// The last write of a key wins. Nothing happens before [`commit`](Self::commit). Dropping a batch
/// changes nothing.
///
/// ```
/// let cache = coeval::Cache::new();
/// let mut batch = cache.batch_mut();
/// for (key, value) in [("a", 1), ("b", 2)] {
///     batch.insert(key, value);
/// }
/// let version = batch.commit();
/// assert_eq!(cache.get_versioned("a"), Some((1, version)));
/// assert_eq!(cache.get_versioned("b"), Some((2, version)));
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct BatchMut<'c, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: &'c Engine<K, V, S, R>,
    changes: Changes<K, V>,
}

impl<'c, K, V, S, R> BatchMut<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    #[inline]
    pub(crate) fn new(engine: &'c Engine<K, V, S, R>) -> Self {
        Self { engine, changes: engine.changes() }
    }

    #[inline(always)]
    fn set(&mut self, key: K, value: V, terms: WriteTerms) -> &mut Self {
        self.changes.set(self.engine.hash(&key), key, value, terms);
        self
    }

    /// Removes `key`, with its relations if `related`.
    pub(super) fn remove_key(&mut self, key: K, related: bool) -> &mut Self {
        self.changes.remove(self.engine.hash(&key), key, related);
        self
    }

    /// Sets `key` and applies its declared relations. The cache's settings determine how long the
    /// value is kept. The value has no tags, even if the previous one had some.
    /// [`insert_with`](Self::insert_with) can specify otherwise.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> &mut Self {
        self.changes.set(self.engine.hash(&key), key, value, WriteTerms::Default);
        self
    }

    /// Sets `key` to a value that becomes absent after `time_to_live`, regardless of the cache's
    /// own time, and applies the key's declared relations. Values that one batch inserts with the
    /// same time expire at the same time.
    pub fn insert_with_ttl(&mut self, key: K, value: V, time_to_live: Duration) -> &mut Self {
        self.set(key, value, WriteTerms::TimeToLive(time_to_live))
    }

    /// Sets `key` to a value with these tags, and applies the key's declared relations. The values
    /// that relations write have no tags. May call the allocator.
    pub fn insert_tagged(&mut self, key: K, value: V, tags: &[Tag]) -> &mut Self {
        self.insert_with(key, value, Terms::new().tags(tags))
    }

    /// Sets `key` with these [terms](Terms), and applies the key's declared relations. The terms
    /// specify how long the value is kept, when it is due for reloading, what it weighs and which
    /// tags it has, or that all of this stays as it was. May call the allocator.
    ///
    /// ```
    /// use coeval::Terms;
    /// use std::time::Duration;
    ///
    /// let cache = coeval::Cache::builder().max_capacity(100).weigher(|_, _| 1).build();
    /// let mut batch = cache.batch_mut();
    /// for (key, size) in [("a", 30), ("b", 40)] {
    ///     let terms = Terms::new().time_to_live(Duration::from_secs(60)).weight(size);
    ///     batch.insert_with(key, size, terms.tags(["tenant:7"]));
    /// }
    /// batch.commit();
    /// assert_eq!(cache.weighted_size(), 70);
    /// cache.invalidate_tag("tenant:7");
    /// assert_eq!(cache.get_many(["a", "b"]), [None, None]);
    /// ```
    pub fn insert_with(&mut self, key: K, value: V, terms: Terms) -> &mut Self {
        let terms = self.changes.add_terms(terms);
        self.set(key, value, terms)
    }

    /// Removes `key` alone.
    pub fn remove(&mut self, key: K) -> &mut Self {
        self.remove_key(key, false)
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(&mut self, key: K) -> &mut Self {
        self.remove_key(key, true)
    }

    /// Returns the number of writes so far. Several writes of one key count each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether nothing is to be written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Publishes all writes in one atomic step and returns their version. The batch is empty
    /// afterwards and can be used again. O(n log n) for n writes. Lock-free: a thread that needs
    /// one of the keys helps the commit to its end. An empty batch is a commit like any other: it
    /// takes a version, as of which nothing is different.
    ///
    /// # Panics
    /// Panics only if `Eq`, a relation's closure or the weigher does. Nothing is written then.
    pub fn commit(&mut self) -> Version {
        self.engine.commit(self.changes.take())
    }
}

impl<'c, K, V, S, R> Batch<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: &'c Engine<K, V, S, R>) -> Self {
        Self { writes: BatchMut::new(engine) }
    }

    /// Lends the batch to methods that take it by reference, for loops.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let mut batch = cache.batch().insert("first", 0);
    /// for (key, value) in [("a", 1), ("b", 2)] {
    ///     batch.by_ref().insert(key, value);
    /// }
    /// batch.commit();
    /// assert_eq!(cache.get_many(["first", "a", "b"]), [Some(0), Some(1), Some(2)]);
    /// ```
    pub fn by_ref(&mut self) -> &mut BatchMut<'c, K, V, S, R> {
        &mut self.writes
    }

    /// Sets `key` and applies its declared relations. The cache's settings determine how long the
    /// value is kept. The value has no tags, even if the previous one had some.
    /// [`insert_with`](Self::insert_with) can specify otherwise.
    pub fn insert(mut self, key: K, value: V) -> Self {
        // Straight into the list, because an unoptimized build copies the value in each call.
        let hash = self.writes.engine.hash(&key);
        self.writes.changes.set(hash, key, value, WriteTerms::Default);
        self
    }

    /// Sets `key` to a value that becomes absent after `time_to_live`, as
    /// [`BatchMut::insert_with_ttl`] does.
    pub fn insert_with_ttl(mut self, key: K, value: V, time_to_live: Duration) -> Self {
        self.writes.insert_with_ttl(key, value, time_to_live);
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
    pub fn insert_tagged(mut self, key: K, value: V, tags: &[Tag]) -> Self {
        self.writes.insert_tagged(key, value, tags);
        self
    }

    /// Sets `key` with these [terms](Terms), as [`BatchMut::insert_with`] does.
    pub fn insert_with(mut self, key: K, value: V, terms: Terms) -> Self {
        self.writes.insert_with(key, value, terms);
        self
    }

    /// Removes `key` alone.
    pub fn remove(mut self, key: K) -> Self {
        self.writes.remove(key);
        self
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(mut self, key: K) -> Self {
        self.writes.invalidate(key);
        self
    }

    /// Publishes all writes in one atomic step and returns their version, as
    /// [`BatchMut::commit`] does.
    ///
    /// # Panics
    /// Panics only if `Eq`, a relation's closure or the weigher does. Nothing is written then.
    pub fn commit(self) -> Version {
        let BatchMut { engine, changes } = self.writes;
        engine.commit(changes)
    }
}

/// Inserts each entry.
impl<K, V, S, R> Extend<(K, V)> for BatchMut<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// Inserts each entry with its terms.
impl<K, V, S, R> Extend<(K, V, Terms)> for BatchMut<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn extend<I: IntoIterator<Item = (K, V, Terms)>>(&mut self, entries: I) {
        for (key, value, terms) in entries {
            self.insert_with(key, value, terms);
        }
    }
}

/// Inserts each entry, with its terms if it has some.
impl<E, K, V, S, R> Extend<E> for Batch<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    for<'c> BatchMut<'c, K, V, S, R>: Extend<E>,
{
    fn extend<I: IntoIterator<Item = E>>(&mut self, entries: I) {
        self.writes.extend(entries);
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Batch<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = self.writes.changes.len();
        f.debug_struct("Batch").field("writes", &writes).finish_non_exhaustive()
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for BatchMut<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchMut").field("writes", &self.changes.len()).finish_non_exhaustive()
    }
}
