//! The index: a lock-free hash table from keys to entries.
//!
//! It knows neither keys nor values: callers pass a hash, and decide which entry matches. It owns
//! its tables and the memory of the entries, but not the entries. It refers to an entry by its
//! number in that memory, which takes half of a pointer.
//!
//! The life of an entry in the index: *inserted* (a fingerprint in a bucket makes it visible) →
//! *sealed* by its owner, a grace period after it was condemned → *unlinked* (its fingerprints are
//! cleared in all tables) → a grace period → *released* (its slots may be reused) and freed.

mod bucket;
mod iterate;
mod migrate;
mod place;
mod table;
#[cfg(all(test, not(coeval_loom)))]
mod tests;

use crate::memory::Mapped;
use crate::pool::{PoolOf, Pooled};
use crate::reclaim::Reclaim;
use crate::sync::{AtomicPtr, Ordering, hook, lines, prefetch};
use bucket::Fingerprint;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use table::{BucketsHint, Table};
pub use table::{Peek, Vacancy};

/// The memory of an index's entries. It numbers them.
pub trait Memory<E> {
    /// Returns the number of an entry in this memory, which it has for life.
    fn number(&self, entry: NonNull<E>) -> NonZeroU32;

    /// Returns the entry with this number, or the place of one.
    fn entry(&self, number: NonZeroU32) -> *const E;
}

impl<E: Pooled> Memory<E> for PoolOf<E> {
    fn number(&self, entry: NonNull<E>) -> NonZeroU32 {
        PoolOf::number(self, entry)
    }

    #[inline(always)]
    fn entry(&self, number: NonZeroU32) -> *const E {
        self.slot(number)
    }
}

/// An entry to which an index points.
pub trait Indexed: Sized {
    /// The memory in which all entries of an index are.
    type Memory: Memory<Self>;

    /// The number of bytes, from the beginning of an entry, that a look-up usually reads; 0 if they
    /// never cross a cache line.
    const READ: usize;

    /// Returns the 32-bit hash under which the entry was inserted. Never changes, never panics.
    fn hash(&self) -> u32;

    /// Ensures that the entry stays alive for the rest of the caller's guard, by removing a mark
    /// that condemns it. Returns false if the entry is sealed, which is final. Never panics.
    ///
    /// After this returned true, the entry is not sealed during the same guard: a grace period lies
    /// between condemning an entry and sealing it.
    fn revive(&self) -> bool;

    /// Returns whether the entry is sealed.
    fn is_sealed(&self) -> bool;

    /// Prefetches an entry that may be at this address.
    fn prefetch(entry: *const Self) {
        prefetch::line(entry);
    }
}

/// A lock-free hash table from keys to entries of type `E`. Outgrown tables are retired through
/// `R`. All guards must belong to the one instance that `insert` and `assist` are given.
pub struct Index<E: Indexed, R: Reclaim> {
    /// The oldest table that is not moved completely. It links to the newer ones.
    root: AtomicPtr<Table<E>>,
    /// Where the buckets of the root are, for prefetches without a guard.
    near: BucketsHint,
    memory: E::Memory,
    /// Makes the index `Send` and `Sync` only if entries are.
    entries: PhantomData<E>,
    retires_through: PhantomData<fn(&R)>,
}

/// Where the slot of an unlinked entry is: in the bucket with this number, modulo the size of the
/// table. It fits into a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPlace(u64);

impl SlotPlace {
    /// The bits of a slot's number in its bucket.
    const BITS: u32 = 4;
    /// Not known.
    pub const UNKNOWN: Self = Self((1 << Self::BITS) - 1);

    fn new(bucket: usize, slot: usize) -> Self {
        Self((bucket as u64) << Self::BITS | slot as u64)
    }

    /// Returns the word that says this.
    pub fn word(self) -> u64 {
        self.0
    }

