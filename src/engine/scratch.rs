//! Lists that a thread reuses, so that a write of a warmed-up thread does not call the system's
//! allocator: a thread that is stopped inside the allocator stops other threads.

use super::changes::{Change, ScratchList};
use super::fresh::FreshRecords;
use super::maintenance::MaintenanceRun;
use super::terms::RequestedTerms;
use crate::relation::RelatedWrite;
use crate::store::KeptLists;
use crate::sync::per_thread::PerThread;
use std::any::Any;
use std::cell::Cell;

/// The reusable state of one thread.
pub(super) struct Scratch<K, V> {
    pub changes: ScratchList<Change<K, V>>,
    pub writes: KeptLists<K, V>,
    pub requested: ScratchList<RequestedTerms>,
    pub related: ScratchList<RelatedWrite<K, V>>,
    /// The records of the entries that the thread's last operation added.
    pub fresh: FreshRecords<K, V>,
    /// The most entries that the operation still evicts if there is no room yet.
    pub owed: Cell<u64>,
    /// The number of writes of a commit of several beside a view, until the operation has tended.
    /// Each may have left a removal to the view, and so to the backlog.
    pub settled: Cell<usize>,
    /// The calls of `maintain` that have left something to do.
    pub unfinished: Cell<Option<MaintenanceRun>>,
    /// The memory of a part of a joint commit.
    pub part: Cell<Option<Box<dyn Any + Send>>>,
    /// The nesting depth of relations that write, on this thread.
    pub relation_depth: Cell<u32>,
}

/// The scratch lists of all threads.
pub(super) type Scratches<K, V> = PerThread<Scratch<K, V>>;

// SAFETY: the stored lists are empty, so another thread inherits only memory, and addresses of
// records. The engine shares records between threads only if keys and values allow it.
unsafe impl<K, V> Send for Scratch<K, V> {}

impl<K, V> Default for Scratch<K, V> {
    fn default() -> Self {
        Self {
            changes: ScratchList::new(),
            writes: KeptLists::new(),
            requested: ScratchList::new(),
            related: ScratchList::new(),
            fresh: FreshRecords::new(),
            owed: Cell::new(0),
            settled: Cell::new(0),
            unfinished: Cell::new(None),
            part: Cell::new(None),
            relation_depth: Cell::new(0),
        }
    }
}
