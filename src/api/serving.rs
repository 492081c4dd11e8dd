//! Loads that serve an old value if the source fails or is slow, and say so.

use super::cache::Cache;
use super::give::LoadRefusal;
use super::hasher::RandomState;
use super::refresh::Job;
use super::served::Served;
use crate::chain::Parcel;
use crate::engine::{
    FailedLoad, GroupAge, Kept, Load, LoadDecision, array, one, single, try_on_heap,
};
use crate::error::LoadError;
use crate::loading::{Joined, ServeRules};
use crate::reclaim::{Asymmetric, Reclaim};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::mpsc;
use std::time::Duration;

/// Loads that serve an old value if the source fails or is slow; made by [`Cache::serving`]. It has
/// the settings of the cache, which its methods change for the loads that it begins.
#[must_use = "it does nothing until it loads"]
pub struct Serving<'c, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    pub(super) cache: &'c Cache<K, V, S, R>,
    pub(super) rules: ServeRules,
}

impl<K, V, S, R: Reclaim> Clone for Serving<'_, K, V, S, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V, S, R: Reclaim> Copy for Serving<'_, K, V, S, R> {}

/// The values of a group, or why the group was not loaded.
pub(super) type ServedGroup<V, E> = Result<Served<Box<[V]>, E>, LoadRefusal<E>>;

/// The old values of a group, and their age.
pub(super) struct Old<V> {
    pub values: Box<[V]>,
    pub age: GroupAge,
}

/// What a caller does about a group.
pub(super) enum Start<'c, K, V, S, R: Reclaim, const N: usize> {
    /// A value is absent.
    Absent([K; N]),
    /// A value is older than the caller takes.
    TooOld([K; N]),
    Fresh(Box<[V]>),
    /// Nobody loads within a pause, or another caller does.
    Waits(Old<V>),
    /// The caller loads newer values.
    Reload(Load<'c, K, V, S, R, N>, Old<V>),
}

impl<V> Old<V> {
    /// Says that these values are served. If they were to be loaded early, they are not old.
    pub fn served<E>(self) -> Served<Box<[V]>, E> {
        let Self { values, age: GroupAge { age, failures, is_early, .. } } = self;
        match is_early {
            true => Served::Fresh(values),
            false => Served::Stale { value: values, age, failures, cause: None },
        }
    }
}

/// # Serving old values
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns what loads values, and serves old ones if the source fails or is slow, with the
    /// settings of the cache. The result can change the settings for one load.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::{thread, time::Duration};
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = Cache::builder().refresh_after(minute).refresh_pause(minute);
    /// let cache = builder.soft_timeout(Duration::from_millis(20)).manual_clock(&clock).build();
    /// cache.insert("rate", 1);
    /// clock.advance(minute);
    /// let (answer, answers) = std::sync::mpsc::channel();
    /// let slow = move || answers.recv();
    /// let served = cache.serving().load_on("rate", thread::spawn, slow).unwrap();
    /// assert!(matches!(served, Served::Stale { value: 1, cause: None, .. }), "{served:?}");
    ///
    /// answer.send(2).unwrap();
    /// while cache.get("rate") == Some(1) {
    ///     thread::yield_now(); // The load has gone on.
    /// }
    /// ```
    pub fn serving(&self) -> Serving<'_, K, V, S, R> {
        Serving { cache: self, rules: self.engine().serve_rules() }
    }

    /// Returns the value of `key` as [`load`](Self::load) does, and says why the caller got this
    /// one: it is fresh, it was loaded, or it is old because the source failed.
    ///
    /// [`refresh_after`](crate::Builder::refresh_after) is the time for which a value is fresh, and
    /// the [time to live](crate::Builder::time_to_live) that for which an old value is served if
    /// the source fails. An old value is an entry like any other: a write, a tag or an input ends
    /// it, and it never stands beside a newer member of its group. If that happens while the loader
    /// runs, and the loader fails, the caller gets what the key holds by then: a newer value, or
    /// the error. Set a [pause](crate::Builder::refresh_pause) that
    /// [grows](crate::Builder::refresh_pause_up_to), so that a source that is down is not asked
    /// again and again. [`serving`](Self::serving) has more: a soft time-out, groups, futures, and
    /// settings for a single load.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::time::{Duration, Instant};
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = Cache::builder().refresh_after(minute).time_to_live(minute * 60);
    /// let cache = builder.refresh_pause(minute / 6).manual_clock(&clock).build();
    /// let up = |rate: i32| move || Ok::<_, &str>(rate);
    /// let down = || Err::<i32, _>("the source is down");
    ///
    /// assert_eq!(cache.serve_with("rate", up(1)), Ok(Served::Loaded(1)));
    /// assert_eq!(cache.serve_with("rate", down), Ok(Served::Fresh(1)));
    /// clock.advance(minute);
    /// let (value, age, failures) = (1, minute, 1);
    /// let stale = |cause| Ok(Served::Stale { value, age, failures, cause });
    /// assert_eq!(cache.serve_with("rate", down), stale(Some("the source is down")));
    /// assert_eq!(cache.serve_with("rate", up(2)), stale(None), "it is not asked yet");
    /// clock.advance(minute);
    /// assert_eq!(cache.serve_with("rate", up(2)), Ok(Served::Loaded(2)));
    /// clock.advance(minute * 60);
    /// assert!(cache.serve_with("rate", down).is_err(), "no value is served for so long");
    /// ```
    ///
    /// # Errors
    /// [`LoadError`], if there is no value to serve: the error of the loader, or a cycle.
    ///
    /// # Panics
    /// Panics if the loader does.
    pub fn serve_with<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Served<V, E>, LoadError<E>> {
        self.serving().load(key, load)
    }
}

