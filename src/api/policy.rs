//! The settings in force, as a cache tells them.

use super::builder::Builder;
use super::cache::Cache;
use crate::reclaim::Reclaim;
use crate::sync::time::NEVER;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The settings of a cache that decide what it keeps, and how long; see [`Cache::policy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    max_capacity: Option<u64>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    refresh_after: Option<Duration>,
}

impl PolicyInfo {
    /// Returns the bound of the [total weight](crate::Builder::max_capacity).
    #[must_use]
    pub fn max_capacity(&self) -> Option<u64> {
        self.max_capacity
    }

    /// Returns how long an entry is kept if it is written now.
    #[must_use]
    pub fn time_to_live(&self) -> Option<Duration> {
        self.time_to_live
    }

    /// Returns how long an entry is kept without a use if it is written now.
    #[must_use]
    pub fn time_to_idle(&self) -> Option<Duration> {
        self.time_to_idle
    }

    /// Returns the time after which an entry is due for reloading if it is written now.
    #[must_use]
    pub fn refresh_after(&self) -> Option<Duration> {
        self.refresh_after
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Names the cache, for messages and metrics of the program.
    ///
    /// ```
    /// let cache: coeval::Cache<u32, u32> = coeval::Cache::builder().name("sessions").build();
    /// assert_eq!(cache.name(), Some("sessions"));
    /// ```
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.with_label(name.into())
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Sets how long a view may be open before subscribers of `tracing` are told (feature
    /// `tracing`): when it closes, and while it is open, by each call of
    /// [`maintain`](Cache::maintain) and of `Exporter::update` for the oldest view. A view that is
    /// open keeps what it shows in memory. Without this setting nothing is told.
    #[must_use]
    pub fn view_limit(mut self, time: Duration) -> Self {
        self.settings.view_limit = Some(time);
        self
    }
}

/// # Settings in force
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the [name](crate::Builder::name) of this cache.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.engine().label()
    }

    /// Returns the settings that decide what this cache keeps, as they are now. O(1), lock-free.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// let cache: coeval::Cache<u32, u32> =
    ///     coeval::Cache::builder().max_capacity(100).time_to_live(minute).build();
    /// let policy = cache.policy();
    /// assert_eq!((policy.max_capacity(), policy.time_to_live()), (Some(100), Some(minute)));
    /// cache.reconfigure(|settings| _ = settings.time_to_live(None).time_to_idle(minute))?;
    /// let policy = cache.policy();
    /// assert_eq!((policy.time_to_live(), policy.time_to_idle()), (None, Some(minute)));
    /// # Ok::<(), coeval::BuildError>(())
    /// ```
    #[must_use]
    pub fn policy(&self) -> PolicyInfo {
        let times = self.engine().times();
        let idle = match times.time_to_idle() {
            0 => None,
            NEVER => Some(Duration::MAX),
            nanos => Some(Duration::from_nanos(nanos)),
        };
        PolicyInfo {
            max_capacity: self.engine().max_capacity(),
            time_to_live: times.time_to_live(),
            time_to_idle: idle,
            refresh_after: times.refresh_after(),
        }
    }
}
