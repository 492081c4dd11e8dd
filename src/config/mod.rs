//! The settings that may change while the cache is in use: the times, the relations, the listener.
//!
//! They are one immutable snapshot, which a change replaces. An operation that goes by more than one
//! of them takes the snapshot once. Look-ups go by what the versions say themselves, and never come
//! here.
//!
//! Writes to a cache without relations whose settings were never changed do not even look at the
//! snapshot: a word of marks says so. It only gains marks, and gains them before the snapshot that
//! they are for can be seen.

use crate::listener::Listener;
use crate::relation::Relation;
use crate::sync::time::deadline;
use crate::sync::{AtomicUsize, Ordering};
use arc_swap::{ArcSwap, Guard};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Writes must look at the snapshot: there are relations, or something was changed.
const USE_SNAPSHOT: usize = 1;
/// There is a listener, or was.
const LISTENER: usize = 2;
/// There are values that are to be loaded anew, or were.
const REFRESH: usize = 4;

/// How long values are kept, by default.
#[derive(Clone, Copy)]
pub struct Times {
    /// Whether none of them is given.
    is_none: bool,
    time_to_live: Option<Duration>,
    /// In nanoseconds; 0 if it is not given.
    time_to_idle: u64,
    refresh_after: Option<Duration>,
}

/// The settings that may change.
pub struct Adjustable<K, V> {
    pub times: Times,
    pub relation: Option<Arc<Relation<K, V>>>,
    pub listener: Option<Arc<Listener<K, V>>>,
}

/// The settings of a cache that may change, current.
pub struct Config<K, V> {
    /// The times that it was built with.
    built: Times,
    /// Only ever gains some.
    marks: AtomicUsize,
    /// What `marks` were at first, for models.
    first_marks: usize,
    current: ArcSwap<Adjustable<K, V>>,
}

/// One snapshot of the settings.
pub enum ConfigSnapshot<'e, K, V> {
    /// The times that the cache was built with, and nothing else.
    Built(&'e Times),
    Swapped(Guard<Arc<Adjustable<K, V>>>),
}

impl Times {
    /// None of them.
    pub const NONE: Self =
        Self { is_none: true, time_to_live: None, time_to_idle: 0, refresh_after: None };

    pub fn new(
        time_to_live: Option<Duration>,
        time_to_idle: Option<Duration>,
        refresh_after: Option<Duration>,
    ) -> Self {
        Self::NONE.live(time_to_live).idle(time_to_idle).refresh(refresh_after)
    }

    /// These times with another time to live.
    pub fn live(self, time: Option<Duration>) -> Self {
        Self { time_to_live: time, ..self }.checked()
    }

    /// These times with another time to idle.
    pub fn idle(self, time: Option<Duration>) -> Self {
        Self { time_to_idle: time.map_or(0, |time| deadline(0, time)), ..self }.checked()
    }

    /// These times with another time to refresh.
    pub fn refresh(self, time: Option<Duration>) -> Self {
        Self { refresh_after: time, ..self }.checked()
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

    /// In nanoseconds; 0 if it is not given.
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
    /// The marks of a cache that has these.
    fn marks(&self) -> usize {
        let listener = if self.listener.is_some() { LISTENER } else { 0 };
        let relation = if self.relation.is_some() { USE_SNAPSHOT } else { 0 };
        let refresh = if self.times.refresh_after.is_some() { REFRESH } else { 0 };
        listener | relation | refresh
    }
}

/// The last to go by some settings drops their closures: it has nothing to do with them, and a panic ends here.
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
        // Models change no settings: to ask would only multiply the schedules.
        // Relaxed: who knows of a change sees its marks; who does not may as well have come before.
        let marks =
            if cfg!(coeval_loom) { self.first_marks } else { self.marks.load(Ordering::Relaxed) };
        marks & mark != 0
    }

    /// The settings as they are current, for an operation that goes by all or nothing of them. Lock-free.
    #[inline]
    pub fn snapshot(&self) -> ConfigSnapshot<'_, K, V> {
        if self.has_mark(USE_SNAPSHOT) {
            return ConfigSnapshot::Swapped(self.current.load());
        }
        ConfigSnapshot::Built(&self.built)
    }

    /// Whether there may be a listener.
    #[inline(always)]
    pub fn may_have_listener(&self) -> bool {
        self.has_mark(LISTENER)
    }

    /// The settings in which there may be a listener.
    pub fn listening(&self) -> Guard<Arc<Adjustable<K, V>>> {
        self.current.load()
    }

    /// Whether there may be values that are to be loaded anew.
    #[inline(always)]
    pub fn may_refresh(&self) -> bool {
        self.has_mark(REFRESH)
    }

    /// Has `change` change them, all at once. It may be called several times, as others change some,
    /// too.
    pub fn change(&self, change: impl Fn(&mut Adjustable<K, V>)) {
        self.current.rcu(|current| {
            let mut next = Adjustable::clone(current);
            change(&mut next);
            // Before it can be seen: the swap, which releases, comes after it.
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
