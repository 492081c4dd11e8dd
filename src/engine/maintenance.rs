//! Maintenance in bounded steps. Each write does some, and so does the closing of a view.

use super::Engine;
use super::collect::MAX_WALKS;
use super::expire::Scheduler;
use crate::expiry::{DueOutcome, Scheduled, Timed};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::PendingRemovals;
use crate::sync::hook::mutant;
use crate::sync::time::NEVER;
use crate::sync::{AtomicUsize, Ordering};

/// The number of backlog items that the closing of a view works off.
pub(super) const CLOSING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 16 };
/// The number of backlog items that a write works off, besides one for each write of a commit of
/// several. So writers work off more than they add, and none of them pauses for long.
const WRITING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 2 };
/// For each of this many lists in the backlog, a write works off as many items once more. An item
/// is handed on to an older view that needs it, so several views may leave it to writers in turn.
const FEW_LISTS: usize = 2;
/// With many lists, a write works off at most this many items, or at most [`MOST_TIMES`] as many as
/// with none.
const MOST_STEPS: usize = 192;
const MOST_TIMES: usize = 8;
/// The most entries that a write takes out of the timing wheel.
const EXPIRING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 16 };

/// Work for later writes, apart from the work in queues.
pub struct DueWork(AtomicUsize);

/// The kinds of due work.
pub mod due {
    /// There was a deadline at some time. Without one, no write reads the time.
    pub const TIME: usize = 1;
    /// The weight was found above the bound.
    pub const ROOM: usize = 2;
    /// There may be values that tags or inputs have ended.
    pub const ENDED: usize = 4;
}

impl DueWork {
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Returns whether no work is due. A thread sees the marks that it has set itself.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        // Relaxed: a hint; the thread that does the work checks again
        self.0.load(Ordering::Relaxed) == 0
    }

    pub fn is_set(&self, what: usize) -> bool {
        self.0.load(Ordering::Relaxed) & what != 0 // Relaxed: a hint, as above
    }

    /// Sets a mark. Does a read-modify-write even if the mark is set, for the sake of `clear`.
    pub fn set(&self, what: usize) {
        // Release: the partner is the Acquire in `clear`.
        self.0.fetch_or(what, Ordering::AcqRel);
    }

    /// Clears a mark, before the work is done. If a thread set the mark before this, the caller
    /// does the work for it and sees what that thread saw. If a thread sets it later, the mark
    /// stays set.
    pub fn clear(&self, what: usize) {
        let relaxed = mutant("room.clear_relaxed");
        // Acquire: the partner is the Release in `set`.
        let order = if relaxed { Ordering::Relaxed } else { Ordering::AcqRel };
        self.0.fetch_and(!what, order);
    }
}

/// Several calls of [`maintain`](Engine::maintain) by one thread, without a commit of its own in
/// between, of which the last one said that there is more to do.
///
/// The first call begins the walk for ended values anew, so that it finds all that have ended
/// before. When it is over, another one begins, if values may have ended meanwhile. There is a most,
/// because other threads may go on to end values.
#[derive(Default)]
pub(super) struct MaintenanceRun {
    /// How many commits the thread had made after the last call.
    commits: u64,
    /// The number of walks that the run has begun.
    walks: usize,
}

/// Collects when a panic drops it, after the guard of the operation is gone: the operation has
/// retired the records that it made.
pub(super) struct CollectOnUnwind<'e, K, V, S, R: Reclaim>(&'e Engine<K, V, S, R>);

impl<K, V, S, R: Reclaim> Drop for CollectOnUnwind<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.0.collect_some();
    }
}

impl<K, V, S, R: Reclaim> Timed for Scheduler<'_, '_, K, V, S, R> {
    fn come_due(&self, entry: Handle, now: u64) -> DueOutcome {
        let Scheduler { engine, guard } = *self;
        let record = self.record(entry);
        while let Some(found) = engine.store.order.newest(record) {
            let Some(terms) = found.terms() else { break };
            if !terms.is_expired(now) {
                match terms.deadline() {
                    NEVER => break,
                    deadline => return DueOutcome::Reschedule(deadline),
                }
            }
            // Repeated only if a commit wrote the key in the meantime.
            if let Some(ended) = engine.end(guard, record, found.node(), RemovalCause::Expired) {
                ended.account();
                break;
            }
        }
        self.let_go(entry);
        DueOutcome::Release
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Works off one item of the backlog: mostly what waited for a view that the current operation
    /// opened and closed.
    pub(super) fn work_off_closed_view(&self, guard: &R::Guard<'_>) {
        if self.store.has_no_backlog() {
            return;
        }
        if let Some(waiting) = self.store.take_backlog(guard) {
            self.work_off(guard, waiting, CLOSING_STEPS);
        }
    }

    /// Works off `steps` of the backlog items, and puts the others back. Returns how many of the
    /// steps are left.
    pub(super) fn work_off(
        &self,
        guard: &R::Guard<'_>,
        waiting: PendingRemovals,
        steps: usize,
    ) -> usize {
        self.store.work_off(guard, waiting, steps, |record| self.sweep_out(guard, record))
    }

    /// Works off what a write is to work off of the backlog.
    #[cold]
    fn work_off_for_write(&self) {
        let guard = self.pin();
        let own = WRITING_STEPS + self.scratch.get().settled.get();
        let times = 1 + self.store.backlog_lists() / FEW_LISTS;
        let mut steps = own * times.min((MOST_STEPS / own).max(MOST_TIMES));
        while steps > 0
            && let Some(waiting) = self.store.take_backlog(&guard)
        {
            steps = self.work_off(&guard, waiting, steps);
        }
    }

    /// Lets reclamation do a bounded part of its work. Does nothing under a guard: then an outer
    /// operation does this.
    pub(super) fn collect_some(&self) {
        self.store.reclaim.collect();
    }

    /// Returns a value that collects if a panic drops it. It is for an operation in which user code
    /// runs after records were located. The operation forgets it at the end.
    pub(super) fn collect_on_unwind(&self) -> CollectOnUnwind<'_, K, V, S, R> {
        CollectOnUnwind(self)
    }

