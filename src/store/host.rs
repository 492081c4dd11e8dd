//! What the store tells the cache that it is a part of.

use crate::chain::{Record, Visible};

/// The cache around a store, as far as the store must tell it something.
///
/// Reclamation calls it in the middle of any operation, also in a reader's. So no method may write
/// to the store or run users' code that could.
pub trait Host<K, V> {
    /// The memory of a committed version was reclaimed.
    fn reclaimed(&self);

    /// A value that the clearing commit `watermark` hid has ended together with its record. The guard
    /// is the store's.
    fn cleared<G>(&self, guard: &G, record: &Record<K, V>, value: Visible<'_, V>, watermark: u64);

    /// A view of this version was opened.
    fn view_opened(&self, version: u64);

    /// The last holder of a view of this version closed it.
    fn view_closed(&self, version: u64);
}
