//! Counts of look-ups.

use crate::sync::{AtomicU64, Ordering};

/// The number of look-ups of one thread that found a value, and of those that did not. A scheme
/// keeps it in the cache line that a pin writes, so that counting costs one instruction and no
/// cache miss.
#[derive(Default)]
pub struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
}

// Relaxed, and no read-modify-write: only its own thread writes a tally, and sums are exact once
// threads are idle. Models do not count, since that would only multiply the schedules.
impl Tally {
    /// Counts look-ups that found a value.
    #[inline(always)]
    pub fn hit(&self, times: u64) {
        if !cfg!(coeval_loom) {
            self.hits
                .store(self.hits.load(Ordering::Relaxed).wrapping_add(times), Ordering::Relaxed);
        }
    }

    /// Counts look-ups that found no value.
    #[inline(always)]
    pub fn miss(&self, times: u64) {
        if !cfg!(coeval_loom) {
            let misses = self.misses.load(Ordering::Relaxed);
            self.misses.store(misses.wrapping_add(times), Ordering::Relaxed);
        }
    }

    /// Takes over the counts of an ended thread. Several threads may do so at a time.
    pub(super) fn inherit(&self, other: &Self) {
        for (count, left) in [(&self.hits, &other.hits), (&self.misses, &other.misses)] {
            count.fetch_add(left.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Returns the sums of all hits and of all misses.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> (u64, u64) {
        all.fold((0, 0), |(hits, misses), one| {
            let more = (one.hits.load(Ordering::Relaxed), one.misses.load(Ordering::Relaxed));
            (hits.wrapping_add(more.0), misses.wrapping_add(more.1))
        })
    }
}
