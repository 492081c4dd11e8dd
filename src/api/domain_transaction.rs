//! Transactions across the caches of a domain.

use super::cache::Cache;
use super::domain::Domain;
use super::domain_view::view_of;
use super::hasher::RandomState;
use super::transaction::{ATTEMPTS, Committed};
use crate::engine::{CachePart, OfEach, OpenedView, Parts, WriteTerms, commit_parts};
use crate::error::{ForeignCache, TransactError};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// # Transactions
impl Domain {
    /// Runs `body`, and then publishes all its writes, to whichever caches, in one commit if
    /// nothing that it read in any of them has changed meanwhile. Otherwise runs `body` again, up
    /// to 64 times in all.
    ///
    /// All that [`Cache::transact`] promises for one cache holds across the caches: transactions
    /// are strictly serializable, all reads are as of one version, and `body` sees its own writes.
    ///
    /// ```
    /// use coeval::{Domain, ForeignCache};
    ///
    /// let domain = Domain::new();
    /// let (checking, savings) = (domain.cache::<&str, u64>(), domain.cache::<&str, u64>());
    /// savings.insert("ada", 70);
    /// let moved = domain.transact(|tx| {
    ///     let saved = tx.of(&savings)?.get("ada").unwrap_or(0);
    ///     tx.of(&savings)?.insert("ada", saved - 50);
    ///     let before = tx.of(&checking)?.get("ada").unwrap_or(0);
    ///     tx.of(&checking)?.insert("ada", before + 50);
    ///     Ok::<_, ForeignCache>(before + 50)
    /// })?;
    /// assert_eq!(checking.get_versioned("ada"), Some((50, moved.version)));
    /// assert_eq!(savings.get_versioned("ada"), Some((20, moved.version)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// An attempt opens a view of all caches of the domain. The cost is otherwise that of
    /// [`Cache::transact`]. Lock-free: `body` runs again only if another commit was made meanwhile,
    /// or was being made of a key of which a cache knew nothing. May call the allocator.
    ///
    /// # Panics
    /// Panics if `body`, a value's `Clone`, `Eq`, a relation's closure or a weigher does. Nothing
    /// is written then, in any of the caches.
    ///
    /// # Errors
    /// [`TransactError::Aborted`] with the error that `body` returned; [`TransactError::Conflict`]
    /// if a change interfered each time. Nothing is changed in either case.
    pub fn transact<T, E>(
        &self,
        mut body: impl FnMut(&mut DomainTransaction<'_>) -> Result<T, E>,
    ) -> Result<Committed<T>, TransactError<E>> {
        for _ in 0..ATTEMPTS {
            let (version, views) = self.core().open();
            let parts = Parts::new(&self.core().commits);
            let mut attempt = DomainTransaction { domain: self, version, views, parts };
            let value = body(&mut attempt).map_err(TransactError::Aborted)?;
            if let Some(version) = attempt.commit() {
                return Ok(Committed { value, version });
            }
        }
        Err(TransactError::Conflict)
    }

    /// Runs a transaction as [`transact`](Self::transact) does, with a closure that has no errors
    /// of its own. It may unwrap what [`DomainTransaction::of`] returns for a cache of the domain.
    ///
    /// # Panics
    /// Panics as `transact` does.
    ///
    /// # Errors
    /// [`TransactError::Conflict`] if a change interfered each time. Nothing is changed then.
    pub fn atomically<T>(
        &self,
        mut body: impl FnMut(&mut DomainTransaction<'_>) -> T,
    ) -> Result<Committed<T>, TransactError<Infallible>> {
        self.transact(|transaction| Ok(body(transaction)))
    }
}

/// All caches of a [`Domain`] as of one version, and the writes to come; passed to the closure of
/// [`Domain::transact`]. [`of`](Self::of) returns the part of one cache.
pub struct DomainTransaction<'d> {
    domain: &'d Domain,
    version: u64,
    views: OfEach<OpenedView>,
    parts: Parts,
}

/// The reads and writes of a [`DomainTransaction`] in one cache; made by [`DomainTransaction::of`].
pub struct TransactionPart<'t, K, V, S = RandomState, R = Asymmetric>
where
    K: 'static,
    V: 'static,
    S: 'static,
    R: Reclaim,
{
    part: &'t mut CachePart<K, V, S, R>,
}

impl DomainTransaction<'_> {
    /// Returns the part of one cache. O(n) for n caches of the domain.
    ///
    /// # Errors
    /// [`ForeignCache`] if the cache is not of the domain, or was made after this attempt began.
    pub fn of<K, V, S, R>(
        &mut self,
        cache: &Cache<K, V, S, R>,
    ) -> Result<TransactionPart<'_, K, V, S, R>, ForeignCache>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        let views = &self.views;
        let make = || {
            let view = view_of(views, std::ptr::from_ref(cache.engine()).addr())?;
            Some(CachePart::reading(cache.shared_engine(), view.snapshot()))
        };
        let part = self.parts.of(cache.engine(), make);
        part.map(|part| TransactionPart { part }).ok_or(ForeignCache::new(()))
    }

    /// Returns the version as of which this transaction reads.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.version)
    }

    /// Commits the planned writes, if everything that was read is unchanged.
    fn commit(self) -> Option<Version> {
        let Self { domain, version, views, parts } = self;
        if parts.are_empty() {
            parts.finish(&domain.core().commits, true); // all reads are valid as of the view
            return Some(Version::from_u64(version));
        }
        // Each part has a share of its view, which it closes when the commit is decided.
        drop(views);
        commit_parts(parts, &domain.core().commits).map(Version::from_u64)
    }
}

