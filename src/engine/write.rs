//! A write of one key.

use super::Engine;
use super::read::version_of;
use crate::chain::{Chain, Linked, Node, Record};
use crate::commit::{Found, Limit};
use crate::pool::Pool;
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key`, by one commit; related entries not included.
    pub fn insert(&self, key: K, value: V) -> Version {
        let hash = self.hash(&key);
        let guard = self.pin();
        let (record, value) = self.locate(&guard, hash, key, Some(value));
        let (node, state) = match value {
            Some(value) => {
                self.write(&guard, record, Some(value), None).expect("it may supersede anything")
            }
            // SAFETY: `locate` has put it into the room of a new record, whence it cannot go under
            // our guard.
            None => unsafe { self.stamp_first(record) },
        };
        self.settle(&guard, record, node, state);
        drop(guard);
        self.tend();
        version_of(state)
    }

    /// Removes `key` alone and returns what it held, as `copy` makes it: before the removal, so that
    /// nothing is removed if that panics.
    pub fn remove<Q, T>(&self, key: &Q, copy: impl Fn(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let removed = {
            let guard = self.pin();
            let record = self.find(&guard, hash, key).filter(|record| record.revive())?;
            self.remove_from(&guard, record, copy)
        };
        self.tend();
        removed
    }

    fn remove_from<T>(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        copy: impl Fn(&V) -> T,
    ) -> Option<T> {
        loop {
            // SAFETY: located under the guard.
            let Found::Value(current, _) = (unsafe { self.order.newest(record) }) else {
                self.try_condemn(guard, record);
                return None;
            };
            // SAFETY: committed to a value, kept by the guard.
            let copied = copy(unsafe { current.value() });
            if let Some((node, state)) = self.write(guard, record, None, Some(current)) {
                let removed = self.superseded(record, node, state).map(|_| copied);
                self.settle(guard, record, node, state);
                return removed;
            }
        }
    }

    /// Removes `key` alone if it is there, by a commit in any case.
    pub(super) fn invalidate_alone<Q>(&self, key: &Q) -> Version
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = self.pin();
        loop {
            if let Some(record) = self.find(&guard, hash, key)
                && record.revive()
                // SAFETY: found under the guard.
                && let Found::Value(..) = unsafe { self.order.newest(record) }
                && let Some((node, state)) = self.write(&guard, record, None, None)
            {
                self.settle(&guard, record, node, state);
                drop(guard);
                self.tend();
                return version_of(state);
            }
            // Nothing to remove, so a commit without writes, provided that the key is absent as of its
            // number: all that took a smaller number are ready, hence to be found, by now.
            let version = self.order.clock.tick();
            // SAFETY: the number was taken under the guard.
            let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, version) };
            let absent = self.find(&guard, hash, key).is_none_or(|record| {
                // SAFETY: found under the guard, under which the number was taken.
                let found = unsafe { self.order.at(record, Limit::Now(version), floor) };
                matches!(found, Found::Absent)
            });
            if absent {
                return version_of(State::committed(version));
            }
        }
    }

    /// Clears everything, by one commit.
    pub fn invalidate_all(&self) -> Version {
        let guard = self.pin();
        let retire = |node| self.retire_era(&guard, node);
        // SAFETY: a guard is live.
        let version = unsafe { self.order.floor.clear(&self.order.clock, &self.views, retire) };
        drop(guard);
        self.tend();
        version_of(State::committed(version))
    }

    /// The record of `key`, made if there is none, and alive for as long as the guard. Then a value that
    /// was given is its first version, *ready*; else the value comes back.
    pub(super) fn locate<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: K,
        value: Option<V>,
    ) -> (&'g Record<K, V>, Option<V>) {
        let same = |record: &Record<K, V>| {
            record.prefetch_to_write(); // its parts together
            *record.key() == key
        };
        if let Some(record) = self.index.find(guard, hash, same)
            && record.revive()
        {
            return (record, value);
        }
        // SAFETY: a guard is live.
        let fresh = unsafe { Unpublished::new(&self.records, hash, key, value) };
        step("write.record_made");
        let entry = fresh.record;
        // SAFETY: its hash is `hash`; it is freed a grace period after it was sealed and unlinked.
        let inserted = unsafe {
            self.index.insert(&self.reclaim, guard, hash, entry, |record| {
                record.key() == entry.as_ref().key()
            })
        };
        match inserted {
            Ok(()) => {
                std::mem::forget(fresh);
                // SAFETY: published just now under our guard.
                (unsafe { entry.as_ref() }, None)
            }
            Err(existing) => (existing, fresh.into_value()),
        }
    }

    /// A version for `record`, in its room if that is free.
    pub(super) fn make_node(
        &self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        state: State,
        prev: *mut Node<V>,
        value: Option<V>,
    ) -> *mut Node<V> {
        if record.claim_room() {
            // SAFETY: claimed.
            unsafe { record.occupy(state, prev, value) };
            return record.room();
        }
        // SAFETY: a guard is live.
        let slot = unsafe { self.nodes.take() }.cast::<Linked<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { slot.write(Linked::new(state, prev, value)) };
        slot.cast().as_ptr()
    }

    /// Gives back what `make_node` made, if nobody else has seen it.
    fn unmake_node(&self, record: &Record<K, V>, node: *mut Node<V>) {
        if ptr::eq(node, record.room()) {
            record.free_room();
        } else {
            // SAFETY: taken by this thread, seen by nobody else.
            unsafe { self.nodes.put_back(NonNull::new_unchecked(node).cast()) };
        }
    }

    /// Installs and stamps a version of one key; with `over`, only if it supersedes just that, which
    /// is for tombstones (a value would be lost).
    fn write<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &Record<K, V>,
        value: Option<V>,
        over: Option<&Node<V>>,
    ) -> Option<(&'g Node<V>, State)> {
        debug_assert!(value.is_none() || over.is_none());
        let node = self.make_node(guard, record, State::READY, ptr::null_mut(), value);
        let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
        // SAFETY: located and revived under the guard; the node was made for it.
        let state = unsafe { self.order.write(record, node, over.map(ptr::from_ref), &retire) };
        if state.is_none() {
            self.unmake_node(record, node);
        }
        // SAFETY: installed under the guard.
        state.map(|state| (unsafe { &*node }, state))
    }

    /// # Safety
    /// The caller has just published `record` with a ready version in its room.
    unsafe fn stamp_first<'g>(&self, record: &'g Record<K, V>) -> (&'g Node<V>, State) {
        // SAFETY: the room holds a version; see above.
        let node = unsafe { &*record.room() };
        let state = node.state();
        let state = if state.is_ready() { self.order.stamp_single(node, state) } else { state };
        (node, state)
    }

    /// The value that a commit of ours superseded at `node`.
    pub(super) fn superseded<'g>(
        &self,
        record: &'g Record<K, V>,
        node: &'g Node<V>,
        state: State,
    ) -> Option<&'g V> {
        // SAFETY: installed in this record, under our guard.
        let prev = unsafe { record.prev_of(node) }.link().target();
        if prev.is_null() {
            return None;
        }
        // SAFETY: superseded by a commit made under our guard, and the link is open until we settle
        // it, so this is what it was when installed.
        let prev: &'g Node<V> = unsafe { &*prev };
        let before = prev.state();
        // SAFETY: the version of a commit made under our guard.
        let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, state.version()) };
        // SAFETY: committed to a value, kept by the guard.
        (before.is_value() && before.version() > floor).then(|| unsafe { prev.value() })
    }

    /// What the owner of a commit owes for each version that it wrote: the count of present keys, and
    /// the disposal of what was superseded.
    pub(super) fn settle(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: &Node<V>,
        state: State,
    ) {
        step("settle.begin");
        let was = self.superseded(record, node, state).is_some();
        let is = state.is_value();
        if was != is {
            // SAFETY: as in `superseded`.
            let (_, era) = unsafe { self.order.floor.at(&self.order.clock, state.version()) };
            era.count(if is { 1 } else { -1 });
        }
        // SAFETY: as in `superseded`.
        if !unsafe { record.prev_of(node) }.link().target().is_null() {
            self.dispose_below(guard, record, node);
        }
        if state.is_tombstone() {
            self.try_condemn(guard, record);
        }
    }
}

/// A record that nobody else has seen yet. Dropped (a user's `Eq` panicked), it drops what it holds
/// and gives its memory back.
struct Unpublished<'e, K, V> {
    record: NonNull<Record<K, V>>,
    has_value: bool,
    pool: &'e Pool,
}

impl<'e, K, V> Unpublished<'e, K, V> {
    /// # Safety
    /// As for `Pool::take`, until it is dropped.
    unsafe fn new(pool: &'e Pool, hash: u32, key: K, value: Option<V>) -> Self {
        // SAFETY: the caller's promise.
        let record: NonNull<Record<K, V>> = unsafe { pool.take() }.cast();
        let has_value = value.is_some();
        // SAFETY: taken from the pool of records.
        unsafe { Record::write(record.as_ptr(), key, hash, value) };
        Self { record, has_value, pool }
    }

    /// Takes it apart: the key is dropped, the value comes back.
    fn into_value(self) -> Option<V> {
        let mut this = ManuallyDrop::new(self);
        this.take_apart()
    }

    fn take_apart(&mut self) -> Option<V> {
        // SAFETY: nobody else has seen the record, so key and value are ours to move out, once.
        unsafe {
            let record = self.record.as_ref();
            let value = self.has_value.then(|| (*record.room()).take_value());
            let _key = record.take_key();
            self.pool.put_back(self.record.cast());
            value
        }
    }
}

impl<K, V> Drop for Unpublished<'_, K, V> {
    fn drop(&mut self) {
        self.take_apart();
    }
}
