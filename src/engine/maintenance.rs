//! Maintenance, in bounded steps by whoever writes or closes a view.

use super::Engine;
use super::expire::Scheduler;
use crate::expiry::{DueOutcome, Scheduled, Timed};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{PendingRemovals, Snapshot};
use crate::sync::hook::mutant;
use crate::sync::time::NEVER;
use crate::sync::{AtomicUsize, Ordering};

/// How much of what waited for it a closing view sees to.
const CLOSING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 256 };
/// How much a write sees to.
const WRITING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// How many entries, at most, a write takes out of the wheel.
const EXPIRING_STEPS: usize = if cfg!(coeval_loom) { 1 } else { 16 };

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

/// Dropped by a panic in an operation, when its guard is gone, collects: it has retired the records
/// that it made.
pub(super) struct Unwound<'e, K, V, S, R: Reclaim>(&'e Engine<K, V, S, R>);

impl<K, V, S, R: Reclaim> Drop for Unwound<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.0.collect_some();
    }
}

/// The engine as the wheel sees it when an entry comes out, under a guard.
struct Expirer<'g, 'r, K, V, S, R: Reclaim>(Scheduler<'g, 'r, K, V, S, R>);

impl<K, V, S, R: Reclaim> Scheduled for Expirer<'_, '_, K, V, S, R> {
    fn hold(&self, entry: Handle) {
        self.0.hold(entry);
    }

    fn deadline_of(&self, entry: Handle) -> Option<u64> {
        self.0.deadline_of(entry)
    }

    fn let_go(&self, entry: Handle) {
        self.0.let_go(entry);
    }

    fn prefetch(&self, entry: Handle) {
        self.0.prefetch(entry);
    }
}

impl<K, V, S, R: Reclaim> Timed for Expirer<'_, '_, K, V, S, R> {
    fn come_due(&self, entry: Handle, now: u64) -> DueOutcome {
        let Scheduler { engine, guard } = self.0;
        let record = self.0.record(entry);
        while let Some(found) = engine.store.order.newest(record) {
            let Some(terms) = found.terms() else { break };
            if !terms.is_expired(now) {
                match terms.deadline() {
                    NEVER => break,
                    deadline => return DueOutcome::Reschedule(deadline),
                }
            }
            // Tried again only if somebody wrote the key meanwhile.
            if let Some(ended) = engine.end(guard, record, found.node(), RemovalCause::Expired) {
                ended.weigh();
                break;
            }
        }
        self.let_go(entry);
        DueOutcome::Release
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Closes a view.
    pub fn close(&self, snapshot: Snapshot) {
        let is_last = {
            let guard = self.pin();
            let waiting = self.store.close(&guard, snapshot);
            let is_last = waiting.is_some();
            if let Some(waiting) = waiting {
                self.work_off(&guard, waiting, CLOSING_STEPS);
                self.store.trim_clearings(&guard);
            }
            is_last
        };
        if is_last {
            self.collect_some();
            self.tell();
        }
    }

    /// Sees to what waited for a view that was opened and closed within an operation, which put it
    /// off.
    pub(super) fn work_off_closed(&self, guard: &R::Guard<'_>) {
        if self.store.has_no_backlog() {
            return;
        }
        if let Some(waiting) = self.store.take_backlog(guard) {
            self.work_off(guard, waiting, CLOSING_STEPS);
        }
    }

    /// Sees to `steps` of what waits, and puts the rest off.
    pub(super) fn work_off(&self, guard: &R::Guard<'_>, waiting: PendingRemovals, steps: usize) {
        self.store.work_off(guard, waiting, steps, |record| self.sweep_out(guard, record));
    }

    /// Ends an operation that has retired something, and is no write, by a bounded part of what that
    /// calls for. Does nothing under a guard: then an outer operation does.
    pub(super) fn collect_some(&self) {
        self.store.reclaim.collect();
    }

    /// Tells the listener what has left. With no guard live.
    #[inline]
    pub(super) fn tell(&self) {
        let observers = self.observers();
        if observers.config.may_have_listener() {
            let config = || observers.config.listening();
            let panics = observers
                .departures
                .tell(&self.store.reclaim, config, |config| config.listener.as_deref());
            observers.counters.mine().listener_panics.add(panics);
        }
    }

    /// For an operation in which users' code runs when records have been located: to be forgotten if
    /// it does not panic.
    pub(super) fn unless_it_panics(&self) -> Unwound<'_, K, V, S, R> {
        Unwound(self)
    }

    /// Ends some of the values whose time had come by `now`. Whether there may be more.
    pub(super) fn expire_by(&self, now: u64) -> bool {
        if !self.due.is_set(due::TIME) || self.deadlines.wheel.is_idle(now) {
            return false;
        }
        let guard = self.pin();
        let expirer = Expirer(Scheduler { engine: self, guard: &guard });
        self.deadlines.wheel.advance(now, &expirer, EXPIRING_STEPS) == EXPIRING_STEPS
    }

    #[inline(never)]
    fn see_to_due(&self) {
        if self.due.is_set(due::ROOM) {
            self.make_up();
        }
        if self.due.is_set(due::TIME) {
            self.expire_by(self.timer.now());
        }
    }

    /// A bounded part of the maintenance that is due. Called after each write, without a guard of
    /// its own.
    pub fn tend(&self) {
        if !self.store.has_no_backlog() {
            let guard = self.pin();
            if let Some(waiting) = self.store.take_backlog(&guard) {
                self.work_off(&guard, waiting, WRITING_STEPS);
            }
        }
        if self.store.order.watermark.is_raised() {
            self.sweep();
        }
        if !self.due.is_empty() {
            self.see_to_due();
        }
        // Inserts move the index along by themselves; other writes do it here.
        self.store.assist(&self.pin());
        self.store.reclaim.collect();
        self.tell();
    }
}
