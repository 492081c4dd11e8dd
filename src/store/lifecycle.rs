//! How versions and records end.
//!
//! "Absent" is dangerous: **no record that a guard could have found alive may disappear during that
//! guard.** So a record is condemned (a mark on its head, which any writer that locates it takes off
//! again), and after a grace period sealed and unlinked, and after another one freed.

use super::{Host, Store};
use crate::chain::{Bonds, Chain, Dependency, Live, Node, NodeRef, Record, RecordRef, flags};
use crate::commit::{ClearWatermark, Descriptor, Entry, Era, Milestone, ViewPlace, withdraw};
use crate::pool::Pool;
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::hook::{claim, mutant, step};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

/// Runs a user's destructors. One that panics has told so through the panic hook; it belongs to
/// another caller's value, so the panic ends here.
fn catch_panic(destroy: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(destroy));
}

/// The witnesses of a commit.
fn witnesses<K, V>(commit: &Descriptor<K, V>) -> impl Iterator<Item = &Entry<K, V>> {
    commit.entries().iter().filter(|entry| entry.cause.is_none())
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    pub(super) fn retire<T>(
        &self,
        guard: &R::Guard<'_>,
        object: *const T,
        reclaim: unsafe fn(*mut (), *const ()),
    ) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast_mut().cast(), context, reclaim };
        // SAFETY: callers retire what they have just unlinked, once. The context outlives the
        // scheme's use of it: the store drains it when dropped.
        unsafe { self.reclaim.retire(guard, garbage) };
    }

    /// Retires a version that was superseded in `record`, or went with it.
    pub(super) fn retire_node(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: *mut Node<V>,
    ) {
        if ptr::eq(node, record.inline_slot()) {
            self.retire(guard, record, Self::reclaim_inline);
        } else {
            self.retire(guard, node, Self::reclaim_node);
        }
    }

    /// Retires a clearing commit.
    pub(super) fn retire_era(&self, guard: &R::Guard<'_>, node: *mut Node<Milestone<Era>>) {
        self.retire(guard, node, Self::reclaim_era);
    }

    /// Retires the place of a view that is closed.
    pub(super) fn retire_place(&self, guard: &R::Guard<'_>, place: *mut ViewPlace) {
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

    /// The first step for a commit with witnesses: nobody remembers what was on top before they
    /// were. They are retired in their turn, since somebody may stand on one.
    unsafe fn reclaim_witnessed(descriptor: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_commit`, which gave the store; a grace period has passed. The
        // witnesses hold their records, and are retired here only, once.
        unsafe {
            let (store, commit) = (&*store.cast::<Self>(), &*descriptor.cast::<Descriptor<K, V>>());
            let guard = store.pin();
            for Entry { record, node, .. } in witnesses(commit) {
                let record = RecordRef::new(&**record);
                withdraw(record.get(), *node);
                store.retire_node(&guard, &record, *node);
                record.let_go();
                store.condemn_or_queue(&guard, record);
            }
            Self::reclaim_commit(descriptor, ptr::from_ref(store).cast());
        }
    }

    unsafe fn reclaim_commit(descriptor: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_commit`, which gave the store; a grace period has passed.
        unsafe { (*store.cast::<Self>()).descriptors.give(descriptor.cast()) };
    }

    unsafe fn reclaim_era(node: *mut (), _: *const ()) {
        // SAFETY: retired by `retire_era`; a grace period has passed.
        unsafe { ClearWatermark::free(node.cast()) };
    }

    unsafe fn reclaim_place(place: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_place`, which gave the store; a grace period has passed.
        unsafe { (*store.cast::<Self>()).views.give(NonNull::new_unchecked(place.cast())) };
    }

    unsafe fn reclaim_node(node: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_node`, which gave the store, and whose pool the slot is from;
        // a grace period has passed.
        unsafe {
            let store = &*store.cast::<Self>();
            let node = NonNull::new_unchecked(node.cast::<Node<V>>());
            store.drop_contents(node.as_ref()).give(node.cast());
        }
    }

    /// Drops what a version holds, and says which pool its memory is from, if that is not a room.
    ///
    /// # Safety
    /// Nobody else has access to it, and this is done once.
    #[inline(always)]
    unsafe fn drop_contents(&self, node: &Node<V>) -> &Pool {
        let state = node.state();
        if state.is_committed() {
            self.host.reclaimed();
        }
        // SAFETY: the caller's promise.
        unsafe {
            if std::mem::needs_drop::<V>() {
                catch_panic(|| node.drop_value());
            }
            if !state.has_terms() {
                return &self.nodes;
            }
            let pool = self.pool_of(node);
            if let Some(bonds) = node.take_bonds() {
                self.release_bonds(&self.pin(), &bonds);
            }
            pool
        }
    }

    unsafe fn reclaim_inline(record: *mut (), store: *const ()) {
        // SAFETY: as in `reclaim_node`. The record is not condemned while its room is neither free
        // nor on top, so it is alive; once the room is free the guard keeps it.
        unsafe {
            let store = &*store.cast::<Self>();
            let record = RecordRef::new(&*record.cast::<Record<K, V>>());
            store.drop_contents(&*record.inline_slot());
            let guard = store.pin();
            record.free_inline_slot();
            store.condemn_or_queue(&guard, record);
        }
    }

    /// Begins to remove a record that holds no value and no history.
    pub fn try_condemn(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        loop {
            let (head, top) = record.read_head();
            if head.is_condemned() || head.is_sealed() || !self.is_dead(record, top) {
                return;
            }
            let slot_goes_too = Self::is_inline_on_top(record, top);
            let busy = Self::holder_flags() | flags::CONDEMNING | flags::PRUNING;
            // Whatever holds it back looks here again when it is done.
            let may =
                |now: u32| now & busy == 0 && (slot_goes_too || now & flags::INLINE_SLOT_FREE != 0);
            // A read-modify-write also if it may not: whoever holds it back ends that by one of the
            // same word, and if that comes later, he sees what we did before.
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
                    let record = ptr::from_ref(record.get()).cast_mut().cast();
                    // SAFETY: none; this is the defect.
                    unsafe { Self::seal(record, ptr::from_ref(self).cast()) };
                } else {
                    self.retire(guard, record.get(), Self::seal);
                }
                return;
            }
            let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
        }
    }

    /// The flags of those who hold a record.
    fn holder_flags() -> u32 {
        let but = if mutant("room.fresh_unheld") { flags::FRESH } else { 0 };
        flags::HELD & !but
    }

    /// The version on top, or the one below if that was aborted. Nothing is installed upon an
    /// aborted version, so what lies below one is not aborted itself.
    fn newest_unaborted<'g>(
        record: RecordRef<'g, K, V>,
        top: Option<NodeRef<'g, V>>,
    ) -> Option<NodeRef<'g, V>> {
        let top = top?;
        if !top.state().is_aborted() {
            return Some(top);
        }
        // SAFETY: what an aborted version was installed upon is kept as long as that is on top.
        unsafe { record.prev_of(top).link().target().as_ref().map(|below| NodeRef::new(below)) }
    }

    /// Whether a record with this on top is absent to everyone, now and as of any view.
    fn is_dead<'g>(&self, record: RecordRef<'g, K, V>, top: Option<NodeRef<'g, V>>) -> bool {
        let Some(newest) = Self::newest_unaborted(record, top) else { return true };
        let state = newest.state();
        state.is_committed()
            && record.prev_of(newest).link().is_end()
            && (state.is_tombstone() || self.cleared.is_cleared_for_all(state.version()))
    }

    /// Whether sealing `record` with this on top would retire what is in its room.
    fn is_inline_on_top<'g>(record: RecordRef<'g, K, V>, top: Option<NodeRef<'g, V>>) -> bool {
        let is_inline = |node: NodeRef<'_, V>| node.is(record.inline_slot());
        top.is_some_and(is_inline) || Self::newest_unaborted(record, top).is_some_and(is_inline)
    }

    /// The second step, a grace period after a record was condemned: if no writer came, it ends.
    unsafe fn seal(record: *mut (), store: *const ()) {
        // SAFETY: retired by `try_condemn`; a record lives until a grace period after it was
        // sealed, and only this call, one at a time, seals it.
        let (store, record) =
            unsafe { (&*store.cast::<Self>(), RecordRef::new(&*record.cast::<Record<K, V>>())) };
        let guard = store.pin();
        let (head, top) = record.read_head();
        step("record.before_seal");
        // One who still had it in hand when it was condemned may have put it into a queue, or holds
        // it; nobody else can have since, but a writer that took the mark off. Whoever takes it out
        // of there, or lets go, looks here again.
        let held = record.flags() & Self::holder_flags() != 0 && !mutant("leftover.seal_queued");
        if held {
            record.revive();
        }
        if held || !head.is_condemned() || !record.seal(head) {
            let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
            return store.condemn_or_queue(&guard, record);
        }
        step("record.sealed");
        // If its newest version had been cleared, not removed, its end is noticed here.
        if let Some(value) = Self::newest_unaborted(record, top).and_then(NodeRef::visible) {
            let watermark = store.watermark(store.live(&guard));
            store.host.cleared(&guard, &record, value, watermark);
        }
        // SAFETY: sealed; freed a grace period from now.
        unsafe { store.index.unlink(&guard, NonNull::from(record.get())) };
        store.retire(&guard, record.get(), Self::free);
    }

    /// The last step: no guard can have found the record.
    unsafe fn free(record: *mut (), store: *const ()) {
        // SAFETY: retired by `seal` after it was unlinked.
        unsafe {
            let store = &*store.cast::<Self>();
            let record = NonNull::new_unchecked(record.cast::<Record<K, V>>());
            let is_held = || record.as_ref().flags() & flags::HELD != 0;
            claim(|| !is_held(), "freed although it is in the queue");
            let guard = store.pin();
            store.index.release(&guard, record);
            store.free_newest(record.as_ref());
            catch_panic(|| drop(record.as_ref().take_key()));
            store.records.give(record.cast());
        }
    }

    /// Frees what was on top of a record when it was sealed.
    ///
    /// # Safety
    /// A grace period has passed since, and nobody else does so.
    unsafe fn free_newest(&self, record: &Record<K, V>) {
        let mut next = record.head().node();
        // SAFETY: it went with the record, so nobody has access to it; what an aborted version was
        // put upon likewise, and what any other was put upon has gone before.
        unsafe {
            while let Some(node) = next.as_ref() {
                let (state, below) = (node.state(), record.prev_of(next).link().target());
                let pool = self.drop_contents(node);
                if !ptr::eq(next, record.inline_slot()) {
                    pool.give(NonNull::new_unchecked(next).cast());
                }
                next = if state.is_aborted() { below } else { ptr::null_mut() };
            }
        }
    }

    /// Releases what a value that was dropped, or is not kept, was tied to. Called once.
    pub fn release_bonds(&self, guard: &R::Guard<'_>, bonds: &Bonds) {
        bonds.inputs().iter().for_each(|input| self.release_input(guard, input));
        self.release_tags(guard, bonds.tags());
    }

    /// Releases the record of an input, which held it until now.
    pub fn release_input(&self, guard: &R::Guard<'_>, input: &Dependency) {
        let record = self.record_of(self.live(guard), input);
        record.let_go();
        self.condemn_or_queue(guard, record);
    }

    /// The record of an input, which holds it or has held it until now.
    #[inline(always)]
    pub fn record_of<'g>(&self, _: Live<'g>, input: &Dependency) -> RecordRef<'g, K, V> {
        // SAFETY: inputs of a store hold records of that store. Held until now, the record is not
        // reclaimed before a guard that is live now ends.
        unsafe { RecordRef::new(&*input.record::<Record<K, V>>()) }
    }

    /// A record that the caller holds, or has held until now.
    #[inline(always)]
    pub fn held<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        record: NonNull<Record<K, V>>,
    ) -> RecordRef<'g, K, V> {
        // SAFETY: as in `record_of`.
        unsafe { RecordRef::new(&*record.as_ptr()) }
    }
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Drops all keys and values that are still in the store.
    ///
    /// # Safety
    /// Nobody else uses the store, which is being dropped, and what was retired has been reclaimed.
    pub(super) unsafe fn drop_entries(&mut self) {
        let guard = self.reclaim.pin();
        for record in self.index.all_entries(&guard) {
            // SAFETY: exclusive. What lies above an end was not retired, and is dropped here, once.
            unsafe {
                let mut next = record.head().node();
                while !next.is_null() {
                    let link = record.prev_of(next).link();
                    catch_panic(|| (*next).drop_value());
                    drop((*next).take_bonds()); // What it held goes, too.
                    next = if link.is_end() { ptr::null_mut() } else { link.target() };
                }
                catch_panic(|| drop(record.take_key()));
            }
        }
    }
}
