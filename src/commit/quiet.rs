//! Which of the newest commits have changed nothing of what stood.

use crate::sync::hook::mutant;
use crate::sync::{AtomicU64, Ordering};

/// A range of numbers, each of which was taken by a *quiet* commit: one that wrote only what was absent just before it, as
/// a derivation does. What held by values that were present, and by nothing else, before such commits holds after them.
///
/// Only quiet commits are noted, so that others pay nothing. A number that nobody has noted, as it was taken by another commit
/// or never used, begins a new range.
pub struct Quiet {
    /// It only grows.
    after: AtomicU64,
    /// The last. It only grows, by read-modify-writes alone.
    last: AtomicU64,
}

impl Quiet {
    pub fn new() -> Self {
        Self { after: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// A quiet commit has this number.
    pub fn note(&self, number: u64) {
        let relaxed = Ordering::Relaxed;
        // Relaxed: it goes on with the release sequence of whoever began the range.
        if self.last.compare_exchange(number - 1, number, relaxed, relaxed).is_ok() {
            return;
        }
        if mutant("quiet.last_first") {
            self.last.fetch_max(number, Ordering::Release);
        }
        self.after.fetch_max(number - 1, relaxed);
        // Release: pairs with `are_all`: who sees this number, or one that was added to it, sees where the range begins.
        self.last.fetch_max(number, Ordering::Release);
    }

    /// Whether all numbers after the one, up to the other, are those of quiet commits. False says nothing.
    pub fn are_all(&self, after: u64, last: u64) -> bool {
        if after >= last {
            return after == last;
        }
        // Acquire: pairs with `note`.
        last <= self.last.load(Ordering::Acquire) && self.after.load(Ordering::Relaxed) <= after
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_a_new_range() {
        let quiet = Quiet::new();
        assert!(quiet.are_all(5, 5) && !quiet.are_all(5, 6) && !quiet.are_all(6, 5));
        [3, 4, 5].into_iter().for_each(|number| quiet.note(number));
        assert!(quiet.are_all(2, 5) && quiet.are_all(3, 4));
        assert!(!quiet.are_all(1, 5) && !quiet.are_all(2, 6));
        quiet.note(7);
        assert!(quiet.are_all(6, 7) && !quiet.are_all(5, 7));
        quiet.note(6); // late: it says too little from now on, and nothing wrong
        quiet.note(8);
        assert!(quiet.are_all(6, 8) && !quiet.are_all(4, 8));
    }
}
