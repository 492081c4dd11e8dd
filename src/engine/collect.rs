//! Full maintenance: everything of which each write does a bounded part. It is for callers that
//! want memory back now.

use super::Engine;
use crate::reclaim::Reclaim;

/// The number of rounds over everything that is due. A record is freed after three grace periods,
/// each of which takes one round: its version is reclaimed and the record condemned, then the
/// record is sealed, then freed. Each step may leave work for the next round.
const ROUNDS: usize = if cfg!(coeval_loom) { 4 } else { 16 };
/// The number of backlog lists that one round works off, and of notifications of the listener per
/// round. The limit is needed because other threads may add to both.
const MAX_LISTS: usize = if cfg!(coeval_loom) { 2 } else { 1 << 16 };

/// The most walks for values that have ended. Each finds the values whose inputs the walk before it
/// has removed.
pub(super) const MAX_WALKS: usize = 8;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Does all maintenance that is due, and reclaims all memory that nothing refers to. Returns
    /// the number of allocations that are still retired.
    pub fn collect(&self) -> usize {
        let reclaim = &self.store.reclaim;
        for _ in 0..MAX_WALKS {
            if !self.begin_full_walk(false) {
                break;
            }
            // As in `tend_fully`.
            let parts = self.ended.parts().max(self.store.parts(&self.pin()));
            let _ = (0..2 * parts).all(|_| self.sweep_ended());
        }
        for _ in 0..ROUNDS {
            self.tend_fully();
            let has_reclaimed = reclaim.reclaim_now();
            self.notify_all();
            if !has_reclaimed || (reclaim.retired() == 0 && self.store.has_no_backlog()) {
                break;
            }
        }
        reclaim.retired()
    }

    /// Does all the work of which [`tend`](Self::tend) does a bounded part.
    fn tend_fully(&self) {
        {
            let guard = self.pin();
            self.clear_fresh(&guard);
            for _ in 0..MAX_LISTS {
                let Some(waiting) = self.store.take_backlog(&guard) else { break };
                self.work_off(&guard, waiting, usize::MAX);
            }
            self.store.assist(&guard);
        }
        if self.store.order.watermark.is_raised() {
            // All parts, twice: another thread may just have begun the walk for an earlier clear.
            let parts = self.sweep.parts().max(self.store.parts(&self.pin()));
            let _ = (0..2 * parts).all(|_| self.sweep());
        }
        self.make_all_room();
        let now = self.timer.now();
        while self.expire_by(now) {}
    }

    fn notify_all(&self) {
        self.notify_listener();
        for _ in 0..MAX_LISTS {
            if self.observers().departures.is_empty() {
                break;
            }
            self.notify_listener();
        }
    }
}
