//! A count that one thread writes and all threads read.

use super::{AtomicU64, Ordering};

/// One thread's count of one kind of event.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the thread that owns the count calls this.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        // Models do not count: counting would only multiply the schedules.
        if cfg!(coeval_loom) {
            return;
        }
        // Relaxed, and no read-modify-write: only the owning thread writes it. Sums are exact once
        // the threads are at rest.
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(n), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed) // Relaxed: as in `add`.
    }

    /// Moves the count of a thread that has ended to this one. Several threads may do so at the
    /// same time.
    pub fn inherit(&self, other: &Self) {
        // Relaxed: as in `add`.
        self.0.fetch_add(other.0.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}
