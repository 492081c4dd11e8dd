//! Loading that gives an error to all callers that waited for it.

use super::cache::Cache;
use super::load::{LoadRefusal, PresentGroup, one};
#[cfg(feature = "async")]
use crate::engine::Load;
use crate::engine::{LoadDecision, WaitFailed, array, boxed};
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
/// load by another method, or with another error type, loads by itself. A panic is not shared.
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
        self.load_or_reload_sharing([key], || load().map(|value| boxed([value]))).map(one)
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
        self.load_or_reload_sharing(keys, || load().map(boxed)).map(array)
    }

    fn load_or_reload_sharing<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Loaded<Box<[V]>, E> {
        let old = match self.hit(keys.each_ref()) {
            Ok(values) => Some(PresentGroup { values: boxed(values), is_stale: false }),
            Err(old) => old,
        };
        if let Some(old) = old {
            // If the reload fails, the old values stay.
            return self.load_or_reload(keys, Some(old), load).map_err(|error| match error {
                LoadRefusal::Failed(error) => LoadError::Failed(Arc::new(error)),
                LoadRefusal::Cycle(_) => LoadError::Cycle,
            });
        }
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
                let loaded = leading.during(load);
                leading.finish_sharing(loaded).map_err(LoadError::Failed)
            }
        }
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
        let load = Box::pin(async { load.await.map(|value| boxed([value])) });
        async { self.obtain_sharing_async([key], load).await.map(one) }
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
        let load = Box::pin(async { load.await.map(boxed) });
        async { self.obtain_sharing_async(keys, load).await.map(array) }
    }

    async fn obtain_sharing_async<E: Send + Sync + 'static, const N: usize>(
        &self,
        keys: [K; N],
        load: Pin<Box<impl Future<Output = Result<Box<[V]>, E>>>>,
    ) -> Loaded<Box<[V]>, E> {
        match self.hit(keys.each_ref()) {
            Ok(values) => return Ok(boxed(values)),
            Err(Some(old)) if !old.is_stale => return Ok(old.values),
            Err(Some(old)) => {
                let refresh = self.engine().claim_all(keys).refresh();
                let Some(mut refresh) = refresh else { return Ok(old.values) };
                let loaded = polled(load, &mut refresh).await;
                return Ok(refresh.finish(loaded).unwrap_or(old.values));
            }
            Err(None) => {}
        }
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
                let loaded = polled(load, &mut leading).await;
                leading.finish_sharing(loaded).map_err(LoadError::Failed)
            }
        }
    }
}

/// Polls a future as a part of a load and returns its output. The future is dropped before the load
/// ends, because the next load may want what it holds.
#[cfg(feature = "async")]
async fn polled<K, V, S, R, F: Future, const N: usize>(
    mut future: Pin<Box<F>>,
    load: &mut Load<'_, K, V, S, R, N>,
) -> F::Output
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    std::future::poll_fn(|context| load.during(|| future.as_mut().poll(context))).await
}
