//! Who is told of entries that leave.
//!
//! A commit's owner finds out what it took away, under its guard. What the listener is to hear is kept by
//! the thread until the operation is over, so that it runs with nothing held, and may use the cache. What its own writes
//! take away is told after it has returned.

use super::Engine;
use crate::chain::{Node, Record};
use crate::metrics::{EventKind, ThreadCounts};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::version::Version;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What hears of entries that leave.
pub type Tell<K, V> = dyn Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync;

/// A listener, and how it gets what it is told of.
pub struct Listener<K, V> {
    /// Clones an entry.
    pub copy: fn(&K, &V) -> (Arc<K>, V),
    /// The user's closure.
    pub tell: Box<Tell<K, V>>,
}

impl<K, V> Listener<K, V> {
    pub fn new(tell: impl Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static) -> Self
    where
        K: Clone,
        V: Clone,
    {
        let copy = |key: &K, value: &V| (Arc::new(key.clone()), value.clone());
        Self { copy, tell: Box::new(tell) }
    }
}

/// How many entries of those that left in nobody's operation one operation tells of.
const TELLING_STEPS: usize = 64;

/// An entry that has left.
pub(super) struct Leaving<K, V> {
    key: Arc<K>,
    value: V,
    cause: RemovalCause,
    version: Version,
}

/// What a thread has to tell.
pub(super) struct Leavings<K, V> {
    list: Cell<Vec<Leaving<K, V>>>,
    /// The thread is about it, further out on its stack.
    is_telling: Cell<bool>,
}

impl<K, V> Default for Leavings<K, V> {
    fn default() -> Self {
        Self { list: Cell::new(Vec::new()), is_telling: Cell::new(false) }
    }
}

impl<K, V> Leavings<K, V> {
    fn push(&self, leaving: Leaving<K, V>) {
        let mut list = self.list.take();
        list.push(leaving);
        self.list.set(list);
    }

    fn take(&self) -> Vec<Leaving<K, V>> {
        self.list.take()
    }

    fn replace(&self, list: Vec<Leaving<K, V>>) -> Vec<Leaving<K, V>> {
        self.list.replace(list)
    }

    /// Begins to tell, unless the thread is about it.
    fn begin(&self) -> Option<Telling<'_>> {
        (!self.is_telling.replace(true)).then(|| Telling(&self.is_telling))
    }
}

/// The time in which a thread tells.
struct Telling<'l>(&'l Cell<bool>);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The value of `node` has left `record`, by the commit `version`. Called once for each that does.
    #[inline]
    pub(super) fn leave(
        &self,
        mine: &ThreadCounts,
        record: &Record<K, V>,
        node: &Node<V>,
        cause: RemovalCause,
        version: u64,
    ) {
        mine.removal(cause);
        if !self.is_unobserved() {
            self.report(record, node, cause, version);
        }
    }

    /// Whether nobody is to hear of what leaves.
    #[inline(always)]
    pub(super) fn is_unobserved(&self) -> bool {
        !self.in_force.may_have_listener() && !self.order.is_watched()
    }

    #[cold]
    fn report(&self, record: &Record<K, V>, node: &Node<V>, cause: RemovalCause, version: u64) {
        match cause {
            RemovalCause::Size => {
                self.record(EventKind::Evicted, Some(record.hash()), Some(version));
            }
            RemovalCause::Expired => {
                self.record(EventKind::Expired, Some(record.hash()), Some(version));
            }
            _ => {} // The commit itself is recorded.
        }
        if !self.in_force.may_have_listener() {
            return;
        }
        let settings = self.in_force.listening();
        let Some(listener) = &settings.listener else { return };
        // SAFETY: callers say that it was committed to a value, and keep it.
        let value = unsafe { node.value() };
        let copied = catch_unwind(AssertUnwindSafe(|| (listener.copy)(record.key(), value)));
        let Ok((key, value)) = copied else {
            return self.counters.mine().listener_panics.add(1);
        };
        let version = Version::from_u64(version);
        self.scratch.get().leavings.push(Leaving { key, value, cause, version });
    }

    /// Has what leaves meanwhile be told of by whoever tells next: this is a step of reclamation, which the thread comes
    /// to in any operation, of a reader perhaps.
    pub(super) fn for_others(&self, guard: &R::Guard<'_>, act: impl FnOnce()) {
        if !self.in_force.may_have_listener() {
            return act();
        }
        let own = self.scratch.get().leavings.take();
        act();
        for leaving in self.scratch.get().leavings.replace(own) {
            self.untold.push(guard, leaving);
        }
    }

    /// Some of that.
    fn told_for_others(&self, leavings: &mut Vec<Leaving<K, V>>) {
        if self.untold.is_empty() {
            return;
        }
        let guard = self.reclaim.pin();
        let some = || self.untold.pop(&self.reclaim, &guard);
        leavings.extend(std::iter::from_fn(some).take(TELLING_STEPS));
    }

    /// Tells the listener what has left. With no guard live.
    #[inline]
    pub(super) fn tell(&self) {
        if self.in_force.may_have_listener() {
            self.tell_one_by_one();
        }
    }

    /// The same, if there may be one. What leaves by its own writes is told when it has returned, by whoever called it: so
    /// a chain of such writes takes no more of the stack than one.
    #[cold]
    #[inline(never)]
    fn tell_one_by_one(&self) {
        let own = &self.scratch.get().leavings;
        let Some(_telling) = own.begin() else { return };
        let mut leavings = own.take();
        self.told_for_others(&mut leavings);
        while !leavings.is_empty() {
            self.tell_each(leavings);
            leavings = own.take();
        }
    }

    fn tell_each(&self, leavings: Vec<Leaving<K, V>>) {
        let settings = self.in_force.listening();
        for Leaving { key, value, cause, version } in leavings {
            // One that panics has told so through the panic hook; the write that it hears of is done.
            let told = AssertUnwindSafe(|| match &settings.listener {
                Some(listener) => (listener.tell)(key, value, cause, version),
                None => drop((key, value)), // It was taken away since.
            });
            if catch_unwind(told).is_err() {
                self.counters.mine().listener_panics.add(1);
            }
        }
    }
}
