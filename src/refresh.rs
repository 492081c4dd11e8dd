//! Refreshing elsewhere: what is old is served at once, and loaded anew by an executor.

use crate::cache::Cache;
use crate::error::LoadError;
#[cfg(feature = "async")]
use crate::load_async::polled;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
#[cfg(feature = "async")]
use std::pin::Pin;

/// What an executor is to run: `std::thread::spawn`, `rayon::spawn` and `tokio::task::spawn_blocking` take it as it is.
pub type Job = Box<dyn FnOnce() + Send>;

/// What an executor of futures is to poll; `tokio::spawn` takes it as it is.
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// # Refreshing elsewhere
/// As the loading of the same names, but a value that has come to its time to be
/// [refreshed](crate::Builder::refresh_after) is returned at once, and loaded anew by whatever the executor hands its job to:
/// one job at a time for a key, or for a group. What is absent is loaded by the caller. A job that fails, or is dropped, leaves
/// the value as it is; the next who wants it tries again.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// [`load`](Self::load), refreshing elsewhere.
    ///
    /// ```
    /// use std::{convert::Infallible, thread, time::Duration};
    ///
    /// let cache = coeval::Cache::builder().refresh_after(Duration::from_secs(60)).build();
    /// let execute = |job: coeval::Job| drop(thread::spawn(job));
    /// let rate = cache.load_on("EUR/USD", execute, || Ok::<_, Infallible>(1.16));
    /// assert_eq!(rate, Ok(1.16));
    /// ```
    ///
    /// # Errors
    /// As `load`, if the caller loads.
    pub fn load_on<E>(
        &self,
        key: K,
        execute: impl FnOnce(Job),
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<V, LoadError<E>> {
        let load = || load().map(|value| [value]);
        if let Some(value) = self.get(&key) {
            self.refresh_on([key], execute, load);
            return Ok(value);
        }
        self.loaded([key], load).map(|[value]| value)
    }

    /// [`load_many`](Self::load_many), refreshing elsewhere: the old set is served until the new one takes its place by
    /// one commit.
    ///
    /// # Errors
    /// As `load_many`, if the caller loads.
    pub fn load_many_on<E, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job),
        load: impl FnOnce() -> Result<[V; N], E> + Send + 'static,
    ) -> Result<[V; N], LoadError<E>> {
        if let Some(values) = self.all_of(&keys) {
            self.refresh_on(keys, execute, load);
            return Ok(values);
        }
        self.loaded(keys, load)
    }

    fn refresh_on<E, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job),
        load: impl FnOnce() -> Result<[V; N], E> + Send + 'static,
    ) {
        if self.want_refresh(&keys)
            && let Some(refresh) = self.engine().claim_all(keys).refresh()
        {
            let mut refresh = refresh.detach(self.shared_engine());
            execute(Box::new(move || {
                let loaded = refresh.during(load);
                refresh.finish(loaded);
            }));
        }
    }
}

/// # Refreshing elsewhere, for futures
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// [`load_async`](Self::load_async), refreshing elsewhere.
    ///
    /// # Errors
    /// As `load_async`, if the caller loads.
    pub async fn load_async_on<E: 'static>(
        &self,
        key: K,
        execute: impl FnOnce(Task),
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> Result<V, LoadError<E>> {
        let load = async { load.await.map(|value| [value]) };
        if let Some(value) = self.get(&key) {
            self.refresh_async_on([key], execute, load);
            return Ok(value);
        }
        self.loaded_async([key], load).await.map(|[value]| value)
    }

    /// [`load_many_async`](Self::load_many_async), refreshing elsewhere, as [`load_many_on`](Self::load_many_on) does.
    ///
    /// # Errors
    /// As `load_many_async`, if the caller loads.
    pub async fn load_many_async_on<E: 'static, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Task),
        load: impl Future<Output = Result<[V; N], E>> + Send + 'static,
    ) -> Result<[V; N], LoadError<E>> {
        if let Some(values) = self.all_of(&keys) {
            self.refresh_async_on(keys, execute, load);
            return Ok(values);
        }
        self.loaded_async(keys, load).await
    }

    fn refresh_async_on<E: 'static, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Task),
        load: impl Future<Output = Result<[V; N], E>> + Send + 'static,
    ) {
        if self.want_refresh(&keys)
            && let Some(refresh) = self.engine().claim_all(keys).refresh()
        {
            let mut refresh = refresh.detach(self.shared_engine());
            execute(Box::pin(async move {
                let loaded = polled(load, |poll| refresh.during(poll)).await;
                refresh.finish(loaded);
            }));
        }
    }
}
