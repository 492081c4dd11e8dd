//! Upkeep, in bounded steps by whoever writes or closes a view: what superseded versions leave behind.

use super::Engine;
use crate::chain::{Chain, Node, Record, flags};
use crate::commit::{self, Judged, Left, Older, Out, Registered, Stack, Taken, close_link};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::sync::hook::{claim, mutant, step};
use crate::sync::{AtomicUsize, Ordering};

/// Over how much of what waited for it a closing view goes.
const CLOSING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 256 };
/// Over how much a write goes.
const WRITING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// How often one claim of the right to prune goes over a chain before it leaves it to later writers.
const PRUNE_ROUNDS: usize = if cfg!(coeval_loom) { 1 } else { 2 };
/// In the place of a version's number: all of the record is to be pruned, or it is to be swept out. The flag `DUE` keeps
/// it.
const DUE: u64 = u64::MAX;

/// What later writes are to see to, beside what is in queues.
pub struct Due(AtomicUsize);

/// The parts of that.
pub mod due {
    /// There was a deadline at some time: without one no write looks at the clock.
    pub const TIME: usize = 1;
    /// The weight was found above the bound.
    pub const ROOM: usize = 2;
}

impl Due {
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Whether there is nothing. What the thread itself has set it finds.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0 // Relaxed: a hint; who does it looks again.
    }

    pub fn is_set(&self, what: usize) -> bool {
        self.0.load(Ordering::Relaxed) & what != 0 // Relaxed: likewise.
    }

    /// By a read-modify-write also if it is set: see `clear`.
    pub fn set(&self, what: usize) {
        // Release: pairs with `clear`.
        self.0.fetch_or(what, Ordering::AcqRel);
    }

    /// Whoever sets it before this has it done by us, who see what he saw; who does so later, sets it anew.
    pub fn clear(&self, what: usize) {
        let relaxed = mutant("room.clear_relaxed");
        // Acquire: pairs with `set`.
        let order = if relaxed { Ordering::Relaxed } else { Ordering::AcqRel };
        self.0.fetch_and(!what, order);
    }
}

/// What is to go later.
///
/// A version that was superseded and that views need **waits for one of them, the newest**, in that one's list. When it
/// closes, the version goes on to the next older one that needs it; if none does, it goes. So others pay nothing for what
/// is held.
pub(super) struct Leftover {
    /// What later writers are to go over: what waited for a view that has closed, and was too much for the closer;
    /// records that others came to prune all the time, or that are to be swept out.
    pub orphans: Stack<Orphans>,
    /// The cells of what waits, wherever it does.
    cells: Stack<Left>,
}

pub(super) struct Orphans {
    taken: Taken<Left>,
    /// The version of the view that it waited for, if it did: what still needs it is no newer.
    closed: Option<u64>,
}

impl Leftover {
    pub fn new() -> Self {
        Self { orphans: Stack::new(), cells: Stack::new() }
    }

    /// Bytes of the queues.
    pub fn bytes(&self) -> usize {
        self.cells.bytes() + self.orphans.bytes()
    }
}

/// Dropped by a panic in an operation, when its guard is gone, collects: it has retired the records that it made.
pub(super) struct Unwound<'e, K, V, S, R: Reclaim>(&'e Engine<K, V, S, R>);

