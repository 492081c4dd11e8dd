//! Loading by futures, on any runtime.

use crate::cache::Cache;
use crate::derive::Scope;
use crate::engine::{Reading, Wanted, array, boxed};
use crate::error::LoadError;
use crate::load::{Refusal, circle, failure, one};
use crate::load_future::{Deriving, First, Loading};
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// # Loading, for futures
/// As the [loading](#loading) of the same names, on any runtime. A future is polled only if something is absent and
/// nobody else loads it. If the future that these return is dropped, one of those who wait loads.
/// **One that was polled, and then is neither polled nor dropped, holds up those who want the key**: threads, until the
/// cache's [time to wait](crate::Builder::load_timeout) is over; and futures that are polled only when they are
/// woken, until then as well, if they are polled then. One that is polled again and again without having been
/// woken, a thousand times since somebody last went on with the load, loads beside it; so a task that
/// polls both comes to an end. What is brought first is cached. Circles are found among what is
/// polled by one load's own task.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// [`get_with`](Self::get_with) for a future.
    ///
    /// # Panics
    /// As `get_with`.
    #[track_caller]
    pub fn get_with_async(&self, key: K, load: impl Future<Output = V>) -> impl Future<Output = V> {
        let read = |value| Ok::<_, Infallible>(boxed([value]));
        let at = Location::caller();
        let give = move |loaded: Result<[V; 1], _>| match loaded {
            Ok([value]) => value,
            Err(Refusal::Cycle(key)) => circle(&key, Some(at)),
        };
        Loading::new(self, [key], load, self.beginning(), read, give)
    }

    /// [`try_get_with`](Self::try_get_with) for a future.
    ///
    /// # Errors
    /// What the future returned.
    ///
    /// # Panics
    /// As `get_with`.
    #[track_caller]
    pub fn try_get_with_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, Arc<E>>> {
        let read = |loaded: Result<V, E>| loaded.map(|value| boxed([value]));
        let at = Location::caller();
        let give = move |loaded: Result<[V; 1], _>| failure(loaded.map(|[value]| value), at);
        Loading::new(self, [key], load, self.beginning(), read, give)
    }

    /// [`load`](Self::load) for a future.
    ///
    /// # Errors
    /// [`LoadError`]: what the future returned, or a circle.
    pub fn load_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, LoadError<E>>> {
        let read = |loaded: Result<V, E>| loaded.map(|value| boxed([value]));
        let give = |loaded: Result<[V; 1], _>| Ok(loaded.map(|[value]| value)?);
        Loading::new(self, [key], load, self.beginning(), read, give)
    }

    /// [`get_many_with`](Self::get_many_with) for a future.
    ///
    /// # Panics
    /// As `get_many_with`.
    #[track_caller]
    pub fn get_many_with_async<const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = [V; N]>,
    ) -> impl Future<Output = [V; N]> {
        let read = |values| Ok::<_, Infallible>(boxed(values));
        let at = Location::caller();
        let give = move |loaded: Result<[V; N], _>| match loaded {
            Ok(values) => values,
            Err(Refusal::Cycle(key)) => circle(&key, Some(at)),
        };
        Loading::new(self, keys, load, self.beginning(), read, give)
    }

    /// [`try_get_many_with`](Self::try_get_many_with) for a future.
    ///
    /// # Errors
    /// What the future returned.
    ///
    /// # Panics
    /// As `get_many_with`.
    #[track_caller]
    pub fn try_get_many_with_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> impl Future<Output = Result<[V; N], Arc<E>>> {
        let read = |loaded: Result<[V; N], E>| loaded.map(boxed);
        let at = Location::caller();
        let give = move |loaded: Result<[V; N], _>| failure(loaded, at);
        Loading::new(self, keys, load, self.beginning(), read, give)
    }

    /// [`load_many`](Self::load_many) for a future.
    ///
    /// # Errors
    /// [`LoadError`]: what the future returned, or a circle.
    pub fn load_many_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> impl Future<Output = Result<[V; N], LoadError<E>>> {
        let read = |loaded: Result<[V; N], E>| loaded.map(boxed);
        Loading::new(self, keys, load, self.beginning(), read, |loaded| Ok(loaded?))
    }

    /// What loads look for first.
    fn beginning<F, const N: usize>(
        &self,
    ) -> impl FnOnce([K; N], &mut Option<F>) -> First<K, V, N> {
        |keys, _| match self.hit(keys.each_ref()) {
            Ok(values) => {
                drop(keys); // A panic on the way out would leak what is returned.
                First::Found(values)
            }
            Err(Some(old)) if old.is_stale => First::Old(keys, old.values),
            Err(Some(old)) => First::Found(array(old.values)),
            Err(None) => First::Absent(keys),
        }
    }

    async fn wanted_async<const N: usize>(&self, keys: [K; N]) -> Wanted<'_, K, V, S, R, N> {
        let mut claims = self.engine().claim_all(keys);
        loop {
            match claims.join() {
                Joined::Leader(leader) => return claims.lead(leader),
                Joined::Waiter(waiter) => match claims.waited(waiter.await) {
                    Ok(wanted) => return wanted,
                    Err(again) => claims = again,
                },
            }
        }
    }

    /// [`derive`](Self::derive) by a future. What it reads is as of one version, whenever it reads it: the view is open until it
    /// is done.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) else { panic!() };
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
    /// As `derive`.
    pub async fn derive_async(
        &self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> V
    where
        V: PartialEq,
    {
        if let Some(value) = self.get(&key) {
            drop(key); // As in `load_async`.
            return value;
        }
        match self.wanted_async([key]).await {
            Wanted::Found(values) => one(values),
            Wanted::Cycle(key) => circle(&key, None),
            Wanted::Load(mut leading) => {
                let view = leading.view();
                let mut derivation = leading.derivation();
                let mut scope = Scope::new(Reading::new(view.snapshot(), &mut derivation));
                let value = Deriving::new(compute(&mut scope), &mut leading).await;
                one(leading.finish_derived(value, scope.into_reading()))
            }
        }
    }
}
