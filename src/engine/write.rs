//! A write of one key.

use super::Engine;
use super::adjust::{Times, Whole};
use super::keep::{Asked, Moment};
use super::read::version_of;
use super::said::Keep;
use crate::chain::{Conditional, Linked, Node, Record};
use crate::commit::{Found, Limit};
use crate::metrics::EventKind;
use crate::pool::Pool;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, step};
use crate::sync::time::NEVER;
use crate::sync::{Ordering, fence, fence_after_rmw};
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::{self, NonNull};
use std::time::Duration;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key` and its related entries, by one commit. `time_to_live` comes before the cache's own.
    pub fn insert(&self, key: K, value: V, time_to_live: Option<Duration>) -> Version {
        let settings = self.in_force.whole();
        if settings.relation().is_some() {
            return self.insert_related(&settings, key, value, time_to_live);
        }
        let times = settings.times();
        let hash = self.hash(&key);
        self.ask_at_home(hash);
        let moment = Moment::new(&self.timer);
        let mut asked = self.rules.asked(times, &key, &value, time_to_live, &moment);
        let mut value = Some(value);
        let guard = self.pin();
        let record = match asked {
            None => self.locate(&guard, hash, key, &mut value),
            Some(_) => self.locate(&guard, hash, key, &mut None),
        };
        let (node, state) = if value.is_some() {
            let asked = asked.as_mut().map(|asked| (asked, times));
            let written = self.write(&guard, record, &mut value, asked, None);
            written.expect("it may supersede anything")
        } else {
            // SAFETY: `locate` has put it into the room of a new record, whence it cannot go under
            // our guard.
            unsafe { self.stamp_first(record) }
        };
        let cause = RemovalCause::Replaced;
        let settled = self.settle_one(&guard, record, (node, state), cause, &moment);
        self.keep_bound(&guard, record, node, settled);
        drop(guard);
        self.tend();
        version_of(state)
    }

    /// The same, if there are relations. Apart, as the change takes the room of a value on the stack.
    #[inline(never)]
    fn insert_related(
        &self,
        settings: &Whole<'_, K, V>,
        key: K,
        value: V,
        time_to_live: Option<Duration>,
    ) -> Version {
        let mut changes = self.changes();
        changes.push(self.change(
            key,
            Some(value),
            time_to_live.map_or(Keep::AsUsual, Keep::For),
            true,
        ));
        self.commit_by(settings, changes)
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
            fence(Ordering::SeqCst); // partner: the fence in `lease`; for `is_held`
            let record = self.find(&guard, hash, key).filter(|record| record.revive())?;
            self.remove_from(&guard, record, copy)
        };
        self.tend();
        removed
    }

    fn remove_from<'r, T>(
        &'r self,
        guard: &R::Guard<'r>,
        record: &Record<K, V>,
        copy: impl Fn(&V) -> T,
    ) -> Option<T> {
        let moment = Moment::new(&self.timer);
        loop {
            // First of all: what a lease was filled with that has been let go by now, is found below.
            let is_held = record.is_held();
            // SAFETY: located under the guard.
            let Found::Value(current, _) = (unsafe { self.order.newest(record) }) else {
                step("remove.nothing");
                let is_held = if mutant("lease.look_late") { record.is_held() } else { is_held };
                if is_held && !self.mark_absent(guard, record) {
                    continue; // somebody has set it since
                }
                self.try_condemn(guard, record);
                return None;
            };
            let present = self.present(guard, record, false, &moment);
            if present.is_none_or(|(present, _)| !ptr::eq(present, current)) {
                if self.end_absent(guard, record, current, &moment) {
                    return None;
                }
                continue; // somebody has set it since, by a lease perhaps
            }
            // SAFETY: committed to a value, kept by the guard.
            let copied = copy(unsafe { current.value() });
            if let Some((node, state)) = self.write(guard, record, &mut None, None, Some(current)) {
                let mut removed = self.superseded(record, node, state).map(|_| copied);
                if current.state().has_terms() && self.has_ended(current, state, &moment) {
                    removed = None; // by nobody
                }
                let cause = RemovalCause::Explicit;
                self.lighten(self.settle_one(guard, record, (node, state), cause, &moment));
                return removed;
            }
        }
    }

    /// Whether what a removal of ours, of this state, has superseded had ended by then. The moment is that from then on.
    #[cold]
    #[inline(never)]
    fn has_ended(&self, was: &Node<V>, removal: State, moment: &Moment<'_>) -> bool {
        moment.renew();
        self.absence(was, removal.version(), moment).is_some()
    }

    /// Whether a record that was found under the guard has a value, its deadline aside.
    fn has_value(&self, _guard: &R::Guard<'_>, record: &Record<K, V>) -> bool {
        // SAFETY: found under the guard.
        matches!(unsafe { self.order.newest(record) }, Found::Value(..))
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
                && (record.is_held() || self.has_value(&guard, record))
                && let Some((node, state)) = self.write(&guard, record, &mut None, None, None)
            {
                let moment = Moment::new(&self.timer);
                let cause = RemovalCause::Explicit;
                self.lighten(self.settle_one(&guard, record, (node, state), cause, &moment));
                drop(guard);
                self.tend();
                return version_of(state);
            }
            // Nothing to remove, so a commit without writes.
            step("invalidate.nothing");
            let version = self.order.clock.tick();
            if self.is_absent_at(&guard, hash, key, version) {
                self.committed();
                drop(guard);
                self.tend();
                return version_of(State::committed(version));
            }
        }
    }

    /// Whether `key` is absent as of a number that was just taken under the guard (all that took a smaller one
    /// are ready, hence to be found, by now), and whoever had a lease on it before is done without having filled it.
    fn is_absent_at<Q>(&self, guard: &R::Guard<'_>, hash: u32, key: &Q, version: u64) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        fence_after_rmw(); // partner: the fence in `lease`; for `is_held`
        // SAFETY: the number was taken under the guard.
        let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, Limit::Now(version)) };
        self.find(guard, hash, key).is_none_or(|record| {
            // First of all: what a lease was filled with that has been let go by now, is found below; it may
            // have a larger number, although it was read before.
            let is_held = || record.is_held() && !mutant("lease.look_first");
            let held_first = is_held();
            let is_filled = || self.has_value(guard, record) && !mutant("lease.as_of_number");
            // SAFETY: found under the guard, under which the number was taken.
            let found = unsafe { self.order.at(record, Limit::Now(version), floor) };
            let is_absent = matches!(found, Found::Absent) && !is_filled();
            step("invalidate.absent");
            let is_held = if mutant("lease.look_late") { is_held() } else { held_first };
            is_absent && !is_held
        })
    }

    /// Clears everything, by one commit.
    pub fn invalidate_all(&self) -> Version {
        let guard = self.pin();
        let retire = |node| self.retire_era(&guard, node);
        let retire_place = |place| self.retire_place(&guard, place);
        // SAFETY: a guard is live.
        let version = unsafe { self.order.clear(&self.views, retire, retire_place) };
        self.committed();
        self.record(EventKind::Committed, None, Some(version));
        drop(guard);
        self.tend();
        version_of(State::committed(version))
    }

    /// The record of `key`, likewise; `own` makes a key to keep if the cache does not know it.
    pub(super) fn know<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        own: impl FnOnce() -> K,
    ) -> &'g Record<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let known = self.find(guard, hash, key).filter(|record| record.revive());
        known.unwrap_or_else(|| self.locate(guard, hash, own(), &mut None))
    }

    /// The record of `key`, made if there is none, and alive for as long as the guard. If it was made, a value that is
    /// offered, to be kept without terms, is taken for its first version, *ready*.
    pub(super) fn locate<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: K,
        offered: &mut Option<V>,
    ) -> &'g Record<K, V> {
        let same = |record: &Record<K, V>| {
            record.prefetch_to_write(); // its parts together
            *record.key() == key
        };
        if let Some(record) = self.index.find(guard, hash, same)
            && record.revive()
        {
            return record;
        }
        let ready = self.fresh.with_outcome(State::READY);
        // SAFETY: a guard is live.
        let fresh = unsafe { Unpublished::new(&self.records, hash, key, ready, offered) };
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
                unsafe { entry.as_ref() }
            }
            Err(existing) => {
                fresh.give_back(offered);
                existing
            }
        }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// A version for `record`, with what is taken out of `value`: with terms, if any are asked for, by these `times`, or in
    /// its room if that is free.
    pub(super) fn make_node(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        state: State,
        prev: *mut Node<V>,
        value: &mut Option<V>,
        asked: Option<(&mut Asked, &Times)>,
    ) -> *mut Node<V> {
        let state = self.fresh.with_outcome(state);
        if let Some((asked, times)) = asked {
            return self.make_conditional(guard, record, (state, prev), value, asked, times);
        }
        if record.claim_room() {
            // SAFETY: claimed.
            unsafe { record.occupy(state, prev, value) };
            return record.room();
        }
        // SAFETY: a guard is live.
        let slot = unsafe { self.nodes.take() }.cast::<Linked<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { Linked::init(slot.as_ptr(), state, prev, value) };
        slot.cast().as_ptr()
    }

    /// A witness for `record`, which the caller holds, and which it holds itself until it is reclaimed. Not in the room,
    /// which is for what is read.
    pub(super) fn make_witness(
        &self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        state: State,
        prev: *mut Node<V>,
    ) -> *mut Node<V> {
        record.hold();
        // SAFETY: a guard is live.
        let slot = unsafe { self.nodes.take() }.cast::<Linked<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { Linked::init(slot.as_ptr(), state.witness(), prev, &mut None) };
        slot.cast().as_ptr()
    }

    /// A version with terms.
    #[inline(never)]
    fn make_conditional(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        (state, prev): (State, *mut Node<V>),
        value: &mut Option<V>,
        asked: &mut Asked,
        times: &Times,
    ) -> *mut Node<V> {
        let (terms, bonds) = match asked.said.take() {
            Some(said) => self.as_said(guard, record, asked, *said, times),
            None => (asked.terms(times), asked.bonds.take()),
        };
        if terms.deadline() != NEVER {
            self.deadlines.expect();
        }
        if let Some(bonds) = bonds {
            return self.make_derived(state, prev, value, terms, *bonds);
        }
        // SAFETY: a guard is live.
        let slot = unsafe { self.conditional.take() }.cast::<Conditional<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { Conditional::init(slot.as_ptr(), state, prev, value, terms) };
        slot.cast().as_ptr()
    }

    /// Gives back what `make_node` made, if nobody else has seen it.
    fn unmake_node(&self, record: &Record<K, V>, node: *mut Node<V>) {
        if ptr::eq(node, record.room()) {
            record.free_room();
            return;
        }
        // SAFETY: taken by this thread, seen by nobody else.
        unsafe { self.pool_of(node).put_back(NonNull::new_unchecked(node).cast()) };
    }

    /// The pool that a version's memory is from, if it is not in a room.
    ///
    /// # Safety
    /// The version is not reclaimed yet.
    pub(super) unsafe fn pool_of(&self, node: *const Node<V>) -> &Pool {
        // SAFETY: the caller's promise.
        let (node, is_derived) = unsafe { (&*node, (*node).bonds().is_some()) };
        match node.state().has_terms() {
            true if is_derived => &self.derived,
            true => &self.conditional,
            false => &self.nodes,
        }
    }

    /// Installs and stamps a version of one key, with what is taken out of `value`; with `over`, only if it supersedes
    /// just that, which is for tombstones (a value would be lost).
    pub(super) fn write<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &Record<K, V>,
        value: &mut Option<V>,
        asked: Option<(&mut Asked, &Times)>,
        over: Option<&Node<V>>,
    ) -> Option<(&'g Node<V>, State)> {
        debug_assert!(value.is_none() || over.is_none());
        let node = self.make_node(guard, record, State::READY, ptr::null_mut(), value, asked);
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
    unsafe fn new(pool: &'e Pool, hash: u32, key: K, ready: State, value: &mut Option<V>) -> Self {
        // SAFETY: the caller's promise.
        let record: NonNull<Record<K, V>> = unsafe { pool.take_at(hash) }.cast();
        let has_value = value.is_some();
        // SAFETY: taken from the pool of records.
        unsafe { Record::write(record.as_ptr(), key, hash, ready, value) };
        Self { record, has_value, pool }
    }

    /// Takes it apart: the key is dropped, the value comes back.
    #[cold]
    #[inline(never)]
    fn give_back(mut self, value: &mut Option<V>) {
        if std::mem::take(&mut self.has_value) {
            // SAFETY: nobody else has seen the record, so the value is ours to move out, once.
            *value = Some(unsafe { (*self.record.as_ref().room()).take_value() });
        }
    }
}

impl<K, V> Drop for Unpublished<'_, K, V> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<K, V> Unpublished<'_, K, V> {
    #[cold]
    #[inline(never)]
    fn end(&mut self) {
        let (mut value, is_there) = (None, std::mem::take(&mut self.has_value));
        // SAFETY: nobody else has seen the record, so key and value are ours to move out, once.
        unsafe {
            let record = self.record.as_ref();
            if is_there {
                value = Some((*record.room()).take_value());
            }
            let _key = record.take_key();
            self.pool.put_back(self.record.cast());
        }
        drop(value);
    }
}
