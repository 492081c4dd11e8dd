//! A walk over the index in many bounded parts.

use crate::sync::{AtomicU64, Ordering};
use std::ops::Range;

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
    pub fn is_round(self) -> bool {
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
}
