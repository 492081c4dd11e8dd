//! What a caller got of a value that may be old, and why.

use super::builder::Builder;
use std::time::Duration;

/// A value, and why the caller got it; the result of
/// [`Cache::serve_with`](crate::Cache::serve_with) and of the methods of
/// [`Serving`](crate::Serving).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served<V, E> {
    /// The cache has the value, and it is not due for reloading.
    Fresh(V),
    /// The cache has the value. It is due for reloading, but there is no newer one.
    Stale {
        /// The value.
        value: V,
        /// The time since the value was written, or restored. For a group, that of its oldest
        /// member. If the value was replaced just now, it may be younger than that.
        age: Duration,
        /// How many loads in a row have failed, as far as there were
        /// [pauses](Builder::refresh_pause) after them.
        failures: u8,
        /// The error, if this caller's load failed. `None`: another caller loads the value, the
        /// load goes on after the [soft time-out](Builder::soft_timeout), or the pause after a
        /// failure is not over.
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

    /// Keeps the reason, and sets the value to what `change` makes of it.
    pub fn map<T>(self, change: impl FnOnce(V) -> T) -> Served<T, E> {
        match self {
            Self::Fresh(value) => Served::Fresh(change(value)),
            Self::Loaded(value) => Served::Loaded(change(value)),
            Self::Stale { value, age, failures, cause } => {
                Served::Stale { value: change(value), age, failures, cause }
            }
        }
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Makes the [pause](Self::refresh_pause) after a failed reload grow: each further failure of
    /// the same value doubles it, up to `longest`. Each pause is shortened by up to a quarter,
    /// which differs from key to key, so that keys that failed together are not tried again
    /// together. The pause begins anew once a value was loaded.
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

    /// Limits the age of values that [`serve_with`](crate::Cache::serve_with) and [`Serving`]
    /// return. A caller that finds an older value loads, or waits for a load, as if the key were
    /// absent, whether or not a pause is over. If the load fails, it gets the error. Other methods
    /// do not know this limit. Without it, an old value is served until its time to live is over.
    ///
    /// The cache knows the age of a value only if the value has a time: one that the builder sets
    /// ([`refresh_after`](Self::refresh_after), [`time_to_live`](Self::time_to_live),
    /// [`time_to_idle`](Self::time_to_idle)), a time of its own, or one of a policy. Any other value
    /// counts as new.
    ///
    /// ```
    /// use coeval::{Cache, LoadError, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = Cache::builder().refresh_after(minute).max_age(minute * 5);
    /// let cache = builder.manual_clock(&clock).build();
    /// cache.insert("rate", 1);
    /// let down = || Err::<i32, _>("the source is down");
    /// clock.advance(minute * 5);
    /// assert!(cache.serve_with("rate", down).is_ok_and(|served| served.is_stale()));
    /// clock.advance(minute);
    /// let failed = LoadError::Failed("the source is down");
    /// assert_eq!(cache.serve_with("rate", down), Err(failed));
    /// assert_eq!(cache.serving().max_age(minute * 7).load("rate", down).unwrap().into_value(), 1);
    /// ```
    ///
    /// [`Serving`]: crate::Serving
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.loads.serving.max_age = Some(age);
        self
    }

    /// Sets how long a caller of [`Serving::load_on`](crate::Serving::load_on) and its variants
    /// waits for a load in an executor if there is an old value. After that time, or when the value
    /// reaches its [greatest age](Self::max_age), it gets the old value as it was when the call
    /// began, and the load goes on. Without this setting it waits for nothing.
    ///
    /// The time is that of the system's clock.
    #[must_use]
    pub fn soft_timeout(mut self, time: Duration) -> Self {
        self.settings.loads.serving.soft_timeout = time;
        self
    }

    /// Makes callers of [`serve_with`](crate::Cache::serve_with) and [`Serving`](crate::Serving)
    /// load a value now and then before it is due, so that a value that many callers want does not
    /// become due for all of them at once. The probability rises as the end comes near, the earlier
    /// the longer the last load took. `factor` 1 is optimal if the time that loads take varies
    /// little; larger factors load earlier, and 0 never. Values that were written, not loaded, are
    /// not loaded early. The end is the time at which the value is due for reloading, or absent.
    ///
    /// The algorithm is XFetch: A. Vattani, F. Chierichetti and K. Lowenstein, *Optimal
    /// probabilistic cache stampede prevention*, PVLDB 8(8), 2015.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::time::Duration;
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let builder = Cache::builder().refresh_after(second * 60).refresh_early(1.0);
    /// let cache = builder.manual_clock(&clock).build();
    /// let slow = || {
    ///     clock.advance(second); // It takes a second to load.
    ///     Ok::<_, ()>(1)
    /// };
    /// cache.serve_with("rate", slow).unwrap();
    /// let mut seconds = 0;
    /// while let Served::Fresh(_) = cache.serve_with("rate", slow).unwrap() {
    ///     clock.advance(second);
    ///     seconds += 1;
    /// }
    /// assert!((20..=60).contains(&seconds), "in most cases after 55 to 60 seconds: {seconds}");
    /// ```
    #[must_use]
    pub fn refresh_early(mut self, factor: f64) -> Self {
        self.settings.loads.serving.early = factor;
        self
    }
}
