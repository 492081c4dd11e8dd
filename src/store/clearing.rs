//! What was cleared: `invalidate_all`, and what is left of the entries that it hid.

use super::{Host, Store};
use crate::chain::{NodeRef, RecordRef};
use crate::commit::ReadAt;
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use crate::sync::{AtomicU64, Ordering};

/// How far clearing has come for the oldest reader.
pub struct ClearProgress {
    /// The newest clearing commit of which it is known that no view is older.
    past: AtomicU64,
}

impl ClearProgress {
    pub(super) fn new() -> Self {
        Self { past: AtomicU64::new(0) }
    }

    /// Notes that no view is older than a clearing commit.
    pub fn advance_to(&self, watermark: u64) -> u64 {
        // AcqRel: pairs with `is_cleared_for_all`.
        self.past.fetch_max(watermark, Ordering::AcqRel)
    }

    /// Whether a value of this number has been cleared for everybody, views included.
    pub fn is_cleared_for_all(&self, version: u64) -> bool {
        // Acquire: what those views read that have closed comes before what is done now.
        version <= self.past.load(Ordering::Acquire)
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Clears everything, by one commit. Returns its version.
    pub fn clear(&self, guard: &R::Guard<'_>) -> u64 {
        let retire = |node| self.retire_era(guard, node);
        let retire_place = |place| self.retire_place(guard, place);
        // SAFETY: a guard is live.
        unsafe { self.order.clear(&self.views, retire, retire_place) }
    }

    /// The newest version of a record, if it is a value that was cleared.
    pub fn cleared_value<'g>(&self, record: RecordRef<'g, K, V>) -> Option<NodeRef<'g, V>> {
        if !self.order.watermark.is_raised() {
            return None;
        }
        let undecided = |top: NodeRef<'_, V>| !top.state().is_committed();
        if mutant("sweep.unjudged") && record.top().is_some_and(undecided) {
            return None;
        }
        // Judged: what has taken a number that it does not bear yet gets that now, or a larger one.
        let live = record.live();
        let (node, state) = self.order.version_at(record, ReadAt::newest(live)).ok()??;
        (state.is_value() && state.version() <= self.watermark(live)).then_some(node)
    }

    /// Condemns a record that was let go of, or queues it for a later write to sweep out if it was
    /// cleared. This may be a step of reclamation in the middle of a read, which is no place for a
    /// commit. And what is retired may lie for long with a thread that only reads, while somebody
    /// is to be told of a cleared value.
    pub fn condemn_or_queue(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if mutant("sweep.forgets") || self.cleared_value(record).is_none() {
            return self.try_condemn(guard, record);
        }
        // If it is condemned by now, it is not sealed before the guard ends, and so not with this
        // flag.
        if !record.is_ending() {
            self.queue(guard, record);
        }
    }
}
