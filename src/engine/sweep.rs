//! The walk over the index that removes cleared entries. Each write walks one part, or several
//! parts that are visited at the cost of one.

use super::Engine;
use super::index_walk::IndexWalk;
use crate::chain::RecordRef;
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, Ordering};

/// The progress of the walk.
pub(super) struct Sweep {
    /// The newest clearing commit for which a walk has begun.
    watermark: AtomicU64,
    walk: IndexWalk,
    /// The newest clearing commit that waits for an older view to close.
    awaited: AtomicU64,
}

impl Sweep {
    /// Returns the state without a walk.
    pub(super) fn new() -> Self {
        let (watermark, awaited) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { watermark, walk: IndexWalk::new(), awaited }
    }

    /// Returns whether no walk has begun for this clearing commit.
    fn is_due(&self, watermark: u64) -> bool {
        self.watermark.load(Ordering::Relaxed) < watermark // Relaxed: at worst one more walk
    }

    /// Begins a walk for a clearing commit. The position is set before the commit is noted: if this
    /// thread is stopped in between, another thread begins the walk again and need not wait.
    fn begin(&self, watermark: u64, homes: usize) {
        self.walk.begin(homes); // the thread that takes a part sees this clearing commit
        step("sweep.begun");
        self.watermark.fetch_max(watermark, Ordering::Relaxed);
    }

    /// Returns the number of parts into which the walk divides the index.
    pub(super) fn parts(&self) -> usize {
        self.walk.parts()
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns whether there may be cleared entries that a walk can remove now.
    pub(super) fn is_sweep_due(&self) -> bool {
        self.store.order.watermark.is_raised() && !self.sweep.walk.is_ended()
    }

    /// Walks the next part of the index, if there are cleared entries that no walk has removed.
    /// Returns whether it walked one.
    pub(super) fn sweep(&self) -> bool {
        let (guard, store) = (self.pin(), &self.store);
        let watermark = store.watermark(store.live(&guard));
        if self.sweep.is_due(watermark) {
            if !self.may_sweep(&guard, watermark) {
                return false; // a view still shows cleared entries
            }
            step("sweep.begins");
            self.sweep.begin(watermark, store.parts(&guard));
        }
        let run = |division, row| store.run_of_parts(&guard, division, row);
        let Some((position, parts)) = self.sweep.walk.take(run) else { return false };
        let after = position.advance(parts.end);
        store.visit_parts(&guard, position.parts(), parts, |record| self.sweep_out(&guard, record));
        if after.is_round() || after.is_end() {
            store.shrink(&guard);
        }
        true
    }

    /// Returns whether no view is older than a clearing commit. If one is, the commit is queued
    /// until that view closes.
    #[cold]
    fn may_sweep(&self, guard: &R::Guard<'_>, watermark: u64) -> bool {
        if self.store.cleared.is_cleared_for_all(watermark) {
            return true;
        }
        // Relaxed: at worst one superfluous step.
        if self.sweep.awaited.load(Ordering::Relaxed) >= watermark {
            return false;
        }
        let waits = self.store.await_views(guard, watermark);
        // Queued before it is noted: if this thread is stopped in between, another thread queues
        // the commit again and does not miss it.
        match waits {
            true => self.sweep.awaited.fetch_max(watermark, Ordering::Relaxed),
            false => self.store.cleared.advance_to(watermark),
        };
        !waits
    }

    /// Removes a record if its value was cleared. If the record cannot be removed now, for example
    /// because it is held, ends at least its value, so that the holder need not come back to it.
    pub(super) fn sweep_out(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        self.store.try_condemn(guard, record);
        if !mutant("sweep.condemns_only") && !record.is_ending() {
            self.end_cleared(guard, record);
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::ops::Range;

    /// The hashes that some steps of a walk have visited.
    struct Walked([bool; 64]);

    impl Walked {
        fn walk(&mut self, sweep: &Sweep, most: usize) -> usize {
            let mut steps = 0;
            // Every second requested part is walked together with the part after it.
            let run = |_, row: Range<usize>| row.start..row.end.min(row.start + 1 + row.start % 2);
            while steps < most
                && let Some((position, parts)) = sweep.walk.take(run)
            {
                for part in parts {
                    let hashes = self.0[part..].iter_mut().step_by(position.parts());
                    hashes.for_each(|walked| *walked = true);
                    steps += 1;
                }
            }
            steps
        }
    }

    #[test]
    fn a_walk_visits_every_hash() {
        let sweep = Sweep::new();
        assert_eq!(Walked([false; 64]).walk(&sweep, 1), 0);
        for (before, steps, homes) in [(8, 8, 8), (8, 3, 64), (64, 63, 16), (4, 9, 1), (1, 0, 2)] {
            let mut walked = Walked([false; 64]);
            sweep.begin(1, before);
            walked.walk(&sweep, steps);
            sweep.begin(2, homes);
            walked = Walked([false; 64]);
            let goes_on = steps % before != 0 && homes > before;
            assert_eq!(walked.walk(&sweep, usize::MAX), if goes_on { before } else { homes });
            assert_eq!(walked.0, [true; 64]);
        }
    }

    #[test]
    fn restarted_walks_visit_every_hash() {
        for homes in [[16, 16], [16, 32], [8, 64]] {
            let (sweep, mut walked) = (Sweep::new(), Walked([false; 64]));
            for walk in 0..homes[1] {
                sweep.begin(walk as u64, homes[usize::from(walk > 3)]);
                walked.walk(&sweep, 1);
            }
            assert_eq!(walked.0, [true; 64]);
        }
    }
}
