//! Refreshing elsewhere: an old value is returned at once, and an executor reloads it.

use super::cache::Cache;
use super::give::{LoadRefusal, outcome};
#[cfg(feature = "async")]
use super::load_future::{InitialLookUp, Loading, Refreshing};
use crate::chain::Parcel;
#[cfg(feature = "async")]
use crate::engine::{Moving, RunningLoad};
use crate::engine::{array, one, single, try_on_heap};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
#[cfg(feature = "async")]
use std::pin::Pin;

/// The work that an executor runs. `std::thread::spawn`, `rayon::spawn` and
/// `tokio::task::spawn_blocking` take it, and can be passed as they are: what an executor returns
/// is dropped.
pub type Job = Box<dyn FnOnce() + Send>;

/// The work that an executor of futures polls. `tokio::spawn` takes it, and can be passed as it is:
/// what an executor returns is dropped.
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// # Refreshing elsewhere
/// These methods work as the loading methods of the same names, with one difference. A value that
/// is due to be [refreshed](crate::Builder::refresh_after) is returned at once, and the executor
/// reloads it by running a job. There is one job at a time for a key or a group. The caller itself
/// loads an absent value. A job that fails or is dropped leaves the value as it is. The next caller
/// tries again (after a [pause](crate::Builder::refresh_pause), if that is set).
///
/// No caller waits for a job that has not begun. A caller that no longer finds a value loads in the
/// place of the job, and the job then does nothing when it finally runs. After a job has begun,
/// callers wait for it as for any load.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Returns the value of `key` as [`load`](Self::load) does, and refreshes it elsewhere.
    ///
    /// ```
    /// use std::{convert::Infallible, thread, time::Duration};
    ///
    /// let cache = coeval::Cache::builder().refresh_after(Duration::from_secs(60)).build();
    /// let rate = cache.load_on("EUR/USD", thread::spawn, || Ok::<_, Infallible>(1.16));
    /// assert_eq!(rate, Ok(1.16));
    /// ```
    ///
    /// # Errors
    /// Returns errors as `load` does, if the caller loads.
    pub fn load_on<E, X>(
        &self,
        key: K,
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<V, LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        if !self.is_refresh_due([&key]) {
            let load = || try_on_heap(&mut loader).map(single);
            let hit = |value: &V| Ok(value.clone());
            let miss = |cache: &Self, key| cache.load_group([key], load);
            return self.hit_or::<K, K, _, _>(key, hit, miss, |loaded| outcome(loaded, one));
        }
        let load = move || try_on_heap(&mut loader).map(single);
        outcome(self.load_or_refresh_on([key], execute, load), one)
    }

    /// Returns the values of a group as [`load_many`](Self::load_many) does, and refreshes them
    /// elsewhere. Callers get the old values until the new ones replace them in one commit.
    ///
    /// # Errors
    /// Returns errors as `load_many` does, if the caller loads.
    pub fn load_many_on<E, X, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<[V; N], E> + Send + 'static,
    ) -> Result<[V; N], LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = move || try_on_heap(&mut loader).map(|values| values as Box<[V]>);
        outcome(self.load_or_refresh_on(keys, execute, load), array)
    }

    fn load_or_refresh_on<E, X, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<Box<[V]>, E> + Send + 'static,
    ) -> Result<Box<[V]>, LoadRefusal<E>> {
        let Some(old) = self.present(keys.each_ref()) else {
            return self.load_group(keys, load);
        };
        self.refresh_on(keys, execute, load);
        Ok(old.values)
    }

    fn refresh_on<E, X, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<Box<[V]>, E> + Send + 'static,
    ) {
        if self.is_refresh_due(keys.each_ref())
            && let Some(refresh) = self.engine().claim_all(keys).refresh(None)
            && let Some(refresh) = refresh.detach(self.shared_engine())
        {
            execute(Box::new(move || {
                let Some(mut refresh) = refresh.begin() else { return };
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
    /// Returns the value of `key` as [`load_async`](Self::load_async) does, and refreshes it
    /// elsewhere.
    ///
    /// # Errors
    /// Returns errors as `load_async` does, if the caller loads.
    pub fn load_async_on<E: 'static, X>(
        &self,
        key: K,
        execute: impl FnOnce(Task) -> X,
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> impl Future<Output = Result<V, LoadError<E>>> {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let give = |loaded| outcome(loaded, one);
        let look_up = self.initial_look_up_on(execute, read);
        Loading::new(self, [key], load, look_up, read, |[value]: [V; 1]| Ok(value), give)
    }

    /// Returns the values of a group as [`load_many_async`](Self::load_many_async) does, and
    /// refreshes them elsewhere, as [`load_many_on`](Self::load_many_on) does.
    ///
    /// # Errors
    /// Returns errors as `load_many_async` does, if the caller loads.
    pub fn load_many_async_on<E: 'static, X, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Task) -> X,
        load: impl Future<Output = Result<[V; N], E>> + Send + 'static,
    ) -> impl Future<Output = Result<[V; N], LoadError<E>>> {
        let read = |loaded: Moving<'_, Result<[V; N], E>>| {
            loaded.try_into_heap().map(|values| values as Box<[V]>)
        };
        let give = |loaded| outcome(loaded, array);
        Loading::new(self, keys, load, self.initial_look_up_on(execute, read), read, Ok, give)
    }

    /// The look-up with which a load begins.
    fn initial_look_up_on<E: 'static, X, F: Future + Send + 'static, const N: usize>(
        &self,
        execute: impl FnOnce(Task) -> X,
        read: impl Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E> + Send + 'static,
    ) -> impl FnOnce([K; N], &mut Option<F>) -> InitialLookUp<K, V, N> {
        |keys, load| match self.present(keys.each_ref()) {
            Some(old) => {
                let load = load.take().expect("the future has not been polled");
                self.refresh_async_on(keys, execute, load, read);
                InitialLookUp::Found(old.values)
            }
            None => InitialLookUp::Absent(keys),
        }
    }

    fn refresh_async_on<E: 'static, X, F: Future + Send + 'static, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Task) -> X,
        load: F,
        read: impl Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E> + Send + 'static,
    ) {
        if self.is_refresh_due(keys.each_ref())
            && let Some(refresh) = self.engine().claim_all(keys).refresh(None)
            && let Some(refresh) = refresh.detach(self.shared_engine())
        {
            // It is the task itself: an `async` block would have room for the loader twice.
            execute(Box::pin(Refreshing::new(load, refresh, read, RunningLoad::finish)));
        }
    }
}
