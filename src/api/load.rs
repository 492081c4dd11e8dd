//! Loading: one caller reads an absent value from its source, on behalf of all callers that want
//! it.

use super::cache::Cache;
use crate::engine::{LoadDecision, all, all_boxed, array, boxed, is_large};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use crate::version::Version;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// The present values of a group.
pub(crate) struct PresentGroup<V> {
    pub values: Box<[V]>,
    /// Whether the group is due for reloading.
    pub is_stale: bool,
}

/// # Loading
/// Of the callers that want the same absent key, one runs its loader. The others wait for that load
/// and for nothing else; this is the only waiting in this library. No lock is held while a loader
/// runs, and the loader may use the cache. If the future of a load is dropped, one of the waiting
/// callers loads in its place. If a loader fails or panics, the callers that waited for it load
/// concurrently: none waits for a second failure (unless that is
/// [requested](crate::Builder::loads_in_turn), or the error is [shared](Self::load_shared)).
///
/// Callers wait for as long as a load takes, or [for a limited time](crate::Builder::load_timeout).
/// A thread that is stopped in its loader delays the callers that want the key. So does a load's
/// future that is no longer polled and not dropped.
///
/// Every load goes through a [lease](Cache::lease). If its key is written, removed or cleared
/// meanwhile, the loaded value goes to the caller that loaded it. It is not cached, and no other
/// caller gets it.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned. Loads it if there is none.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// assert_eq!(cache.get_with("key", || "read from the source".len()), 20);
    /// assert_eq!(cache.get_with("key", || unreachable!("it is cached")), 20);
    /// ```
    ///
    /// # Panics
    /// Panics if the loader does, or if loads wait for each other in a cycle (see
    /// [`load`](Self::load)).
    #[track_caller]
    pub fn get_with(&self, key: K, load: impl FnOnce() -> V) -> V {
        let old = match self.hit([&key]) {
            Ok([value]) => {
                drop(key); // if its destructor panicked later, the result would leak
                return value;
            }
            Err(old) => old,
        };
        match self.load_or_reload([key], old, || Ok::<_, Infallible>(boxed([load()]))) {
            Ok(values) => one(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Returns the value of `key` as [`get_with`](Self::get_with) does, with a loader that may
    /// fail. Only the caller of a failed loader gets the error; the callers that wait load.
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    #[track_caller]
    pub fn try_get_with<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>> {
        let old = match self.hit([&key]) {
            Ok([value]) => {
                drop(key); // as in `get_with`
                return Ok(value);
            }
            Err(old) => old,
        };
        let loaded = self.load_or_reload([key], old, || load().map(|value| boxed([value])));
        failure(loaded.map(one), Location::caller())
    }

    /// Returns the value of `key` as [`try_get_with`](Self::try_get_with) does, but reports a
    /// cycle as an error. In a cycle, a loader asks for a key whose load waits for the loader's
    /// own key, perhaps through other loads and on other threads. At least one of the loads in the
    /// cycle gets the error.
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
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load<E>(&self, key: K, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>> {
        let old = match self.hit([&key]) {
            Ok([value]) => {
                drop(key); // as in `get_with`
                return Ok(value);
            }
            Err(old) => old,
        };
        let loaded = self.load_or_reload([key], old, || load().map(|value| boxed([value])));
        Ok(loaded.map(one)?)
    }

    /// Returns the values of several keys that belong together, cloned, all as of one instant.
    ///
    /// If one of the values is absent, or due to be [refreshed](crate::Builder::refresh_after), one
    /// call of the loader loads all of them and **one commit** sets them. No reader ever finds some
    /// of them reloaded beside others that are not.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let group = cache.get_many_with(["user:7", "feed:7"], || ["Ada", "[]"]);
    /// assert_eq!(group, ["Ada", "[]"]);
    /// let [user, feed] = ["user:7", "feed:7"].map(|key| cache.get_versioned(key));
    /// assert_eq!(user.unwrap().1, feed.unwrap().1);
    /// ```
    ///
    /// The first key identifies a group. Of the callers that want the group, one loads it. The
    /// others wait for that load or, if the values are only old, return the present values. If one
    /// of the keys is written, removed or cleared meanwhile, the load is refused and its values go
    /// to its caller alone. A loader should therefore not write or load one of the keys.
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does.
    #[track_caller]
    pub fn get_many_with<const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> [V; N],
    ) -> [V; N] {
        let old = match self.hit(keys.each_ref()) {
            Ok(values) => {
                drop(keys); // as in `get_with`
                return values;
            }
            Err(old) => old,
        };
        match self.load_or_reload(keys, old, || Ok::<_, Infallible>(boxed(load()))) {
            Ok(values) => array(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Returns the values of a group as [`get_many_with`](Self::get_many_with) does, with a loader
    /// that may fail, as in [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    #[track_caller]
    pub fn try_get_many_with<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<[V; N], E>,
    ) -> Result<[V; N], Arc<E>> {
        failure(self.try_load_many(keys, load), Location::caller())
    }

    /// Returns the values of a group as [`get_many_with`](Self::get_many_with) does, but reports a
    /// cycle as an error, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load_many<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<[V; N], E>,
    ) -> Result<[V; N], LoadError<E>> {
        Ok(self.try_load_many(keys, load)?)
    }

    fn try_load_many<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<[V; N], E>,
    ) -> Result<[V; N], LoadRefusal<E>> {
        let old = match self.hit(keys.each_ref()) {
            Ok(values) => {
                drop(keys); // as in `get_with`
                return Ok(values);
            }
            Err(old) => old,
        };
        self.load_or_reload(keys, old, || load().map(boxed)).map(array)
    }

    /// Returns the values of these keys, if all are present.
    pub(crate) fn all_of<const N: usize>(&self, keys: [&K; N]) -> Option<[V; N]> {
        all(self.engine().get_many::<_, _, N, true>(keys, V::clone))
    }

    pub(crate) fn is_refresh_due<const N: usize>(&self, keys: [&K; N]) -> bool {
        keys.iter().any(|key| self.engine().wants_refresh(*key))
    }

    /// Returns the values of these keys, if all are present and none is due for reloading.
    /// Otherwise returns the old values, if all are present.
    #[inline(always)]
    pub(crate) fn hit<const N: usize>(
        &self,
        keys: [&K; N],
    ) -> Result<[V; N], Option<PresentGroup<V>>> {
        if const { is_large::<V, N>() } {
            return Err(self.hit_large(keys));
        }
        match self.look_up_group(keys) {
            Some(values) if self.is_refresh_due(keys) => {
                Err(Some(PresentGroup { values: boxed(values), is_stale: true }))
            }
            Some(values) => Ok(values),
            None => Err(None),
        }
    }

    /// Does the same for large values, so that its caller's frame, in which a load may run, has no
    /// room for them.
    #[inline(never)]
    fn hit_large<const N: usize>(&self, keys: [&K; N]) -> Option<PresentGroup<V>> {
        let clone = |value: &V| Box::new(value.clone());
        let values = if N > 1 {
            all_boxed(self.engine().get_many::<_, _, N, true>(keys, clone))?
        } else {
            let value =
                self.engine().look_up::<_, _, true>(keys[0], |found| clone(found.value()))?;
            all_boxed([Some(value)])?
        };
        Some(PresentGroup { values, is_stale: self.is_refresh_due(keys) })
    }

    #[inline(always)]
    fn look_up_group<const N: usize>(&self, keys: [&K; N]) -> Option<[V; N]> {
        if N > 1 {
            return self.all_of(keys);
        }
        let mut value = self.get(keys[0]);
        value.is_some().then(|| [(); N].map(|()| value.take().expect("the group has one key")))
    }

    /// Loads a group of which a value is absent, or reloads an old group unless another caller
    /// does. Separate from the look-up before it: a value may be large, and each of their frames
    /// has room for it.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_or_reload<E, const N: usize>(
        &self,
        keys: [K; N],
        old: Option<PresentGroup<V>>,
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, LoadRefusal<E>> {
        let Some(PresentGroup { values: old, is_stale }) = old else {
            return self.load_group(keys, load);
        };
        if !is_stale {
            drop(keys); // as in `get_with`
            return Ok(old);
        }
        let Some(mut refresh) = self.engine().claim_all(keys).refresh() else { return Ok(old) };
        let loaded = refresh.during(load);
        Ok(refresh.finish(loaded).unwrap_or(old))
    }

    /// Loads a group, or waits for its load.
    pub(crate) fn load_group<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, LoadRefusal<E>> {
        match self.join_or_lead(keys) {
            LoadDecision::Found(values) => Ok(values),
            LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
            LoadDecision::Load(mut leading) => {
                let loaded = leading.during(load);
                leading.finish(loaded).map_err(LoadRefusal::Failed)
            }
        }
    }

    /// Joins the load of a group and waits for it, or leads it.
    pub(crate) fn join_or_lead<const N: usize>(
        &self,
        keys: [K; N],
    ) -> LoadDecision<'_, K, V, S, R, N> {
        let mut claims = self.engine().claim_all(keys);
        loop {
            match claims.join() {
                Joined::Leader(leader) => return claims.lead(leader),
                Joined::Waiter(waiter) => match claims.after_wait(waiter.wait()) {
                    Ok(wanted) => return wanted,
                    Err(again) => claims = again,
                },
            }
        }
    }

    /// Fills the cache with entries that were read from the source. Skips keys that are present,
    /// and keys that were written since the call began. Returns the number of entries filled.
    /// During the call, [`stats`](Self::stats) shows this number as `loads`.
    ///
    /// If a key that the cache does not know is removed before its entry's turn, the removal leaves
    /// no trace. Where keys are removed from the source while the cache is warmed, load each key by
    /// [`get_with`](Self::get_with).
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

    /// Does the same as [`prewarm`](Self::prewarm), on rayon's thread pool.
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
        !self.contains_key(&key) && self.engine().fill_since(key, since, value)
    }
}

