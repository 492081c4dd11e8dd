//! What look-ups count.

use crate::sync::{AtomicU64, Ordering};

/// How many look-ups of one thread found something, and how many did not. A scheme keeps it beside what a
/// pin writes anyway, so that to count costs a look-up no cache line, and one instruction.
#[derive(Default)]
pub struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
}

// Relaxed, and no read-modify-writes: only its own thread writes it, and sums are exact once threads have come
// to rest. Models do not count: that would only multiply the schedules.
impl Tally {
    /// Counts look-ups that found something.
    #[inline(always)]
    pub fn hit(&self, times: u64) {
        if !cfg!(coeval_loom) {
            self.hits
                .store(self.hits.load(Ordering::Relaxed).wrapping_add(times), Ordering::Relaxed);
        }
    }

    /// Counts look-ups that found nothing.
    #[inline(always)]
    pub fn miss(&self, times: u64) {
        if !cfg!(coeval_loom) {
            let misses = self.misses.load(Ordering::Relaxed);
            self.misses.store(misses.wrapping_add(times), Ordering::Relaxed);
        }
    }

    /// Takes over what another one has counted, whose thread has ended. Several may do so at a time.
    pub(super) fn inherit(&self, other: &Self) {
        for (count, left) in [(&self.hits, &other.hits), (&self.misses, &other.misses)] {
            count.fetch_add(left.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Hits and misses of all.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> (u64, u64) {
        all.fold((0, 0), |(hits, misses), one| {
            let more = (one.hits.load(Ordering::Relaxed), one.misses.load(Ordering::Relaxed));
            (hits.wrapping_add(more.0), misses.wrapping_add(more.1))
        })
    }
}
