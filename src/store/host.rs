//! What the store reports to its cache.

use crate::chain::{Record, Visible};

/// The receiver of a store's reports: the cache around it.
///
/// Reclamation calls these methods in the middle of any operation, including reads. So no method
/// may write to the store or run user code that could.
pub trait Host<K, V> {
    /// Reports that the memory of a committed version was reclaimed.
    fn reclaimed(&self);

    /// Reports that a cleared value has ended together with its record. `watermark` is the number
    /// of the newest clearing commit. The guard is the store's.
    fn cleared<G>(&self, guard: &G, record: &Record<K, V>, value: Visible<'_, V>, watermark: u64);

    /// Reports that the record of a key with this hash is about to end, or that this was tried.
    fn record_ends(&self, hash: u32);

    /// Reports that a view of this version was opened.
    fn view_opened(&self, version: u64);

    /// Reports that the last holder of a view of this version closed it.
    fn view_closed(&self, version: u64);
}
