//! What becomes of superseded versions: at once, when a view closes, or later.
//!
//! A version that was superseded and that views need **waits for one of them, the newest**, in that
//! one's list. When the view closes, the version goes on to the next older one that needs it; if
//! none does, it goes. So others pay nothing for what is held.

use super::{Host, Store};
use crate::chain::{Chain, NodeRef, Record, RecordRef, flags};
use crate::commit::{
    self, DeferredPrune, Drained, PruneOutcome, Stack, VersionStatus, ViewCursor, close_link,
};
use crate::reclaim::Reclaim;
use crate::sync::hook::{claim, mutant, step};
use std::ptr;

/// How often one claim of the right to prune goes over a chain before it leaves it to later writers.
const PRUNE_ROUNDS: usize = if cfg!(coeval_loom) { 1 } else { 2 };
/// In the place of a version's number: all of the record is to be pruned, or it is to be swept out.
/// The flag `DUE` keeps it.
const DUE: u64 = u64::MAX;

/// What later writers are to work off.
pub(super) struct Backlog {
    /// What waited for a view that has closed, and was too much for the closer; records that others
    /// came to prune all the time, or that are to be swept out.
    queue: Stack<PendingRemovals>,
    /// The cells of what waits, wherever it does.
    cells: Stack<DeferredPrune>,
}

/// Superseded versions and records that are to be seen to.
pub struct PendingRemovals {
    taken: Drained<DeferredPrune>,
    /// The version of the view that they waited for, if they did: what still needs them is no newer.
    closed: Option<u64>,
}

impl PendingRemovals {
    /// What waited for the view of this version, which was closed.
    pub(super) fn after(taken: Drained<DeferredPrune>, closed: u64) -> Self {
        Self { taken, closed: Some(closed) }
    }
}

impl Backlog {
    pub fn new() -> Self {
        Self { queue: Stack::new(), cells: Stack::new() }
    }

