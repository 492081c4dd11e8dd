//! How versions and records go.
//!
//! "Absent" is dangerous: **no record that a guard could have found alive may disappear during that
//! guard.** So a record is condemned (a mark on its head, which any writer that locates it takes off
//! again), and after a grace period sealed and unlinked, and after another one freed.

use super::Engine;
use crate::chain::{Chain, Node, Record, flags};
use crate::commit::{Descriptor, Entry, Era, Floor, Mark, Place, withdraw};
use crate::pool::Pool;
use crate::reclaim::{Garbage, Reclaim};
use crate::removal::RemovalCause;
use crate::sync::hook::{claim, mutant, step};
use crate::version::State;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

/// Runs a user's destructors. One that panics has told so through the panic hook; it belongs to
/// another caller's value, so the panic ends here.
fn contain(destroy: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(destroy));
}

/// The witnesses of a commit.
fn witnesses<K, V>(commit: &Descriptor<K, V>) -> impl Iterator<Item = &Entry<K, V>> {
    commit.entries().iter().filter(|entry| entry.cause.is_none())
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    pub(super) fn retire<T>(
        &self,
        guard: &R::Guard<'_>,
        object: *const T,
        reclaim: unsafe fn(*mut (), *const ()),
    ) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast_mut().cast(), context, reclaim };
        // SAFETY: callers retire what they have just unlinked, once. The context outlives the scheme's
        // use of it: the engine drains it when dropped.
        unsafe { self.reclaim.retire(guard, garbage) };
    }

    /// Retires a version that was superseded in `record`, or went with it.
    pub(super) fn retire_node(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: *mut Node<V>,
    ) {
        if ptr::eq(node, record.room()) {
            self.retire(guard, record, Self::reclaim_room);
        } else {
            self.retire(guard, node, Self::reclaim_node);
        }
    }

    /// Retires a clearing commit.
    pub(super) fn retire_era(&self, guard: &R::Guard<'_>, node: *mut Node<Mark<Era>>) {
        self.retire(guard, node, Self::reclaim_era);
    }

    /// Retires the place of a view that is closed.
    pub(super) fn retire_place(&self, guard: &R::Guard<'_>, place: *mut Place) {
        self.retire(guard, place, Self::reclaim_place);
    }

    /// Retires a commit's descriptor, and its witnesses, if it has any.
    pub(super) fn retire_commit(
        &self,
        guard: &R::Guard<'_>,
        descriptor: *mut Descriptor<K, V>,
        has_witnesses: bool,
    ) {
        let reclaim = if has_witnesses { Self::reclaim_witnessed } else { Self::reclaim_commit };
        self.retire(guard, descriptor, reclaim);
    }

    /// The first step for a commit with witnesses: nobody remembers what was on top before they were. They are retired in
    /// their turn, since somebody may stand on one.
    unsafe fn reclaim_witnessed(descriptor: *mut (), engine: *const ()) {
        // SAFETY: retired by `retire_commit`, which gave the engine; a grace period has passed. The witnesses hold
        // their records, and are retired here only, once.
        unsafe {
            let (engine, commit) =
                (&*engine.cast::<Self>(), &*descriptor.cast::<Descriptor<K, V>>());
            let guard = engine.reclaim.pin();
            for Entry { record, node, .. } in witnesses(commit) {
                let record = &**record;
                withdraw(record, *node);
                engine.retire_node(&guard, record, *node);
                record.let_go();
                engine.condemn_or_leave(&guard, record);
            }
            Self::reclaim_commit(descriptor, ptr::from_ref(engine).cast());
        }
    }

    unsafe fn reclaim_commit(descriptor: *mut (), engine: *const ()) {
        // SAFETY: retired by `retire_commit`, which gave the engine; a grace period has passed.
        unsafe { (*engine.cast::<Self>()).commits.give(descriptor.cast()) };
    }

    unsafe fn reclaim_era(node: *mut (), _: *const ()) {
        // SAFETY: retired by `retire_era`; a grace period has passed.
        unsafe { Floor::free(node.cast()) };
    }

    unsafe fn reclaim_place(place: *mut (), engine: *const ()) {
        // SAFETY: retired by `retire_place`, which gave the engine; a grace period has passed.
        unsafe {
            (*engine.cast::<Self>()).views.give(NonNull::new_unchecked(place.cast()));
        }
    }

    unsafe fn reclaim_node(node: *mut (), engine: *const ()) {
        // SAFETY: retired by `retire_node`, which gave the engine, and whose pool the slot is from; a
        // grace period has passed.
        unsafe {
            let engine = &*engine.cast::<Self>();
            let node = NonNull::new_unchecked(node.cast::<Node<V>>());
            engine.empty(node.as_ref()).give(node.cast());
        }
    }

    /// Drops what a version holds, and says which pool its memory is from, if that is not a room.
    ///
    /// # Safety
    /// Nobody else has access to it, and this is done once.
    #[inline(always)]
    unsafe fn empty(&self, node: &Node<V>) -> &Pool {
        let state = node.state();
        self.reclaimed(state);
        // SAFETY: the caller's promise.
        unsafe {
            if std::mem::needs_drop::<V>() {
                contain(|| node.drop_value());
            }
            if !state.has_terms() {
                return &self.nodes;
            }
            let pool = self.pool_of(node);
            self.untie(node);
            pool
        }
    }

    unsafe fn reclaim_room(record: *mut (), engine: *const ()) {
        // SAFETY: as in `reclaim_node`. The record is not condemned while its room is neither free nor
        // on top, so it is alive; once the room is free the guard keeps it.
        unsafe {
            let engine = &*engine.cast::<Self>();
            let record = &*record.cast::<Record<K, V>>();
            engine.empty(&*record.room());
            let guard = engine.reclaim.pin();
            record.free_room();
            engine.condemn_or_leave(&guard, record);
        }
    }

    /// Begins to remove a record that holds no value and no history.
    pub fn try_condemn(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        loop {
            let head = record.head();
            if head.is_condemned() || head.is_sealed() || !self.is_dead(record, head.node()) {
                return;
            }
            let room_goes_too = Self::is_room_on_top(record, head.node());
            let busy = Self::holding() | flags::CONDEMNING | flags::PRUNING;
            // Whatever holds it back looks here again when it is done.
            let may = |now: u32| now & busy == 0 && (room_goes_too || now & flags::ROOM_FREE != 0);
            // A read-modify-write also if it may not: whoever holds it back ends that by one of the same word, and
            // if that comes later, he sees what we did before.
            let looks_only = mutant("record.held_looks_only");
            let claimed = record.change_flags(|now| match may(now) {
                true => Some(now | flags::CONDEMNING),
                false => (!looks_only).then_some(now),
            });
            if !claimed.is_ok_and(may) {
                return;
            }
            step("record.before_condemn");
            if record.condemn(head) {
                step("record.condemned");
                if mutant("record.no_grace") {
                    // SAFETY: none; this is the defect.
                    unsafe {
                        Self::seal(
                            ptr::from_ref(record).cast_mut().cast(),
                            ptr::from_ref(self).cast(),
                        )
                    };
                } else {
                    self.retire(guard, record, Self::seal);
                }
                return;
            }
            let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
        }
    }

    /// The flags of those who hold a record.
    fn holding() -> u32 {
        let but = if mutant("room.fresh_unheld") { flags::FRESH } else { 0 };
        flags::HELD & !but
    }

    /// Whether a record with this on top is absent to everyone, now and as of any view.
    fn is_dead(&self, record: &Record<K, V>, top: *mut Node<V>) -> bool {
        if top.is_null() {
            return true;
        }
        // SAFETY: callers read it from a head under a live guard.
        let (state, link) = unsafe { ((*top).state(), record.prev_of(top).link()) };
        if state.is_aborted() {
            // What lies below an aborted version is not aborted itself: the recursion ends there.
            return self.is_dead(record, link.target());
        }
        state.is_committed() && link.is_end() && (state.is_tombstone() || self.is_cleared(state))
    }

    /// Whether sealing `record` with `top` on it would retire what is in its room.
    fn is_room_on_top(record: &Record<K, V>, top: *mut Node<V>) -> bool {
        let room = record.room();
        // SAFETY: callers read `top` from the record's head under a live guard.
        let below = || unsafe {
            (*top).state().is_aborted() && ptr::eq(record.prev_of(top).link().target(), room)
        };
        ptr::eq(top, room) || (!top.is_null() && below())
    }

    fn is_cleared(&self, state: State) -> bool {
        self.sweep.may_go(state.version())
    }

    /// The second step, a grace period after a record was condemned: if no writer came, it ends.
    unsafe fn seal(record: *mut (), engine: *const ()) {
        // SAFETY: retired by `try_condemn`; a record lives until a grace period after it was sealed,
        // and only this call, one at a time, seals it.
        let (engine, record) =
            unsafe { (&*engine.cast::<Self>(), &*record.cast::<Record<K, V>>()) };
        let guard = engine.reclaim.pin();
        let head = record.head();
        step("record.before_seal");
        // One who still had it in hand when it was condemned may have put it into a queue, or holds it;
        // nobody else can have since, but a writer that took the mark off. Whoever takes it out of
        // there, or lets go, looks here again.
        let held = record.flags() & Self::holding() != 0 && !mutant("leftover.seal_queued");
        if held {
            record.revive();
        }
        if held || !head.is_condemned() || !record.seal(head) {
            let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
            return engine.condemn_or_leave(&guard, record);
        }
        step("record.sealed");
        engine.for_others(&guard, || engine.note_cleared(record, head.node()));
        // SAFETY: sealed; freed a grace period from now.
        unsafe { engine.unlink(&guard, record) };
        engine.retire(&guard, record, Self::free);
    }

    /// If the newest version of a record that was sealed had been cleared, not removed, its end is noticed here.
    fn note_cleared(&self, record: &Record<K, V>, top: *mut Node<V>) {
        // SAFETY: null, or the head until now, so that the caller's guard keeps it; what an aborted version was put upon
        // likewise, and that is not aborted itself.
        let newest = unsafe {
            let is_aborted = !top.is_null() && (*top).state().is_aborted();
            let below = || record.prev_of(top).link().target();
            if is_aborted { below().as_ref() } else { top.as_ref() }
        };
        if let Some(node) = newest
            && node.state().is_value()
        {
            let floor = self.order.floor.newest(&self.order.clock);
            self.leave(self.counters.mine(), record, node, RemovalCause::Explicit, floor);
        }
    }

    /// The last step: no guard can have found the record.
    unsafe fn free(record: *mut (), engine: *const ()) {
        // SAFETY: retired by `seal` after it was unlinked.
        unsafe {
            let engine = &*engine.cast::<Self>();
            let record = NonNull::new_unchecked(record.cast::<Record<K, V>>());
            let is_held = || record.as_ref().flags() & flags::HELD != 0;
            claim(|| !is_held(), "freed although it is in the queue");
            let guard = engine.reclaim.pin();
            engine.release(&guard, record);
            engine.free_top(record.as_ref());
            contain(|| drop(record.as_ref().take_key()));
            engine.records.give(record.cast());
        }
    }

    /// Frees what was on top of a record when it was sealed.
    ///
    /// # Safety
    /// A grace period has passed since, and nobody else does so.
    unsafe fn free_top(&self, record: &Record<K, V>) {
        let mut next = record.head().node();
        // SAFETY: it went with the record, so nobody has access to it; what an aborted version was put upon
        // likewise, and what any other was put upon has gone before.
        unsafe {
            while let Some(node) = next.as_ref() {
                let (state, below) = (node.state(), record.prev_of(next).link().target());
                let pool = self.empty(node);
                if !ptr::eq(next, record.room()) {
                    pool.give(NonNull::new_unchecked(next).cast());
                }
                next = if state.is_aborted() { below } else { ptr::null_mut() };
            }
        }
    }

    /// Drops all keys and values that are still in the cache.
    ///
    /// # Safety
    /// Nobody else uses the engine, which is being dropped, and what was retired has been reclaimed.
    pub(super) unsafe fn drop_entries(&mut self) {
        for record in self.all_entries() {
            // SAFETY: exclusive. What lies above an end was not retired, and is dropped here, once.
            unsafe {
                let mut next = record.as_ref().head().node();
                while !next.is_null() {
                    let link = record.as_ref().prev_of(next).link();
                    contain(|| (*next).drop_value());
                    drop((*next).take_bonds()); // What it held goes, too.
                    next = if link.is_end() { ptr::null_mut() } else { link.target() };
                }
                contain(|| drop(record.as_ref().take_key()));
            }
        }
    }
}
