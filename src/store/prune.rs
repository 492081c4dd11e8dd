//! The removal of superseded versions: at once, when a view closes, or later.
//!
//! A superseded version that views need **waits for the newest of these views**, in the list of
//! that view. When the view closes, the version goes on to the next older view that needs it. If
//! there is none, the version is removed. So operations without a part in this pay nothing for
//! versions that are kept.

use super::backlog::{DUE, PendingRemovals};
use super::{Host, Store};
use crate::chain::{Chain, HeldRecord, NodeRef, Record, RecordRef, flags};
use crate::commit::{self, DeferredPrune, PruneOutcome, VersionStatus, ViewCursor, close_link};
use crate::reclaim::Reclaim;
use crate::sync::hook::{claim, mutant, planted, step};
use std::ptr;

/// How often one holder of the right to prune goes over a chain before it leaves the chain to later
/// writers.
const PRUNE_ROUNDS: usize = if cfg!(coeval_loom) { 1 } else { 2 };

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Disposes of the version that `node` superseded, if there is one, beside open views. Looks
    /// only at the newest view that is older than `node`, which is of a commit of the caller.
    #[cold]
    #[inline(never)]
    pub(super) fn dispose_beside_views(
        &self,
        guard: &R::Guard<'_>,
        record: RecordRef<'_, K, V>,
        node: NodeRef<'_, V>,
    ) {
        if record.prev_of(node).link().target().is_null() {
            return;
        }
        let mut view = self.first_view_below(guard, node.state().version());
        if view.is_none() {
            // SAFETY: as in `dispose_superseded`.
            unsafe {
                let retire = |node| self.retire_node(guard, &record, node);
                return commit::take_suffix(record.get(), node.get(), true, retire);
            }
        }
        // SAFETY: the version was installed in this record under the guard. The guard also keeps
        // the version that it superseded, which is decided.
        let version = unsafe {
            let before = record.get().prev_of(node.get()).link().target();
            close_link(record.get(), node.get());
            (*before).state().version()
        };
        let too_far = u64::from(planted("prune.one_too_far"));
        if view.is_some_and(|view| version + too_far <= view.version()) {
            record.hold();
            let left = DeferredPrune { record: ptr::from_ref(record.get()).cast(), version };
            if self.defer_to_view(guard, left, &mut view) {
                return;
            }
            record.let_go();
        }
        self.prune_for(guard, record, Some(version));
    }

    /// The newest open view that is older than `version`. The caller has seen the stamp of that
    /// version.
    pub(super) fn first_view_below<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        version: u64,
    ) -> Option<ViewCursor<'g>> {
        // SAFETY: the guard is live, and places are retired through it, each once.
        unsafe {
            let retire = |place| self.retire_place(guard, place);
            self.views.first_below(&self.order.clock, version, retire)
        }
    }

    /// Defers a clearing commit until no older view is open; then the store
    /// [advances](super::ClearProgress::advance_to) to it. Returns false if there is no such view
    /// now.
    pub fn await_views(&self, guard: &R::Guard<'_>, watermark: u64) -> bool {
        let mut view = self.first_view_below(guard, watermark);
        self.defer_to_view(
            guard,
            DeferredPrune { record: ptr::null(), version: watermark },
            &mut view,
        )
    }

    /// Adds a removal to the list of a view that needs the version: `view` or an older one. Returns
    /// false if no view needs it. A clearing commit waits for any older view. The caller's hold of
    /// the record goes to the list.
    fn defer_to_view<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        left: DeferredPrune,
        view: &mut Option<ViewCursor<'g>>,
    ) -> bool {
        while let Some(found) = *view {
            if found.version() < left.version && !left.record.is_null() {
                return false;
            }
            if self.backlog.cells.push_unless_closed(guard, found.waiting(), left) {
                return true;
            }
            *view = found.next();
        }
        false
    }

    /// Removes the versions that no view can see. If another thread is pruning the record, that
    /// thread prunes it again.
    pub fn prune(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        self.prune_for(guard, record, None);
    }

    /// The same; or, if `known` is given, removes the version of that number, which no view needs.
    fn prune_for(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>, mut known: Option<u64>) {
        let claimed = record.change_flags(|now| {
            let busy = now & flags::PRUNING != 0;
            let again = if mutant("prune.no_again") { 0 } else { flags::PRUNE_AGAIN };
            Some(now | if busy { again } else { flags::PRUNING })
        });
        if claimed.is_ok_and(|before| before & flags::PRUNING != 0) {
            return;
        }
        for round in 1.. {
            step("prune.claimed");
            let out = self.prune_once(guard, record, known.take());
            // A thread that came meanwhile left the chain to this one. This thread prunes the whole
            // chain again, or, after some rounds, leaves it to later writers by the same step that
            // ends its right.
            let is_left = |now| now & flags::PRUNE_AGAIN != 0 || out == PruneOutcome::Later;
            let released = record.change_flags(|now| match is_left(now) {
                false => Some(now & !flags::PRUNING),
                true if out == PruneOutcome::Done && round < PRUNE_ROUNDS => None,
                true => Some(now & !(flags::PRUNING | flags::PRUNE_AGAIN) | flags::DUE),
            });
            if let Ok(before) = released {
                if is_left(before) && before & flags::DUE == 0 {
                    self.queue_flagged(guard, record);
                }
                break;
            }
            let _ = record.change_flags(|now| Some(now & !flags::PRUNE_AGAIN));
        }
        step("prune.released");
        self.try_condemn(guard, record);
    }

    fn prune_once(
        &self,
        guard: &R::Guard<'_>,
        record: RecordRef<'_, K, V>,
        known: Option<u64>,
    ) -> PruneOutcome {
        let mut next = record.newest();
        while let Some(node) = next {
            if let VersionStatus::Committed(state) = self.order.status::<K, V>(node) {
                // SAFETY: the node is the newest committed version, seen before the views, this
                // thread holds the right, and callers know that no view needs a `known` version.
                // What is taken out is passed once.
                return unsafe {
                    let retire = |node| self.retire_node(guard, &record, node);
                    match known {
                        Some(known) => commit::take_out(record.get(), node.get(), known, retire),
                        None => {
                            let view = self.first_view_below(guard, state.version());
                            commit::prune(record.get(), node.get(), view, retire)
                        }
                    }
                };
            }
            // SAFETY: the guard keeps the version below an undecided or aborted one.
            next =
                unsafe { record.prev_of(node).link().target().as_ref().map(|n| NodeRef::new(n)) };
        }
        PruneOutcome::Done
    }

    /// Processes up to `steps` removals, and defers the rest. Returns how many of the steps are left.
    /// `sweep` is called for each record that is to be swept out if it was cleared.
    pub fn work_off(
        &self,
        guard: &R::Guard<'_>,
        waiting: PendingRemovals,
        steps: usize,
        sweep: impl Fn(RecordRef<'_, K, V>),
    ) -> usize {
        let PendingRemovals { mut taken, closed } = waiting;
        if taken.is_empty() {
            return steps;
        }
        let mut view = closed.and_then(|version| self.first_view_below(guard, version + 1));
        for done in 0..steps {
            let next = self.backlog.cells.next(&self.reclaim, guard, &mut taken);
            let Some(left) = next else { return steps - done };
            self.process_removal(guard, left, &mut view, &sweep);
        }
        if !mutant("leftover.no_orphans") {
            self.defer(guard, PendingRemovals { taken, closed });
        }
        0
    }

    fn process_removal<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        left: DeferredPrune,
        view: &mut Option<ViewCursor<'g>>,
        sweep: &impl Fn(RecordRef<'_, K, V>),
    ) {
        let record = ptr::NonNull::new(left.record.cast_mut().cast::<Record<K, V>>());
        // SAFETY: the record's flag, or a hold, has kept it until now.
        let record = record.map(|record| unsafe { HeldRecord::new(record) });
        let record = record.map(|record| record.kept(self.live(guard)));
        match record {
            Some(record) if left.version == DUE => {
                claim(|| record.flags() & flags::DUE != 0, "a queued record without its flag");
                // The flag is cleared before the record is pruned: from now on another thread may
                // queue the record again.
                record.clear_flags(flags::DUE);
                self.prune(guard, record);
                sweep(record);
            }
            _ if self.defer_to_view(guard, left, view) => {}
            Some(record) => {
                self.prune_for(guard, record, Some(left.version));
                record.let_go();
                self.condemn_or_queue(guard, record);
            }
            None => _ = self.cleared.advance_to(left.version),
        }
    }
}