    /// The bytes of the queues.
    pub fn bytes(&self) -> usize {
        self.cells.bytes() + self.queue.bytes()
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Disposes of what `node`, a version of a commit of the caller's, superseded.
    #[inline]
    pub fn dispose_superseded(
        &self,
        guard: &R::Guard<'_>,
        record: RecordRef<'_, K, V>,
        node: NodeRef<'_, V>,
    ) {
        if self.views.none() {
            let retire = |node| self.retire_node(guard, &record, node);
            // SAFETY: committed; no view is registered, and later ones begin at its version or later.
            unsafe { commit::take_suffix(record.get(), node.get(), true, retire) };
            return;
        }
        self.dispose_beside_views(guard, record, node);
    }

    /// The same beside open views: one look at the newest of them that is older than `node`.
    #[cold]
    #[inline(never)]
    fn dispose_beside_views(
        &self,
        guard: &R::Guard<'_>,
        record: RecordRef<'_, K, V>,
        node: NodeRef<'_, V>,
    ) {
        let mut view = self.first_view_below(guard, node.state().version());
        if view.is_none() {
            let retire = |node| self.retire_node(guard, &record, node);
            // SAFETY: as in `dispose_superseded`.
            unsafe { commit::take_suffix(record.get(), node.get(), true, retire) };
            return;
        }
        // SAFETY: installed in this record, under the guard; what it superseded is kept likewise,
        // and decided.
        let version = unsafe {
            let before = record.get().prev_of(node.get()).link().target();
            close_link(record.get(), node.get());
            (*before).state().version()
        };
        if view.is_some_and(|view| version <= view.version()) {
            record.hold();
            let left = DeferredPrune { record: ptr::from_ref(record.get()).cast(), version };
            if self.defer_to_view(guard, left, &mut view) {
                return;
            }
            record.let_go();
        }
        self.prune_for(guard, record, Some(version));
    }

    /// The newest open view that is older than `version`, whose stamp was seen.
    pub(super) fn first_view_below<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        version: u64,
    ) -> Option<ViewCursor<'g>> {
        let retire = |place| self.retire_place(guard, place);
        // SAFETY: the guard is live, and places are retired by it.
        unsafe { self.views.first_below(&self.order.clock, version, retire) }
    }

    /// Has a clearing commit wait for a view that is older, to be [passed](super::ClearProgress::advance_to)
    /// when there is none any more. False if there is none now.
    pub fn await_views(&self, guard: &R::Guard<'_>, watermark: u64) -> bool {
        let mut view = self.first_view_below(guard, watermark);
        self.defer_to_view(
            guard,
            DeferredPrune { record: ptr::null(), version: watermark },
            &mut view,
        )
    }

    /// Has something wait for a view that needs it: this one, or one of the next. False if none
    /// does. For a clearing commit that is any that is older. The caller's hold of the record goes
    /// with it.
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

    /// Removes what no view can see, unless somebody is at it: then they go over it again.
    pub fn prune(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        self.prune_for(guard, record, None);
    }

    /// The same; or, if it is known what is to go, removes the version of that number, which no view
    /// needs.
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
            // Somebody who came meanwhile has left the chain to us: over all of it again, or, after
            // some rounds, to later writers, by the very step that ends our right to it.
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
            if let VersionStatus::Committed(state) = self.order.resolve::<K, V>(node) {
                let retire = |node| self.retire_node(guard, &record, node);
                if let Some(version) = known {
                    // SAFETY: the newest committed; we hold the right, and callers know that.
                    return unsafe { commit::take_out(record.get(), node.get(), version, retire) };
                }
                let view = self.first_view_below(guard, state.version());
                // SAFETY: the newest committed, seen so before the views; we hold the right.
                return unsafe { commit::prune(record.get(), node.get(), view, retire) };
            }
            // SAFETY: what an undecided or aborted version lies upon is kept by the guard.
            next =
                unsafe { record.prev_of(node).link().target().as_ref().map(|n| NodeRef::new(n)) };
        }
        PruneOutcome::Done
    }

    /// Queues a record for later writers, unless it is queued already.
    pub(super) fn queue(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if record.set_flags(flags::DUE) & flags::DUE == 0 {
            self.queue_flagged(guard, record);
        }
    }

    /// Queues a record, which has got its flag from the caller.
    fn queue_flagged(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        let due = DeferredPrune { record: ptr::from_ref(record.get()).cast(), version: DUE };
        let taken = self.backlog.cells.single(guard, due);
        self.defer(guard, PendingRemovals { taken, closed: None });
    }

    /// Leaves what is to be seen to for later writers.
    pub fn defer(&self, guard: &R::Guard<'_>, waiting: PendingRemovals) {
        if !waiting.taken.is_empty() {
            self.backlog.queue.push(guard, waiting);
        }
    }

    /// Whether nothing is left for later writers, a moment ago.
    #[inline(always)]
    pub fn has_no_backlog(&self) -> bool {
        self.backlog.queue.is_empty()
    }

    /// Takes something that was left.
    pub fn take_backlog(&self, guard: &R::Guard<'_>) -> Option<PendingRemovals> {
        self.backlog.queue.pop(&self.reclaim, guard)
    }

    /// Sees to `steps` of what waits, and puts the rest off. `sweep` is called for each record that
    /// is to be swept out if it was cleared.
    pub fn work_off(
        &self,
        guard: &R::Guard<'_>,
        waiting: PendingRemovals,
        steps: usize,
        sweep: impl Fn(RecordRef<'_, K, V>),
    ) {
        let PendingRemovals { mut taken, closed } = waiting;
        if taken.is_empty() {
            return;
        }
        let mut view = closed.and_then(|version| self.first_view_below(guard, version + 1));
        for _ in 0..steps {
            let next = self.backlog.cells.next(&self.reclaim, guard, &mut taken);
            let Some(left) = next else { return };
            self.process_removal(guard, left, &mut view, &sweep);
        }
        if !mutant("leftover.no_orphans") {
            self.defer(guard, PendingRemovals { taken, closed });
        }
    }

    fn process_removal<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        left: DeferredPrune,
        view: &mut Option<ViewCursor<'g>>,
        sweep: &impl Fn(RecordRef<'_, K, V>),
    ) {
        let record = ptr::NonNull::new(left.record.cast_mut().cast::<Record<K, V>>());
        // Its flag or a hold has kept it until now.
        let record = record.map(|record| self.held(guard, record));
        match record {
            Some(record) if left.version == DUE => {
                claim(|| record.flags() & flags::DUE != 0, "in the queue without its flag");
                // Before it is pruned: who comes from now on leaves it once more.
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
