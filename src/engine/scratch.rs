//! Lists that a thread uses again and again, so that a write asks the system's allocator for nothing
//! once its thread has come into the swing: a thread that is stopped inside the allocator stops others.

use super::said::Change;
use super::terms::RequestedTerms;
use crate::chain::Record;
use crate::store::Write;
use crate::sync::per_thread::PerThread;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Room for this many is made at once.
const INITIAL_CAPACITY: usize = 8;
/// A list with more room than this is not kept.
const MAX_KEPT_CAPACITY: usize = 64;

/// What is kept for one thread.
pub(super) struct Scratch<K, V> {
    pub changes: ScratchList<Change<K, V>>,
    pub writes: ScratchList<Write<K, V>>,
    pub requested: ScratchList<RequestedTerms>,
    pub related: ScratchList<(K, Option<V>)>,
    /// The addresses of records, and the places of their writes.
    pub order: ScratchList<(usize, usize)>,
    /// The records of the entries that the thread's last operation has brought, as far as the thread has given them the
    /// flag `FRESH`.
    pub fresh: Fresh<K, V>,
    /// How many more entries the operation has to evict if there is no room yet.
    pub owed: Cell<u64>,
    /// How deep the thread is in relations that write.
    pub relating: Cell<u32>,
}

/// Mostly there is one.
pub(super) struct Fresh<K, V> {
    one: Cell<*const Record<K, V>>,
    more: Cell<Vec<*const Record<K, V>>>,
}

impl<K, V> Fresh<K, V> {
    fn new() -> Self {
        Self { one: Cell::new(ptr::null()), more: Cell::new(Vec::new()) }
    }

    /// Whether it is just this one.
    pub fn is(&self, record: &Record<K, V>) -> bool {
        ptr::eq(self.one.get(), record) && self.count() == 1
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let more = self.more.take();
        let count = more.len();
        self.more.set(more);
        count + usize::from(!self.one.get().is_null())
    }

    /// Whether this is one of them.
    pub fn has(&self, record: &Record<K, V>) -> bool {
        let more = self.more.take();
        let is_more = more.iter().any(|other| ptr::eq(*other, record));
        self.more.set(more);
        is_more || ptr::eq(self.one.get(), record)
    }

    /// Whether it takes one more.
    pub fn has_room(&self) -> bool {
        self.one.get().is_null() || self.count() < MAX_KEPT_CAPACITY
    }

    pub fn push(&self, record: &Record<K, V>) {
        if self.one.get().is_null() {
            return self.one.set(record);
        }
        let mut more = self.more.take();
        if more.capacity() == 0 {
            more.reserve_exact(MAX_KEPT_CAPACITY);
        }
        more.push(record);
        self.more.set(more);
    }

    /// Hands each of them over.
    pub fn take(&self, mut each: impl FnMut(NonNull<Record<K, V>>)) {
        let Some(one) = NonNull::new(self.one.replace(ptr::null()).cast_mut()) else { return };
        let mut more = self.more.take();
        each(one);
        more.drain(..).filter_map(|more| NonNull::new(more.cast_mut())).for_each(each);
        // What is handed over may have something reclaimed, whose destructor may have brought something.
        let newer = self.more.take();
        self.more.set(if newer.is_empty() { more } else { newer });
    }
}

/// The scratch lists of all threads.
pub(super) type Scratches<K, V> = PerThread<Scratch<K, V>>;

/// A list that is empty while it is here.
pub(super) struct ScratchList<T>(Cell<Vec<T>>);

// SAFETY: the lists are empty, so a thread inherits nothing but memory; and the addresses of records, which are shared
// between threads anyway if keys and values can be: the engine sees to that.
unsafe impl<K, V> Send for Scratch<K, V> {}

impl<K, V> Default for Scratch<K, V> {
    fn default() -> Self {
        Self {
            changes: ScratchList::new(),
            writes: ScratchList::new(),
            requested: ScratchList::new(),
            related: ScratchList::new(),
            order: ScratchList::new(),
            fresh: Fresh::new(),
            owed: Cell::new(0),
            relating: Cell::new(0),
        }
    }
}

impl<T> ScratchList<T> {
    fn new() -> Self {
        Self(Cell::new(Vec::new()))
    }

    /// The list, or a new one if somebody has it.
    pub fn take(&self) -> Vec<T> {
        let mut list = self.0.take();
        if list.capacity() == 0 {
            list.reserve(INITIAL_CAPACITY);
        }
        list
    }

    /// Keeps a list for the next who needs one. What is in it is dropped.
    pub fn keep(&self, mut list: Vec<T>) {
        list.clear();
        if list.capacity() <= MAX_KEPT_CAPACITY {
            self.0.set(list);
        }
    }
}
