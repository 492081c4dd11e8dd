//! From a key to its record: finds the record, or makes it.

use super::{Host, Store};
use crate::chain::{Live, Parcel, Record, RecordRef};
use crate::index::Indexed;
use crate::pool::{Pool, PoolOf, Pooled, Shape};
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::version::State;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;
use std::ptr::NonNull;

/// What a new record takes over.
pub struct Offered<'p, V> {
    /// Its first version, without terms, which is *ready*.
    pub value: &'p mut Parcel<V>,
    /// Flags that it has from the beginning.
    pub flags: u32,
}

/// The position of the hash bits in a product.
const HASH_AT: u32 = 32;

impl<K, V> Pooled for Record<K, V> {
    const SHAPE: Shape = Record::<K, V>::SHAPE;
}

impl<K, V> Indexed for Record<K, V> {
    type Memory = PoolOf<Self>;

    const READ: usize = Record::<K, V>::READ;

    #[inline(always)]
    fn hash(&self) -> u32 {
        Record::hash(self)
    }

    fn revive(&self) -> bool {
        Record::revive(self)
    }

    fn is_sealed(&self) -> bool {
        self.head().is_sealed()
    }

    fn prefetch(entry: *const Self) {
        Record::<K, V>::prefetch_at(entry.addr());
    }
}

/// The hash bits under which the index keeps a key: the upper half of a product in which every bit
/// of the hash has a part. So a hasher with good bits in only one place is sufficient.
#[inline(always)]
fn fold(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> HASH_AT) as u32
}

impl<K, V, S: BuildHasher, R: Reclaim, H> Store<K, V, S, R, H> {
    /// The hash bits of a key, or of a tag.
    #[inline(always)]
    pub fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        fold(self.hasher.hash_one(key))
    }
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Takes a guard, which keeps what is read through it from being reclaimed.
    #[inline(always)]
    pub fn pin(&self) -> R::Guard<'_> {
        self.reclaim.pin()
    }

    /// The proof that this guard is live.
    #[inline(always)]
    pub fn live<'g>(&self, guard: &'g R::Guard<'_>) -> Live<'g> {
        Live::by::<R>(guard)
    }

    /// Prefetches the usual place of a record with this hash, as far as a look-up reads it.
    #[inline(always)]
    pub fn prefetch_home(&self, hash: u32) {
        if let Some(home) = self.records().home(&Record::<K, V>::SHAPE, hash) {
            Record::<K, V>::prefetch_to_read_at(home.cast());
        }
    }

    /// A record that an operation of the index returned under its guard.
    #[inline(always)]
    pub(super) fn in_index<'g>(record: &'g Record<K, V>) -> RecordRef<'g, K, V> {
        // SAFETY: the index returns records for the guard's lifetime. A record is reclaimed a grace
        // period after it was unlinked from the index.
        unsafe { RecordRef::new(record) }
    }

    /// Prefetches the bucket of a hash, without a guard.
    #[inline(always)]
    pub fn prefetch_bucket_early(&self, hash: u32) {
        self.index.prefetch_early(hash);
    }

    /// Prefetches the bucket of a hash.
    pub fn prefetch_bucket(&self, guard: &R::Guard<'_>, hash: u32) {
        self.index.prefetch(guard, hash);
    }

    /// A record that may belong to a key with this hash.
    #[inline(always)]
    pub fn candidate<'g>(&self, guard: &'g R::Guard<'_>, hash: u32) -> Option<RecordRef<'g, K, V>> {
        self.index.candidate(guard, hash).map(Self::in_index)
    }

    /// The number of parts into which a scan divides the index.
    pub fn parts(&self, guard: &R::Guard<'_>) -> usize {
        self.index.homes(guard)
    }

    /// Returns the records in the first of these parts of the index, and in some of the following
    /// ones, and the part at which to go on. `division` is the number of all parts.
    pub fn records_of<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        division: usize,
        parts: Range<usize>,
    ) -> (Vec<RecordRef<'g, K, V>>, usize) {
        let mut entries = Vec::new();
        let next = self.index.entries_of(guard, division, parts, &mut entries);
        (entries.into_iter().map(Self::in_index).collect(), next)
    }

    /// Visits the records in these parts of the index. `division` is the number of all parts.
    pub fn visit_parts(
        &self,
        guard: &R::Guard<'_>,
        division: usize,
        parts: Range<usize>,
        mut visit: impl FnMut(RecordRef<'_, K, V>),
    ) {
        self.index.visit_parts(guard, division, parts, |record| visit(Self::in_index(record)));
    }

    /// The parts at the beginning of `row` that are visited at the cost of its first one.
    pub fn run_of_parts(
        &self,
        guard: &R::Guard<'_>,
        division: usize,
        row: Range<usize>,
    ) -> Range<usize> {
        self.index.run(guard, division, row)
    }

    /// Makes the index smaller if it holds few records.
    pub fn shrink(&self, guard: &R::Guard<'_>) {
        self.index.shrink(guard);
    }

    /// Moves a part of the index to the next table, if it is being moved.
    #[inline(always)]
    pub fn assist(&self, guard: &R::Guard<'_>) {
        if self.index.is_moving(guard) {
            self.index.assist(&self.reclaim, guard);
        }
    }
}

