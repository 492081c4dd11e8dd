//! A snapshot of the whole cache for the duration of a closure.

use super::Cache;
use super::hasher::RandomState;
use crate::engine::EngineBriefView;
use crate::error::Overtaken;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A snapshot of the whole cache for the duration of a closure; made by
/// [`Cache::view_briefly`](crate::Cache::view_briefly).
pub struct BriefView<'c, K, V, S = RandomState, R: Reclaim = Asymmetric>(
    EngineBriefView<'c, K, V, S, R>,
);

impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Calls `read` with a snapshot of the whole cache as of now, and returns its result. Use it
    /// for a few look-ups of which each depends on the one before; if all keys are known, use
    /// [`get_many`](Self::get_many).
    ///
    /// A brief view costs hardly more than its look-ups: to open and to close it writes to no
    /// memory that threads share. It is not registered, as a [`View`](crate::View) is. Instead,
    /// `read` runs under a guard, as under [`pin`](Self::pin): nothing retired in the cache
    /// meanwhile is reclaimed, so `read` should end soon.
    ///
    /// `read` may be called twice. A look-up returns the error [`Overtaken`] if it needs a version
    /// that is gone: the entry, or an input of it, was written meanwhile, and an older view is open
    /// (one that a caller holds, or that another operation has opened for itself). `read` passes the
    /// error on, and is then called once more with a registered view, which misses nothing.
    ///
    /// Lock-free. The look-ups are not counted, and are no uses of the entries.
    ///
    /// # Panics
    /// Panics if `read` does, or if the thread already holds a million guards (2^20 − 1).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.batch().insert("newest".to_string(), "v2".to_string())
    ///     .insert("v2".to_string(), "text".to_string()).commit();
    /// let text = cache.view_briefly(|view| {
    ///     let Some(name) = view.get("newest")? else { return Ok(None) };
    ///     Ok(view.get(name.as_str())?.cloned())
    /// });
    /// assert_eq!(text.as_deref(), Some("text"));
    /// ```
    pub fn view_briefly<T>(
        &self,
        mut read: impl for<'v> FnMut(&'v BriefView<'_, K, V, S, R>) -> Result<T, Overtaken<'v>>,
    ) -> T {
        self.engine().view_briefly(|view| read(&BriefView(view)).ok())
    }
}

impl<K, V, S, R> BriefView<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` in this view. O(1) in the number of entries; takes time in
    /// proportion to the versions of the key that were written since. Lock-free.
    ///
    /// # Errors
    /// See [`Cache::view_briefly`](crate::Cache::view_briefly).
    #[inline]
    pub fn get<'v, Q>(&'v self, key: &Q) -> Result<Option<&'v V>, Overtaken<'v>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        Ok(self.get_versioned(key)?.map(|(value, _)| value))
    }

    /// Returns the value of `key` in this view, and the version that wrote it.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    #[inline]
    pub fn get_versioned<'v, Q>(
        &'v self,
        key: &Q,
    ) -> Result<Option<(&'v V, Version)>, Overtaken<'v>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.read::<Q, false>(key).map_err(|_| Overtaken::new())
    }

    /// Returns whether `key` holds a value in this view.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    #[inline]
    pub fn contains_key<'v, Q>(&'v self, key: &Q) -> Result<bool, Overtaken<'v>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        Ok(self.get_versioned(key)?.is_some())
    }
}

impl<K, V, S, R: Reclaim> BriefView<'_, K, V, S, R> {
    /// Returns the version that this view shows: everything committed up to it, and nothing later.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.0.number())
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for BriefView<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BriefView").field("version", &self.version()).finish_non_exhaustive()
    }
}
