//! The writes of one commit, while they are put together.

use crate::chain::{Record, RecordRef};
use crate::removal::RemovalCause;
use std::collections::HashSet;
use std::marker::PhantomData;

/// Up to how many writes are sorted by comparing each with each.
const MAX_RANKED: usize = 12;
/// Above how many writes a set, instead of a scan, tells which records a commit writes.
const MAX_SCANNED: usize = 16;

/// One write of a commit.
pub struct Write<K, V> {
    record: *const Record<K, V>,
    /// `None` removes.
    pub value: Option<V>,
    /// Where the caller has the terms of the value; [`PLAIN`](Self::PLAIN): it has none.
    pub terms: u32,
    /// Whether the key's declared relations apply.
    pub related: bool,
    /// Why it takes away what is there. `None`: it is a witness.
    pub cause: Option<RemovalCause>,
}

impl<K, V> Write<K, V> {
    /// See [`terms`](Self::terms).
    pub const PLAIN: u32 = u32::MAX;

    /// The address of its record.
    pub fn record(&self) -> *const Record<K, V> {
        self.record
    }
}

/// The writes of a commit. Their records were located under the guard that lives for `'g`.
pub struct WriteSet<'g, K, V> {
    writes: Vec<Write<K, V>>,
    /// The addresses of their records, in order, and their places; unless writes were added since.
    order: Vec<(usize, usize)>,
    has_witnesses: bool,
    guard: PhantomData<&'g ()>,
}

impl<'g, K: 'g, V: 'g> WriteSet<'g, K, V> {
    /// No writes, in lists that are empty.
    pub fn new(writes: Vec<Write<K, V>>, order: Vec<(usize, usize)>) -> Self {
        debug_assert!(writes.is_empty());
        Self { writes, order, has_witnesses: false, guard: PhantomData }
    }

    /// The lists, to be used again.
    pub fn take_lists(&mut self) -> (Vec<Write<K, V>>, Vec<(usize, usize)>) {
        (std::mem::take(&mut self.writes), std::mem::take(&mut self.order))
    }

    /// How many writes there are.
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

    /// One of the writes.
    pub fn write_mut(&mut self, at: usize) -> &mut Write<K, V> {
        &mut self.writes[at]
    }

    /// The record of one of the writes.
    pub fn record(&self, at: usize) -> RecordRef<'g, K, V> {
        // SAFETY: a `RecordRef<'g>` until it was put here.
        unsafe { RecordRef::new(&*self.writes[at].record) }
    }

    /// Whether some of them are witnesses.
    pub fn has_witnesses(&self) -> bool {
        self.has_witnesses
    }

    /// Adds a write of `record`, of what is taken out of `value`, if there is any.
    #[inline(always)]
    pub fn push(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: &mut Option<V>,
        terms: u32,
        related: bool,
        cause: RemovalCause,
    ) {
        let (record, cause) = (std::ptr::from_ref(record.get()), Some(cause));
        self.writes.push(Write { record, value: None, terms, related, cause });
        if value.is_some()
            && let Some(write) = self.writes.last_mut()
        {
            std::mem::swap(&mut write.value, value); // A large value takes no room on the stack.
        }
    }

    /// The same with a value that lies at hand.
    #[inline(always)]
    pub fn push_value(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: Option<V>,
        terms: u32,
        related: bool,
        cause: RemovalCause,
    ) {
        let (record, cause) = (std::ptr::from_ref(record.get()), Some(cause));
        self.writes.push(Write { record, value, terms, related, cause });
    }

    /// Adds witnesses for those records, which the caller holds, that are not written. To be called
    /// after all writes were added.
    pub fn witness(&mut self, records: impl Iterator<Item = RecordRef<'g, K, V>>) {
        let mut set = HashSet::new();
        for record in records {
            if !self.has(&mut set, record) {
                let record = std::ptr::from_ref(record.get());
                let (value, terms) = (None, Write::<K, V>::PLAIN);
                self.writes.push(Write { record, value, terms, related: false, cause: None });
                self.has_witnesses = true;
            }
        }
    }

    /// Whether the commit writes `record` already. `set` is the caller's memory of that.
    pub fn has(&self, set: &mut HashSet<*const Record<K, V>>, record: RecordRef<'g, K, V>) -> bool {
        if self.writes.len() <= MAX_SCANNED {
            return self.writes.iter().any(|write| record.is(write.record));
        }
        // Catches up with what was added since; what is in it stays there.
        set.extend(self.writes[set.len()..].iter().map(|write| write.record));
        set.contains(&std::ptr::from_ref(record.get()))
    }

    /// Puts the writes in order, by their places: to move them about costs more.
    fn sort(&mut self) {
        self.order.clear();
        let address = |write: &Write<K, V>| write.record.addr();
        let count = self.writes.len();
        if count > MAX_RANKED {
            let places = self.writes.iter().enumerate();
            self.order.extend(places.map(|(place, write)| (address(write), place)));
            return self.order.sort_unstable();
        }
        let mut addresses = [0; MAX_RANKED];
        for (place, write) in addresses.iter_mut().zip(&self.writes) {
            *place = address(write);
        }
        // Each goes where as many come before it: there is no branch that depends on addresses,
        // which no processor foresees.
        self.order.resize(count, (0, 0));
        let addresses = &addresses[..count];
        for (place, &address) in addresses.iter().enumerate() {
            let (earlier, later) = addresses.split_at(place);
            let before = earlier.iter().filter(|&&other| other <= address).count()
                + later.iter().filter(|&&other| other < address).count();
            self.order[before] = (address, place);
        }
    }

    /// Whether a record is written twice.
    pub fn has_duplicates(&mut self) -> bool {
        self.sort();
        self.order.windows(2).any(|two| two[0].0 == two[1].0)
    }

    /// Drops all writes but the last of each record. They stay in order.
    #[cold]
    pub fn keep_last(&mut self) {
        self.order.clear();
        let mut seen = HashSet::new();
        self.writes.reverse();
        self.writes.retain(|write| seen.insert(write.record));
        self.writes.reverse();
    }

    /// The writes in the order of their records' addresses, in which all commits install.
    pub(super) fn in_order(&mut self) -> (&mut [Write<K, V>], &[(usize, usize)]) {
        if self.order.len() != self.writes.len() {
            self.sort();
        }
        (&mut self.writes, &self.order)
    }

    /// Forgets the writes, whose values were taken. Their order stays.
    pub(super) fn clear(&mut self) {
        self.writes.clear();
    }
}
