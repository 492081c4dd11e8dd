//! The settings of a cache in use.

use super::cache::Cache;
use crate::config::Adjustable;
use crate::error::BuildError;
use crate::listener::Listener;
use crate::reclaim::Reclaim;
use crate::relation::Related;
use crate::removal::RemovalCause;
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// One setting to change.
type SettingChange<K, V> = Box<dyn Fn(&mut Adjustable<K, V>)>;

/// Collects the settings to change in a cache; see [`Cache::reconfigure`]. All other settings stay
/// as they are.
pub struct Settings<K, V> {
    changes: Vec<SettingChange<K, V>>,
    error: Option<BuildError>,
}

impl<K: 'static, V: 'static> Settings<K, V> {
    fn add_change(&mut self, change: impl Fn(&mut Adjustable<K, V>) + 'static) -> &mut Self {
        self.changes.push(Box::new(change));
        self
    }

    fn refuse(&mut self, time: Option<Duration>, error: BuildError) {
        if time == Some(Duration::ZERO) {
            self.error.get_or_insert(error);
        }
    }

    /// Sets how long entries written from now on are kept, as
    /// [`Builder::time_to_live`](crate::Builder::time_to_live) does. `None` means for ever. Entries
    /// written before keep their deadline.
    pub fn time_to_live(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::TimeToLive);
        self.add_change(move |settings| settings.times = settings.times.live(time))
    }

    /// Sets how long entries written from now on are kept without a use, as
    /// [`Builder::time_to_idle`](crate::Builder::time_to_idle) does. `None` means as long as with
    /// uses. Entries written before keep the setting under which they were written.
    pub fn time_to_idle(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::TimeToIdle);
        self.add_change(move |settings| settings.times = settings.times.idle(time))
    }

    /// Sets the time after which entries written from now on are reloaded, as
    /// [`Builder::refresh_after`](crate::Builder::refresh_after) does. `None` means never. Entries
    /// written before keep the setting under which they were written.
    pub fn refresh_after(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::RefreshAfter);
        self.add_change(move |settings| settings.times = settings.times.refresh(time))
    }

    /// Declares what writes of a key do to other entries from now on, as
    /// [`Builder::related`](crate::Builder::related) does. The declaration replaces the previous
    /// one. Entries written before stay as they are. A [monitor](Cache::monitor) finds those that
    /// do not belong together under the new declaration.
    pub fn related<F>(&mut self, relation: F) -> &mut Self
    where
        F: Fn(&K, &mut Related<K, V>) + Send + Sync + 'static,
    {
        let relation: Arc<crate::relation::Relation<K, V>> = Arc::new(relation);
        self.add_change(move |settings| settings.relation = Some(Arc::clone(&relation)))
    }

    /// Makes writes of a key do nothing to other entries from now on.
    pub fn unrelated(&mut self) -> &mut Self {
        self.add_change(|settings| settings.relation = None)
    }

    /// Sets the listener for entries that leave from now on, as
    /// [`Builder::eviction_listener`](crate::Builder::eviction_listener) does. It replaces the
    /// previous listener. An entry that leaves during the change is reported to one of the two.
    pub fn eviction_listener<F>(&mut self, listener: F) -> &mut Self
    where
        K: Clone,
        V: Clone,
        F: Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static,
    {
        let listener = Arc::new(Listener::new(listener));
        self.add_change(move |settings| settings.listener = Some(Arc::clone(&listener)))
    }

    /// Removes the listener: from now on, entries leave without a call.
    pub fn no_eviction_listener(&mut self) -> &mut Self {
        self.add_change(|settings| settings.listener = None)
    }
}

/// # Settings while in use
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Changes the settings that `change` names, all at once. Each operation follows the settings
    /// from before this change or the settings from after it, never some of each. Changes that
    /// others make at the same time are made too, before or after this one.
    ///
    /// The new settings apply to writes that begin after this call returns. Entries written before
    /// stay as they are, with the times that were set when they were written. A closure that was
    /// replaced is dropped when the last operation that uses it has ended.
    ///
    /// Lock-free. Calls the allocator; does not affect look-ups. `change` is called once, before
    /// any setting changes. If it panics, nothing changes. To switch the flight recorder, use
    /// [`timeline`](Self::timeline).
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// cache.insert("user:7", 1);
    /// cache.reconfigure(|settings| {
    ///     settings.time_to_live(Duration::from_secs(60)).related(|key, related| {
    ///         if *key == "user:7" {
    ///             related.invalidate("feed:7");
    ///         }
    ///     });
    /// })?;
    /// cache.insert("feed:7", 1);
    /// cache.insert("user:7", 2);
    /// assert_eq!(cache.get_many(["user:7", "feed:7"]), [Some(2), None]);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get("user:7"), None);
    ///
    /// cache.reconfigure(|settings| {
    ///     settings.time_to_live(None).unrelated();
    /// })?;
    /// # Ok::<(), coeval::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] names a setting that makes no sense. Nothing changes then.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Settings<K, V>)) -> Result<(), BuildError> {
        let mut settings = Settings { changes: Vec::new(), error: None };
        change(&mut settings);
        let Settings { changes, error } = settings;
        if let Some(error) = error {
            return Err(error);
        }
        self.engine()
            .reconfigure(|adjustable| changes.iter().for_each(|change| change(adjustable)));
        Ok(())
    }
}

impl<K, V> fmt::Debug for Settings<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}
