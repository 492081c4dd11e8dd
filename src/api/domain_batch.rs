//! Writes to several caches in one commit.

use super::cache::Cache;
use super::domain::Domain;
use super::hasher::RandomState;
use crate::engine::{CachePart, Parts, WriteTerms, commit_parts};
use crate::error::ForeignCache;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Several writes, to any caches of a [`Domain`], that one commit publishes; made by
/// [`Domain::batch`].
///
/// The last write of a key wins. Nothing happens before [`commit`](Self::commit). Dropping a batch
/// changes nothing.
///
/// ```
/// let domain = coeval::Domain::new();
/// let (names, ages) = (domain.cache::<u64, &str>(), domain.cache::<u64, u32>());
/// let mut batch = domain.batch();
/// batch.insert(&names, 7, "Ada")?.insert(&ages, 7, 36)?;
///
/// // A handle for one of the caches has all methods of a batch, and suits loops.
/// let mut of_names = batch.of(&names)?;
/// for (id, name) in [(8, "Grace"), (9, "Edsger")] {
///     of_names.insert(id, name);
/// }
/// let version = batch.commit();
/// assert_eq!(names.get_versioned(&9), Some(("Edsger", version)));
/// assert_eq!(ages.get_versioned(&7), Some((36, version)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct DomainBatch<'d> {
    domain: &'d Domain,
    parts: Parts,
}

/// The writes of a [`DomainBatch`] to one of its caches; made by [`DomainBatch::of`].
pub struct BatchPart<'b, K, V, S = RandomState, R = Asymmetric>
where
    K: 'static,
    V: 'static,
    S: 'static,
    R: Reclaim,
{
    part: &'b mut CachePart<K, V, S, R>,
}

impl Domain {
    /// Returns an empty batch, which collects writes to several caches for one commit.
    #[inline]
    pub fn batch(&self) -> DomainBatch<'_> {
        DomainBatch { domain: self, parts: Parts::new(&self.core().commits) }
    }
}

impl DomainBatch<'_> {
    /// Returns the writes to one of the caches, to add to them. O(n) for n caches of the batch.
    ///
    /// # Errors
    /// [`ForeignCache`] if the cache is not of the domain. The batch is as before.
    #[inline]
    pub fn of<K, V, S, R>(
        &mut self,
        cache: &Cache<K, V, S, R>,
    ) -> Result<BatchPart<'_, K, V, S, R>, ForeignCache>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        let domain = self.domain;
        let make = || domain.has(cache).then(|| CachePart::writing(cache.shared_engine()));
        let part = self.parts.of(cache.engine(), make);
        part.map(|part| BatchPart { part }).ok_or(ForeignCache::new(()))
    }

    /// Sets `key` of a cache, as [`Batch::insert`](crate::Batch::insert) does.
    ///
    /// ```
    /// let (domain, other) = (coeval::Domain::new(), coeval::Cache::new());
    /// let refused = domain.batch().insert(&other, "key", "value").map(drop).unwrap_err();
    /// assert_eq!(refused.into_inner(), ("key", "value"));
    /// # other.insert("key", "value");
    /// ```
    ///
    /// # Errors
    /// [`ForeignCache`] if the cache is not of the domain. It returns the key and the value, and
    /// the batch is as before.
    #[inline]
    pub fn insert<K, V, S, R>(
        &mut self,
        cache: &Cache<K, V, S, R>,
        key: K,
        value: V,
    ) -> Result<&mut Self, ForeignCache<(K, V)>>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        let hash = cache.engine().hash(&key);
        match self.of(cache) {
            Ok(BatchPart { part }) => part.set_hashed(hash, key, value, WriteTerms::Default),
            Err(_) => return Err(ForeignCache::new((key, value))),
        }
        Ok(self)
    }

    /// Removes `key` of a cache alone.
    ///
    /// # Errors
    /// [`ForeignCache`] if the cache is not of the domain. It returns the key, and the batch is as
    /// before.
    pub fn remove<K, V, S, R>(
        &mut self,
        cache: &Cache<K, V, S, R>,
        key: K,
    ) -> Result<&mut Self, ForeignCache<K>>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        match self.of(cache) {
            Ok(mut part) => _ = part.remove(key),
            Err(_) => return Err(ForeignCache::new(key)),
        }
        Ok(self)
    }

    /// Returns whether nothing is to be written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.are_empty()
    }

    /// Publishes all writes in one atomic step and returns their version. An empty batch is a
    /// commit like any other.
    ///
    /// O(n log n) for n writes. Lock-free: a thread that needs one of the keys, of whichever cache,
    /// helps the commit to its end. May call the allocator.
    ///
    /// # Panics
    /// Panics only if `Eq`, a relation's closure or a weigher does. Nothing is written then, in any
    /// of the caches.
    pub fn commit(self) -> Version {
        let version = commit_parts(self.parts, &self.domain.core().commits);
        Version::from_u64(version.expect("there is no precondition"))
    }
}

impl<K, V, S, R> BatchPart<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Sets `key`, as [`BatchMut::insert`](crate::BatchMut::insert) does.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> &mut Self {
        self.part.set(key, value, WriteTerms::Default);
        self
    }

    /// Sets `key` to a value that becomes absent after `time_to_live`, as
    /// [`BatchMut::insert_with_ttl`](crate::BatchMut::insert_with_ttl) does.
    pub fn insert_with_ttl(&mut self, key: K, value: V, time_to_live: Duration) -> &mut Self {
        self.part.set(key, value, WriteTerms::TimeToLive(time_to_live));
        self
    }

    /// Sets `key` to a value with these tags, as
    /// [`BatchMut::insert_tagged`](crate::BatchMut::insert_tagged) does.
    pub fn insert_tagged(&mut self, key: K, value: V, tags: &[Tag]) -> &mut Self {
        self.insert_with(key, value, Terms::new().tags(tags))
    }

    /// Sets `key` with these [terms](Terms), as
    /// [`BatchMut::insert_with`](crate::BatchMut::insert_with) does.
    pub fn insert_with(&mut self, key: K, value: V, terms: Terms) -> &mut Self {
        self.part.set_with(key, value, terms);
        self
    }

    /// Removes `key` alone.
    pub fn remove(&mut self, key: K) -> &mut Self {
        self.part.remove(key, false);
        self
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(&mut self, key: K) -> &mut Self {
        self.part.remove(key, true);
        self
    }
}

/// Inserts each entry.
impl<K, V, S, R> Extend<(K, V)> for BatchPart<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl fmt::Debug for DomainBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainBatch").field("caches", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for BatchPart<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchPart").field("writes", &self.part.len()).finish_non_exhaustive()
    }
}