/// Returns the value of a group of one key.
#[inline(always)]
pub(crate) fn one<V>(values: Box<[V]>) -> V {
    let [value] = array(values);
    value
}

/// Why a key was not loaded; becomes a `LoadError`.
pub(crate) enum LoadRefusal<E> {
    Failed(E),
    /// A cycle, with the name of its key.
    Cycle(Box<str>),
}

impl<E> From<LoadRefusal<E>> for LoadError<E> {
    fn from(refusal: LoadRefusal<E>) -> Self {
        match refusal {
            LoadRefusal::Failed(error) => Self::Failed(error),
            LoadRefusal::Cycle(_) => Self::Cycle,
        }
    }
}

#[cold]
#[track_caller]
pub(crate) fn panic_on_cycle(key: &str, at: Option<&Location<'_>>) -> ! {
    let at = at.map(|at| format!(" wanted at {at}")).unwrap_or_default();
    panic!("the key {key}{at}: {}", LoadError::<Infallible>::Cycle)
}

/// Returns the error of a loader. Panics on a cycle.
#[track_caller]
pub(crate) fn failure<T, E>(
    loaded: Result<T, LoadRefusal<E>>,
    at: &Location<'_>,
) -> Result<T, Arc<E>> {
    match loaded {
        Ok(loaded) => Ok(loaded),
        Err(LoadRefusal::Failed(error)) => Err(Arc::new(error)),
        Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
    }
}
