//! The end of versions and records.
//!
//! **No record that a guard could have found alive may disappear during that guard**, because its
//! key would look absent although it was written meanwhile. So a record is first condemned: its
//! head gets a mark, which each writer that locates the record removes. After a grace period it is
//! sealed and unlinked, and after another one it is freed.

use super::{Host, Store};
use crate::chain::{Bonds, Chain, Dependency, Live, Node, NodeRef, Record, RecordRef, flags};
use crate::commit::{Descriptor, Entry, ReadAt, withdraw};
use crate::index::SlotPlace;
use crate::pool::Pool;
use crate::reclaim::Reclaim;
use crate::sync::hook::{claim, mutant, step};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

/// Runs user destructors. The panic hook has reported a panic of theirs. The panic ends here,
/// because it belongs to the value of another caller.
fn catch_panic(destroy: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(destroy));
}

/// The witnesses of a commit.
fn witnesses<K, V>(commit: &Descriptor<K, V>) -> impl Iterator<Item = &Entry<K, V>> {
    commit.entries().iter().filter(|entry| entry.cause.is_none())
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Retires a version that was superseded in `record`, or that ended with it.
    ///
    /// # Safety
    /// The version was taken out of the record's chain, and is retired only once.
    pub(super) unsafe fn retire_node(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: *mut Node<V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if ptr::eq(node, record.inline_slot()) {
                self.retire(guard, record, Self::reclaim_inline);
            } else {
                self.retire(guard, node, Self::reclaim_node);
            }
        }
    }

    /// Retires a commit's descriptor and its witnesses.
    ///
    /// # Safety
    /// No version names the descriptor any more, and it is retired only once.
    pub(super) unsafe fn retire_commit(
        &self,
        guard: &R::Guard<'_>,
        descriptor: *mut Descriptor<K, V>,
        has_witnesses: bool,
    ) {
        let reclaim = if has_witnesses { Self::reclaim_witnessed } else { Self::reclaim_commit };
        // SAFETY: the caller's promise.
        unsafe { self.retire(guard, descriptor, reclaim) };
    }

    /// The first step for a commit with witnesses: no thread can have the versions in hand that
    /// were the heads before the witnesses. The witnesses are retired in their turn, because a
    /// reader may stand on one.
    unsafe fn reclaim_witnessed(descriptor: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_commit`, which passed the store; a grace period has passed.
        // The witnesses hold their records, and are retired only here, once.
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
        // SAFETY: retired by `retire_commit`, which passed the store; a grace period has passed.
        unsafe { (*store.cast::<Self>()).descriptors.give(descriptor.cast()) };
    }

    unsafe fn reclaim_node(node: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_node`, which passed the store. The slot is from one of its
        // pools, and a grace period has passed.
        unsafe {
            let store = &*store.cast::<Self>();
            let node = NonNull::new_unchecked(node.cast::<Node<V>>());
            store.drop_contents(node.as_ref()).give(node.cast());
        }
    }

    /// Drops the contents of a version. Returns the pool of its memory, unless the version is in an
    /// inline slot.
    ///
    /// # Safety
    /// Nobody else has access to the version, and this is done once.
    #[inline(always)]
    pub(super) unsafe fn drop_contents(&self, node: &Node<V>) -> &Pool {
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
            self.drop_bonds(node);
            pool
        }
    }

    /// Drops the bonds of a version. Apart, as most versions have none.
    ///
    /// # Safety
    /// No other thread has access to the version. The caller does this once.
    #[inline(never)]
    unsafe fn drop_bonds(&self, node: &Node<V>) {
        // SAFETY: the caller's promise. The bonds were taken, so they are released only here.
        unsafe {
            if let Some(bonds) = node.take_bonds() {
                self.release_bonds(&self.pin(), &bonds);
            }
        }
    }

    unsafe fn reclaim_inline(record: *mut (), store: *const ()) {
        // SAFETY: as in `reclaim_node`. The record is not condemned while its inline slot is
        // neither free nor the head, so it is alive. (An eviction condemns it so, but revives it
        // under its guard if another thread has retired the version; see `go_on`.) Once the slot is
        // free, the guard keeps the record.
        unsafe {
            let store = &*store.cast::<Self>();
            let record = RecordRef::new(&*record.cast::<Record<K, V>>());
            store.drop_contents(&*record.inline_slot());
            let guard = store.pin();
            record.free_inline_slot();
            store.condemn_or_queue(&guard, record);
        }
    }

    /// Condemns a record that has no value and no older version that a view needs. Its removal
    /// begins.
    #[inline]
    pub fn try_condemn(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        let (head, top) = record.read_head();
        // Most records that come here have a value, or are condemned already.
        let has_value = || top.is_some_and(|top| top.state().is_value());
        if !head.is_condemned() && (!has_value() || self.order.watermark.is_raised()) {
            self.condemn(guard, record);
        }
    }

    #[inline(never)]
    fn condemn(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        loop {
            let (head, top) = record.read_head();
            if head.is_condemned() || head.is_sealed() || !self.is_dead(record, top) {
                return;
            }
            let slot_goes_too = Self::is_inline_on_top(record, top);
            let busy = Self::holder_flags() | flags::CONDEMNING | flags::PRUNING;
            // The holder of a flag that prevents it calls this again when it is done.
            let may =
                |now: u32| now & busy == 0 && (slot_goes_too || now & flags::INLINE_SLOT_FREE != 0);
            // This is a read-modify-write even if the record may not be condemned. The thread that
            // prevents it ends that by a read-modify-write of the same word. If that comes later,
            // it sees what this thread did before.
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
                    // SAFETY: this thread condemned the record, and `seal` looks again.
                    unsafe { self.retire(guard, record.get(), Self::seal) };
                }
                return;
            }
            let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
        }
    }

    /// The flags that say that a record is held.
    pub(super) fn holder_flags() -> u32 {
        let but = if mutant("room.fresh_unheld") { flags::FRESH } else { 0 };
        flags::HELD & !but
    }

    /// The newest version, or the one below it if the newest one was aborted. No version is
    /// installed above an aborted one without skipping it, so the version below an aborted one is
    /// not aborted.
    fn newest_unaborted<'g>(
        record: RecordRef<'g, K, V>,
        top: Option<NodeRef<'g, V>>,
    ) -> Option<NodeRef<'g, V>> {
        let top = top?;
        if !top.state().is_aborted() {
            return Some(top);
        }
        // SAFETY: the version below an aborted one is kept as long as the aborted one is the head.
        unsafe { record.prev_of(top).link().target().as_ref().map(|below| NodeRef::new(below)) }
    }

    /// Whether a record with this newest version is absent to all readers, now and as of any view.
    fn is_dead<'g>(&self, record: RecordRef<'g, K, V>, top: Option<NodeRef<'g, V>>) -> bool {
        let Some(newest) = Self::newest_unaborted(record, top) else { return true };
        let state = newest.state();
        state.is_committed()
            && record.prev_of(newest).link().is_end()
            && (state.is_tombstone() || self.cleared.is_cleared_for_all(state.version()))
    }

    /// Whether the version in the inline slot of `record` ends together with the record, if it is
    /// sealed with this version on top.
    fn is_inline_on_top<'g>(record: RecordRef<'g, K, V>, top: Option<NodeRef<'g, V>>) -> bool {
        let is_inline = |node: NodeRef<'_, V>| node.is(record.inline_slot());
        top.is_some_and(is_inline) || Self::newest_unaborted(record, top).is_some_and(is_inline)
    }

    /// Whether a note is left in the inline slot of a sealed record with this newest version. If it
    /// was committed and is elsewhere, there is no version in the slot any more.
    #[inline(always)]
    fn may_have_note<'g>(record: RecordRef<'g, K, V>, top: Option<NodeRef<'g, V>>) -> bool {
        top.is_some_and(|top| !top.is(record.inline_slot()) && top.state().is_committed())
    }

    /// The second step, a grace period after a record was condemned: seals the record if no writer
    /// came.
    unsafe fn seal(record: *mut (), store: *const ()) {
        // SAFETY: retired by `try_condemn`. A record lives until a grace period after it was
        // sealed, and only this call, one at a time, seals it.
        let (store, record) =
            unsafe { (&*store.cast::<Self>(), RecordRef::new(&*record.cast::<Record<K, V>>())) };
        let guard = store.pin();
        if !store.try_seal(&guard, record) {
            store.begin_again(&guard, record);
        }
    }

    /// Ends a cycle that did not seal the record, and condemns it again if it is dead.
    pub(super) fn begin_again(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        let _ = record.change_flags(|now| Some(now & !flags::CONDEMNING));
        self.condemn_or_queue(guard, record);
    }

    /// Seals a record that was condemned a grace period ago, unlinks it and retires it. Returns
    /// false if a writer came or somebody holds the record; then it is not condemned.
    ///
    /// The caller has the flag `CONDEMNING`.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub(super) fn try_seal(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) -> bool {
        let (head, top) = record.read_head();
        step("record.before_seal");
        // A thread that still had the record in hand when it was condemned may have queued it, or
        // may hold it. After that only a writer that removed the mark can have done so. The thread
        // that takes the record from the queue, or lets go, tries to condemn it again.
        if record.flags() & Self::holder_flags() != 0 && !mutant("leftover.seal_queued") {
            record.revive();
            return false;
        }
        if !head.is_condemned() {
            return false;
        }
        self.host.record_ends(record.hash());
        if !record.seal(head) {
            return false;
        }
        step("record.sealed");
        // If the newest version was cleared, not removed, its end is reported here.
        if let Some(value) = Self::newest_unaborted(record, top).and_then(NodeRef::visible) {
            let watermark = self.watermark(self.live(guard));
            self.host.cleared(guard, &record, value, watermark);
        }
        // SAFETY: the record is sealed by this call, and it is freed a grace period from now.
        unsafe {
            let place = self.index.unlink(guard, NonNull::from(record.get()));
            if Self::may_have_note(record, top) {
                record.leave_note(place.word());
            }
            self.retire(guard, record.get(), Self::free);
        }
        true
    }

    /// The last step: frees the record. No guard can have found it.
    unsafe fn free(record: *mut (), store: *const ()) {
        // SAFETY: retired by `seal` after it was unlinked.
        unsafe {
            let store = &*store.cast::<Self>();
            let record = RecordRef::new(&*record.cast::<Record<K, V>>());
            claim(|| record.flags() & flags::HELD == 0, "a queued record was freed");
            let guard = store.pin();
            let place = match Self::may_have_note(record, record.newest()) {
                true => SlotPlace::from_word(record.note()),
                false => SlotPlace::UNKNOWN,
            };
            store.index.prefetch_slot(&guard, place); // It arrives during the next steps.
            store.free_newest(record.get());
            catch_panic(|| drop(record.take_key()));
            let record = NonNull::from(record.get());
            store.index.release_at(&guard, record, place);
            store.records().give(record.cast());
        }
    }

    /// Frees the versions that were the newest when a record was sealed.
    ///
    /// # Safety
    /// A grace period has passed since, and this is done once.
    #[inline(always)]
    unsafe fn free_newest(&self, record: &Record<K, V>) {
        let mut next = record.head().node();
        // SAFETY: the newest version ended with the record, so nobody has access to it. The same is
        // true of the version below an aborted one. The version below any other one was retired
        // before.
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

    /// Condemns a record after a holder let go of it, or after its inline slot became free. A
    /// record with a cleared value is queued for a later write, which sweeps it out.
    ///
    /// This may run in a reclamation step in the middle of a read, where no commit can be made. And
    /// a retired object may stay for long with a thread that only reads, while the listener waits
    /// for the cleared value.
    pub fn condemn_or_queue(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if mutant("sweep.forgets") || self.cleared_value(record).is_none() {
            return self.try_condemn(guard, record);
        }
        // If the record is condemned by now, it is not sealed before the guard ends, and so it is
        // not sealed with this flag.
        if !record.is_ending() {
            self.queue(guard, record);
        }
    }

    /// The newest version of a record, if it is a value that was cleared.
    #[inline(always)]
    pub fn cleared_value<'g>(&self, record: RecordRef<'g, K, V>) -> Option<NodeRef<'g, V>> {
        if !self.order.watermark.is_raised() {
            return None;
        }
        let is_undecided = || record.top().is_some_and(|(_, state)| !state.is_committed());
        if mutant("sweep.unjudged") && is_undecided() {
            return None;
        }
        // A commit that has taken a number but is not stamped yet is stamped now, with that number
        // or a larger one.
        let live = record.live();
        self.order.resolve(record, ReadAt::newest(live)).ok()?.cleared()
    }

    /// The pool of a version's memory. The version is not in an inline slot.
    ///
    /// # Safety
    /// The version is not reclaimed yet.
    pub(super) unsafe fn pool_of(&self, node: &Node<V>) -> &Pool {
        // SAFETY: the caller's promise.
        let is_derived = unsafe { node.bonds() }.is_some();
        match node.state().has_terms() {
            true if is_derived => &self.derived,
            true => &self.conditional,
            false => &self.nodes,
        }
    }

    /// Releases the dependencies of a value that was dropped or is not kept.
    ///
    /// # Safety
    /// The bonds held their records and cells until now, and nobody releases them again.
    pub unsafe fn release_bonds(&self, guard: &R::Guard<'_>, bonds: &Bonds) {
        // SAFETY: the caller's promise.
        unsafe {
            bonds.inputs().iter().for_each(|input| self.release_input(guard, input));
            self.release_tags(guard, bonds.tags());
        }
    }

    /// Releases the record of an input.
    ///
    /// # Safety
    /// The input held its record until now, and nobody releases it again.
    pub unsafe fn release_input(&self, guard: &R::Guard<'_>, input: &Dependency) {
        let record = self.record_of(self.live(guard), input);
        record.let_go();
        self.condemn_or_queue(guard, record);
    }

    /// The record of an input, which holds it or has held it until now.
    #[inline(always)]
    pub fn record_of<'g>(&self, _: Live<'g>, input: &Dependency) -> RecordRef<'g, K, V> {
        // SAFETY: the inputs of a store hold records of that store. A record that was held until
        // now is not reclaimed before a guard that is live now ends.
        unsafe { RecordRef::new(&*input.record::<Record<K, V>>()) }
    }
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Drops all keys and values that are still in the store.
    ///
    /// # Safety
    /// Nobody else uses the store, which is being dropped, and nothing that was retired is
    /// reclaimed from now on.
    pub(super) unsafe fn drop_entries(&mut self) {
        let guard = self.reclaim.pin();
        for record in self.index.all_entries(&guard) {
            // SAFETY: the access is exclusive. Versions above an end were not retired, and are
            // dropped here, once.
            unsafe {
                let mut next = record.head().node();
                while !next.is_null() {
                    let link = record.prev_of(next).link();
                    catch_panic(|| (*next).drop_value());
                    // This walk also drops the records of the inputs.
                    drop((*next).take_bonds());
                    next = if link.is_end() { ptr::null_mut() } else { link.target() };
                }
                catch_panic(|| drop(record.take_key()));
            }
        }
    }
}
