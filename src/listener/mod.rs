//! Who hears of entries that leave.
//!
//! A commit's owner finds out what it took away, under its guard. What the listener is to hear is
//! kept by the thread until the operation is over, so that the listener runs with nothing held, and
//! may use the cache. What its own writes take away is told after it has returned.

use crate::chain::{Record, Visible};
use crate::commit::Stack;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::per_thread::PerThread;
use crate::version::Version;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What hears of entries that leave.
pub type ListenerFn<K, V> = dyn Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync;

/// A listener, and how it gets what it hears of.
pub struct Listener<K, V> {
    /// Clones an entry.
    copy: fn(&K, &V) -> (Arc<K>, V),
    /// The user's closure.
    notify: Box<ListenerFn<K, V>>,
}

impl<K, V> Listener<K, V> {
    pub fn new(notify: impl Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static) -> Self
    where
        K: Clone,
        V: Clone,
    {
        let copy = |key: &K, value: &V| (Arc::new(key.clone()), value.clone());
        Self { copy, notify: Box::new(notify) }
    }
}

/// How many entries of those that left in nobody's operation one operation tells of.
const NOTIFY_STEPS: usize = 64;

/// An entry that has left.
struct Departure<K, V> {
    key: Arc<K>,
    value: V,
    cause: RemovalCause,
    version: Version,
}

/// What a thread has yet to tell.
struct PendingDepartures<K, V> {
    list: Cell<Vec<Departure<K, V>>>,
    /// The thread is about it, further out on its stack.
    is_notifying: Cell<bool>,
}

impl<K, V> Default for PendingDepartures<K, V> {
    fn default() -> Self {
        Self { list: Cell::new(Vec::new()), is_notifying: Cell::new(false) }
    }
}

// SAFETY: between operations the list is empty, so a thread inherits nothing but memory.
unsafe impl<K, V> Send for PendingDepartures<K, V> {}

/// The time in which a thread tells.
struct NotifyScope<'l>(&'l Cell<bool>);

impl Drop for NotifyScope<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A listener has panicked. It has told so through the panic hook; the write that it hears of is
/// done.
pub struct ListenerPanicked;

/// The entries that have left and of which the listener has yet to hear.
pub struct Departures<K, V> {
    pending: PerThread<PendingDepartures<K, V>>,
    /// What left in nobody's operation.
    shared: Stack<Departure<K, V>>,
}

impl<K, V> Departures<K, V> {
    pub fn new() -> Self {
        Self { pending: PerThread::new(), shared: Stack::new() }
    }

    /// The bytes of the queue.
    pub fn bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Whether nothing has left in nobody's operation, a moment ago.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// A value has left, by a commit. The thread tells when its operation is over.
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

    /// Leaves what departs meanwhile to whoever tells next: this is a step of reclamation, which
    /// the thread comes to in any operation, a reader's perhaps.
    pub fn defer_to_others<G>(&self, guard: &G, act: impl FnOnce()) {
        let own = self.pending.get().list.take();
        act();
        for departure in self.pending.get().list.replace(own) {
            self.shared.push(guard, departure);
        }
    }

    /// Tells the listener what has left. With no guard live. What leaves by its own writes is told
    /// when it has returned, by whoever called it: so a chain of such writes takes no more of the
    /// stack than one. `listener` is asked for each list anew. Returns how often the listener
    /// panicked.
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
            return 0; // Further out on this stack.
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

    /// Some of what left in nobody's operation.
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
            Some(listener) => (listener.notify)(key, value, cause, version),
            None => drop((key, value)), // It was taken away since.
        };
        catch_unwind(AssertUnwindSafe(notify)).map_err(|_| ListenerPanicked)
    }
}
