//! Loading by futures, on any runtime.

use crate::cache::Cache;
use crate::derive::Scope;
use crate::engine::Wanted;
use crate::error::LoadError;
use crate::load::{circle, failure};
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::task::Poll;

/// # Loading, for futures
/// As the [loading](#loading) of the same names, on any runtime. A future is polled only if something is absent and
/// nobody else loads it. If the future that these return is dropped, one of those who wait loads. Circles are found among what is
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
    pub async fn get_with_async(&self, key: K, load: impl Future<Output = V>) -> V {
        match self.load_async(key, async { Ok::<_, Infallible>(load.await) }).await {
            Ok(value) => value,
            Err(LoadError::Cycle) => circle(),
        }
    }

    /// [`try_get_with`](Self::try_get_with) for a future.
    ///
    /// # Errors
    /// What the future returned.
    ///
    /// # Panics
    /// As `get_with`.
    pub async fn try_get_with_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>> {
        self.load_async(key, load).await.map_err(failure)
    }

    /// [`load`](Self::load) for a future.
    ///
    /// # Errors
    /// [`LoadError`]: what the future returned, or a circle.
    pub async fn load_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        let load = async { load.await.map(|value| [value]) };
        if let Some(value) = self.get(&key) {
            if !self.engine().wants_refresh(&key) {
                drop(key); // A panic on the way out would leak what is returned.
                return Ok(value);
            }
            let [value] = self.refreshed_async([key], [value], load).await;
            return Ok(value);
        }
        self.loaded_async([key], load).await.map(|[value]| value)
    }

    /// [`get_many_with`](Self::get_many_with) for a future.
    ///
    /// # Panics
    /// As `get_many_with`.
    pub async fn get_many_with_async<const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = [V; N]>,
    ) -> [V; N] {
        match self.load_many_async(keys, async { Ok::<_, Infallible>(load.await) }).await {
            Ok(values) => values,
            Err(LoadError::Cycle) => circle(),
        }
    }

    /// [`try_get_many_with`](Self::try_get_many_with) for a future.
    ///
    /// # Errors
    /// What the future returned.
    ///
    /// # Panics
    /// As `get_many_with`.
    pub async fn try_get_many_with_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> Result<[V; N], Arc<E>> {
        self.load_many_async(keys, load).await.map_err(failure)
    }

    /// [`load_many`](Self::load_many) for a future.
    ///
    /// # Errors
    /// [`LoadError`]: what the future returned, or a circle.
    pub async fn load_many_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> Result<[V; N], LoadError<E>> {
        if let Some(values) = self.all_of(&keys) {
            if !self.want_refresh(&keys) {
                drop(keys); // As in `load_async`.
                return Ok(values);
            }
            return Ok(self.refreshed_async(keys, values, load).await);
        }
        self.loaded_async(keys, load).await
    }

    async fn refreshed_async<E, const N: usize>(
        &self,
        keys: [K; N],
        values: [V; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> [V; N] {
        let Some(mut refresh) = self.engine().claim_all(keys).refresh() else { return values };
        let loaded = polled(load, |poll| refresh.during(poll)).await;
        refresh.finish(loaded).unwrap_or(values)
    }

    pub(crate) async fn loaded_async<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> Result<[V; N], LoadError<E>> {
        match self.wanted_async(keys).await {
            Wanted::Found(values) => Ok(values),
            Wanted::Cycle => Err(LoadError::Cycle),
            Wanted::Load(mut leading) => {
                let loaded = polled(load, |poll| leading.during(poll)).await;
                leading.finish(loaded).map_err(LoadError::Failed)
            }
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
            Wanted::Found([value]) => value,
            Wanted::Cycle => circle(),
            Wanted::Load(mut leading) => {
                let view = leading.view();
                let mut scope = Scope::new(leading.reading(&view));
                let value = polled(compute(&mut scope), |poll| leading.during(poll)).await;
                leading.finish_derived(value, scope.into_reading())
            }
        }
    }
}

/// What a future comes to that is polled through `during`.
pub(crate) async fn polled<F: Future>(
    future: F,
    mut during: impl FnMut(&mut dyn FnMut() -> Poll<F::Output>) -> Poll<F::Output>,
) -> F::Output {
    // Dropped before what the caller has: what it holds may be wanted by whoever loads next.
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| during(&mut || future.as_mut().poll(context))).await
}
