//! Loading: one caller reads an absent value from its source, on behalf of all callers that want
//! it.

use super::cache::Cache;
use super::give::{
    Give, LoadRefusal, ResultOrPanic, ResultsOrPanic, ValueOrPanic, ValuesOrPanic, outcome,
};
use crate::chain::{Parcel, Visible, clone_to_heap};
use crate::engine::{
    LoadDecision, all, all_boxed, array, is_large, on_heap, one, single, try_on_heap,
};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use crate::version::Version;
use equivalent::Equivalent;
use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || Ok::<_, Infallible>(single(on_heap(&mut loader)));
        self.obtain(key, load, V::clone, ValueOrPanic)
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(single);
        let hit = |value: &V| Ok(value.clone());
        self.obtain(key, load, hit, ResultOrPanic)
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(single);
        let hit = |value: &V| Ok(value.clone());
        self.obtain(key, load, hit, |loaded| outcome(loaded, one))
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
    /// A group has at least one key: `[K; 0]` does not compile.
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does.
    #[track_caller]
    pub fn get_many_with<const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> [V; N],
    ) -> [V; N] {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || Ok::<_, Infallible>(on_heap(&mut loader) as Box<[V]>);
        self.obtain_many(keys, load, |values| values, ValuesOrPanic)
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(|values| values as Box<[V]>);
        self.obtain_many(keys, load, Ok, ResultsOrPanic)
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
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = || try_on_heap(&mut loader).map(|values| values as Box<[V]>);
        self.obtain_many(keys, load, Ok, |loaded| outcome(loaded, array))
    }

    /// Returns the value of `key`. Loads it if there is none. `hit` makes
    /// the result of a present value, and `give` that of a load.
    #[inline]
    #[track_caller]
    fn obtain<T, E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<Box<[V]>, E>,
        hit: impl FnOnce(&V) -> T,
        give: impl Give<Result<Box<[V]>, LoadRefusal<E>>, Output = T>,
    ) -> T {
        if self.is_refresh_due([&key]) {
            return give.give(self.load_or_reload([key], load));
        }
        self.hit_or::<K, K, _, _>(key, hit, |cache, key| cache.load_group([key], load), give)
    }

    /// Returns what `hit` makes of the value of `key`, or else what `give` makes of the outcome of
    /// `miss`.
    ///
    /// In this file no frame in which a load may run has room for a value: where a value is passed
    /// by move, a function that is not inlined passes it straight to its caller. So a large value
    /// is rarely on the stack.
    ///
    /// `P` is the key, or a reference to what borrows one.
    #[inline]
    #[track_caller]
    pub(crate) fn hit_or<P, Q, T, O>(
        &self,
        key: P,
        hit: impl FnOnce(&V) -> T,
        miss: impl FnOnce(&Self, P) -> O,
        give: impl Give<O, Output = T>,
    ) -> T
    where
        P: Borrow<Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if const { is_large::<V, 1>() } {
            return self.large_hit_or(key, hit, miss, give);
        }
        let found = self.engine().look_up::<Q, _, true>(key.borrow(), |found| hit(found.value()));
        if let Some(value) = found {
            drop(key); // if its destructor panicked later, the result would leak
            return value;
        }
        give.give(miss(self, key))
    }

    /// Does the same for a large value, which goes straight to the caller.
    #[inline(never)]
    #[track_caller]
    fn large_hit_or<P, Q, T, O>(
        &self,
        key: P,
        hit: impl FnOnce(&V) -> T,
        miss: impl FnOnce(&Self, P) -> O,
        give: impl Give<O, Output = T>,
    ) -> T
    where
        P: Borrow<Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        {
            let guard = self.engine().pin();
            if let Some(found) = self.engine().newest::<Q, true>(&guard, key.borrow()) {
                drop(key); // as above
                return hit(found.value());
            }
        }
        give.give(miss(self, key))
    }

    /// Returns the values of a group. Loads them if one is absent. The arguments are those of
    /// [`obtain`](Self::obtain).
    #[inline]
    #[track_caller]
    fn obtain_many<T, E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
        hit: impl FnOnce([V; N]) -> T,
        give: impl Give<Result<Box<[V]>, LoadRefusal<E>>, Output = T>,
    ) -> T {
        if const { is_large::<V, N>() } || self.is_refresh_due(keys.each_ref()) {
            return give.give(self.load_or_reload(keys, load));
        }
        self.obtain_small(keys, load, hit, give)
    }

    /// Does the same for a group of small values of which none is due for reloading.
    #[inline]
    #[track_caller]
    fn obtain_small<T, E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
        hit: impl FnOnce([V; N]) -> T,
        give: impl Give<Result<Box<[V]>, LoadRefusal<E>>, Output = T>,
    ) -> T {
        if let Some(values) = self.look_up_group(keys.each_ref()) {
            drop(keys); // as in `hit_or`
            return hit(values);
        }
        give.give(self.load_group(keys, load))
    }

    pub(crate) fn is_refresh_due<const N: usize>(&self, keys: [&K; N]) -> bool {
        keys.iter().any(|key| self.engine().wants_refresh(*key))
    }

    /// Returns the values of these keys, if all are present.
    #[inline(never)]
    pub(crate) fn present<const N: usize>(&self, keys: [&K; N]) -> Option<PresentGroup<V>> {
        let values = self.present_values(keys)?;
        Some(PresentGroup { values, is_stale: self.is_refresh_due(keys) })
    }

    /// Does the same, without asking whether they are due for reloading.
    #[inline(never)]
    pub(crate) fn present_values<const N: usize>(&self, keys: [&K; N]) -> Option<Box<[V]>> {
        if N > 1 {
            return all_boxed(self.engine().get_many::<_, _, N, true>(keys, clone_to_heap));
        }
        let clone = |found: Visible<'_, V>| clone_to_heap(found.value());
        Some(single(self.engine().look_up::<_, _, true>(keys[0], clone)?))
    }

    /// Returns the small values of these keys, if all are present.
    #[inline(always)]
    pub(crate) fn look_up_group<const N: usize>(&self, keys: [&K; N]) -> Option<[V; N]> {
        if N > 1 {
            return all(self.engine().get_many::<_, _, N, true>(keys, V::clone));
        }
        let mut value = self.get(keys[0]);
        value.is_some().then(|| [(); N].map(|()| value.take().expect("the group has one key")))
    }

    /// Loads a group of which a value is absent, or reloads an old group unless another caller
    /// does.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_or_reload<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, LoadRefusal<E>> {
        match self.present(keys.each_ref()) {
            Some(old) => self.reload(keys, old, load).map_err(LoadRefusal::Failed),
            None => self.load_group(keys, load),
        }
    }

    /// Reloads a group if it is old, unless another caller does. If the reload fails, returns the
    /// values that the keys hold by then. Returns the error if they hold none.
    pub(crate) fn reload<E, const N: usize>(
        &self,
        keys: [K; N],
        PresentGroup { values: old, is_stale }: PresentGroup<V>,
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, E> {
        if !is_stale {
            drop(keys); // as in `hit_or`
            return Ok(old);
        }
        let Some(mut refresh) = self.engine().claim_all(keys).refresh(None) else { return Ok(old) };
        let loaded = refresh.during(load);
        refresh.finish_or_keep(loaded)
    }

    /// Loads a group, or waits for its load.
    #[cold]
    #[inline(never)]
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
        let mut filled = 0;
        for entry in entries {
            filled += u64::from(self.prewarm_one(entry, since));
        }
        filled
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
        let fill = |entry| u64::from(self.prewarm_one(entry, since));
        entries.into_par_iter().map(fill).sum()
    }

    fn prewarm_one(&self, (key, value): (K, V), since: Version) -> bool {
        let mut place = Parcel::empty();
        place.put(value);
        !self.contains_key(&key) && self.engine().fill_since(key, since, &mut place)
    }
}
