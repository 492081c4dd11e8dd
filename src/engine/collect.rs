//! The upkeep that writes do a little of each, all at once: for who wants memory back now.

use super::Engine;
use super::maintenance::due;
use crate::reclaim::Reclaim;

/// How often all that is due is gone over. A record goes by three grace periods, each of which is a round: its version
/// is reclaimed, so that it is condemned; it is sealed; and freed. Each may leave something behind for the next.
const ROUNDS: usize = if cfg!(coeval_loom) { 4 } else { 16 };
/// How many lists of leftovers a round goes over, and how many times it tells of what left: others may add to them.
const MANY: usize = if cfg!(coeval_loom) { 2 } else { 1 << 16 };

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Does all maintenance that is due, and reclaims what nobody keeps. Says how much is retired
    /// still.
    pub fn collect(&self) -> usize {
        let reclaim = &self.store.reclaim;
        for _ in 0..ROUNDS {
            self.tend_all();
            let is_some = reclaim.reclaim_now();
            self.tell_all();
            if !is_some || (reclaim.retired() == 0 && self.store.has_no_backlog()) {
                break;
            }
        }
        reclaim.retired()
    }

    /// What [`tend`](Self::tend) does a part of.
    fn tend_all(&self) {
        {
            let guard = self.pin();
            self.spare_no_more(&guard);
            for _ in 0..MANY {
                let Some(waiting) = self.store.take_backlog(&guard) else { break };
                self.work_off(&guard, waiting, usize::MAX);
            }
            self.store.assist(&guard);
        }
        if self.store.order.watermark.is_raised() {
            // All parts, twice: somebody may have begun the walk for an earlier clearing just before.
            let parts = self.sweep.parts().max(self.store.parts(&self.pin()));
            let _ = (0..2 * parts).all(|_| self.sweep());
        }
        if self.due.is_set(due::ROOM) {
            self.make_up();
        }
        let now = self.timer.now();
        while self.expire_by(now) {}
    }

    fn tell_all(&self) {
        self.tell();
        for _ in 0..MANY {
            if self.observers().departures.is_empty() {
                break;
            }
            self.tell();
        }
    }
}
