//! Which of the newest commits are quiet: they changed no value that was present.

use crate::sync::hook::{lapse, mutant};
use crate::sync::{AtomicU64, Ordering};

/// A range of numbers, each of which a *quiet* commit took: one that wrote only keys that were
/// absent just before it, as a derivation does. A value that held only by present values before
/// such commits holds after them.
///
/// Only quiet commits are noted, so other commits pay nothing. A number that is not noted, because
/// another commit took it or because it was never used, begins a new range.
pub struct Quiet {
    /// The number before the first one of the range. It only grows.
    after: AtomicU64,
    /// The last number of the range. It only grows, and only by read-modify-writes.
    last: AtomicU64,
}

impl Quiet {
    pub fn new() -> Self {
        Self { after: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// Notes the number of a quiet commit.
    pub fn note(&self, number: u64) {
        let relaxed = Ordering::Relaxed;
        // Relaxed: it continues the release sequence of the thread that began the range.
        if self.last.compare_exchange(number - 1, number, relaxed, relaxed).is_ok() {
            return;
        }
        if mutant("quiet.last_first") {
            self.last.fetch_max(number, Ordering::Release);
            lapse();
        }
        self.after.fetch_max(number - 1, relaxed);
        // Release: pairs with `are_all`. A thread that sees this number, or one that was added to
        // it, sees where the range begins.
        self.last.fetch_max(number, Ordering::Release);
    }

    /// Whether all numbers after `after`, up to `last`, are those of quiet commits. `false` says
    /// nothing.
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
        quiet.note(6); // late: from now on the range is too short, but not wrong
        quiet.note(8);
        assert!(quiet.are_all(6, 8) && !quiet.are_all(4, 8));
    }
}
