//! On which terms a value is kept: until when, and what it weighs.

use super::Engine;
use crate::chain::{Bonds, Node, Terms};
use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, Timer, deadline};
use std::cell::Cell;
use std::time::Duration;

/// Says what an entry counts for against the capacity.
pub type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// A value that is to be written, and on which terms.
pub(super) struct Offer<V> {
    pub value: V,
    /// `None`: for ever, and it counts for one.
    pub asked: Option<Asked>,
}

/// What [`Terms`] are made of. (They are larger, and a commit's writes are moved about.)
pub(super) struct Asked {
    now: u64,
    end: u64,
    weight: u32,
    is_timed: bool,
    /// What it was derived from.
    pub bonds: Option<Box<Bonds>>,
}

/// The rules for all entries of a cache.
pub(super) struct Rules<K, V> {
    /// Whether there are none.
    is_plain: bool,
    pub weigher: Option<Box<Weigher<K, V>>>,
    time_to_live: Option<Duration>,
    /// In nanoseconds; 0 if there is none.
    time_to_idle: u64,
    pub refresh_after: Option<Duration>,
}

/// The time of one operation: read once, and only if somebody asks. So what one commit writes for the
/// same time ends at the same time.
pub(super) struct Moment<'t> {
    timer: &'t Timer,
    read: Cell<Option<u64>>,
}

impl<'t> Moment<'t> {
    pub fn new(timer: &'t Timer) -> Self {
        Self { timer, read: Cell::new(None) }
    }

    /// A moment that is given.
    pub fn at(timer: &'t Timer, time: u64) -> Self {
        Self { timer, read: Cell::new(Some(time)) }
    }

    pub fn time(&self) -> u64 {
        if self.read.get().is_none() {
            self.read.set(Some(self.timer.now()));
        }
        self.read.get().expect("read")
    }
}

impl Default for Asked {
    /// Nothing.
    fn default() -> Self {
        Self { now: 0, end: NEVER, weight: 1, is_timed: false, bonds: None }
    }
}

impl<K, V> Rules<K, V> {
    pub fn new(
        weigher: Option<Box<Weigher<K, V>>>,
        time_to_live: Option<Duration>,
        time_to_idle: Option<Duration>,
        refresh_after: Option<Duration>,
    ) -> Self {
        let is_timed = time_to_live.is_some() || time_to_idle.is_some() || refresh_after.is_some();
        let is_plain = weigher.is_none() && !is_timed;
        let time_to_idle = time_to_idle.map_or(0, |time| deadline(0, time));
        Self { is_plain, weigher, time_to_live, time_to_idle, refresh_after }
    }

    /// A value with what is asked for it. Runs the user's weigher.
    #[inline]
    pub fn offer(
        &self,
        key: &K,
        value: V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> Offer<V> {
        let is_plain = self.is_plain && time_to_live.is_none();
        let asked = (!is_plain).then(|| self.ask(key, &value, time_to_live, moment));
        Offer { value, asked }
    }

    #[inline(never)]
    fn ask(
        &self,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> Asked {
        let time_to_live = time_to_live.or(self.time_to_live);
        let weight = self.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        let is_timed =
            time_to_live.is_some() || self.time_to_idle > 0 || self.refresh_after.is_some();
        let now = if is_timed { moment.time() } else { 0 };
        let end = time_to_live.map_or(NEVER, |time| deadline(now, time));
        Asked { now, end, weight, is_timed, bonds: None }
    }

    /// The terms that were asked for.
    pub fn terms(&self, asked: &Asked) -> Terms {
        let Asked { now, end, weight, is_timed, .. } = *asked;
        let refresh = self.refresh_after.filter(|_| is_timed);
        let refresh = refresh.map_or(NEVER, |time| deadline(now, time));
        Terms::new(now, end, self.time_to_idle, refresh, weight)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What a version's value counts for.
    ///
    /// The caller's guard keeps it.
    #[inline]
    pub(super) fn weight_of(&self, node: &Node<V>) -> u32 {
        // SAFETY: the caller's guard.
        unsafe { node.terms() }.map_or(1, Terms::weight)
    }
}
