//! The walk over the index that sweeps out what was cleared: each write walks over one part, or over some that are
//! visited at the cost of one.

use super::Engine;
use crate::chain::RecordRef;
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, Ordering};
use std::ops::Range;

/// How far the walk has come.
pub(super) struct Sweep {
    /// The newest clearing commit that a walk has begun for.
    watermark: AtomicU64,
    /// A [`Place`]: one word, for a part of another division would leave something out.
    place: AtomicU64,
    /// The newest clearing commit that waits for a view which is older to close.
    awaited: AtomicU64,
}

/// Where the walk is. It goes round and round: one that begins in the middle of another goes on from where that is, for
/// else clearing again and again would always have the same parts walked. For the same reason it keeps the division
/// until it comes round, though the index may have grown; what was walked would be other hashes by another division.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Place {
    /// Into how many parts the index is divided: the logarithm.
    division: u32,
    /// The next part.
    next: u64,
    /// How many are still to be walked.
    left: u64,
}

impl Place {
    /// The index is divided into no more parts than 2 to this. (A part may have several homes.)
    const FINEST: u32 = 28;
    const DIVISION_BITS: u32 = 5;
    const NEXT_AT: u32 = Self::DIVISION_BITS;
    const LEFT_AT: u32 = Self::NEXT_AT + Self::FINEST;

    fn from_word(word: u64) -> Self {
        let bits = |at: u32, bits: u32| word >> at & ((1 << bits) - 1);
        Self {
            division: bits(0, Self::DIVISION_BITS) as u32,
            next: bits(Self::NEXT_AT, Self::FINEST),
            left: word >> Self::LEFT_AT,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.division) | self.next << Self::NEXT_AT | self.left << Self::LEFT_AT
    }

    /// A walk over all parts.
    fn begin(self, homes: usize) -> Self {
        let division = homes.ilog2().min(Self::FINEST);
        // Much fewer parts are soon walked, from the first: the rest of these would take longer.
        if self.left == 0 || self.next == 0 || division < self.division {
            return Self { division, next: 0, left: 1 << division };
        }
        Self { left: 1 << self.division, ..self }
    }

    fn parts(self) -> usize {
        1 << self.division
    }

    /// The parts that are next, as far as they are in a row; none if the walk is at its end.
    fn row(self) -> Range<usize> {
        let next = self.next as usize;
        next..self.parts().min(next + self.left as usize)
    }

    /// With the parts of the row before `end` taken.
    fn go_on(self, end: usize) -> Self {
        let end = end as u64;
        Self { next: end & ((1 << self.division) - 1), left: self.left - (end - self.next), ..self }
    }
}

impl Sweep {
    /// No walk.
    pub(super) fn new() -> Self {
        let (watermark, place) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { watermark, place, awaited: AtomicU64::new(0) }
    }

    /// Whether no walk has begun for this clearing commit.
    fn is_due(&self, watermark: u64) -> bool {
        self.watermark.load(Ordering::Relaxed) < watermark // Relaxed: one more walk costs time.
    }

    /// Begins a walk for a clearing commit. The walk first: who is stopped before that is noted has others begin it
    /// again, not wait for him.
    fn begin(&self, watermark: u64, homes: usize) {
        let begin = |word| Some(Place::from_word(word).begin(homes).word());
        // Release: pairs with `take`: who takes a part sees what this walk is for; and what those were for that began
        // before it, since this is a read-modify-write. Relaxed: it says nothing but where to go on.
        let _ = self.place.fetch_update(Ordering::Release, Ordering::Relaxed, begin);
        step("sweep.begun");
        self.watermark.fetch_max(watermark, Ordering::Relaxed);
    }

    /// Into how many parts the walk divides the index.
    pub(super) fn parts(&self) -> usize {
        Place::from_word(self.place.load(Ordering::Relaxed)).parts() // Relaxed: it bounds a number of tries.
    }

    /// Takes the next part, if there is one, with those in the row of which `run` says that they are walked with it.
    fn take(
        &self,
        run: impl Fn(usize, Range<usize>) -> Range<usize>,
    ) -> Option<(Place, Range<usize>)> {
        let mut taken = None;
        let step = |word| {
            let place = Place::from_word(word);
            let row = place.row();
            if row.is_empty() {
                return None;
            }
            let parts = run(place.parts(), row);
            let word = place.go_on(parts.end).word();
            taken = Some((place, parts));
            Some(word)
        };
        // Acquire: pairs with `begin`.
        self.place.fetch_update(Ordering::Acquire, Ordering::Relaxed, step).ok()?;
        taken
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Walks over the next part of the index, if something was cleared that has not been swept out.
    /// Whether it has.
    pub(super) fn sweep(&self) -> bool {
        let (guard, store) = (self.pin(), &self.store);
        let watermark = store.watermark(store.live(&guard));
        if self.sweep.is_due(watermark) {
            if !self.is_past(&guard, watermark) {
                return false; // a view still sees what was cleared
            }
            step("sweep.begins");
            self.sweep.begin(watermark, store.parts(&guard));
        }
        let run = |division, row| store.run_of_parts(&guard, division, row);
        let Some((place, parts)) = self.sweep.take(run) else { return false };
        let after = place.go_on(parts.end);
        store.visit_parts(&guard, place.parts(), parts, |record| self.sweep_out(&guard, record));
        if after.next == 0 || after.left == 0 {
            store.shrink(&guard);
        }
        true
    }

    /// Whether no view is older than a clearing commit; if one is, it waits for that to close.
    #[cold]
    fn is_past(&self, guard: &R::Guard<'_>, watermark: u64) -> bool {
        if self.store.cleared.is_cleared_for_all(watermark) {
            return true;
        }
        // Relaxed: one more that waits costs a step.
        if self.sweep.awaited.load(Ordering::Relaxed) >= watermark {
            return false;
        }
        let waits = self.store.await_views(guard, watermark);
        // First it waits: who is stopped in between has others do the same, not miss it.
        match waits {
            true => self.sweep.awaited.fetch_max(watermark, Ordering::Relaxed),
            false => self.store.cleared.advance_to(watermark),
        };
        !waits
    }

    /// Removes a record if it was cleared. If that cannot be just now, whatever the reason, at least
    /// its value goes: who is in the way need not come back to it.
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
    fn a_place_is_a_word() {
        for division in [0, 1, 7, Place::FINEST] {
            let place = Place { division, next: (1 << division) - 1, left: 1 << division };
            assert_eq!(Place::from_word(place.word()), place);
            assert_eq!(place.row(), (1 << division) - 1..1 << division);
        }
    }

    /// The hashes that some steps of a walk come to.
    struct Walked([bool; 64]);

    impl Walked {
        fn walk(&mut self, sweep: &Sweep, most: usize) -> usize {
            let mut steps = 0;
            // Each second part that is asked for is walked with the one after it.
            let run = |_, row: Range<usize>| row.start..row.end.min(row.start + 1 + row.start % 2);
            while steps < most
                && let Some((place, parts)) = sweep.take(run)
            {
                for part in parts {
                    let hashes = self.0[part..].iter_mut().step_by(place.parts());
                    hashes.for_each(|walked| *walked = true);
                    steps += 1;
                }
            }
            steps
        }
    }

    #[test]
    fn a_walk_leaves_nothing_out() {
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
    fn walks_that_begin_again_and_again_get_round() {
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
