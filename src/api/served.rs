//! Loads that serve an old value if the source fails, and say so.

use super::builder::Builder;
use super::cache::Cache;
use super::give::outcome;
use super::load::PresentGroup;
use crate::chain::Parcel;
use crate::engine::{one, single, try_on_heap};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A value, and why the caller got it; the result of [`Cache::serve_with`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served<V, E> {
    /// The cache has the value, and it is not due for reloading.
    Fresh(V),
    /// The cache has the value. It is due for reloading, but there is no newer one.
    Stale {
        /// The value.
        value: V,
        /// How many loads in a row have failed since the value was due, as far as there were
        /// [pauses](Builder::refresh_pause) after them.
        failures: u8,
        /// The error, if this caller's load failed. `None`: another caller loads the value, or the
        /// pause after a failure is not over.
        cause: Option<E>,
    },
    /// This caller has loaded the value, or has waited for another caller that did.
    Loaded(V),
}

impl<V, E> Served<V, E> {
    /// Returns the value.
    pub fn into_value(self) -> V {
        match self {
            Self::Fresh(value) | Self::Loaded(value) | Self::Stale { value, .. } => value,
        }
    }

    /// Returns whether the value is due for reloading.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Makes the [pause](Self::refresh_pause) after a failed reload grow: each further failure of
    /// the same value doubles it, up to `longest`. Each pause is shortened by up to a quarter, which
    /// differs from key to key, so that keys that failed together are not tried again together. The
    /// pause begins anew once a value was loaded.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let builder = Cache::builder().refresh_after(second * 60).refresh_pause(second);
    /// let cache = builder.refresh_pause_up_to(second * 30).manual_clock(&clock).build();
    /// cache.insert("rate", 1);
    /// clock.advance(second * 60);
    /// let mut tries = 0;
    /// for _ in 0..300 {
    ///     clock.advance(second);
    ///     let served = cache.try_get_with("rate", || {
    ///         tries += 1;
    ///         Err::<i32, _>("the source is down")
    ///     });
    ///     assert_eq!(served, Ok(1));
    /// }
    /// assert!((10..25).contains(&tries), "{tries}");
    /// ```
    #[must_use]
    pub fn refresh_pause_up_to(mut self, longest: Duration) -> Self {
        self.settings.loads.longest_pause = longest;
        self
    }
}

impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` as [`load`](Self::load) does, and says why the caller got this
    /// one: it is fresh, it was loaded, or it is old because the source failed.
    ///
    /// [`refresh_after`](Builder::refresh_after) is the time for which a value is fresh, and the
    /// [time to live](Builder::time_to_live) that for which an old value is served if the source
    /// fails. An old value is an entry like any other: a write, a tag or an input ends it, and it
    /// never stands beside a newer member of its group. If that happens while the loader runs, and
    /// the loader fails, the caller gets what the key holds by then: a newer value, or the error.
    /// Set a [pause](Builder::refresh_pause) that [grows](Builder::refresh_pause_up_to), so that a
    /// source that is down is not asked again and again.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::time::Duration;
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
    /// let stale = |cause, failures| Ok(Served::Stale { value: 1, failures, cause });
    /// assert_eq!(cache.serve_with("rate", down), stale(Some("the source is down"), 1));
    /// assert_eq!(cache.serve_with("rate", up(2)), stale(None, 1), "it is not asked yet");
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
        let Some(PresentGroup { values, is_stale }) = self.present([&key]) else {
            let mut loader = Parcel::empty();
            loader.put(load);
            let load = || try_on_heap(&mut loader).map(single);
            return outcome(self.load_group([key], load), one).map(Served::Loaded);
        };
        // Read afterwards: if the value is not due because a load has just failed, this counts it.
        let failures = self.engine().failed_refreshes(&key);
        let stale =
            |values, failures, cause| Ok(Served::Stale { value: one(values), failures, cause });
        if !is_stale {
            return match failures {
                0 => Ok(Served::Fresh(one(values))),
                _ => stale(values, failures, None), // within a pause
            };
        }
        let Some(mut refresh) = self.engine().claim_all([key]).refresh() else {
            return stale(values, failures, None);
        };
        let mut loader = Parcel::empty();
        loader.put(load);
        let loaded = refresh.during(|| try_on_heap(&mut loader).map(single));
        match refresh.finish_or_present(loaded) {
            Ok(loaded) => Ok(Served::Loaded(one(loaded))),
            Err((cause, None)) => Err(LoadError::Failed(cause)), // it has ended meanwhile
            Err((_, Some((newer, false)))) => Ok(Served::Fresh(one(newer))),
            Err((cause, Some((values, true)))) => {
                stale(values, failures.saturating_add(1), Some(cause))
            }
        }
    }
}
