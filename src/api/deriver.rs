//! One name for the places where a value may be derived.

use super::cache::Cache;
use super::derive::Scope;
use super::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;

/// Where a value may be derived: a [cache](Cache::derive), or the [scope](Scope::derive) of another
/// derivation. A function that takes a `Deriver` can be called from outside and from within.
///
/// ```
/// use coeval::{Cache, Deriver};
///
/// fn with_tax(at: impl Deriver<&'static str, i64>) -> i64 {
///     at.derive("with tax", |scope| scope.get(&"price").unwrap_or(0) * 119 / 100)
/// }
/// fn total(at: impl Deriver<&'static str, i64>) -> i64 {
///     at.derive("total", |scope| 5 + with_tax(scope))
/// }
/// let cache = Cache::new();
/// cache.insert("price", 100);
/// assert_eq!(total(&cache), 124);
/// cache.insert("price", 200);
/// assert_eq!((with_tax(&cache), total(&cache)), (238, 243));
/// ```
///
/// The attribute `derived` (feature `macros`) writes such functions. A scope that is passed on more
/// than once is passed as `&mut *scope`.
pub trait Deriver<K, V, S = RandomState, R = Asymmetric>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned. Derives it if there is none.
    ///
    /// # Panics
    /// Panics as [`Cache::derive`] does.
    #[track_caller]
    fn derive(self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V;

    /// Returns the value of `key`, with an async closure to derive it.
    ///
    /// # Panics
    /// Panics as [`Cache::derive_async`] does.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    fn derive_async(
        self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> impl Future<Output = V>;
}

impl<K, V, S, R> Deriver<K, V, S, R> for &Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    #[track_caller]
    fn derive(self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V {
        Cache::derive(self, key, compute)
    }

    #[cfg(feature = "async")]
    fn derive_async(
        self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> impl Future<Output = V> {
        Cache::derive_async(self, key, compute)
    }
}

/// For a cache within an `Arc`, or a `static` that is made when it is used.
impl<'c, P, K, V, S, R> Deriver<K, V, S, R> for &'c P
where
    P: Deref<Target = Cache<K, V, S, R>>,
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher + 'c,
    R: Reclaim,
{
    #[track_caller]
    fn derive(self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V {
        Cache::derive(self, key, compute)
    }

    #[cfg(feature = "async")]
    fn derive_async(
        self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> impl Future<Output = V> {
        Cache::derive_async(self, key, compute)
    }
}

impl<K, V, S, R> Deriver<K, V, S, R> for &mut Scope<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    #[track_caller]
    fn derive(self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V {
        Scope::derive(self, key, compute)
    }

    #[cfg(feature = "async")]
    fn derive_async(
        self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> impl Future<Output = V> {
        Scope::derive_async(self, key, compute)
    }
}