impl<K, V, S, R: Reclaim> Serving<'_, K, V, S, R> {
    /// Limits the age of the values, as [`Builder::max_age`](crate::Builder::max_age) does for all
    /// loads.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.rules.max_age = Some(age);
        self
    }

    /// Limits the wait for an executor, as [`Builder::soft_timeout`](crate::Builder::soft_timeout)
    /// does for all loads.
    pub fn soft_timeout(mut self, time: Duration) -> Self {
        self.rules.soft_timeout = time;
        self
    }

    /// Sets how early values are loaded, as
    /// [`Builder::refresh_early`](crate::Builder::refresh_early) does for all loads.
    pub fn refresh_early(mut self, factor: f64) -> Self {
        self.rules.early = factor;
        self
    }
}

impl<'c, K, V, S, R> Serving<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Does what [`Cache::serve_with`] does.
    ///
    /// # Errors
    /// [`LoadError`], if there is no value to serve: the error of the loader, or a cycle.
    ///
    /// # Panics
    /// Panics if the loader does.
    pub fn load<E>(
        self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Served<V, E>, LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        give(self.serve([key], || try_on_heap(&mut loader).map(single)), one)
    }

    /// Does the same for a group, as [`load_many`](Cache::load_many) loads it. The values are
    /// always those of one instant, old or not.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::time::{Duration, Instant};
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let cache = Cache::builder().refresh_after(minute).manual_clock(&clock).build();
    /// let group = ["user", "feed"];
    /// type Pair = Result<[i32; 2], &'static str>;
    /// let load = |pair: Pair| cache.serving().load_many(group, || pair);
    /// assert_eq!(load(Ok([1, 1])), Ok(Served::Loaded([1, 1])));
    /// clock.advance(minute);
    /// let served = load(Err("the source is down")).unwrap();
    /// assert!(served.is_stale() && served.into_value() == [1, 1]);
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// Panics if the loader does.
    pub fn load_many<E, const N: usize>(
        self,
        keys: [K; N],
        load: impl FnOnce() -> Result<[V; N], E>,
    ) -> Result<Served<[V; N], E>, LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        give(self.serve(keys, || try_on_heap(&mut loader).map(|values| values as Box<[V]>)), array)
    }

    fn serve<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> ServedGroup<V, E> {
        match self.start(keys) {
            Start::Fresh(values) => Ok(Served::Fresh(values)),
            Start::Waits(old) => Ok(old.served()),
            Start::Absent(keys) => self.cache.load_group(keys, load).map(Served::Loaded),
            Start::TooOld(keys) => self.load_anew(keys, load),
            Start::Reload(mut refresh, old) => {
                let loaded = refresh.during(load);
                self.end(refresh.finish_or_present(loaded), old.age.failures)
            }
        }
    }

    /// Looks the group up, and decides what to do about it.
    pub(super) fn start<const N: usize>(&self, keys: [K; N]) -> Start<'c, K, V, S, R, N> {
        let (engine, ServeRules { max_age, early, .. }) = (self.cache.engine(), self.rules);
        let age = engine.age_of(keys.each_ref(), early); // The values found next are no older.
        let Some(values) = self.cache.present_values(keys.each_ref()) else {
            return Start::Absent(keys);
        };
        if max_age.is_some_and(|most| age.age > most) {
            return Start::TooOld(keys);
        }
        let old = Old { values, age };
        if !age.is_due && !age.is_early {
            drop(keys); // if their destructors panicked later, the result would leak
            return match age.failures {
                0 => Start::Fresh(old.values),
                _ => Start::Waits(old), // within a pause
            };
        }
        match engine.claim_all(keys).refresh(age.is_early.then_some(&age)) {
            Some(refresh) => Start::Reload(refresh, old),
            None => Start::Waits(old),
        }
    }

    /// Loads a group of which a value is too old, or waits for its load.
    #[cold]
    fn load_anew<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl FnOnce() -> Result<Box<[V]>, E>,
    ) -> ServedGroup<V, E> {
        let oldest = self.rules.max_age.unwrap_or(Duration::MAX);
        let mut claims = self.cache.engine().claim_all(keys);
        let decision = loop {
            match claims.join() {
                Joined::Leader(leader) => break claims.lead_anew(leader, oldest),
                Joined::Waiter(waiter) => match claims.after_wait_anew(waiter.wait(), oldest) {
                    Ok(decision) => break decision,
                    Err(again) => claims = again,
                },
            }
        };
        match decision {
            LoadDecision::Found(values) => Ok(Served::Loaded(values)),
            LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
            LoadDecision::Load(mut leading) => {
                let loaded = leading.during(load);
                self.end(leading.finish_or_present(loaded), 0)
            }
        }
    }

    /// Says what a caller got whose load has ended, after so many failed loads.
    pub(super) fn end<E>(
        &self,
        ended: Result<Box<[V]>, FailedLoad<V, E>>,
        failures: u8,
    ) -> ServedGroup<V, E> {
        let (cause, kept) = match ended {
            Ok(values) => return Ok(Served::Loaded(values)),
            Err(failed) => failed,
        };
        let is_too_old = |age| self.rules.max_age.is_some_and(|most| age > most);
        match kept {
            None => Err(LoadRefusal::Failed(cause)), // it has ended meanwhile
            Some(Kept { age, .. }) if is_too_old(age) => Err(LoadRefusal::Failed(cause)),
            Some(Kept { values, is_old: false, .. }) => Ok(Served::Fresh(values)),
            Some(Kept { values, age, .. }) => {
                let (failures, cause) = (failures.saturating_add(1), Some(cause));
                Ok(Served::Stale { value: values, age, failures, cause })
            }
        }
    }
}