impl<K, V, S, R: Reclaim> Drop for Unwound<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.0.collect_some();
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Disposes of what `node`, a version of a commit of ours, superseded.
    pub(super) fn dispose_below(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: &Node<V>,
    ) {
        if self.views.none() {
            let retire = |node| self.retire_node(guard, record, node);
            // SAFETY: committed; no view is registered, and later ones begin at its version or later.
            unsafe { commit::take_suffix(record, node, true, retire) };
            return;
        }
        self.dispose_beside_views(guard, record, node);
    }

    /// The same beside open views: one look at the newest of them that is older than `node`.
    #[cold]
    #[inline(never)]
    fn dispose_beside_views(&self, guard: &R::Guard<'_>, record: &Record<K, V>, node: &Node<V>) {
        let mut view = self.first_view_below(guard, node.state().version());
        if view.is_none() {
            let retire = |node| self.retire_node(guard, record, node);
            // SAFETY: as in `dispose_below`.
            unsafe { commit::take_suffix(record, node, true, retire) };
            return;
        }
        // SAFETY: installed in this record, under the guard; what it superseded is kept likewise, and decided.
        let version = unsafe {
            let before = record.prev_of(node).link().target();
            close_link(record, node);
            (*before).state().version()
        };
        if view.is_some_and(|view| version <= view.version()) {
            record.hold();
            let left = Left { record: std::ptr::from_ref(record).cast(), version };
            if self.wait_for(guard, left, &mut view) {
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
    ) -> Option<Older<'g>> {
        let retire = |place| self.retire_place(guard, place);
        // SAFETY: the guard is live, and places are retired by it.
        unsafe { self.views.first_below(&self.order.clock, version, retire) }
    }

    /// Has something wait for a view that needs it: this one, or one of the next. False if none does. For a clearing
    /// commit that is any that is older. The caller's hold of the record goes with it.
    pub(super) fn wait_for<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        left: Left,
        view: &mut Option<Older<'g>>,
    ) -> bool {
        while let Some(found) = *view {
            if found.version() < left.version && !left.record.is_null() {
                return false;
            }
            if self.leftover.cells.shelve(guard, found.waiting(), left) {
                return true;
            }
            *view = found.next();
        }
        false
    }

    /// Removes what no view can see, unless somebody is at it: then they go over it again.
    pub fn prune(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        self.prune_for(guard, record, None);
    }

    /// The same; or, if it is known what is to go, removes the version of that number, which no view needs.
    fn prune_for(&self, guard: &R::Guard<'_>, record: &Record<K, V>, mut known: Option<u64>) {
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
            // Somebody who came meanwhile has left the chain to us: over all of it again, or, after some
            // rounds, to later writers, by the very step that ends our right to it.
            let is_left = |now| now & flags::PRUNE_AGAIN != 0 || out == Out::Later;
            let released = record.change_flags(|now| match is_left(now) {
                false => Some(now & !flags::PRUNING),
                true if out == Out::Done && round < PRUNE_ROUNDS => None,
                true => Some(now & !(flags::PRUNING | flags::PRUNE_AGAIN) | flags::DUE),
            });
            if let Ok(before) = released {
                if is_left(before) && before & flags::DUE == 0 {
                    self.orphan(guard, record);
                }
                break;
            }
            let _ = record.change_flags(|now| Some(now & !flags::PRUNE_AGAIN));
        }
        step("prune.released");
        self.try_condemn(guard, record);
    }

    fn prune_once(&self, guard: &R::Guard<'_>, record: &Record<K, V>, known: Option<u64>) -> Out {
        let mut next = record.head().node();
        while !next.is_null() {
            // SAFETY: reached from the head under the guard.
            let node = unsafe { &*next };
            // SAFETY: as above.
            if let Judged::Committed(state) = unsafe { self.order.judge::<K, V>(node) } {
                let retire = |node| self.retire_node(guard, record, node);
                if let Some(version) = known {
                    // SAFETY: the newest committed; we hold the right, and callers know that.
                    return unsafe { commit::take_out(record, node, version, retire) };
                }
                let view = self.first_view_below(guard, state.version());
                // SAFETY: the newest committed, seen so before the views; we hold the right.
                return unsafe { commit::prune(record, node, view, retire) };
            }
            // SAFETY: as above.
            next = unsafe { record.prev_of(next) }.link().target();
        }
        Out::Done
    }

    /// Leaves a record to later writers, unless it is left already.
    pub(super) fn leave_due(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        if record.set_flags(flags::DUE) & flags::DUE == 0 {
            self.orphan(guard, record);
        }
    }

    /// Leaves a record, which has got its flag from the caller, to later writers.
    fn orphan(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        let due = Left { record: std::ptr::from_ref(record).cast(), version: DUE };
        let taken = self.leftover.cells.one(guard, due);
        self.leftover.orphans.push(guard, Orphans { taken, closed: None });
    }

    /// Goes over `steps` of what is left, and leaves the rest to later writers.
    pub(super) fn go_over(&self, guard: &R::Guard<'_>, orphans: Orphans, steps: usize) {
        let Orphans { mut taken, closed } = orphans;
        if taken.is_empty() {
            return;
        }
        let mut view = closed.and_then(|version| self.first_view_below(guard, version + 1));
        for _ in 0..steps {
            let next = self.leftover.cells.next(&self.reclaim, guard, &mut taken);
            let Some(left) = next else { return };
            self.go_over_one(guard, left, &mut view);
        }
        if !taken.is_empty() && !mutant("leftover.no_orphans") {
            self.leftover.orphans.push(guard, Orphans { taken, closed });
        }
    }

    fn go_over_one<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        left: Left,
        view: &mut Option<Older<'g>>,
    ) {
        // SAFETY: its flag or a hold has kept it until now, and our guard does from now on.
        let record = unsafe { left.record.cast::<Record<K, V>>().as_ref() };
        match record {
            Some(record) if left.version == DUE => {
                claim(|| record.flags() & flags::DUE != 0, "in the queue without its flag");
                // Before it is pruned: who comes from now on leaves it once more.
                record.clear_flags(flags::DUE);
                self.prune(guard, record);
                self.sweep_out(guard, record);
            }
            _ if self.wait_for(guard, left, view) => {}
            Some(record) => {
                self.prune_for(guard, record, Some(left.version));
                record.let_go();
                self.condemn_or_leave(guard, record);
            }
            None => _ = self.sweep.pass(left.version),
        }
    }

    /// Closes a view.
    pub fn close(&self, view: Registered) {
        if self.close_within(&self.reclaim.pin(), view) {
            self.collect_some();
            self.tell();
        }
    }

    /// The same in the middle of an operation, which sees to the rest when it ends. False if others hold the view.
    pub(super) fn close_within(&self, guard: &R::Guard<'_>, view: Registered) -> bool {
        let (version, retire) = (view.version(), |place| self.retire_place(guard, place));
        // SAFETY: the guard is live, and places are retired by it.
        let Some(taken) = (unsafe { self.views.close(view, retire) }) else { return false };
        self.record(EventKind::ViewClosed, None, Some(version));
        step("leftover.taken");
        self.go_over(guard, Orphans { taken, closed: Some(version) }, CLOSING_STEPS);
        if self.order.floor.is_raised() {
            let retire_era = |node| self.retire_era(guard, node);
            // SAFETY: a guard is live.
            unsafe { self.order.floor.trim(&self.order.clock, &self.views, retire_era, retire) };
        }
        true
    }

    /// Ends an operation that has retired something, and is no write, by a bounded part of what that calls for. Does
    /// nothing under a guard: then an outer operation does.
    pub(super) fn collect_some(&self) {
        self.reclaim.collect();
    }

    /// For an operation in which users' code runs when records have been located: to be forgotten if it does not panic.
    pub(super) fn unless_it_panics(&self) -> Unwound<'_, K, V, S, R> {
        Unwound(self)
    }

    #[inline(never)]
    fn see_to_due(&self) {
        if self.due.is_set(due::ROOM) {
            self.make_up();
        }
        if self.due.is_set(due::TIME) {
            self.expire_due();
        }
    }

    /// A bounded part of the upkeep that is due. Called after each write, without a guard of its own.
    pub fn tend(&self) {
        if !self.leftover.orphans.is_empty() {
            let guard = self.reclaim.pin();
            if let Some(orphans) = self.leftover.orphans.pop(&self.reclaim, &guard) {
                self.go_over(&guard, orphans, WRITING_STEPS);
            }
        }
        if self.order.floor.is_raised() {
            self.sweep();
        }
        if !self.due.is_empty() {
            self.see_to_due();
        }
        {
            let guard = self.reclaim.pin();
            // Inserts move the index along by themselves; other writes do it here.
            self.index.assist(&self.reclaim, &guard);
        }
        self.reclaim.collect();
        self.tell();
    }
}
