//! A bound that may change while the cache is in use.

use crate::sync::{AtomicU64, Ordering};

/// A bound on the entries of one cache: on their weight, or on their number.
pub(super) struct Bound {
    capacity: AtomicU64,
    first: u64,
}

// All accesses are Relaxed: the bound guards no data. A thread that knows of a change keeps the new
// bound; a concurrent thread may still keep the old one.
impl Bound {
    pub fn new(capacity: u64) -> Self {
        Self { capacity: AtomicU64::new(capacity), first: capacity }
    }

    #[inline(always)]
    pub fn now(&self) -> u64 {
        // Models change no bound, so a load here would only multiply the schedules.
        if cfg!(coeval_loom) { self.first } else { self.capacity.load(Ordering::Relaxed) }
    }

    /// Sets the bound, and returns the former one.
    pub fn change(&self, capacity: u64) -> u64 {
        self.capacity.swap(capacity, Ordering::Relaxed)
    }
}
