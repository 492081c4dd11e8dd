//! Upkeep, in bounded steps by whoever writes or closes a view: what superseded versions leave behind.

use super::Engine;
use crate::chain::{Chain, Node, Record, flags};
use crate::commit::{self, Judged, Registered, Stack, Taken};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::sync::hook::{claim, mutant, step};
use crate::sync::{AtomicUsize, Ordering};

/// How many leftover records a closing view goes over.
const CLOSING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 256 };
/// How many a write goes over.
const WRITING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// How often one claim of the right to prune goes over a chain before it leaves it to later writers.
const PRUNE_ROUNDS: usize = if cfg!(coeval_loom) { 1 } else { 2 };

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

/// A record in a queue. The flag that says so keeps it from being removed.
pub(super) struct Queued<K, V> {
    pub record: *const Record<K, V>,
    pub flag: u32,
}

// SAFETY: a record is shared between threads anyway, and is kept by its flag.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Queued<K, V> {}

/// Records that are to be pruned, each at most once for each flag.
pub(super) struct Leftover<K, V> {
    /// Those with versions that only a view which is open still needs: flag `QUEUED`.
    pub waiting: Stack<Queued<K, V>>,
    /// What later writers are to go over: what waited when a view closed, and was too much for the closer;
    /// records that others came to prune all the time, or that are to be swept out: flag `DUE`.
    pub orphans: Stack<Taken<Queued<K, V>>>,
}

impl<K, V> Leftover<K, V> {
    pub fn new() -> Self {
        Self { waiting: Stack::new(), orphans: Stack::new() }
    }

    /// Bytes of the queues.
    pub fn bytes(&self) -> usize {
        self.waiting.bytes() + self.orphans.bytes()
    }

    /// Leaves a record to later writers.
    pub fn leave<G>(&self, guard: &G, record: Queued<K, V>) {
        self.orphans.push(guard, self.waiting.one(guard, record));
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
        // SAFETY: installed in this record, under the guard.
        let prev = unsafe { record.prev_of(node) };
        loop {
            let link = prev.link();
            if !link.is_open() || prev.replace(link, link.closed()) {
                break;
            }
        }
        self.prune(guard, record);
    }

    /// Removes what no view can see, unless somebody is at it: then they go over it again.
    pub fn prune(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        let claimed = record.change_flags(|now| {
            let busy = now & flags::PRUNING != 0;
            let again = if mutant("prune.no_again") { 0 } else { flags::PRUNE_AGAIN };
            Some(now | if busy { again } else { flags::PRUNING })
        });
        if claimed.is_ok_and(|before| before & flags::PRUNING != 0) {
            return;
        }
        let closings = self.views.closings();
        let mut queued = false;
        for round in 1.. {
            let _ = record.change_flags(|now| Some(now & !flags::PRUNE_AGAIN));
            step("prune.claimed");
            let left = self.prune_once(guard, record);
            if left {
                queued |= self.queue(guard, record);
            }
            // Somebody who came meanwhile has left the chain to us: over it again, or, after some
            // rounds, to later writers, by the very step that ends our right to it. Not to a view
            // that closes: what was left need not wait for any.
            let released = record.change_flags(|now| match now & flags::PRUNE_AGAIN {
                0 => Some(now & !flags::PRUNING),
                _ if round < PRUNE_ROUNDS => None,
                _ => Some(now & !(flags::PRUNING | flags::PRUNE_AGAIN) | flags::DUE),
            });
            if let Ok(before) = released {
                if before & flags::PRUNE_AGAIN != 0 && before & flags::DUE == 0 {
                    let record = Queued { record, flag: flags::DUE };
                    if mutant("leftover.due_waits") {
                        self.leftover.waiting.push(guard, record);
                    } else {
                        self.leftover.leave(guard, record);
                    }
                }
                break;
            }
        }
        step("prune.released");
        if queued && self.may_have_closed_since(closings) {
            // The view that it waits for may have closed before it was in the queue.
            self.adopt_waiting(guard, WRITING_STEPS);
        }
        self.try_condemn(guard, record);
    }

    fn may_have_closed_since(&self, closings: u64) -> bool {
        let closings = if mutant("leftover.count_late") { self.views.closings() } else { closings };
        let unchecked = mutant("leftover.no_recheck");
        !unchecked && (self.views.count() == 0 || self.views.closings() != closings)
    }

    fn prune_once(&self, guard: &R::Guard<'_>, record: &Record<K, V>) -> bool {
        let mut next = record.head().node();
        while !next.is_null() {
            // SAFETY: reached from the head under the guard.
            let node = unsafe { &*next };
            // SAFETY: as above.
            if let Judged::Committed(_) = unsafe { self.order.judge::<K, V>(node) } {
                let seen = self.views.seen();
                let retire = |node| self.retire_node(guard, record, node);
                // SAFETY: the newest committed, seen so before the views; we hold the right.
                return unsafe { commit::prune(record, node, &seen, retire) };
            }
            // SAFETY: as above.
            next = unsafe { record.prev_of(node) }.link().target();
        }
        false
    }

    /// Has a record wait for a view to close, unless it does. True if we did.
    fn queue(&self, guard: &R::Guard<'_>, record: &Record<K, V>) -> bool {
        let twice = mutant("leftover.queue_twice");
        let set = record
            .change_flags(|now| (twice || now & flags::QUEUED == 0).then_some(now | flags::QUEUED));
        if set.is_ok() {
            step("leftover.flagged");
            self.leftover.waiting.push(guard, Queued { record, flag: flags::QUEUED });
        }
        set.is_ok()
    }

    /// Goes over `steps` of the records that wait for a view, and leaves the others to later writers.
    pub(super) fn adopt_waiting(&self, guard: &R::Guard<'_>, steps: usize) {
        let taken = self.leftover.waiting.take_all();
        step("leftover.taken");
        self.go_over(guard, taken, steps);
    }

    pub(super) fn go_over(
        &self,
        guard: &R::Guard<'_>,
        mut taken: Taken<Queued<K, V>>,
        steps: usize,
    ) {
        for _ in 0..steps {
            let next = self.leftover.waiting.next(&self.reclaim, guard, &mut taken);
            let Some(Queued { record, flag }) = next else { return };
            // SAFETY: its flag has kept it until now, and our guard does from now on.
            let record = unsafe { &*record };
            claim(|| record.flags() & flag != 0, "in the queue without its flag");
            let unflag = || record.change_flags(|now| Some(now & !flag));
            let late = mutant("leftover.unflag_late");
            let _ = (!late).then(unflag);
            self.prune(guard, record);
            let _ = late.then(unflag);
            // Not what waited for a view: closing one is no commit.
            if flag == flags::DUE {
                self.sweep_out(guard, record);
            }
        }
        if !taken.is_empty() && !mutant("leftover.no_orphans") {
            self.leftover.orphans.push(guard, taken);
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
        let version = view.version();
        if !self.views.close(view) {
            return false;
        }
        self.record(EventKind::ViewClosed, None, Some(version));
        self.adopt_waiting(guard, CLOSING_STEPS);
        // SAFETY: a guard is live.
        unsafe {
            let retire = |node| self.retire_era(guard, node);
            self.order.floor.trim(&self.order.clock, &self.views, retire);
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
            if let Some(taken) = self.leftover.orphans.pop(&self.reclaim, &guard) {
                self.go_over(&guard, taken, WRITING_STEPS);
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
