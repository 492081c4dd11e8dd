//! What the policy knows of an entry: a name to pass back, and a counter of hits.

use crate::sync::{AtomicU32, Ordering};

/// Names an entry to the engine: an even number below 2^48 that is not zero, such as a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The bits that a handle may have.
    pub(super) const MASK: u64 = (1 << 48) - 2;

    /// A handle of these bits.
    ///
    /// # Panics
    /// If they are not such a number.
    #[inline]
    pub fn new(bits: u64) -> Self {
        assert!(bits & !Self::MASK == 0 && bits != 0, "not a handle: {bits:#x}");
        Self(bits)
    }

    /// The number that the handle was made of.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Counts an entry's hits, up to three: the only thing that a hit writes, and seldom does.
///
/// An entry that is hit often has a full counter, and then a hit is a load of the entry's own line.
#[derive(Debug)]
pub struct Heat(AtomicU32);

impl Heat {
    /// As far as it counts. With seven, the recorded traces gain 0.0 to 0.3 points, and popularity that
    /// drifts loses two.
    pub const FULL: u32 = 3;

    /// No hits yet.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Counts a hit.
    #[inline(always)]
    pub fn touch(&self) {
        // Relaxed, and not one step: of two hits at once, one may go uncounted.
        let hits = self.0.load(Ordering::Relaxed);
        if hits < Self::FULL {
            self.0.store(hits + 1, Ordering::Relaxed);
        }
    }

    /// How many hits have been counted.
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the count.
    #[inline]
    pub fn set(&self, hits: u32) {
        self.0.store(hits, Ordering::Relaxed);
    }
}

impl Default for Heat {
    fn default() -> Self {
        Self::new()
    }
}
