//! Loading with futures, on any runtime.

use super::cache::Cache;
use super::derive::Scope;
use super::give::{LoadRefusal, failure, outcome, panic_on_cycle};
use super::load_future::{Deriving, InitialLookUp, Loading};
use crate::engine::{LoadDecision, Moving, Reading, array, is_large, one, single};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// # Loading, for futures
/// These methods work as the [loading](#loading) methods of the same names, on any runtime. The
/// given future is polled only if a value is absent and no other caller loads it. If the returned
/// future is dropped, one of the waiting callers loads.
///
/// **A returned future that was polled, and then is neither polled nor dropped, delays the callers
/// that want the key.** Threads wait until the cache's [time limit](crate::Builder::load_timeout)
/// is over. Futures that are polled only when they are woken also wait until then, provided that
/// they are polled then. A future that is polled a thousand times without being woken, since the
/// load was last continued, loads concurrently with it. A task that polls both futures therefore
/// comes to an end. The first value to arrive is cached. Cycles are found among the futures that
/// one load's own task polls.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a future for [`get_with`](Self::get_with), with a future as the loader.
    ///
    /// # Panics
    /// Panics as `get_with` does.
    #[track_caller]
    pub fn get_with_async(&self, key: K, load: impl Future<Output = V>) -> impl Future<Output = V> {
        let read = |value: Moving<'_, V>| Ok::<_, Infallible>(single(value.into_heap()));
        let at = Location::caller();
        let give = move |loaded| match loaded {
            Ok(values) => one(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
        };
        let look_up = self.initial_look_up();
        Loading::new(self, [key], load, look_up, read, |[value]: [V; 1]| value, give)
    }

    /// Returns a future for [`try_get_with`](Self::try_get_with), with a future as the loader.
    ///
    /// # Panics
    /// Panics as `get_with` does.
    ///
    /// # Errors
    /// Returns the error of the given future.
    #[track_caller]
    pub fn try_get_with_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, Arc<E>>> {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let at = Location::caller();
        let give = move |loaded| failure(loaded, one, at);
        let look_up = self.initial_look_up();
        Loading::new(self, [key], load, look_up, read, |[value]: [V; 1]| Ok(value), give)
    }

    /// Returns a future for [`load`](Self::load), with a future as the loader.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the given future, or a cycle.
    pub fn load_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, LoadError<E>>> {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let give = |loaded| outcome(loaded, one);
        let look_up = self.initial_look_up();
        Loading::new(self, [key], load, look_up, read, |[value]: [V; 1]| Ok(value), give)
    }

    /// Returns a future for [`get_many_with`](Self::get_many_with), with a future as the loader.
    ///
    /// # Panics
    /// Panics as `get_many_with` does.
    #[track_caller]
    pub fn get_many_with_async<const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = [V; N]>,
    ) -> impl Future<Output = [V; N]> {
        let read = |values: Moving<'_, [V; N]>| Ok::<_, Infallible>(values.into_heap() as Box<[V]>);
        let at = Location::caller();
        let give = move |loaded| match loaded {
            Ok(values) => array(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
        };
        let look_up = self.initial_look_up();
        Loading::new(self, keys, load, look_up, read, |values: [V; N]| values, give)
    }

    /// Returns a future for [`try_get_many_with`](Self::try_get_many_with), with a future as the
    /// loader.
    ///
    /// # Panics
    /// Panics as `get_many_with` does.
    ///
    /// # Errors
    /// Returns the error of the given future.
    #[track_caller]
    pub fn try_get_many_with_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> impl Future<Output = Result<[V; N], Arc<E>>> {
        let read = |loaded: Moving<'_, Result<[V; N], E>>| {
            loaded.try_into_heap().map(|values| values as Box<[V]>)
        };
        let at = Location::caller();
        let give = move |loaded| failure(loaded, array, at);
        Loading::new(self, keys, load, self.initial_look_up(), read, Ok, give)
    }

    /// Returns a future for [`load_many`](Self::load_many), with a future as the loader.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the given future, or a cycle.
    pub fn load_many_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> impl Future<Output = Result<[V; N], LoadError<E>>> {
        let read = |loaded: Moving<'_, Result<[V; N], E>>| {
            loaded.try_into_heap().map(|values| values as Box<[V]>)
        };
        let give = |loaded| outcome(loaded, array);
        Loading::new(self, keys, load, self.initial_look_up(), read, Ok, give)
    }

    /// The look-up with which a load begins.
    pub(super) fn initial_look_up<F, const N: usize>(
        &self,
    ) -> impl FnOnce([K; N], &mut Option<F>) -> InitialLookUp<K, V, N> {
        |keys, _| match self.present(keys.each_ref()) {
            Some(old) if old.is_stale => InitialLookUp::Stale(keys, old.values),
            Some(old) => {
                drop(keys); // if their destructors panicked later, the result would leak
                InitialLookUp::Found(old.values)
            }
            None => InitialLookUp::Absent(keys),
        }
    }

    pub(super) async fn join_or_lead_async<const N: usize>(
        &self,
        keys: [K; N],
    ) -> LoadDecision<'_, K, V, S, R, N> {
        let mut claims = self.engine().claim_all(keys);
        loop {
            match claims.join() {
                Joined::Leader(leader) => return claims.lead(leader),
                Joined::Waiter(waiter) => match claims.after_wait(waiter.await) {
                    Ok(wanted) => return wanted,
                    Err(again) => claims = again,
                },
            }
        }
    }

    /// Derives a value as [`derive`](Self::derive) does, with an async closure. All its reads are
    /// as of one version, whenever they happen: the view stays open until the derivation is done.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let poll = future.as_mut().poll(&mut context);
    /// #     let std::task::Poll::Ready(value) = poll else { panic!() };
    /// #     value
    /// # }
    /// use coeval::{Cache, Scope};
    ///
    /// async fn convert(price: i64) -> i64 {
    ///     price * 119 / 100
    /// }
    /// let cache: Cache<&str, i64> = Cache::new();
    /// cache.insert("price", 100);
    /// let total = cache.derive_async("total", async |scope: &mut Scope<&str, i64>| {
    ///     convert(scope.get(&"price").unwrap_or(0)).await
    /// });
    /// assert_eq!(finish(total), 119);
    /// cache.insert("price", 200);
    /// assert_eq!(cache.get("total"), None);
    /// ```
    ///
    /// # Panics
    /// Panics as `derive` does.
    pub async fn derive_async(
        &self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> V
    where
        V: PartialEq,
    {
        if const { !is_large::<V, 1>() } {
            if let Some(value) = self.get(&key) {
                drop(key); // if its destructor panicked later, the result would leak
                return value;
            }
        } else if let Some(old) = self.present([&key]) {
            drop(key); // as above
            return one(old.values);
        }
        match self.join_or_lead_async([key]).await {
            LoadDecision::Found(values) => one(values),
            LoadDecision::Cycle(key) => panic_on_cycle(&key, None),
            LoadDecision::Load(mut leading) => {
                let view = leading.view();
                let mut derivation = leading.derivation();
                let mut scope = Scope::new(Reading::new(view.snapshot(), &mut derivation));
                let value = Deriving::new(compute(&mut scope), &mut leading).await;
                one(leading.finish_derived(value, scope.into_reading()))
            }
        }
    }
}
