//! The write set of one commit.

use crate::chain::{Parcel, Record, RecordRef};
use crate::removal::RemovalCause;
use crate::sync::hook::planted;
use std::cell::Cell;
use std::collections::HashSet;
use std::mem::ManuallyDrop;

/// Up to this number, writes are sorted by comparing each with all others.
const MAX_RANKED: usize = 12;
/// Above this number of writes, a hash set instead of a scan says which records a commit writes.
const MAX_SCANNED: usize = 16;

/// The capacity of new lists.
const FIRST_CAPACITY: usize = 8;
/// Lists with a larger capacity are not kept.
const MAX_KEPT: usize = 64;

/// One write of a commit.
pub struct Write<K, V> {
    record: *const Record<K, V>,
    /// The value; without one, the write removes the entry.
    pub value: Parcel<V>,
    /// The caller's index of the terms of the value; [`PLAIN`](Self::PLAIN) if the value has none.
    pub terms: u32,
    /// Whether the declared relations of the key apply.
    pub related: bool,
    /// Why the write ends the present value. `None` for a witness.
    pub cause: Option<RemovalCause>,
}

impl<K, V> Write<K, V> {
    /// See [`terms`](Self::terms).
    pub const PLAIN: u32 = u32::MAX;

    /// The address of the record.
    pub fn record(&self) -> *const Record<K, V> {
        self.record
    }
}

/// The writes, and their order: the addresses of their records, sorted, with the index of each.
type InOrder<'a, K, V> = (&'a mut [Write<K, V>], &'a [(usize, usize)]);

/// The memory of a write set.
struct Lists<K, V> {
    writes: Vec<Write<K, V>>,
    /// The addresses of the records, in order, with the indices of their writes. After those of the
    /// sorted writes, the list has what is left of earlier commits.
    order: Vec<(usize, usize)>,
}

/// The memory of a thread's write sets, for the next one.
pub struct KeptLists<K, V>(Cell<Option<Box<Lists<K, V>>>>);

impl<K, V> KeptLists<K, V> {
    pub fn new() -> Self {
        Self(Cell::new(None))
    }

    #[cold]
    #[inline(never)]
    fn make() -> Box<Lists<K, V>> {
        let writes = Vec::with_capacity(FIRST_CAPACITY);
        Box::new(Lists { writes, order: Vec::with_capacity(FIRST_CAPACITY) })
    }
}

/// The writes of a commit. Their records were located under the guard that lives for `'g`.
pub struct WriteSet<'g, K, V> {
    lists: ManuallyDrop<Box<Lists<K, V>>>,
    /// Gets the lists in the end.
    home: &'g KeptLists<K, V>,
    /// The number of writes when they were sorted last.
    sorted: usize,
    has_witnesses: bool,
}

impl<K, V> Drop for WriteSet<'_, K, V> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: they are used no more.
        let mut lists = unsafe { ManuallyDrop::take(&mut self.lists) };
        if !lists.writes.is_empty() {
            lists.writes.clear();
        }
        if lists.writes.capacity() <= MAX_KEPT && lists.order.capacity() <= MAX_KEPT {
            self.home.0.set(Some(lists));
        }
    }
}

impl<'g, K: 'g, V: 'g> WriteSet<'g, K, V> {
    /// Makes an empty write set, in the memory of the thread's last one.
    #[inline(always)]
    pub fn new(home: &'g KeptLists<K, V>) -> Self {
        let lists = home.0.take().unwrap_or_else(KeptLists::make);
        Self { lists: ManuallyDrop::new(lists), home, sorted: 0, has_witnesses: false }
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.lists.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lists.writes.is_empty()
    }

    /// The writes.
    pub fn writes(&self) -> &[Write<K, V>] {
        &self.lists.writes
    }

    /// Says where the terms of one of the writes are.
    pub fn set_terms(&mut self, at: usize, terms: u32) {
        self.lists.writes[at].terms = terms;
    }

