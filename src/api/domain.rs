//! Domains: caches of different types that commit together.

use super::builder::Builder;
use super::cache::Cache;
use super::hasher::RandomState;
use crate::engine::{DomainCore, Member};
use crate::error::BuildError;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Several caches, of any types of keys and values, that share one order of versions. One commit
/// may change entries of all of them, and one view shows all of them at one instant.
///
/// A cache is made in a domain by [`Builder::domain`], and stays in it. Each cache keeps its own
/// settings: its bound, times, relations and listener. All operations of a cache are the same as
/// those of a cache outside of a domain.
///
/// ```
/// use coeval::{Cache, Domain};
///
/// let domain = Domain::new();
/// let stock: Cache<&str, u32> = Cache::builder().max_capacity(1000).domain(&domain).build();
/// let orders: Cache<u64, String> = domain.cache();
/// stock.insert("lamp", 5);
///
/// // Both change at one instant, and only if the lamps are still in stock.
/// let order = domain.transact(|tx| {
///     let left = tx.of(&stock)?.get("lamp").unwrap_or(0);
///     tx.of(&stock)?.insert("lamp", left - 1);
///     tx.of(&orders)?.insert(7, "a lamp".to_string());
///     Ok::<_, coeval::ForeignCache>(left - 1)
/// })?;
/// assert_eq!(stock.get_versioned("lamp"), Some((4, order.version)));
///
/// // A view shows both as of one version.
/// let view = domain.view();
/// stock.insert("lamp", 0);
/// assert_eq!(view.version(), order.version);
/// assert_eq!(view.of(&stock)?.get("lamp"), Some(&4));
/// assert_eq!(view.of(&orders)?.get(&7).map(String::as_str), Some("a lamp"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A clone is another handle of the same domain. The domain keeps no cache alive: a cache ends with
/// its last handle, view or lease, as any cache does.
///
/// What joins caches is the commit. These stay within one cache: declared
/// [relations](Builder::related), [tags](crate::Tag) and what a value is
/// [derived](Cache::derive) from.
#[derive(Clone)]
pub struct Domain {
    core: Arc<DomainCore>,
}

impl Domain {
    /// Makes a domain without caches.
    #[must_use]
    pub fn new() -> Self {
        Self { core: Arc::new(DomainCore::new()) }
    }

    /// Makes a cache without bounds in this domain. [`Builder::domain`] makes one with settings.
    #[must_use]
    pub fn cache<K, V>(&self) -> Cache<K, V>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        Cache::builder().domain(self).build()
    }

    /// Returns the version of the newest commit to any cache of the domain.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.core.commits.clock.now())
    }

    #[inline]
    pub(super) fn core(&self) -> &DomainCore {
        &self.core
    }

    /// Returns whether a cache is of this domain.
    pub(super) fn has<K, V, S, R>(&self, cache: &Cache<K, V, S, R>) -> bool
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher,
        R: Reclaim,
    {
        cache.engine().is_timed_by(&self.core.commits.clock)
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// The settings of a new cache of a [`Domain`]; made by [`Builder::domain`].
pub struct DomainBuilder<'d, K, V, S = RandomState, R = Asymmetric> {
    builder: Builder<K, V, S, R>,
    domain: &'d Domain,
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Makes the cache one of a [`Domain`]. This is the last setting.
    ///
    /// ```
    /// use coeval::{Cache, Domain};
    ///
    /// let domain = Domain::new();
    /// let users = Cache::<u64, String>::builder().max_capacity(1000).domain(&domain).build();
    /// let feeds = Cache::<u64, Vec<u64>>::builder().domain(&domain).build();
    /// let mut batch = domain.batch();
    /// batch.insert(&users, 7, "Ada".to_string())?;
    /// batch.insert(&feeds, 7, vec![1, 2])?;
    /// let version = batch.commit();
    /// assert_eq!(users.get_versioned(&7), Some(("Ada".to_string(), version)));
    /// assert_eq!(feeds.get_versioned(&7), Some((vec![1, 2], version)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn domain(self, domain: &Domain) -> DomainBuilder<'_, K, V, S, R> {
        DomainBuilder { builder: self, domain }
    }
}

impl<K, V, S, R> DomainBuilder<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Builds the cache.
    ///
    /// # Panics
    /// Panics if a setting makes no sense, with a message that names the setting.
    #[must_use]
    pub fn build(self) -> Cache<K, V, S, R> {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Builds the cache, or reports the setting that makes no sense.
    ///
    /// # Errors
    /// [`BuildError`] names the setting.
    pub fn try_build(self) -> Result<Cache<K, V, S, R>, BuildError> {
        let Self { mut builder, domain } = self;
        builder.settings.membership = domain.core.commits.membership();
        let cache = builder.try_build()?;
        let member: Arc<dyn Member> = cache.shared_engine();
        domain.core.add(&member);
        Ok(cache)
    }
}

impl<K, V, S, R> fmt::Debug for DomainBuilder<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainBuilder")
            .field("builder", &self.builder)
            .field("domain", self.domain)
            .finish()
    }
}
