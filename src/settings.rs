//! Settings of a cache that is in use.

use crate::cache::Cache;
use crate::engine::{Adjustable, Listener};
use crate::error::BuildError;
use crate::reclaim::Reclaim;
use crate::relation::Related;
use crate::removal::RemovalCause;
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// One thing to change.
type Step<K, V> = Box<dyn Fn(&mut Adjustable<K, V>)>;

/// Collects which settings of a cache are to change; see [`Cache::reconfigure`]. What is not named stays.
pub struct Settings<K, V> {
    steps: Vec<Step<K, V>>,
    error: Option<BuildError>,
}

impl<K: 'static, V: 'static> Settings<K, V> {
    fn step(&mut self, step: impl Fn(&mut Adjustable<K, V>) + 'static) -> &mut Self {
        self.steps.push(Box::new(step));
        self
    }

    fn refuse(&mut self, time: Option<Duration>, error: BuildError) {
        if time == Some(Duration::ZERO) {
            self.error.get_or_insert(error);
        }
    }

    /// How long entries are kept that are written from now on, as [`Builder::time_to_live`](crate::Builder::time_to_live)
    /// says; `None`: for ever. What was written before keeps its deadline.
    pub fn time_to_live(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::TimeToLive);
        self.step(move |settings| settings.times = settings.times.live(time))
    }

    /// How long entries that are written from now on are kept without a use, as
    /// [`Builder::time_to_idle`](crate::Builder::time_to_idle) says; `None`: as long as with. What was written before
    /// goes by what was set when it was written.
    pub fn time_to_idle(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::TimeToIdle);
        self.step(move |settings| settings.times = settings.times.idle(time))
    }

    /// After what time entries that are written from now on are loaded anew, as
    /// [`Builder::refresh_after`](crate::Builder::refresh_after) says; `None`: never. What was written before
    /// goes by what was set when it was written.
    pub fn refresh_after(&mut self, time: impl Into<Option<Duration>>) -> &mut Self {
        let time = time.into();
        self.refuse(time, BuildError::RefreshAfter);
        self.step(move |settings| settings.times = settings.times.refresh(time))
    }

    /// Declares what writes of a key do to other entries from now on, as
    /// [`Builder::related`](crate::Builder::related) does, instead of what was declared before. What was written before is
    /// left as it is; a [monitor](Cache::monitor) finds what does not belong together by the new declaration.
    pub fn related<F>(&mut self, relation: F) -> &mut Self
    where
        F: Fn(&K, &mut Related<K, V>) + Send + Sync + 'static,
    {
        let relation: Arc<crate::relation::Relation<K, V>> = Arc::new(relation);
        self.step(move |settings| settings.relation = Some(Arc::clone(&relation)))
    }

    /// Has writes of a key do nothing to other entries any more.
    pub fn unrelated(&mut self) -> &mut Self {
        self.step(|settings| settings.relation = None)
    }

    /// Has `listener` told of each entry that leaves from now on, as
    /// [`Builder::eviction_listener`](crate::Builder::eviction_listener) says, instead of the one before. What leaves while
    /// this is done, either of them is told of.
    pub fn eviction_listener<F>(&mut self, listener: F) -> &mut Self
    where
        K: Clone,
        V: Clone,
        F: Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static,
    {
        let listener = Arc::new(Listener::new(listener));
        self.step(move |settings| settings.listener = Some(Arc::clone(&listener)))
    }

    /// Has nobody told of entries that leave any more.
    pub fn no_eviction_listener(&mut self) -> &mut Self {
        self.step(|settings| settings.listener = None)
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
    /// Changes settings, those that `change` names, all at once: each operation goes by what was set before, or by
    /// what is set now, and never by some of each. What others change meanwhile they change as well, before or after.
    ///
    /// From when this returns, writes go by it that begin after that; what was written before stays as it is, with the
    /// times that were set when it was written. Closures that were replaced are dropped when the last operation
    /// that goes by them has ended.
    ///
    /// Lock-free; it asks the allocator, and look-ups do not notice. `change` is called once, before anything
    /// is changed. If it panics, nothing is changed. The flight recorder is switched by its
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
    /// [`BuildError`] names a setting that makes no sense; then nothing is changed.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Settings<K, V>)) -> Result<(), BuildError> {
        let mut settings = Settings { steps: Vec::new(), error: None };
        change(&mut settings);
        let Settings { steps, error } = settings;
        if let Some(error) = error {
            return Err(error);
        }
        self.engine().reconfigure(|adjustable| steps.iter().for_each(|step| step(adjustable)));
        Ok(())
    }
}

impl<K, V> fmt::Debug for Settings<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("changes", &self.steps.len()).finish_non_exhaustive()
    }
}
