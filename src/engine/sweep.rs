//! The walk over the index that removes cleared entries. Each write walks one part, or several
//! parts that are visited at the cost of one.

use super::Engine;
use crate::chain::RecordRef;
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, Ordering};
use std::ops::Range;

/// The progress of the walk.
pub(super) struct Sweep {
    /// The newest clearing commit for which a walk has begun.
    watermark: AtomicU64,
    walk: IndexWalk,
    /// The newest clearing commit that waits for an older view to close.
    awaited: AtomicU64,
}

/// A walk over the index that all writers do together. It is a [`SweepPosition`] in one word,
/// because a part number with the division of another position would leave entries out.
pub(super) struct IndexWalk(AtomicU64);

/// The position of the walk. The walk is circular. If a walk begins during another one, it goes on
/// from the same position; otherwise a program that clears again and again would always have the
/// same parts walked. For the same reason a walk keeps its division until it has come round, even
/// if the index has grown: in another division, the parts walked so far would cover other hashes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct SweepPosition {
    /// The binary logarithm of the number of parts of the index.
    division: u32,
    /// The next part.
    next: u64,
    /// The number of parts still to be walked.
    remaining: u64,
}

impl SweepPosition {
    /// The index is divided into at most 2 to this power parts. A part may then have several home
    /// buckets.
    const FINEST: u32 = 28;
    const DIVISION_BITS: u32 = 5;
    const NEXT_AT: u32 = Self::DIVISION_BITS;
    const REMAINING_AT: u32 = Self::NEXT_AT + Self::FINEST;

    fn from_word(word: u64) -> Self {
        let bits = |at: u32, bits: u32| word >> at & ((1 << bits) - 1);
        Self {
            division: bits(0, Self::DIVISION_BITS) as u32,
            next: bits(Self::NEXT_AT, Self::FINEST),
            remaining: word >> Self::REMAINING_AT,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.division) | self.next << Self::NEXT_AT | self.remaining << Self::REMAINING_AT
    }

    /// Returns a position from which all parts are walked.
    fn begin(self, homes: usize) -> Self {
        let division = homes.ilog2().min(Self::FINEST);
        // Far fewer parts are walked soon, from the first one on. The remaining parts of this
        // division would take longer.
        if self.remaining == 0 || self.next == 0 || division < self.division {
            return Self { division, next: 0, remaining: 1 << division };
        }
        Self { remaining: 1 << self.division, ..self }
    }

    pub fn parts(self) -> usize {
        1 << self.division
    }

    /// Returns the next parts, up to the end of the division or of the walk. Empty if the walk has
    /// ended.
    fn row(self) -> Range<usize> {
        let next = self.next as usize;
        next..self.parts().min(next + self.remaining as usize)
    }

    /// Returns the position after the parts before `end` were taken.
    pub fn advance(self, end: usize) -> Self {
        let end = end as u64;
        Self {
            next: end & ((1 << self.division) - 1),
            remaining: self.remaining - (end - self.next),
            ..self
        }
    }

    /// Returns whether the walk has ended.
    pub fn is_end(self) -> bool {
        self.remaining == 0
    }

    /// Returns whether the walk is at the first part, where it may take another division.
    fn is_round(self) -> bool {
        self.next == 0
    }
}

impl IndexWalk {
    /// Returns a walk that has ended.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Begins the walk, or makes one that is under way visit all parts again.
    pub fn begin(&self, homes: usize) {
        let begin = |word| Some(SweepPosition::from_word(word).begin(homes).word());
        // Release: the partner is the Acquire in `take`. The thread that takes a part sees what the
        // caller of this saw and, because this is a read-modify-write, what those of earlier walks
        // saw. Relaxed on failure: the word only says where the walk goes on.
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, begin);
    }

    /// Returns whether all parts were taken.
    pub fn is_ended(&self) -> bool {
        // Relaxed: a hint
        SweepPosition::from_word(self.0.load(Ordering::Relaxed)).is_end()
    }

    /// Returns the number of parts into which the walk divides the index.
    pub fn parts(&self) -> usize {
        // Relaxed: only bounds a number of tries
        SweepPosition::from_word(self.0.load(Ordering::Relaxed)).parts()
    }

    /// Takes the next part of the walk, if there is one, and the parts that `run` says are walked
    /// with it.
    pub fn take(
        &self,
        run: impl Fn(usize, Range<usize>) -> Range<usize>,
    ) -> Option<(SweepPosition, Range<usize>)> {
        let mut taken = None;
        let step = |word| {
            let position = SweepPosition::from_word(word);
            let row = position.row();
            if row.is_empty() {
                return None;
            }
            let parts = run(position.parts(), row);
            let word = position.advance(parts.end).word();
            taken = Some((position, parts));
            Some(word)
        };
        // Acquire: the partner is the Release in `begin`.
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, step).ok()?;
        taken
    }
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

    #[test]
    fn a_position_fits_in_one_word() {
        for division in [0, 1, 7, SweepPosition::FINEST] {
            let position =
                SweepPosition { division, next: (1 << division) - 1, remaining: 1 << division };
            assert_eq!(SweepPosition::from_word(position.word()), position);
            assert_eq!(position.row(), (1 << division) - 1..1 << division);
        }
    }

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
