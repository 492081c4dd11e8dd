//! The write set of one commit.

use crate::chain::{Parcel, Record, RecordRef};
use crate::removal::RemovalCause;
use crate::sync::hook::planted;
use std::collections::HashSet;
use std::marker::PhantomData;

/// Up to this number, writes are sorted by comparing each with all others.
const MAX_RANKED: usize = 12;
/// Above this number of writes, a hash set instead of a scan says which records a commit writes.
const MAX_SCANNED: usize = 16;

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
type Lists<K, V> = (Vec<Write<K, V>>, Vec<(usize, usize)>);

/// The same, lent.
type InOrder<'a, K, V> = (&'a mut [Write<K, V>], &'a [(usize, usize)]);

/// The writes of a commit. Their records were located under the guard that lives for `'g`.
pub struct WriteSet<'g, K, V> {
    writes: Vec<Write<K, V>>,
    /// The addresses of the records, in order, with the indices of their writes. Out of date if
    /// writes were added since.
    order: Vec<(usize, usize)>,
    has_witnesses: bool,
    guard: PhantomData<&'g ()>,
}

impl<'g, K: 'g, V: 'g> WriteSet<'g, K, V> {
    /// Makes an empty write set in these lists, which are empty.
    pub fn new(writes: Vec<Write<K, V>>, order: Vec<(usize, usize)>) -> Self {
        assert!(writes.is_empty());
        Self { writes, order, has_witnesses: false, guard: PhantomData }
    }

    /// Takes the lists out, for later use.
    pub fn take_lists(&mut self) -> Lists<K, V> {
        (std::mem::take(&mut self.writes), std::mem::take(&mut self.order))
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes.
    pub fn writes(&self) -> &[Write<K, V>] {
        &self.writes
    }

    /// Says where the terms of one of the writes are.
    pub fn set_terms(&mut self, at: usize, terms: u32) {
        self.writes[at].terms = terms;
    }

    /// The record of one of the writes.
    pub fn record(&self, at: usize) -> RecordRef<'g, K, V> {
        // SAFETY: a `RecordRef<'g>` until it was put here.
        unsafe { RecordRef::new(&*self.writes[at].record) }
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
        self.writes.reserve(1);
        let at = self.writes.len();
        // SAFETY: there is room for one more. All of its fields are written.
        unsafe {
            let write = self.writes.as_mut_ptr().add(at);
            (&raw mut (*write).record).write(std::ptr::from_ref(record.get()));
            Parcel::init(&raw mut (*write).value);
            (&raw mut (*write).terms).write(terms);
            (&raw mut (*write).related).write(related);
            (&raw mut (*write).cause).write(cause);
            self.writes.set_len(at + 1);
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
        if self.writes.len() <= MAX_SCANNED {
            return self.writes.iter().any(|write| record.is(write.record));
        }
        // Adds the writes that were added since the last call. Records are not removed from the
        // set.
        set.extend(self.writes[set.len()..].iter().map(|write| write.record));
        set.contains(&std::ptr::from_ref(record.get()))
    }

    /// Sorts the indices of the writes. To move the writes themselves costs more.
    fn sort(&mut self) {
        self.order.clear();
        let address = |write: &Write<K, V>| write.record.addr();
        let count = self.writes.len();
        if count > MAX_RANKED {
            let places = self.writes.iter().enumerate();
            self.order.extend(places.map(|(place, write)| (address(write), place)));
            return self.order.sort_unstable();
        }
        // Each write goes to the position that is the number of writes before it. So no branch
        // depends on addresses, which the processor could not predict.
        let mut ranks = [(0, 0); MAX_RANKED];
        for (place, write) in self.writes.iter().enumerate() {
            let own = address(write);
            let mut before = place;
            for (other, rank) in ranks.iter_mut().take(place) {
                let is_earlier = usize::from(own < *other);
                *rank += is_earlier;
                before -= is_earlier;
            }
            ranks[place] = (own, before);
        }
        self.order.resize(count, (0, 0));
        for (place, &(address, rank)) in ranks[..count].iter().enumerate() {
            self.order[rank] = (address, place);
        }
    }

    /// Whether a record is written twice.
    pub fn has_duplicates(&mut self) -> bool {
        self.sort();
        self.order.windows(2).any(|two| two[0].0 == two[1].0)
    }

    /// Drops all writes except the last one of each record. The others keep their order.
    #[cold]
    pub fn keep_last(&mut self) {
        self.order.clear();
        let mut seen = HashSet::new();
        self.writes.reverse();
        self.writes.retain(|write| seen.insert(write.record));
        self.writes.reverse();
    }

    /// The writes in the order of their records' addresses, in which all commits install.
    pub(super) fn in_order(&mut self) -> InOrder<'_, K, V> {
        if self.order.len() != self.writes.len() {
            self.sort();
        }
        if planted("commit.unsorted") {
            self.order.sort_unstable_by_key(|&(_, place)| place);
        }
        (&mut self.writes, &self.order)
    }

    /// Removes the writes, whose values were taken. The sorted indices stay.
    pub(super) fn clear(&mut self) {
        self.writes.clear();
    }
}
