//! `invalidate_all`, and the entries that it hid.

use super::{Host, Store};
use crate::reclaim::Reclaim;
use crate::sync::{AtomicU64, Ordering};

/// The newest clearing commit that all readers, views included, have passed.
pub struct ClearProgress {
    /// The newest clearing commit for which it is known that no view is older.
    past: AtomicU64,
}

impl ClearProgress {
    pub(super) fn new() -> Self {
        Self { past: AtomicU64::new(0) }
    }

    /// Notes that no view is older than the clearing commit `watermark`.
    pub fn advance_to(&self, watermark: u64) -> u64 {
        // AcqRel: pairs with `is_cleared_for_all`.
        self.past.fetch_max(watermark, Ordering::AcqRel)
    }

    /// Whether a value of this version is cleared for all readers, views included.
    pub fn is_cleared_for_all(&self, version: u64) -> bool {
        // Acquire: pairs with `advance_to`. What the closed views read happens before what this
        // thread does now.
        version <= self.past.load(Ordering::Acquire)
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Clears everything by one commit. Returns its number.
    pub fn clear(&self, guard: &R::Guard<'_>) -> u64 {
        // SAFETY: a guard is live. What the callbacks receive was taken out, once.
        unsafe {
            let retire = |node| self.retire_era(guard, node);
            let retire_place = |place| self.retire_place(guard, place);
            self.order.clear(&self.views, retire, retire_place)
        }
    }
}