    /// Returns what such a word says.
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns the numbers of the bucket and of the slot, which is too large if it is not known.
    fn split(self) -> (usize, usize) {
        ((self.0 >> Self::BITS) as usize, self.0 as usize % (1 << Self::BITS))
    }
}

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// Creates an index with room for `entries` entries before it grows. All entries are in
    /// `memory`.
    pub fn with_capacity(entries: usize, memory: E::Memory) -> Self {
        let root = Table::with_capacity(entries);
        Self {
            near: BucketsHint::new(&root),
            root: AtomicPtr::new(Mapped::into_raw(root)),
            memory,
            entries: PhantomData,
            retires_through: PhantomData,
        }
    }

    /// Makes room for `entries` entries. There are none yet.
    #[cfg(feature = "serde")]
    pub fn make_room(&mut self, entries: usize) {
        self.free_tables();
        let root = Table::with_capacity(entries);
        self.near.set(&root);
        self.root = AtomicPtr::new(Mapped::into_raw(root));
    }

    /// Frees the tables. The caller makes a new one, or is the last to use the index.
    fn free_tables(&mut self) {
        let mut table = self.root.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !table.is_null() {
            // SAFETY: mapped, not retired, as the root leads to it, and exclusively owned.
            let freed = unsafe { Mapped::from_raw(table) };
            table = freed.next_pointer();
        }
    }

    /// Returns the memory of the entries.
    #[inline(always)]
    pub fn memory(&self) -> &E::Memory {
        &self.memory
    }

    /// Returns the bytes of the tables in use: one, or two while entries move to the next table.
    pub fn bytes(&self, guard: &R::Guard<'_>) -> usize {
        let tables = std::iter::successors(Some(self.root(guard)), |table| table.next());
        tables.map(Table::memory).sum()
    }

    /// Does a bounded part of a move that is under way, and returns false if there is none. Every
    /// insert does this. Another write may do it, so that readers search only one table again.
    #[inline(always)]
    pub fn assist(&self, reclaim: &R, guard: &R::Guard<'_>) -> bool {
        let table = self.root(guard);
        let Some(next) = table.next() else { return false };
        self.move_on(reclaim, guard, table, next);
        true
    }

    /// Inserts `entry` and publishes it, unless there is a living entry for which `eq` holds. If
    /// so, revives that entry and returns it as the error. If `eq` panics, nothing is published.
    ///
    /// # Safety
    /// `entry.hash()` is `hash`. The entry is in the index's memory, and not in the index. It stays
    /// valid until it is sealed, then unlinked, and after a grace period released.
    pub unsafe fn insert<'g>(
        &self,
        reclaim: &R,
        guard: &'g R::Guard<'_>,
        hash: u32,
        entry: NonNull<E>,
        mut eq: impl FnMut(&E) -> bool,
    ) -> Result<(), &'g E> {
        let assisted = self.assist(reclaim, guard);
        let mut overflowed = false;
        // SAFETY: `guard` protects the tables reached from the root; the caller's promises on
        // `entry`.
        let placed = unsafe {
            self.root(guard).place_from(
                &self.memory,
                hash,
                self.memory.number(entry),
                &mut |there: &E| eq(there) && there.revive(),
                &mut overflowed,
            )
        };
        if assisted || overflowed {
            self.consider_growth(guard);
        }
        placed
    }

    /// Inserts `entry` into the bucket where a look-up has ended. Returns false, and does
    /// nothing, if the bucket has changed since or has no room, or if entries are being moved: then
    /// [`insert`](Self::insert) does more.
    ///
    /// # Safety
    /// As for [`insert`](Self::insert). The look-up was for the hash of `entry`, under this guard,
    /// and would have found an entry with the same key.
    pub unsafe fn insert_into(
        &self,
        guard: &R::Guard<'_>,
        Vacancy { bucket, header, fingerprint }: Vacancy<'_, E>,
        entry: NonNull<E>,
    ) -> bool {
        let reserved = match self.is_moving(guard) {
            true => None,
            false => bucket.reserve(header, self.memory.number(entry)),
        };
        hook::step("index.reserved_at_once");
        // The header is as it was, so nothing was added since the search.
        reserved.is_some_and(|slot| slot.publish(header, fingerprint).is_ok())
    }

    /// Clears the fingerprints of a sealed entry in every table. Guards that begin later cannot
    /// find it. Returns where its slot is.
    ///
    /// The entry cannot come back. No thread copies a sealed entry. A thread that began to copy it
    /// while it lived has ended that guard, since the entry was not sealed during it.
    ///
    /// # Safety
    /// The entry is sealed.
    #[inline(always)]
    pub unsafe fn unlink(&self, guard: &R::Guard<'_>, entry: NonNull<E>) -> SlotPlace {
        // SAFETY: the entry is valid until it is released, which is later.
        let hash = unsafe { entry.as_ref() }.hash();
        let (memory, fingerprint) = (&self.memory, Fingerprint::new(hash));
        let mut place = SlotPlace::UNKNOWN;
        self.for_each_bucket(guard, hash, |step, bucket| {
            if let Some(slot) = bucket.clear(memory, entry, fingerprint) {
                place = SlotPlace::new(hash as usize + step, slot);
            }
        });
        // Several tables may have the entry.
        if self.is_moving(guard) { SlotPlace::UNKNOWN } else { place }
    }

    /// Makes the slots of an entry reusable.
    ///
    /// # Safety
    /// A grace period has passed since the entry was unlinked; it is not freed yet.
    pub unsafe fn release(&self, guard: &R::Guard<'_>, entry: NonNull<E>) {
        // SAFETY: the caller's promise.
        let hash = unsafe { entry.as_ref() }.hash();
        self.for_each_bucket(guard, hash, |_, bucket| bucket.release(&self.memory, entry));
    }

    /// Does the same for an entry whose slot is where [`unlink`](Self::unlink) has said.
    ///
    /// If there is another table by now, that has no slot with the number of the entry, since
    /// sealed entries are not copied.
    ///
    /// # Safety
    /// As for [`release`](Self::release).
    #[inline(always)]
    pub unsafe fn release_at(&self, guard: &R::Guard<'_>, entry: NonNull<E>, place: SlotPlace) {
        let (number, slot) = place.split();
        let is_there = slot < bucket::SLOTS
            && self.root(guard).bucket(number).release_from(&self.memory, slot, entry);
        if !is_there {
            // SAFETY: the caller's promise.
            unsafe { self.release(guard, entry) };
        }
    }

    /// Prefetches the bucket of a slot, if it is known, to release the slot.
    #[inline(always)]
    pub fn prefetch_slot(&self, guard: &R::Guard<'_>, place: SlotPlace) {
        if place != SlotPlace::UNKNOWN {
            lines::ask_to_write(self.root(guard).bucket(place.split().0));
        }
    }

    /// Returns in how many slots an entry is, for the models.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub fn slots_of(&self, guard: &R::Guard<'_>, entry: NonNull<E>) -> usize {
        let tables = std::iter::successors(Some(self.root(guard)), |table| table.next());
        let buckets = tables.flat_map(|table| table.probe(0));
        buckets.map(|bucket| bucket.slots_of(&self.memory, entry)).sum()
    }

    /// Visits the hash's sequence in every table: all buckets that may contain an entry with this
    /// hash.
    #[inline(always)]
    fn for_each_bucket(
        &self,
        guard: &R::Guard<'_>,
        hash: u32,
        mut visit: impl FnMut(usize, &bucket::Bucket<E>),
    ) {
        let mut table = Some(self.root(guard));
        while let Some(current) = table {
            for (step, bucket) in current.probe(hash).enumerate() {
                visit(step, bucket);
                if !bucket.header().is_overflowed() {
                    break;
                }
            }
            table = current.next();
        }
    }
}

impl<E: Indexed, R: Reclaim> Drop for Index<E, R> {
    fn drop(&mut self) {
        self.free_tables();
    }
}
