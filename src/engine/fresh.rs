//! The records of the entries that a thread's last operation has added. The eviction policy spares
//! them.

use super::Engine;
use super::changes::MAX_KEPT_CAPACITY;
use crate::chain::{HeldRecord, Record, flags};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use std::cell::Cell;
use std::ptr::{self, NonNull};

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
    pub fn new() -> Self {
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

    /// Adds a new record, which may be without the flag. The list then only compares its address.
    pub fn add_new(&self, record: &Record<K, V>, is_flagged: bool) {
        if !is_flagged && self.one.get().is_null() {
            return self.one.set(record);
        }
        if is_flagged || record.set_flags(flags::FRESH) & flags::FRESH == 0 {
            self.push(record);
        }
    }

    /// Adds a record with the flag.
    pub fn push(&self, record: &Record<K, V>) {
        if self.one.get().is_null() || !self.is_flagged.get() {
            self.one.set(record);
            return self.is_flagged.set(true);
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

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Stops sparing the entries that this thread added before.
    pub(super) fn clear_fresh(&self, guard: &R::Guard<'_>) {
        self.clear_fresh_of(guard, &self.scratch.get().fresh);
    }

    pub(super) fn clear_fresh_of(&self, guard: &R::Guard<'_>, fresh: &FreshRecords<K, V>) {
        fresh.take(|record| {
            // SAFETY: this thread set the flag, no other thread clears it, and a record does not
            // end while it has the flag.
            let record = unsafe { HeldRecord::new(record) }.kept(self.store.live(guard));
            record.clear_flags(flags::FRESH);
            step("evict.spared_no_more");
            if !mutant("room.forgets") {
                self.store.try_condemn(guard, record);
            }
        });
    }
}