impl<K, V, S, R, H> Store<K, V, S, R, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    H: Host<K, V>,
{
    /// The record of `key`, if there is one.
    #[inline(always)]
    pub fn find<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
    ) -> Option<RecordRef<'g, K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.index.find(guard, hash, |record| key.equivalent(record.key())).map(Self::in_index)
    }

    /// A record of a key with this hash, if there is one.
    pub fn find_by_hash<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
    ) -> Option<RecordRef<'g, K, V>> {
        self.index.find(guard, hash, |record| record.hash() == hash).map(Self::in_index)
    }

    /// The record of `key`, if there is one, alive as long as the guard.
    pub fn find_alive<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
    ) -> Option<RecordRef<'g, K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.find(guard, hash, key).filter(|record| record.revive())
    }

    /// The record of `key`, alive as long as the guard. If there is none, makes one with the key
    /// that `own` returns.
    pub fn find_or_create<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        own: impl FnOnce() -> K,
    ) -> RecordRef<'g, K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let known = self.find_alive(guard, hash, key);
        known.unwrap_or_else(|| self.locate(guard, hash, own(), None))
    }

    /// The record of `key`, alive as long as the guard. If there is none, makes one, which takes
    /// what is `offered`.
    pub fn locate<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: K,
        mut offered: Option<Offered<'_, V>>,
    ) -> RecordRef<'g, K, V> {
        let same = |record: &Record<K, V>| {
            record.prefetch_to_write(); // both parts at once
            *record.key() == key
        };
        let vacancy = match self.index.find_or_vacancy(guard, hash, same) {
            Ok(record) if record.revive() => return Self::in_index(record),
            Ok(_) => None,
            Err(vacancy) => vacancy,
        };
        // SAFETY: a guard is live.
        let fresh = unsafe {
            Unpublished::new(self.records(), hash, key, self.new_ready, offered.as_mut())
        };
        step("write.record_made");
        let entry = fresh.record;
        // SAFETY: its hash is `hash`, and it is freed a grace period after it was sealed and
        // unlinked.
        let inserted = unsafe {
            let at_once = |vacancy| self.index.insert_into(guard, vacancy, entry);
            match vacancy.is_some_and(at_once) {
                true => Ok(()),
                false => self.index.insert(&self.reclaim, guard, hash, entry, |record| {
                    record.key() == entry.as_ref().key()
                }),
            }
        };
        match inserted {
            Ok(()) => {
                std::mem::forget(fresh);
                // SAFETY: published just now under this guard.
                Self::in_index(unsafe { entry.as_ref() })
            }
            Err(existing) => {
                if let Some(offered) = offered {
                    fresh.give_back(offered.value);
                }
                Self::in_index(existing)
            }
        }
    }
}

/// A record that no other thread has seen. If it is dropped because a user's `Eq` panicked, it
/// drops its contents and gives its memory back.
struct Unpublished<'e, K, V> {
    record: NonNull<Record<K, V>>,
    has_value: bool,
    pool: &'e Pool,
}

impl<'e, K, V> Unpublished<'e, K, V> {
    /// # Safety
    /// As for `Pool::take`, until it is dropped.
    unsafe fn new(
        pool: &'e Pool,
        hash: u32,
        key: K,
        ready: State,
        offered: Option<&mut Offered<'_, V>>,
    ) -> Self {
        let flags = offered.as_ref().map_or(0, |offered| offered.flags);
        let value = offered.map(|offered| &mut *offered.value);
        let has_value = value.as_ref().is_some_and(|value| value.is_some());
        // SAFETY: the caller's promise. The slot is from the pool of records.
        let record = unsafe {
            let record: NonNull<Record<K, V>> = pool.take_at(hash).cast();
            Record::write(record.as_ptr(), key, (hash, flags), ready, value);
            record
        };
        Self { record, has_value, pool }
    }

    /// Drops the key and gives the value back.
    #[cold]
    #[inline(never)]
    fn give_back(mut self, value: &mut Parcel<V>) {
        if std::mem::take(&mut self.has_value) {
            // SAFETY: no other thread has seen the record, so this thread owns the value and moves
            // it out once.
            unsafe { value.move_from((*self.record.as_ref().inline_slot()).value_place()) };
        }
    }

    #[cold]
    #[inline(never)]
    fn drop_contents(&mut self) {
        /// Gives the memory back after the value was dropped, though its destructor may panic.
        struct GiveBack<'e>(&'e Pool, NonNull<u8>);
        impl Drop for GiveBack<'_> {
            fn drop(&mut self) {
                // SAFETY: taken from this pool, and not seen by any other thread.
                unsafe { self.0.put_back(self.1) };
            }
        }
        let has_value = std::mem::take(&mut self.has_value);
        // SAFETY: no other thread has seen the record, so this thread owns key and value. The key
        // is moved out once, and the value is dropped once.
        unsafe {
            let record = self.record.as_ref();
            let _given_back = GiveBack(self.pool, self.record.cast());
            let _key = record.take_key();
            if has_value {
                (*record.inline_slot()).value_place().drop_in_place();
            }
        }
    }
}

impl<K, V> Drop for Unpublished<'_, K, V> {
    fn drop(&mut self) {
        self.drop_contents();
    }
}
