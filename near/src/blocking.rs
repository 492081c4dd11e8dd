//! The same face for code without a runtime.

use crate::cache::NearCache;
use crate::codec::Codec;
use crate::error::Error;
use crate::load::LoadError;
use crate::multi::Multi;
use crate::{Builder, Local};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A [`NearCache`] for code that is not async; made by [`Builder::connect_blocking`]. It has a
/// runtime of its own, with one thread, which serves the connection. Cheap to clone.
///
/// Its methods block the calling thread. They panic if that thread belongs to a tokio runtime.
pub struct BlockingNearCache<V: Clone + Send + Sync + 'static> {
    near: NearCache<V>,
    runtime: Arc<Ending>,
}

/// A runtime that ends without waiting for its thread, wherever the last handle is dropped.
struct Ending(Option<Runtime>);

impl Ending {
    fn runtime(&self) -> &Runtime {
        let Some(runtime) = &self.0 else { unreachable!("it is taken by `drop` only") };
        runtime
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl<V: Clone + Send + Sync + 'static, C: Codec<V>> Builder<V, C> {
    /// Connects, for code that is not async.
    ///
    /// # Errors
    /// As those of [`connect`](Self::connect); and [`Error::Setting`] if the system has no thread
    /// left.
    ///
    /// # Panics
    /// Panics if the calling thread belongs to a tokio runtime.
    pub fn connect_blocking(self) -> Result<BlockingNearCache<V>, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("coeval-redis")
            .enable_all()
            .build()
            .map_err(|_| Error::Setting("the runtime's thread could not be started"))?;
        let near = runtime.block_on(self.connect())?;
        Ok(BlockingNearCache { near, runtime: Arc::new(Ending(Some(runtime))) })
    }
}

impl<V: Clone + Send + Sync + 'static> BlockingNearCache<V> {
    /// Returns the value of `key`; see [`NearCache::get`]. A hit does not enter the runtime.
    ///
    /// # Errors
    /// As those of [`NearCache::get`].
    pub fn get(&self, key: &str) -> Result<Option<V>, Error> {
        match self.near.get_local(key) {
            Local::Present(value) => Ok(Some(value)),
            Local::Absent => Ok(None),
            Local::Unknown => self.runtime.runtime().block_on(self.near.get(key)),
        }
    }

    /// Returns the values of several keys as of one state of the server; see
    /// [`NearCache::get_many`].
    ///
    /// # Errors
    /// As those of [`NearCache::get`].
    pub fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<V>>, Error> {
        self.runtime.runtime().block_on(self.near.get_many(keys))
    }

    /// Returns the value of `key`, or loads it; see [`NearCache::get_with`]. The loader runs on the
    /// calling thread. It must not call blocking methods of this cache.
    ///
    /// # Errors
    /// As those of [`NearCache::get_with`].
    pub fn get_with<E>(
        &self,
        key: &str,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>> {
        self.runtime.runtime().block_on(self.near.get_with(key, async { load() }))
    }

    /// Sends a transaction that was put together by [`NearCache::multi`] of
    /// [`near`](Self::near); see [`Multi::exec`].
    ///
    /// # Errors
    /// As those of [`Multi::exec`].
    pub fn exec(&self, multi: Multi<'_, V>) -> Result<(), Error> {
        self.runtime.runtime().block_on(multi.exec())
    }

    /// Sets `key` if it is as expected; see [`NearCache::compare_and_set`].
    ///
    /// # Errors
    /// As those of [`Multi::exec`].
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
    ) -> Result<bool, Error> {
        self.runtime.runtime().block_on(self.near.compare_and_set(key, expected, value))
    }

    /// Sets `key` if it is as expected, for a limited time; see
    /// [`NearCache::compare_and_set_with_ttl`].
    ///
    /// # Errors
    /// As those of [`Multi::exec`].
    pub fn compare_and_set_with_ttl(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
        time_to_live: Duration,
    ) -> Result<bool, Error> {
        let near = &self.near;
        let set = near.compare_and_set_with_ttl(key, expected, value, time_to_live);
        self.runtime.runtime().block_on(set)
    }

    /// Returns the cache itself, for what does not wait: `multi`, `get_local`, `view`, `status`.
    pub fn near(&self) -> &NearCache<V> {
        &self.near
    }
}

impl<V: Clone + Send + Sync + 'static> Clone for BlockingNearCache<V> {
    fn clone(&self) -> Self {
        Self { near: self.near.clone(), runtime: Arc::clone(&self.runtime) }
    }
}

impl<V: Clone + Send + Sync + 'static> fmt::Debug for BlockingNearCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingNearCache").field("near", &self.near).finish_non_exhaustive()
    }
}
