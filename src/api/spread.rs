//! Times that are spread, and times of their own for errors and for what is not there.

use super::builder::Builder;
use crate::engine::{ErrorSettings, Expiry};
use std::time::Duration;

/// Keeps the answer "there is none" for a time of its own.
struct NoneFor(Duration);

impl<K, T: Send + Sync> Expiry<K, Option<T>> for NoneFor {
    fn expire_after_create(&self, _: &K, value: &Option<T>) -> Option<Duration> {
        value.is_none().then_some(self.0)
    }

    fn expire_after_update(
        &self,
        key: &K,
        value: &Option<T>,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, value)
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Shortens the [time to live](Self::time_to_live) and the [refresh time](Self::refresh_after)
    /// of each commit's values by a part of its own, up to the given share (0.1 for a tenth, at
    /// most 1). So values that were loaded together are not all absent, or due for reloading,
    /// together. Values that one commit writes still end together. A time that a caller gives for
    /// one value is kept as it is.
    ///
    /// The part follows from the time of the commit. With a [manual clock](Self::manual_clock),
    /// commits at the same time have the same part.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let builder = Cache::builder().time_to_live(second * 100).jitter(0.2);
    /// let cache = builder.manual_clock(&clock).build();
    /// for key in 0..100 {
    ///     cache.insert(key, key);
    ///     clock.advance(Duration::from_nanos(1));
    /// }
    /// clock.advance(second * 79);
    /// assert_eq!(cache.present_len(), 100);
    /// clock.advance(second * 11);
    /// assert!((20..80).contains(&cache.present_len()), "about half of them");
    /// clock.advance(second * 10);
    /// assert_eq!(cache.present_len(), 0);
    /// ```
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.settings.jitter = if share > 0.0 { share.min(1.0) } else { 0.0 };
        self
    }

    /// Makes [`load_shared`](crate::Cache::load_shared) and its variants remember the error of a
    /// failed load of an absent key for this time. Callers that come within it get the error, and
    /// the source is not asked. A value of the key ends that, as does a commit that removes one, or
    /// [`invalidate_all`](crate::Cache::invalidate_all). The removal of a key of which the cache
    /// knows nothing leaves no trace, and does not. If a value has come and gone within the time,
    /// and the cache has forgotten the key, the error counts again for the rest of the time.
    ///
    /// A group is known by its first key. An error of another type than the caller expects is
    /// disregarded. At most 65,536 errors are remembered. A time of zero remembers none.
    ///
    /// ```
    /// use coeval::{Cache, LoadError, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let builder = Cache::builder().errors_for(second * 5).manual_clock(&clock);
    /// let cache: Cache<&str, i32> = builder.build();
    /// let failed = Err(LoadError::Failed("the source is down".into()));
    /// assert_eq!(cache.load_shared("key", || Err("the source is down")), failed);
    /// assert_eq!(cache.load_shared("key", || unreachable!("it is not asked")), failed);
    /// clock.advance(second * 5);
    /// assert_eq!(cache.load_shared("key", || Ok::<_, &str>(1)), Ok(1));
    /// ```
    #[must_use]
    pub fn errors_for(mut self, time: Duration) -> Self
    where
        K: Clone,
    {
        self.settings.errors = (!time.is_zero()).then_some(ErrorSettings { time, clone: K::clone });
        self
    }
}

impl<K, T: Send + Sync, S, R> Builder<K, Option<T>, S, R> {
    /// Keeps the value `None`, which says that the source has nothing, for no longer than this
    /// time. Other values are kept as the other settings say. This takes the place of a policy that
    /// was set by [`expire_after`](Self::expire_after), and the other way round.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = Cache::builder().time_to_live(minute * 60).none_for(minute);
    /// let cache: Cache<&str, Option<i32>> = builder.manual_clock(&clock).build();
    /// assert_eq!(cache.get_with("key", || None), None);
    /// assert_eq!(cache.get_with("key", || unreachable!("it is known that there is none")), None);
    /// clock.advance(minute);
    /// assert_eq!(cache.get_with("key", || Some(7)), Some(7));
    /// clock.advance(minute * 59);
    /// assert_eq!(cache.get("key"), Some(Some(7)));
    /// ```
    #[must_use]
    pub fn none_for(mut self, time: Duration) -> Self {
        self.settings.expiry = Some(Box::new(NoneFor(time)));
        self
    }
}
