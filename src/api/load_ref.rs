//! Loading by a borrowed key, which is made an owned one only if the value is absent.

use super::cache::Cache;
use super::give::{Give, LoadRefusal, ResultOrPanic, ValueOrPanic, outcome};
use super::key::ToKey;
use crate::chain::Parcel;
use crate::engine::{on_heap, one, single, try_on_heap};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || Ok::<_, Infallible>(single(on_heap(&mut loader)));
        self.obtain_ref(key, load, V::clone, ValueOrPanic)
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(single);
        self.obtain_ref(key, load, |value| Ok(value.clone()), ResultOrPanic)
    }

    /// Returns the value of `key` as [`load`](Self::load) does.
    ///
    /// # Panics
    /// Panics if the loader or [`ToKey`] does.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load_ref<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(single);
        self.obtain_ref(key, load, |value| Ok(value.clone()), |loaded| outcome(loaded, one))
    }

    /// Returns what `hit` makes of the value of `key`, or what `give` makes of the outcome of its
    /// load.
    #[inline]
    #[track_caller]
    fn obtain_ref<Q, T, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<Box<[V]>, E>,
        hit: impl FnOnce(&V) -> T,
        give: impl Give<Result<Box<[V]>, LoadRefusal<E>>, Output = T>,
    ) -> T
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        if self.engine().wants_refresh(key) {
            return give.give(self.load_or_reload([key.to_key()], load));
        }
        let miss = |cache: &Self, key: &Q| cache.load_group([key.to_key()], load);
        self.hit_or::<&Q, Q, _, _>(key, hit, miss, give)
    }
}
