//! The removals that are left to later writers.

use super::{Host, Store};
use crate::chain::{RecordRef, flags};
use crate::commit::{DeferredPrune, Drained, Stack};
use crate::reclaim::Reclaim;
use crate::sync::{AtomicUsize, Ordering};
use std::ptr;

/// Takes the place of a version number: the whole record is to be pruned or swept out. The flag
/// `DUE` keeps the record.
pub(super) const DUE: u64 = u64::MAX;

/// The removals that are left to later writers.
pub(super) struct Backlog {
    /// Removals that waited for a view and were too many for the thread that closed it; and records
    /// whose pruning was given up under contention, or that are to be swept out.
    queue: Stack<PendingRemovals>,
    /// The number of items of the queue, and of pushes that have begun.
    lists: AtomicUsize,
    /// The cells of all lists of deferred removals.
    pub(super) cells: Stack<DeferredPrune>,
}

/// Superseded versions and records that are to be removed.
pub struct PendingRemovals {
    pub(super) taken: Drained<DeferredPrune>,
    /// The version of the closed view that they waited for, if any. A view that still needs them is
    /// not newer.
    pub(super) closed: Option<u64>,
}

impl PendingRemovals {
    /// The removals that waited for the closed view of this version.
    pub(super) fn after(taken: Drained<DeferredPrune>, closed: u64) -> Self {
        Self { taken, closed: Some(closed) }
    }
}

impl Backlog {
    pub fn new() -> Self {
        Self { queue: Stack::new(), lists: AtomicUsize::new(0), cells: Stack::new() }
    }

    /// The bytes of the queues.
    pub fn bytes(&self) -> usize {
        self.cells.bytes() + self.queue.bytes()
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Queues a record for later writers, unless it is queued already.
    pub(super) fn queue(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if record.set_flags(flags::DUE) & flags::DUE == 0 {
            self.queue_flagged(guard, record);
        }
    }

    /// Queues a record whose flag the caller has set.
    pub(super) fn queue_flagged(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        let due = DeferredPrune { record: ptr::from_ref(record.get()).cast(), version: DUE };
        let taken = self.backlog.cells.single(guard, due);
        self.defer(guard, PendingRemovals { taken, closed: None });
    }

    /// Leaves removals to later writers.
    pub fn defer(&self, guard: &R::Guard<'_>, waiting: PendingRemovals) {
        if !waiting.taken.is_empty() {
            // Relaxed, as all accesses: the count orders nothing.
            self.backlog.lists.fetch_add(1, Ordering::Relaxed);
            self.backlog.queue.push(guard, waiting);
        }
    }

    /// The number of lists in the backlog, about: mostly one for each closed view.
    pub fn backlog_lists(&self) -> usize {
        self.backlog.lists.load(Ordering::Relaxed)
    }

    /// Whether the backlog was empty at some instant of the call.
    #[inline(always)]
    pub fn has_no_backlog(&self) -> bool {
        self.backlog.queue.is_empty()
    }

    /// Takes removals from the backlog.
    pub fn take_backlog(&self, guard: &R::Guard<'_>) -> Option<PendingRemovals> {
        let taken = self.backlog.queue.pop(&self.reclaim, guard)?;
        self.backlog.lists.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }
}
