//! Lists that a thread reuses, so that a write of a warmed-up thread does not call the system's
//! allocator: a thread that is stopped inside the allocator stops other threads.

use super::changes::{Change, MAX_KEPT_CAPACITY, ScratchList};
use super::maintenance::MaintenanceRun;
use super::terms::RequestedTerms;
use crate::chain::Record;
use crate::relation::RelatedWrite;
use crate::store::KeptLists;
use crate::sync::per_thread::PerThread;
use std::any::Any;
use std::cell::Cell;
use std::ptr::{self, NonNull};

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

/// A list of records, optimized for the usual case of one. This thread has set their flag `FRESH`,
/// or not, if there is only one.
pub(super) struct FreshRecords<K, V> {
    one: Cell<*const Record<K, V>>,
    is_flagged: Cell<bool>,
    more: Cell<Vec<*const Record<K, V>>>,
    /// The number of records in `more`, so that the usual case does not move the list.
    more_count: Cell<usize>,
}

impl<K, V> FreshRecords<K, V> {
    fn new() -> Self {
        Self {
            one: Cell::new(ptr::null()),
            is_flagged: Cell::new(false),
            more: Cell::new(Vec::new()),
            more_count: Cell::new(0),
        }
    }

    /// Returns whether this record is the only one in the list.
    pub fn is(&self, record: &Record<K, V>) -> bool {
        ptr::eq(self.one.get(), record) && self.more_count.get() == 0
    }

    /// Returns the number of records.
    pub fn count(&self) -> usize {
        self.more_count.get() + usize::from(!self.one.get().is_null())
    }

    /// Returns whether the list has this record.
    pub fn has(&self, record: &Record<K, V>) -> bool {
        ptr::eq(self.one.get(), record) || self.more_count.get() > 0 && self.more_has(record)
    }

    #[cold]
    fn more_has(&self, record: &Record<K, V>) -> bool {
        let more = self.more.take();
        let has = more.iter().any(|other| ptr::eq(*other, record));
        self.more.set(more);
        has
    }

    /// Returns whether the list has room for one more record.
    pub fn has_room(&self) -> bool {
        self.one.get().is_null() || self.count() < MAX_KEPT_CAPACITY
    }

    /// Begins an empty list with a record, which may be without the flag. The list then only
    /// compares its address.
    pub fn begin(&self, record: &Record<K, V>, is_flagged: bool) {
        self.one.set(record);
        self.is_flagged.set(is_flagged);
    }

    /// Adds a record with the flag.
    pub fn push(&self, record: &Record<K, V>) {
        if self.one.get().is_null() || !self.is_flagged.get() {
            return self.begin(record, true);
        }
        let mut more = self.more.take();
        if more.capacity() == 0 {
            more.reserve_exact(MAX_KEPT_CAPACITY);
        }
        more.push(record);
        self.more_count.set(more.len());
        self.more.set(more);
    }

    /// Empties the list and passes each record that has the flag to `each`.
    pub fn take(&self, mut each: impl FnMut(NonNull<Record<K, V>>)) {
        let one = self.one.replace(ptr::null());
        if !self.is_flagged.replace(false) {
            return;
        }
        let Some(one) = NonNull::new(one.cast_mut()) else { return };
        if self.more_count.replace(0) == 0 {
            return each(one);
        }
        let mut more = self.more.take();
        each(one);
        more.drain(..).filter_map(|more| NonNull::new(more.cast_mut())).for_each(each);
        // `each` may cause a reclamation, and a destructor that runs in it may have added records.
        let newer = self.more.take();
        self.more.set(if newer.is_empty() { more } else { newer });
    }
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
