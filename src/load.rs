//! Loading: what is absent is read from its source by one caller, for all who want it.

use crate::cache::Cache;
#[cfg(feature = "async")]
use crate::engine::Load;
use crate::engine::Wanted;
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use crate::version::Version;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// # Loading
/// Of the callers that want the same absent key, one runs its loader; the others wait for that load and for
/// nothing else, which is the only waiting in this library. No lock is held while a loader runs, and it may use
/// the cache. If it fails, panics, or its future is dropped, one of those who wait loads in its place.
///
/// Every load goes through a [lease](Cache::lease): if its key is written, removed or cleared meanwhile, what was
/// loaded goes to the caller that loaded it, is not cached, and is given to no other.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The value of `key`, cloned; loaded if there is none.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// assert_eq!(cache.get_with("key", || "read from the source".len()), 20);
    /// assert_eq!(cache.get_with("key", || unreachable!("it is cached")), 20);
    /// ```
    ///
    /// # Panics
    /// If the loader does, or if loads wait for each other in a circle (see [`load`](Self::load)).
    pub fn get_with(&self, key: K, load: impl FnOnce() -> V) -> V {
        match self.load(key, || Ok::<_, Infallible>(load())) {
            Ok(value) => value,
            Err(LoadError::Cycle) => circle(),
        }
    }

    /// The same, with a loader that may fail: then only its caller gets the error, and one of those who
    /// wait loads in its place.
    ///
    /// # Errors
    /// What the loader returned.
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with).
    pub fn try_get_with<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>> {
        self.load(key, load).map_err(|error| match error {
            LoadError::Failed(error) => Arc::new(error),
            LoadError::Cycle => circle(),
        })
    }

    /// The same, but a circle is an error: a loader asks for a key whose load, perhaps through others and on
    /// other threads, waits for the loader's own key. At least one of the loads in the circle is told.
    ///
    /// ```
    /// use coeval::{Cache, LoadError};
    ///
    /// let cache: Cache<&str, i32> = Cache::new();
    /// let inner = || cache.load("key", || Ok::<_, ()>(1));
    /// let outer = cache.load("key", || Ok::<_, ()>(inner().unwrap_or(2)));
    /// assert_eq!(outer, Ok(2), "the inner load was told that it waits for itself");
    /// ```
    ///
    /// # Errors
    /// [`LoadError`]: what the loader returned, or a circle.
    pub fn load<E>(&self, key: K, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>> {
        if let Some(value) = self.get(&key) {
            if !self.engine().wants_refresh(&key) {
                drop(key); // A panic on the way out would leak what is returned.
                return Ok(value);
            }
            if let Some(mut refresh) = self.engine().claim(key).refresh() {
                let loaded = refresh.during(load);
                return Ok(refresh.finish(loaded).unwrap_or(value));
            }
            return Ok(value);
        }
        match self.wanted(key) {
            Wanted::Found(value) => Ok(value),
            Wanted::Cycle => Err(LoadError::Cycle),
            Wanted::Load(mut leading) => {
                let loaded = leading.during(load);
                leading.finish(loaded).map_err(LoadError::Failed)
            }
        }
    }

    /// Joins the load of `key`, and waits for it, or leads it.
    pub(crate) fn wanted(&self, key: K) -> Wanted<'_, K, V, S, R> {
        let mut claim = self.engine().claim(key);
        loop {
            match claim.join() {
                Joined::Leader(leader) => return claim.lead(leader),
                Joined::Waiter(waiter) => match claim.waited(waiter.wait()) {
                    Ok(wanted) => return wanted,
                    Err(again) => claim = again,
                },
            }
        }
    }

    /// [`get_with`](Self::get_with) for a future, which is polled only if the key is absent and nobody else
    /// loads it. On any runtime. If the future that this returns is dropped, one of those who wait loads.
    ///
    /// # Panics
    /// As `get_with`. Circles are found among what is polled by one load's own task.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
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
    /// As [`get_with_async`](Self::get_with_async).
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn try_get_with_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>> {
        self.load_async(key, load).await.map_err(|error| match error {
            LoadError::Failed(error) => Arc::new(error),
            LoadError::Cycle => circle(),
        })
    }

    /// [`load`](Self::load) for a future.
    ///
    /// # Errors
    /// [`LoadError`]: what the future returned, or a circle.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn load_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        if let Some(value) = self.get(&key) {
            if !self.engine().wants_refresh(&key) {
                drop(key); // A panic on the way out would leak what is returned.
                return Ok(value);
            }
            if let Some(refresh) = self.engine().claim(key).refresh() {
                return Ok(run(refresh, load).await.unwrap_or(value));
            }
            return Ok(value);
        }
        let mut claim = self.engine().claim(key);
        let wanted = loop {
            match claim.join() {
                Joined::Leader(leader) => break claim.lead(leader),
                Joined::Waiter(waiter) => match claim.waited(waiter.await) {
                    Ok(wanted) => break wanted,
                    Err(again) => claim = again,
                },
            }
        };
        match wanted {
            Wanted::Found(value) => Ok(value),
            Wanted::Cycle => Err(LoadError::Cycle),
            Wanted::Load(leading) => run(leading, load).await.map_err(LoadError::Failed),
        }
    }

    /// Fills the cache with entries that were read from the source, but for keys that are present or were written
    /// since this was called. Returns how many it filled; [`stats`](Self::stats) shows it meanwhile as `loads`.
    ///
    /// Of a key that the cache does not know, a removal before its entry's turn leaves no trace. Where keys
    /// are removed from the source while the cache is warmed, load each by [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert(1, "newer");
    /// assert_eq!(cache.prewarm([(1, "one"), (2, "two")]), 1);
    /// assert_eq!(cache.get_many([&1, &2]), [Some("newer"), Some("two")]);
    /// ```
    pub fn prewarm(&self, entries: impl IntoIterator<Item = (K, V)>) -> u64 {
        let since = self.version();
        entries.into_iter().map(|(key, value)| u64::from(self.prewarm_one(key, value, since))).sum()
    }

    /// The same on rayon's thread pool.
    #[cfg(feature = "rayon")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rayon")))]
    pub fn par_prewarm<I>(&self, entries: I) -> u64
    where
        I: rayon::iter::IntoParallelIterator<Item = (K, V)>,
        S: Send + Sync,
    {
        use rayon::iter::ParallelIterator;
        let since = self.version();
        let fill = |(key, value)| u64::from(self.prewarm_one(key, value, since));
        entries.into_par_iter().map(fill).sum()
    }

    fn prewarm_one(&self, key: K, value: V, since: Version) -> bool {
        !self.contains_key(&key) && self.engine().claim(key).fill_since(since, value)
    }
}

/// Runs a load that is a future.
#[cfg(feature = "async")]
async fn run<K, V, S, R, E>(
    mut leading: Load<'_, K, V, S, R>,
    load: impl Future<Output = Result<V, E>>,
) -> Result<V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    let loaded = {
        // Dropped before `leading` in any case: what it holds may be wanted by whoever leads next.
        let mut load = std::pin::pin!(load);
        std::future::poll_fn(|context| leading.during(|| load.as_mut().poll(context))).await
    };
    leading.finish(loaded)
}

#[cold]
pub(crate) fn circle() -> ! {
    panic!("{}", LoadError::<Infallible>::Cycle)
}