impl<K, V, S, R> TransactionPart<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned: the value that this transaction wrote, or else the value
    /// as of its version. The transaction commits only if that is still so.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.part.read(key, V::clone)
    }

    /// Returns whether `key` holds a value, as [`get`](Self::get) does, without cloning it.
    pub fn contains_key<Q>(&mut self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.part.read(key, |_| ()).is_some()
    }

    /// Sets `key` to what `change` makes of its value, and returns the value before. Does nothing
    /// if there is none. The entry stays [as it was](Terms::as_it_was), as with
    /// [`Transaction::update`](crate::Transaction::update).
    pub fn update(&mut self, key: K, change: impl FnOnce(&V) -> V) -> Option<V>
    where
        V: Clone,
    {
        let before = self.get(&key)?;
        let value = change(&before);
        self.insert_with(key, value, Terms::as_it_was());
        Some(before)
    }

    /// Sets `key` and applies its declared relations, as
    /// [`Transaction::insert`](crate::Transaction::insert) does.
    pub fn insert(&mut self, key: K, value: V) {
        self.part.set(key, value, WriteTerms::Default);
    }

    /// Sets `key` as [`insert`](Self::insert) does, to a value that becomes absent after
    /// `time_to_live`.
    pub fn insert_with_ttl(&mut self, key: K, value: V, time_to_live: Duration) {
        self.part.set(key, value, WriteTerms::TimeToLive(time_to_live));
    }

    /// Sets `key` as [`insert`](Self::insert) does, to a value with these tags.
    pub fn insert_tagged(&mut self, key: K, value: V, tags: &[Tag]) {
        self.insert_with(key, value, Terms::new().tags(tags));
    }

    /// Sets `key` as [`insert`](Self::insert) does, with these [terms](Terms).
    pub fn insert_with(&mut self, key: K, value: V, terms: Terms) {
        self.part.set_with(key, value, terms);
    }

    /// Removes `key` alone.
    pub fn remove(&mut self, key: K) {
        self.part.remove(key, false);
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(&mut self, key: K) {
        self.part.remove(key, true);
    }
}

impl fmt::Debug for DomainTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainTransaction")
            .field("version", &self.version())
            .field("caches", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for TransactionPart<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionPart").field("writes", &self.part.len()).finish_non_exhaustive()
    }
}