/// # With an executor
impl<K, V, S, R> Serving<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Does what [`load`](Self::load) does. If there is an old value, the executor runs the loader,
    /// and the caller waits for it no longer than the [soft time-out](Self::soft_timeout). The load
    /// goes on after that. The caller itself loads a value that is absent, or too old.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// Panics if the caller loads, and the loader panics. If it panics in the executor, the caller
    /// gets the old value.
    pub fn load_on<E: Send + 'static, X>(
        self,
        key: K,
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<Served<V, E>, LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        give(self.serve_on([key], execute, move || try_on_heap(&mut loader).map(single)), one)
    }

    /// Does the same for a group.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// As [`load_on`](Self::load_on).
    pub fn load_many_on<E: Send + 'static, X, const N: usize>(
        self,
        keys: [K; N],
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<[V; N], E> + Send + 'static,
    ) -> Result<Served<[V; N], E>, LoadError<E>> {
        let mut loader = Parcel::empty();
        loader.put(load);
        let load = move || try_on_heap(&mut loader).map(|values| values as Box<[V]>);
        give(self.serve_on(keys, execute, load), array)
    }

    fn serve_on<E: Send + 'static, X, const N: usize>(
        &self,
        keys: [K; N],
        execute: impl FnOnce(Job) -> X,
        load: impl FnOnce() -> Result<Box<[V]>, E> + Send + 'static,
    ) -> ServedGroup<V, E> {
        let (refresh, old) = match self.start(keys) {
            Start::Fresh(values) => return Ok(Served::Fresh(values)),
            Start::Waits(old) => return Ok(old.served()),
            Start::Absent(keys) => return self.cache.load_group(keys, load).map(Served::Loaded),
            Start::TooOld(keys) => return self.load_anew(keys, load),
            Start::Reload(refresh, old) => (refresh, old),
        };
        let Some(refresh) = refresh.detach(self.cache.shared_engine()) else {
            return Ok(old.served());
        };
        let (tell, told) = mpsc::sync_channel(1);
        execute(Box::new(move || {
            let Some(mut refresh) = refresh.begin() else { return };
            let loaded = refresh.during(load);
            let _ = tell.send(refresh.finish_or_present(loaded)); // The caller may have gone.
        }));
        let wait = if old.age.is_early { Duration::ZERO } else { self.rules.soft_timeout };
        // The old value is not served at an age that the caller does not take.
        let left = self.rules.max_age.map_or(wait, |most| most.saturating_sub(old.age.age));
        match told.recv_timeout(wait.min(left)) {
            Ok(ended) => self.end(ended, old.age.failures),
            Err(_) => Ok(old.served()),
        }
    }
}

/// Converts what was served of a group.
pub(super) fn give<V, T, E>(
    served: ServedGroup<V, E>,
    take: impl FnOnce(Box<[V]>) -> T,
) -> Result<Served<T, E>, LoadError<E>> {
    Ok(served?.map(take))
}

impl<K, V, S, R: Reclaim> fmt::Debug for Serving<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("rules", &self.rules).finish_non_exhaustive()
    }
}
