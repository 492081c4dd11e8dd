//! Loading that gives an error to all callers that waited for it.

use super::cache::Cache;
#[cfg(feature = "async")]
use super::load_future::poll_and_read;
use crate::chain::Parcel;
#[cfg(feature = "async")]
use crate::engine::Load;
#[cfg(feature = "async")]
use crate::engine::Moving;
use crate::engine::{LoadDecision, WaitFailed, array, one, single, try_on_heap};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
#[cfg(feature = "async")]
use std::pin::Pin;
use std::sync::Arc;

type Loaded<T, E> = Result<T, LoadError<Arc<E>>>;

/// # Loading, sharing errors
/// These methods work as the [loading](#loading) methods of the same names, for a source that may
/// be down. If the load fails, the callers that wait for it get its error and do not load. However
/// many callers want a key of such a source, there is one load. A caller that waits for the same
/// load by another method, or with another error type, loads by itself. A panic is not shared. With
/// [`Builder::errors_for`](crate::Builder::errors_for), callers that come later get the error, too.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` as [`load`](Self::load) does, and shares errors.
    ///
    /// ```
    /// use coeval::{Cache, LoadError};
    ///
    /// let cache: Cache<&str, i32> = Cache::new();
    /// let loaded = cache.load_shared("key", || Err("the source is down"));
    /// assert_eq!(loaded, Err(LoadError::Failed("the source is down".into())));
    /// assert_eq!(cache.load_shared("key", || Ok::<_, &str>(1)), Ok(1), "a later caller loads");
    /// ```
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or of the load for which this call waited, or a
    /// cycle.
    pub fn load_shared<E: Send + Sync + 'static>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Loaded<V, E> {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(single);
        let hit = |value: &V| Ok(value.clone());
        if self.is_refresh_due([&key]) {
            return give(self.load_or_reload_sharing([key], load), one);
        }
        let miss = |cache: &Self, key| cache.load_group_sharing([key], load);
        self.hit_or(key, hit, miss, |loaded| give(loaded, one))
    }

    /// Returns the values of a group as [`load_many`](Self::load_many) does, and shares errors.
    ///
    /// # Errors
    /// Returns errors as [`load_shared`](Self::load_shared) does.
    pub fn load_many_shared<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<[V; N], E>,
    ) -> Loaded<[V; N], E> {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(|values| values as Box<[V]>);
        give(self.load_or_reload_sharing(keys, load), array)
    }

    fn load_or_reload_sharing<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Loaded<Box<[V]>, E> {
        match self.present(keys.each_ref()) {
            Some(old) => {
                let loaded = self.reload(keys, old, load);
                loaded.map_err(|error| LoadError::Failed(Arc::new(error)))
            }
            None => self.load_group_sharing(keys, load),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_group_sharing<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Loaded<Box<[V]>, E> {
        let error_key = self.key_of_error(&keys[0])?;
        let mut claims = self.engine().claim_all(keys);
        let wanted = loop {
            match claims.join() {
                Joined::Leader(leader) => break claims.lead(leader),
                Joined::Waiter(waiter) => match claims.after_wait_sharing(waiter.wait()) {
                    Ok(wanted) => break wanted,
                    Err(WaitFailed::Failed(error)) => return Err(LoadError::Failed(error)),
                    Err(WaitFailed::Retry(again)) => claims = again,
                },
            }
        };
        match wanted {
            LoadDecision::Found(values) => Ok(values),
            LoadDecision::Cycle(_) => Err(LoadError::Cycle),
            LoadDecision::Load(mut leading) => {
                let since = self.engine().version();
                let loaded = leading.during(load);
                self.remember(error_key, since, leading.finish_sharing(loaded))
            }
        }
    }

    /// Returns the key under which an error of this load is remembered, if it is to be, or the
    /// error of an earlier load.
    fn key_of_error<E: Send + Sync + 'static>(&self, key: &K) -> Loaded<Option<K>, E> {
        match self.engine().remembered_error(key) {
            Some(error) => Err(LoadError::Failed(error)),
            None => Ok(self.engine().key_of_error(key)),
        }
    }

    /// Remembers the error of a load.
    fn remember<E: Send + Sync + 'static>(
        &self,
        key: Option<K>,
        since: u64,
        loaded: Result<Box<[V]>, Arc<E>>,
    ) -> Loaded<Box<[V]>, E> {
        if let (Some(key), Err(error)) = (key, &loaded) {
            self.engine().remember_error(key, since, error.clone());
        }
        loaded.map_err(LoadError::Failed)
    }
}