    /// The record of one of the writes.
    pub fn record(&self, at: usize) -> RecordRef<'g, K, V> {
        // SAFETY: a `RecordRef<'g>` until it was put here.
        unsafe { RecordRef::new(&*self.lists.writes[at].record) }
    }

    /// Whether some writes are witnesses.
    pub fn has_witnesses(&self) -> bool {
        self.has_witnesses
    }

    /// Adds a write of `record`. Takes the value out of `value`.
    #[inline(always)]
    pub fn push(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: Option<&mut Parcel<V>>,
        terms: u32,
        related: bool,
        cause: RemovalCause,
    ) {
        let place = self.add(record, terms, related, Some(cause));
        if let Some(value) = value {
            place.take_from(value);
        }
    }

    /// Adds a write. Returns the place of its value, which is empty.
    #[inline(always)]
    fn add(
        &mut self,
        record: RecordRef<'g, K, V>,
        terms: u32,
        related: bool,
        cause: Option<RemovalCause>,
    ) -> &mut Parcel<V> {
        self.lists.writes.reserve(1);
        let at = self.lists.writes.len();
        // SAFETY: there is room for one more. All of its fields are written.
        unsafe {
            let write = self.lists.writes.as_mut_ptr().add(at);
            (&raw mut (*write).record).write(std::ptr::from_ref(record.get()));
            Parcel::init(&raw mut (*write).value);
            (&raw mut (*write).terms).write(terms);
            (&raw mut (*write).related).write(related);
            (&raw mut (*write).cause).write(cause);
            self.lists.writes.set_len(at + 1);
            &mut (*write).value
        }
    }

    /// Adds witnesses for those records that are not written. The caller holds the records. Called
    /// after all writes were added.
    pub fn witness(&mut self, records: impl Iterator<Item = RecordRef<'g, K, V>>) {
        let mut set = HashSet::new();
        for record in records {
            if !self.has(&mut set, record) {
                self.add(record, Write::<K, V>::PLAIN, false, None);
                self.has_witnesses = true;
            }
        }
    }

    /// Whether the commit writes `record` already. `set` caches the answer between calls.
    pub fn has(&self, set: &mut HashSet<*const Record<K, V>>, record: RecordRef<'g, K, V>) -> bool {
        if self.lists.writes.len() <= MAX_SCANNED {
            return self.lists.writes.iter().any(|write| record.is(write.record));
        }
        // Adds the writes that were added since the last call. Records are not removed from the
        // set.
        set.extend(self.lists.writes[set.len()..].iter().map(|write| write.record));
        set.contains(&std::ptr::from_ref(record.get()))
    }

    /// Sorts the indices of the writes. To move the writes themselves costs more.
    fn sort(&mut self) {
        let address = |write: &Write<K, V>| write.record.addr();
        let Lists { writes, order } = &mut **self.lists;
        let count = writes.len();
        self.sorted = count;
        if count > MAX_RANKED {
            order.clear();
            let places = writes.iter().enumerate();
            order.extend(places.map(|(place, write)| (address(write), place)));
            return order.sort_unstable();
        }
        // Each write goes to the position that is the number of writes before it. So no branch
        // depends on addresses, which the processor could not predict.
        let mut ranks = [0_u8; MAX_RANKED];
        for (place, write) in writes.iter().enumerate() {
            let own = address(write);
            let mut before = place as u8;
            for (other, rank) in writes[..place].iter().zip(&mut ranks) {
                let is_earlier = u8::from(own < address(other));
                *rank += is_earlier;
                before -= is_earlier;
            }
            ranks[place] = before;
        }
        if order.len() < count {
            order.resize(count, (0, 0));
        }
        let order = &mut order[..count];
        for (place, (write, rank)) in writes.iter().zip(ranks).enumerate() {
            order[usize::from(rank)] = (address(write), place);
        }
    }

    /// Whether a record is written twice.
    pub fn has_duplicates(&mut self) -> bool {
        self.sort();
        self.lists.order[..self.sorted].windows(2).any(|two| two[0].0 == two[1].0)
    }

    /// Drops all writes except the last one of each record. The others keep their order.
    #[cold]
    pub fn keep_last(&mut self) {
        self.sorted = 0;
        let mut seen = HashSet::new();
        self.lists.writes.reverse();
        self.lists.writes.retain(|write| seen.insert(write.record));
        self.lists.writes.reverse();
    }

    /// The writes in the order of their records' addresses, in which all commits install.
    pub(super) fn in_order(&mut self) -> InOrder<'_, K, V> {
        if self.sorted != self.lists.writes.len() {
            self.sort();
        }
        let Lists { writes, order } = &mut **self.lists;
        let order = &mut order[..self.sorted];
        if planted("commit.unsorted") {
            order.sort_unstable_by_key(|&(_, place)| place);
        }
        (writes, order)
    }

    /// Removes the writes, whose values were taken.
    pub(super) fn clear(&mut self) {
        self.lists.writes.clear();
    }
}
