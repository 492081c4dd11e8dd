//! The settings that may change while the cache is in use: the times, the relations and the
//! listener.
//!
//! They form one immutable snapshot, which a change replaces. An operation that uses more than one
//! setting takes the snapshot once. Look-ups use only what the versions store, and do not need the
//! settings.
//!
//! In a cache without relations whose settings never changed, writes do not even load the snapshot:
//! a word of marks tells them so. Marks are never cleared, and they are set before the snapshot for
//! which they are set becomes visible.

use crate::listener::Listener;
use crate::relation::Relation;
use crate::sync::time::{NEVER, deadline};
use crate::sync::{AtomicUsize, Ordering};
use arc_swap::{ArcSwap, Guard};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Writes must load the snapshot: there are relations, or a setting has changed.
const USE_SNAPSHOT: usize = 1;
/// There is a listener, or was one.
const LISTENER: usize = 2;
/// There is a refresh time, or was one.
const REFRESH: usize = 4;

/// How long values are kept by default.
#[derive(Clone, Copy)]
pub struct Times {
    /// Whether no time is set.
    is_none: bool,
    time_to_live: Option<Duration>,
    /// In nanoseconds; 0 if it is not set.
    time_to_idle: u64,
    refresh_after: Option<Duration>,
    /// The largest share by which the time to live and the refresh time are shortened.
    jitter: f64,
}

/// The settings that may change.
pub struct Adjustable<K, V> {
    pub times: Times,
    pub relation: Option<Arc<Relation<K, V>>>,
    pub listener: Option<Arc<Listener<K, V>>>,
}

/// The current settings of a cache.
pub struct Config<K, V> {
    /// The times with which the cache was built.
    built: Times,
    /// Marks are set and never cleared.
    marks: AtomicUsize,
    /// The first value of `marks`, for models.
    first_marks: usize,
    current: ArcSwap<Adjustable<K, V>>,
}

/// One snapshot of the settings.
pub enum ConfigSnapshot<'e, K, V> {
    /// Only the times with which the cache was built. There is nothing else.
    Built(&'e Times),
    Swapped(Guard<Arc<Adjustable<K, V>>>),
}

impl Times {
    /// No time is set.
    pub const NONE: Self = Self {
        is_none: true,
        time_to_live: None,
        time_to_idle: 0,
        refresh_after: None,
        jitter: 0.0,
    };

    pub fn new(
        time_to_live: Option<Duration>,
        time_to_idle: Option<Duration>,
        refresh_after: Option<Duration>,
    ) -> Self {
        Self::NONE.live(time_to_live).idle(time_to_idle).refresh(refresh_after)
    }

    /// Returns these times with another time to live.
    pub fn live(self, time: Option<Duration>) -> Self {
        Self { time_to_live: time, ..self }.checked()
    }

    /// Returns these times with another time to idle.
    pub fn idle(self, time: Option<Duration>) -> Self {
        Self { time_to_idle: time.map_or(0, |time| deadline(0, time)), ..self }.checked()
    }

    /// Returns these times with another refresh time.
    pub fn refresh(self, time: Option<Duration>) -> Self {
        Self { refresh_after: time, ..self }.checked()
    }

    /// Returns these times with another jitter.
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: share.clamp(0.0, 1.0), ..self }
    }

    /// Returns when a value ends that is written at `now`.
    pub fn end(&self, now: u64) -> u64 {
        self.time_to_live.map_or(NEVER, |time| self.shortened(now, time))
    }

    /// Returns when a value is due for reloading that is written at `now`.
    pub fn due(&self, now: u64) -> u64 {
        self.refresh_after.map_or(NEVER, |time| self.shortened(now, time))
    }

    /// Returns the time `now + time`, or an earlier one if there is a jitter. All values that one
    /// commit writes have the same `now`, so they end together.
    fn shortened(&self, now: u64, time: Duration) -> u64 {
        if self.jitter == 0.0 {
            return deadline(now, time);
        }
        // The upper bits of this product change as the lower bits of the time do.
        let mixed = (now ^ (now >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let share = self.jitter * mixed as f64 / (1_u64 << 24) as f64;
        // The share is below 1, so a time that is not zero stays so.
        let shorter = time.saturating_sub(time.mul_f64(share));
        deadline(now, shorter.max(time.min(Duration::from_nanos(1))))
    }

    fn checked(self) -> Self {
        let is_given = self.time_to_live.is_some() || self.refresh_after.is_some();
        Self { is_none: !is_given && self.time_to_idle == 0, ..self }
    }

    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.is_none
    }

    pub fn time_to_live(&self) -> Option<Duration> {
        self.time_to_live
    }

    /// Returns the time in nanoseconds, or 0 if it is not set.
    pub fn time_to_idle(&self) -> u64 {
        self.time_to_idle
    }

    pub fn refresh_after(&self) -> Option<Duration> {
        self.refresh_after
    }
}