/// # Loading, sharing errors, for futures
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a future for [`load_shared`](Self::load_shared), with a future as the loader. The
    /// loader is kept on the heap.
    ///
    /// # Errors
    /// Returns errors as `load_shared` does.
    pub fn load_shared_async<E: Send + Sync + 'static>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Loaded<V, E>> {
        let load = Box::pin(load);
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        async move { give(self.obtain_sharing_async([key], load, read).await, one) }
    }

    /// Returns a future for [`load_many_shared`](Self::load_many_shared), with a future as the
    /// loader. The loader is kept on the heap.
    ///
    /// # Errors
    /// Returns errors as `load_shared` does.
    pub fn load_many_shared_async<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<[V; N], E>>,
    ) -> impl Future<Output = Loaded<[V; N], E>> {
        let load = Box::pin(load);
        let read = |loaded: Moving<'_, Result<[V; N], E>>| {
            loaded.try_into_heap().map(|values| values as Box<[V]>)
        };
        async move { give(self.obtain_sharing_async(keys, load, read).await, array) }
    }

    async fn obtain_sharing_async<E: Send + Sync + 'static, F: Future, const N: usize>(
        &self,
        keys: [K; N],
        load: Pin<Box<F>>,
        read: impl Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    ) -> Loaded<Box<[V]>, E> {
        match self.present(keys.each_ref()) {
            Some(old) if !old.is_stale => return Ok(old.values),
            Some(old) => {
                let refresh = self.engine().claim_all(keys).refresh(None);
                let Some(mut refresh) = refresh else { return Ok(old.values) };
                let loaded = polled(load, &mut refresh, read).await;
                let loaded = refresh.finish_or_keep(loaded);
                return loaded.map_err(|error| LoadError::Failed(Arc::new(error)));
            }
            None => {}
        }
        let error_key = self.key_of_error(&keys[0])?;
        let mut claims = self.engine().claim_all(keys);
        let wanted = loop {
            match claims.join() {
                Joined::Leader(leader) => break claims.lead(leader),
                Joined::Waiter(waiter) => match claims.after_wait_sharing(waiter.await) {
                    Ok(wanted) => break wanted,
                    Err(WaitFailed::Failed(error)) => return Err(LoadError::Failed(error)),
                    Err(WaitFailed::Retry(again)) => claims = again,
                },
            }
        };
        match wanted {
            LoadDecision::Found(values) => Ok(values),
            LoadDecision::Cycle(_) => Err(LoadError::Cycle),
            LoadDecision::Load(mut leading) => {
                let since = self.engine().version();
                let loaded = polled(load, &mut leading, read).await;
                self.remember(error_key, since, leading.finish_sharing(loaded))
            }
        }
    }
}

/// Returns what `take` makes of loaded values, or the error of the load.
fn give<V, T, E>(loaded: Loaded<Box<[V]>, E>, take: impl FnOnce(Box<[V]>) -> T) -> Loaded<T, E> {
    match loaded {
        Ok(values) => Ok(take(values)),
        Err(error) => Err(error),
    }
}

/// Polls a future as a part of a load, and returns what `read` makes of its output. The future is
/// dropped before the load ends, because the next load may want what it holds.
#[cfg(feature = "async")]
async fn polled<K, V, S, R, F: Future, O, const N: usize>(
    mut future: Pin<Box<F>>,
    load: &mut Load<'_, K, V, S, R, N>,
    read: impl Fn(Moving<'_, F::Output>) -> O,
) -> O
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    std::future::poll_fn(|context| load.during(|| poll_and_read(future.as_mut(), context, &read)))
        .await
}