    /// Ends some of the values that expired by `now`. Returns whether there may be more.
    pub(super) fn expire_by(&self, now: u64) -> bool {
        if !self.due.is_set(due::TIME) || self.deadlines.wheel.is_idle(now) {
            return false;
        }
        let guard = self.pin();
        let scheduler = Scheduler { engine: self, guard: &guard };
        self.deadlines.wheel.advance(now, &scheduler, EXPIRING_STEPS) == EXPIRING_STEPS
    }

    #[inline(never)]
    fn do_due_work(&self) {
        if self.due.is_set(due::ROOM) {
            self.make_owed_room();
        }
        if self.due.is_set(due::TIME) {
            self.expire_by(self.timer.now());
        }
        if self.due.is_set(due::ENDED) {
            self.sweep_ended_if_it_pays();
        }
    }

    /// Does at most `steps` steps of maintenance, each about as much as a write does. Returns
    /// whether there is more to do that need not wait for other threads or for views.
    pub fn maintain(&self, steps: usize) -> bool {
        let unfinished = &self.scratch.get().unfinished;
        let goes_on = |run: &MaintenanceRun| run.commits == self.observers().own_commits();
        let (mut run, anew) = match unfinished.take().filter(goes_on) {
            Some(run) => (run, false),
            None => (MaintenanceRun::default(), true),
        };
        let has_more = self.maintain_in(&mut run, anew, steps);
        self.notify_listener(); // of what the last step has removed
        run.commits = self.observers().own_commits();
        unfinished.set(has_more.then_some(run));
        has_more
    }

    /// Begins a full walk if the run needs one and none is under way, or, if `anew`, in any case.
    /// Returns whether there is one.
    fn begins_walk(&self, run: &mut MaintenanceRun, anew: bool) -> bool {
        if !anew && self.is_walking_fully() {
            return true;
        }
        let begins = run.walks < MAX_WALKS && self.begin_full_walk(anew);
        run.walks += usize::from(begins);
        begins
    }

    fn maintain_in(&self, run: &mut MaintenanceRun, anew: bool, steps: usize) -> bool {
        let mut sweeps = self.begins_walk(run, anew);
        if self.due.is_set(due::ROOM) {
            // The bound may have become smaller than what this thread has added last.
            self.clear_fresh(&self.pin());
        }
        for _ in 0..steps {
            let (retired, weight) = (self.store.reclaim.retired(), self.weight_to_evict());
            self.tend();
            self.store.assist(&self.pin());
            if sweeps && !self.sweep_ended() {
                sweeps = self.begins_walk(run, false);
            }
            let is_idle = self.store.has_no_backlog()
                && !self.is_sweep_due()
                && self.weight_to_evict().is_none_or(|left| Some(left) >= weight)
                && self.observers().departures.is_empty();
            if is_idle && !sweeps && !self.expire_by(self.timer.now()) {
                // What is retired needs a few grace periods, each of which takes one step.
                let left = self.store.reclaim.retired();
                if left == 0 || left >= retired && !self.store.reclaim.reclaim_now() {
                    // What was removed meanwhile may have been the input of a value.
                    sweeps = self.begins_walk(run, false);
                    if !sweeps {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Does the same as [`tend`](Self::tend) after an operation that may have made a commit of
    /// several writes.
    pub fn tend_after_several(&self) {
        self.tend();
        self.scratch.get().settled.set(0);
    }

    /// Does a bounded part of the maintenance that is due. Runs after each write, without a guard
    /// of its own.
    pub fn tend(&self) {
        self.do_what_is_due();
        self.collect_some();
        self.notify_listener();
    }

    /// Does the same after an operation that has collected at its beginning.
    #[inline(always)]
    pub(super) fn tend_after_collecting(&self) {
        if cfg!(coeval_loom) {
            // A model has few writes, so no later one reclaims what this one has retired.
            return self.tend();
        }
        self.do_what_is_due();
        self.notify_listener();
    }

    #[inline(always)]
    fn do_what_is_due(&self) {
        if !self.store.has_no_backlog() {
            self.work_off_for_write();
        }
        if self.store.order.watermark.is_raised() {
            self.sweep();
        }
        if !self.due.is_empty() {
            self.do_due_work();
        }
    }
}