impl<K, V> Clone for Adjustable<K, V> {
    fn clone(&self) -> Self {
        let (relation, listener) = (self.relation.clone(), self.listener.clone());
        Self { times: self.times, relation, listener }
    }
}

impl<K, V> Adjustable<K, V> {
    /// Returns the marks for these settings.
    fn marks(&self) -> usize {
        let listener = if self.listener.is_some() { LISTENER } else { 0 };
        let relation = if self.relation.is_some() { USE_SNAPSHOT } else { 0 };
        let refresh = if self.times.refresh_after.is_some() { REFRESH } else { 0 };
        listener | relation | refresh
    }
}

/// The last user of a snapshot drops its closures. A panic in their destructors is none of that
/// thread's business, so it ends here.
impl<K, V> Drop for Adjustable<K, V> {
    fn drop(&mut self) {
        let (relation, listener) = (self.relation.take(), self.listener.take());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(relation)));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(listener)));
    }
}

impl<K, V> Config<K, V> {
    pub fn new(built: Adjustable<K, V>) -> Self {
        let marks = built.marks();
        Self {
            built: built.times,
            marks: AtomicUsize::new(marks),
            first_marks: marks,
            current: ArcSwap::from_pointee(built),
        }
    }

    #[inline(always)]
    fn has_mark(&self, mark: usize) -> bool {
        // Models change no settings, so a load here would only multiply the schedules. Relaxed: a
        // thread that knows of a change sees its marks; a thread that does not know of it is
        // concurrent with it and may use the old settings.
        let marks =
            if cfg!(coeval_loom) { self.first_marks } else { self.marks.load(Ordering::Relaxed) };
        marks & mark != 0
    }

    /// Returns the current settings, for an operation that must not mix old and new ones.
    /// Lock-free.
    #[inline]
    pub fn snapshot(&self) -> ConfigSnapshot<'_, K, V> {
        if self.has_mark(USE_SNAPSHOT) {
            return ConfigSnapshot::Swapped(self.current.load());
        }
        ConfigSnapshot::Built(&self.built)
    }

    /// Returns whether there may be a listener.
    #[inline(always)]
    pub fn may_have_listener(&self) -> bool {
        self.has_mark(LISTENER)
    }

    /// Returns the settings that have the listener, if there is one.
    pub fn listening(&self) -> Guard<Arc<Adjustable<K, V>>> {
        self.current.load()
    }

    /// Returns whether there may be values that are due for reloading.
    #[inline(always)]
    pub fn may_refresh(&self) -> bool {
        self.has_mark(REFRESH)
    }

    /// Notes that a value is about to be written that may be due for reloading.
    pub fn expect_refresh(&self) {
        if !self.may_refresh() {
            // Relaxed: a thread that knows of the value knows of the mark, too, because the commit
            // of the value follows.
            self.marks.fetch_or(REFRESH, Ordering::Relaxed);
        }
    }

    /// Lets `change` change the settings. All its changes take effect at once. It may be called
    /// several times, because other threads may change settings at the same time.
    pub fn change(&self, change: impl Fn(&mut Adjustable<K, V>)) {
        self.current.rcu(|current| {
            let mut next = Adjustable::clone(current);
            change(&mut next);
            // Before the snapshot becomes visible: the swap that follows is a release operation,
            // whose partner is the `load` of a reader.
            self.marks.fetch_or(next.marks() | USE_SNAPSHOT, Ordering::Relaxed);
            next
        });
    }
}

impl<K, V> ConfigSnapshot<'_, K, V> {
    #[inline(always)]
    pub fn times(&self) -> &Times {
        match self {
            Self::Built(times) => times,
            Self::Swapped(settings) => &settings.times,
        }
    }

    #[inline(always)]
    pub fn relation(&self) -> Option<&Relation<K, V>> {
        match self {
            Self::Built(_) => None,
            Self::Swapped(settings) => settings.relation.as_deref(),
        }
    }
}
