//! The listener, which is notified of departures: entries that leave the cache.
//!
//! The owner of a commit finds out, under its guard, which values the commit removed. The thread
//! keeps these departures until the operation is over. So the listener runs while nothing is held,
//! and may use the cache. The departures that the listener's own writes cause are notified after it
//! has returned.

use crate::chain::{Record, Visible, clone_to_heap};
use crate::commit::Stack;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::per_thread::PerThread;
use crate::version::Version;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The user's closure, which is notified of departures.
pub type ListenerFn<K, V> = dyn Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync;

/// A copy of an entry. The value is on the heap, because it may be large.
type EntryCopy<K, V> = (Arc<K>, Box<V>);

/// A listener, and the way to copy entries for it.
pub struct Listener<K, V> {
    /// Clones an entry.
    copy: fn(&K, &V) -> EntryCopy<K, V>,
    /// The user's closure.
    notify: Box<ListenerFn<K, V>>,
}

impl<K, V> Listener<K, V> {
    pub fn new(notify: impl Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static) -> Self
    where
        K: Clone,
        V: Clone,
    {
        let copy = |key: &K, value: &V| (Arc::new(key.clone()), clone_to_heap(value));
        Self { copy, notify: Box::new(notify) }
    }
}

/// The most shared departures of which one operation notifies the listener.
const NOTIFY_STEPS: usize = 64;

/// An entry that has left the cache.
struct Departure<K, V> {
    key: Arc<K>,
    /// On the heap, because it may be large.
    value: Box<V>,
    cause: RemovalCause,
    version: Version,
}

/// The departures that a thread still has to report.
struct PendingDepartures<K, V> {
    list: Cell<Vec<Departure<K, V>>>,
    /// Whether the thread is already notifying the listener, further up its stack.
    is_notifying: Cell<bool>,
}

impl<K, V> Default for PendingDepartures<K, V> {
    fn default() -> Self {
        Self { list: Cell::new(Vec::new()), is_notifying: Cell::new(false) }
    }
}

// SAFETY: the list is empty between operations, so another thread inherits only memory.
unsafe impl<K, V> Send for PendingDepartures<K, V> {}

/// The time in which a thread notifies the listener.
struct NotifyScope<'l>(&'l Cell<bool>);

impl Drop for NotifyScope<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The listener or a clone for it panicked. The panic hook has reported that. The write stays
/// committed.
pub struct ListenerPanicked;

/// The departures of which the listener has not been notified yet.
pub struct Departures<K, V> {
    pending: PerThread<PendingDepartures<K, V>>,
    /// Departures that belong to no operation. Any thread may report them.
    shared: Stack<Departure<K, V>>,
}

impl<K, V> Departures<K, V> {
    pub fn new() -> Self {
        Self { pending: PerThread::new(), shared: Stack::new() }
    }

    /// Returns the size of the queue in bytes.
    pub fn bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Returns whether there were no shared departures a moment ago.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// Notes that a commit removed a value. The thread notifies the listener at the end of its
    /// operation.
    pub fn push(
        &self,
        listener: &Listener<K, V>,
        record: &Record<K, V>,
        value: Visible<'_, V>,
        cause: RemovalCause,
        version: u64,
    ) -> Result<(), ListenerPanicked> {
        let copy = || (listener.copy)(record.key(), value.value());
        let (key, value) = catch_unwind(AssertUnwindSafe(copy)).map_err(|_| ListenerPanicked)?;
        let version = Version::from_u64(version);
        let pending = &self.pending.get().list;
        let mut list = pending.take();
        list.push(Departure { key, value, cause, version });
        pending.set(list);
        Ok(())
    }

    /// Runs `act` and leaves its departures to the next thread that notifies the listener. It is
    /// for steps of reclamation, which a thread may do in any operation, even in a look-up.
    pub fn defer_to_others<G>(&self, guard: &G, act: impl FnOnce()) {
        let own = self.pending.get().list.take();
        act();
        for departure in self.pending.get().list.replace(own) {
            self.shared.push(guard, departure);
        }
    }

    /// Notifies the listener of departures. The caller has no guard. Departures that the listener's
    /// writes cause are reported after the listener has returned, so a chain of such writes needs
    /// no more stack than one. `listener` is called again for each list. Returns the number of
    /// panics of the listener.
    #[cold]
    #[inline(never)]
    pub fn notify<R: Reclaim, C>(
        &self,
        reclaim: &R,
        config: impl Fn() -> C,
        listener: impl Fn(&C) -> Option<&Listener<K, V>>,
    ) -> u64 {
        let own = self.pending.get();
        if own.is_notifying.replace(true) {
            return 0; // a caller on this stack already does it
        }
        let _scope = NotifyScope(&own.is_notifying);
        let mut departures = own.list.take();
        self.take_shared(reclaim, &mut departures);
        let mut panics = 0;
        while !departures.is_empty() {
            let config = config();
            for departure in departures {
                panics += u64::from(departure.notify(listener(&config)).is_err());
            }
            departures = own.list.take();
        }
        panics
    }

    /// Takes some of the shared departures.
    fn take_shared<R: Reclaim>(&self, reclaim: &R, departures: &mut Vec<Departure<K, V>>) {
        if self.shared.is_empty() {
            return;
        }
        let guard = reclaim.pin();
        let some = || self.shared.pop(reclaim, &guard);
        departures.extend(std::iter::from_fn(some).take(NOTIFY_STEPS));
    }
}

impl<K, V> Departure<K, V> {
    fn notify(self, listener: Option<&Listener<K, V>>) -> Result<(), ListenerPanicked> {
        let Self { key, value, cause, version } = self;
        let notify = || match listener {
            Some(listener) => (listener.notify)(key, *value, cause, version),
            None => drop((key, value)), // the listener was taken away in the meantime
        };
        catch_unwind(AssertUnwindSafe(notify)).map_err(|_| ListenerPanicked)
    }
}
