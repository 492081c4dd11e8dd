//! Loading by a borrowed key, with futures.

use super::cache::Cache;
use super::give::{LoadRefusal, failure, outcome, panic_on_cycle};
use super::key::ToKey;
use super::load_future::LoadingRef;
use crate::engine::{Moving, one, single};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// # Loading by a borrowed key, for futures
/// These methods work as the methods of the same names that are [by a borrowed
/// key](#loading-by-a-borrowed-key), and as those [for futures](#loading-for-futures). A hit makes no
/// owned key. If the value is absent, or due to be [refreshed](crate::Builder::refresh_after), the
/// first poll makes it.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a future for [`get_with_ref`](Self::get_with_ref), with a future as the loader.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let poll = std::pin::pin!(future).poll(&mut context);
    /// #     let std::task::Poll::Ready(value) = poll else { panic!() };
    /// #     value
    /// # }
    /// let cache = coeval::Cache::<String, usize>::new();
    /// assert_eq!(finish(cache.get_with_ref_async("key", async { 7 })), 7);
    /// assert_eq!(finish(cache.get_with_ref_async("key", async { unreachable!() })), 7);
    /// ```
    ///
    /// # Panics
    /// Panics as `get_with_ref` does.
    #[track_caller]
    pub fn get_with_ref_async<Q>(
        &self,
        key: &Q,
        load: impl Future<Output = V>,
    ) -> impl Future<Output = V>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let read = |value: Moving<'_, V>| Ok::<_, Infallible>(single(value.into_heap()));
        let at = Location::caller();
        let give = move |loaded| match loaded {
            Ok(values) => one(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
        };
        let look_up = self.initial_look_up();
        LoadingRef::new(self, key, load, look_up, read, |[value]: [V; 1]| value, give)
    }

    /// Returns a future for [`try_get_with_ref`](Self::try_get_with_ref), with a future as the
    /// loader.
    ///
    /// # Panics
    /// Panics as `get_with_ref` does.
    ///
    /// # Errors
    /// Returns the error of the given future.
    #[track_caller]
    pub fn try_get_with_ref_async<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, Arc<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let at = Location::caller();
        let give = move |loaded| failure(loaded, one, at);
        let look_up = self.initial_look_up();
        LoadingRef::new(self, key, load, look_up, read, |[value]: [V; 1]| Ok(value), give)
    }

    /// Returns a future for [`load_ref`](Self::load_ref), with a future as the loader.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the given future, or a cycle.
    pub fn load_ref_async<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let give = |loaded| outcome(loaded, one);
        let look_up = self.initial_look_up();
        LoadingRef::new(self, key, load, look_up, read, |[value]: [V; 1]| Ok(value), give)
    }
}
