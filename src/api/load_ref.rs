//! Loading by a borrowed key, which is made an owned one only if the value is absent.

use super::cache::Cache;
use super::key::ToKey;
use super::load::{LoadRefusal, PresentGroup, failure, one, panic_on_cycle};
use crate::engine::{boxed, is_large};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// # Loading by a borrowed key
/// These methods work as the [loading](#loading) methods of the same names. A hit makes no owned
/// key, and does not call the allocator. If the value is absent, or due to be
/// [refreshed](crate::Builder::refresh_after), [`ToKey`] makes the key; types of your own can
/// implement it.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` as [`get_with`](Self::get_with) does.
    ///
    /// ```
    /// let cache = coeval::Cache::<String, usize>::new();
    /// assert_eq!(cache.get_with_ref("key", || "read from the source".len()), 20);
    /// assert_eq!(cache.get_with_ref("key", || unreachable!("it is cached")), 20);
    /// ```
    ///
    /// ```
    /// use coeval::{Cache, Equivalent, ToKey};
    ///
    /// #[derive(PartialEq, Eq, Hash)]
    /// struct Page {
    ///     site: String,
    ///     path: String,
    /// }
    /// #[derive(Hash)]
    /// struct PageRef<'a> {
    ///     site: &'a str,
    ///     path: &'a str,
    /// }
    /// impl Equivalent<Page> for PageRef<'_> {
    ///     fn equivalent(&self, key: &Page) -> bool {
    ///         (self.site, self.path) == (&key.site, &key.path)
    ///     }
    /// }
    /// impl ToKey<Page> for PageRef<'_> {
    ///     fn to_key(&self) -> Page {
    ///         Page { site: self.site.into(), path: self.path.into() }
    ///     }
    /// }
    ///
    /// let cache = Cache::<Page, &str>::new();
    /// let home = PageRef { site: "example.org", path: "/" };
    /// assert_eq!(cache.get_with_ref(&home, || "Welcome"), "Welcome");
    /// assert_eq!(cache.get(&home), Some("Welcome"));
    /// ```
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does, or if [`ToKey`] does.
    #[track_caller]
    pub fn get_with_ref<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let old = match self.hit_ref(key) {
            Ok(value) => return value,
            Err(Some(old)) if !old.is_stale => return one(old.values),
            Err(old) => old,
        };
        match self.load_or_reload([key.to_key()], old, || Ok::<_, Infallible>(boxed([load()]))) {
            Ok(values) => one(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Returns the value of `key` as [`try_get_with`](Self::try_get_with) does.
    ///
    /// # Panics
    /// Panics as [`get_with_ref`](Self::get_with_ref) does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    #[track_caller]
    pub fn try_get_with_ref<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let old = match self.hit_ref(key) {
            Ok(value) => return Ok(value),
            Err(Some(old)) if !old.is_stale => return Ok(one(old.values)),
            Err(old) => old,
        };
        let load = || load().map(|value| boxed([value]));
        let loaded = self.load_or_reload([key.to_key()], old, load);
        failure(loaded.map(one), Location::caller())
    }

    /// Returns the value of `key` as [`load`](Self::load) does.
    ///
    /// # Panics
    /// Panics if the loader or [`ToKey`] does.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a circle.
    pub fn load_ref<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let old = match self.hit_ref(key) {
            Ok(value) => return Ok(value),
            Err(Some(old)) if !old.is_stale => return Ok(one(old.values)),
            Err(old) => old,
        };
        let load = || load().map(|value| boxed([value]));
        Ok(self.load_or_reload([key.to_key()], old, load).map(one)?)
    }

    /// Returns the value of `key`, if it is present and not due for reloading. Otherwise returns
    /// the old value, if there is one.
    #[inline(always)]
    fn hit_ref<Q>(&self, key: &Q) -> Result<V, Option<PresentGroup<V>>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if const { is_large::<V, 1>() } {
            return Err(self.hit_large_ref(key));
        }
        match self.get(key) {
            Some(value) if self.engine().wants_refresh(key) => {
                Err(Some(PresentGroup { values: boxed([value]), is_stale: true }))
            }
            Some(value) => Ok(value),
            None => Err(None),
        }
    }

    /// Does the same for a large value, so that its caller's frame, in which a load may run, has no
    /// room for it.
    #[inline(never)]
    fn hit_large_ref<Q>(&self, key: &Q) -> Option<PresentGroup<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let clone = |value: &V| -> Box<[V]> { Box::new([value.clone()]) };
        let values = self.engine().look_up::<_, _, true>(key, |found| clone(found.value()))?;
        Some(PresentGroup { values, is_stale: self.engine().wants_refresh(key) })
    }
}
