//! One bucket: a header word and the numbers of the entries that it describes. Two buckets share a
//! line of 64 bytes.
//!
//! The header holds an eight-bit fingerprint for each slot, 0 for an empty one, and three flags.
//! | part | set by | cleared by |
//! |---|---|---|
//! | fingerprint | `publish`, if the bucket is neither frozen nor overflowed | `clear` |
//! | `OVERFLOWED` | an inserter that found no free slot | never |
//! | `FROZEN` | a thread that begins to move the bucket | never |
//! | `MOVED` | a thread that has copied all living entries of the bucket | never |
//!
//! After `OVERFLOWED` is set, this table admits no insert into the bucket. After `FROZEN` is set,
//! no fingerprint and no `OVERFLOWED` is added. After `MOVED` is set, the next table has all living
//! entries of the bucket. `clear` is called once the entry is sealed.
//!
//! A slot's number is stored before its fingerprint and outlives it: `clear` leaves the number,
//! which becomes 0 a grace period later. So within one guard, a slot is not used for two
//! entries, and a header value does not recur. A successful compare-and-swap of the header
//! therefore proves that nothing was added since the bucket was searched.
//!
//! The header changes only by read-modify-writes. They continue each other's release sequences, so
//! an acquire load of the header synchronizes with *every* earlier release of it, not just the
//! last.

use super::{Indexed, Memory};
use crate::memory::Zeroable;
use crate::sync::{AtomicU32, AtomicU64, Ordering, hook, prefetch};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};

/// The number of entries in a bucket. Models use two, so that a bucket overflows quickly.
pub(super) const SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 6 };

/// A one in the byte of every fingerprint.
const ONES: u64 = ((1 << (8 * SLOTS)) - 1) / 0xff;
const HIGH: u64 = ONES * 0x80;

const FROZEN: u64 = 1 << 56;
const MOVED: u64 = 1 << 57;
const OVERFLOWED: u64 = 1 << 58;

/// The fingerprint of a hash, repeated in every byte.
#[derive(Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    #[inline(always)]
    pub(super) fn new(hash: u32) -> Self {
        // The high bits: the low ones select the bucket. 0 means an empty slot. 1 is not used,
        // which keeps `matching` simple.
        Self(u64::from((hash >> 24).max(2)) * ONES)
    }

    fn at(self, slot: usize) -> u64 {
        self.0 & (0xff << (8 * slot))
    }
}

/// The value of a header word at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BucketHeader(u64);

impl BucketHeader {
    /// Returns the slots with this fingerprint. It may include slots whose fingerprint differs in
    /// the lowest bit, but never an empty slot.
    #[inline(always)]
    pub(super) fn matching(self, fingerprint: Fingerprint) -> SlotSet {
        let difference = self.0 ^ fingerprint.0;
        // The subtraction borrows into a byte's high bit if the byte is zero, or if it is one and
        // the byte below, being zero, borrows. An empty slot differs from every fingerprint by 2 or
        // more.
        SlotSet(difference.wrapping_sub(ONES) & !difference & HIGH)
    }

    /// Returns exactly the empty slots, since no fingerprint is one.
    pub(super) fn vacant(self) -> SlotSet {
        self.matching(Fingerprint(0))
    }

    pub(super) fn occupied(self) -> SlotSet {
        SlotSet(self.vacant().0 ^ HIGH)
    }

    pub(super) fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    pub(super) fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    #[inline(always)]
    pub(super) fn is_overflowed(self) -> bool {
        self.0 & OVERFLOWED != 0
    }

    /// Returns whether a key that is not in this bucket may be elsewhere.
    #[inline(always)]
    pub(super) fn may_continue(self) -> bool {
        self.0 & (FROZEN | MOVED | OVERFLOWED) != 0
    }
}

/// A set of slots, with one high bit per byte.
pub(super) struct SlotSet(u64);

impl SlotSet {
    #[inline(always)]
    pub(super) fn first(&self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize / 8)
    }

    pub(super) fn len(&self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for SlotSet {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let slot = self.first()?;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// See the module's documentation. All zeroes is an empty bucket.
#[repr(C, align(32))]
pub(super) struct Bucket<E> {
    header: AtomicU64,
    entries: [AtomicU32; SLOTS],
    numbers_of: PhantomData<E>,
}

#[cfg(not(coeval_loom))]
const _: () = assert!(size_of::<Bucket<u64>>() == 32);

// SAFETY: atomic zeroes are all zeroes, and have no destructor.
unsafe impl<E> Zeroable for Bucket<E> {
    fn zero() -> Self {
        Self {
            header: AtomicU64::new(0),
            entries: std::array::from_fn(|_| AtomicU32::new(0)),
            numbers_of: PhantomData,
        }
    }
}

impl<E: Indexed> Bucket<E> {
    #[inline(always)]
    pub(super) fn header(&self) -> BucketHeader {
        // Acquire: pairs with `publish` (the slot's number and the entry behind it), `freeze` (the
        // next table) and `mark_moved` (the copies in that table).
        BucketHeader(self.header.load(Ordering::Acquire))
    }

    /// Returns the entry in an occupied slot.
    ///
    /// # Safety
    /// The slot was occupied in a header of this bucket that was loaded under a guard. That guard
    /// is still live, and does not end before `'g` does.
    #[inline(always)]
    pub(super) unsafe fn entry<'g>(&self, memory: &E::Memory, slot: usize) -> &'g E {
        debug_assert!(slot < SLOTS);
        // SAFETY: `SlotSet` yields only slots below `SLOTS`.
        let number = unsafe { self.entries.get_unchecked(slot) };
        // Relaxed: the load of the header that had the fingerprint also acquired the number. The
        // slot gets no other number while the guard lives.
        let number = number.load(Ordering::Relaxed);
        if cfg!(coeval_loom) {
            assert!(number != 0, "a fingerprint without its number");
        }
        // SAFETY: an occupied slot's number is not 0, and is that of an entry. This is freed a
        // grace period after the fingerprint is cleared, so not during this guard (the caller's
        // promise).
        unsafe { &*memory.entry(NonZeroU32::new_unchecked(number)) }
    }

    /// Prefetches the entries, for a thread that visits all buckets in turn.
    #[inline]
    pub(super) fn prefetch_entries(&self, memory: &E::Memory) {
        for slot in self.header().occupied() {
            // Relaxed: the number is only a hint here.
            if let Some(number) = NonZeroU32::new(self.entries[slot].load(Ordering::Relaxed)) {
                E::prefetch(memory.entry(number));
            }
        }
    }

    /// Returns the first entry for which `same` holds, among those with this fingerprint in
    /// `header`.
    ///
    /// # Safety
    /// As for [`entry`](Self::entry), for `header`.
    #[inline(always)]
    pub(super) unsafe fn search<'g>(
        &self,
        memory: &E::Memory,
        header: BucketHeader,
        fingerprint: Fingerprint,
        mut same: impl FnMut(&'g E) -> bool,
    ) -> Option<&'g E> {
        let mut slots = header.matching(fingerprint);
        while let Some(slot) = slots.first() {
            // SAFETY: the caller's promise; `slot` is occupied in `header`.
            let entry = unsafe { self.entry(memory, slot) };
            if E::READ != 0 {
                prefetch::end(entry, E::READ);
            }
            if same(entry) {
                return Some(entry);
            }
            slots.next();
        }
        None
    }

    /// Returns the number of slots that have an entry, or wait for the end of a grace period.
    pub(super) fn used(&self) -> usize {
        // Relaxed: only an estimate.
        self.entries.iter().filter(|number| number.load(Ordering::Relaxed) != 0).count()
    }

    /// Reserves a slot for the entry `number` that is empty in `seen` and not reserved.
    pub(super) fn reserve(
        &self,
        seen: BucketHeader,
        number: NonZeroU32,
    ) -> Option<Reservation<'_, E>> {
        for slot in seen.vacant() {
            let place = &self.entries[slot];
            // Relaxed, all three: no thread follows the number before the fingerprint is published,
            // which is a release.
            if place.load(Ordering::Relaxed) == 0
                && place
                    .compare_exchange(0, number.get(), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return Some(Reservation { bucket: self, slot });
            }
        }
        None
    }

    /// Closes the bucket for inserts, unless its header has changed since `seen`.
    pub(super) fn overflow(&self, seen: BucketHeader) -> bool {
        // Relaxed: the flag publishes no other memory. It concerns only this word (no fingerprint
        // is added after it), and all threads see the word's changes in one order.
        let new = seen.0 | OVERFLOWED;
        self.header.compare_exchange(seen.0, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Forbids further fingerprints. Returns the header, which then changes only by cleared ones.
    pub(super) fn freeze(&self) -> BucketHeader {
        // Release: pairs with `header`. A thread that sees the flag also sees the next table, which
        // the caller has seen. Acquire: pairs with `publish`, for the entries that the caller
        // copies.
        BucketHeader(self.header.fetch_or(FROZEN, Ordering::AcqRel) | FROZEN)
    }

    pub(super) fn mark_moved(&self) {
        // Release: pairs with `header`. A thread that sees the flag finds the copies in the next
        // table.
        self.header.fetch_or(MOVED, Ordering::Release);
    }

    /// Clears the fingerprint of `entry`, if the entry is in this bucket. Returns its slot.
    pub(super) fn clear(
        &self,
        memory: &E::Memory,
        entry: NonNull<E>,
        fingerprint: Fingerprint,
    ) -> Option<usize> {
        let slot = self.header().matching(fingerprint).find(|at| self.has(memory, *at, entry))?;
        // Relaxed: a missing fingerprint tells readers nothing about other memory. Retiring the
        // entry ensures that later guards do not see the fingerprint.
        self.header.fetch_and(!(0xff << (8 * slot)), Ordering::Relaxed);
        Some(slot)
    }

    /// Makes the slot of `entry` reusable, a grace period after `clear`.
    pub(super) fn release(&self, memory: &E::Memory, entry: NonNull<E>) {
        if let Some(slot) = self.header().vacant().find(|slot| self.has(memory, *slot, entry)) {
            self.release_slot(slot);
        }
    }

    /// Does the same if the slot of `entry` is this one. Returns whether it is.
    #[inline(always)]
    pub(super) fn release_from(&self, memory: &E::Memory, slot: usize, entry: NonNull<E>) -> bool {
        let is_there = self.has(memory, slot, entry) || hook::mutant("index.release_unseen");
        if is_there {
            self.release_slot(slot);
        }
        is_there
    }

    fn release_slot(&self, slot: usize) {
        // Relaxed: the fingerprint is cleared, so no thread follows the number. Only the owner of a
        // reservation also writes a number that is not 0, and it ended long ago. It had one slot at
        // a time.
        self.entries[slot].store(0, Ordering::Relaxed);
    }

    /// Returns in how many slots `entry` is, or waits for the end of a grace period.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub(super) fn slots_of(&self, memory: &E::Memory, entry: NonNull<E>) -> usize {
        (0..SLOTS).filter(|slot| self.has(memory, *slot, entry)).count()
    }

    /// Returns whether a slot has the number of `entry`.
    fn has(&self, memory: &E::Memory, slot: usize, entry: NonNull<E>) -> bool {
        // Relaxed: as in `entry`. The address is only compared, never followed.
        let number = NonZeroU32::new(self.entries[slot].load(Ordering::Relaxed));
        number.is_some_and(|number| ptr::eq(memory.entry(number), entry.as_ptr()))
    }
}

/// A slot that is reserved for an entry, before its fingerprint is published. Dropping it frees the
/// slot, also when the user's equality panics.
pub(super) struct Reservation<'b, E> {
    bucket: &'b Bucket<E>,
    slot: usize,
}

impl<E> Reservation<'_, E> {
    /// Publishes the fingerprint. Returns the reservation if the header has changed since `seen`.
    pub(super) fn publish(self, seen: BucketHeader, fingerprint: Fingerprint) -> Result<(), Self> {
        let fingerprint = fingerprint.at(self.slot);
        let header = &self.bucket.header;
        if hook::mutant("index.publish_blindly") {
            header.fetch_or(fingerprint, Ordering::Release);
            std::mem::forget(self);
            return Ok(());
        }
        // Release: pairs with the acquire loads of the header. It publishes the number and the
        // entry together with the fingerprint.
        let release = if hook::mutant("index.publish_relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        match header.compare_exchange(seen.0, seen.0 | fingerprint, release, Ordering::Relaxed) {
            Ok(_) => {
                std::mem::forget(self);
                Ok(())
            }
            Err(_) => Err(self),
        }
    }
}

impl<E> Drop for Reservation<'_, E> {
    fn drop(&mut self) {
        // Relaxed: no thread follows the number of a slot without a fingerprint, and no other
        // thread stores to it while it is not 0.
        self.bucket.entries[self.slot].store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn matching_finds_all_and_hardly_more() {
        let fingerprints = [0u8, 3, 2, 0x7f, 0x80, 0x81, 0xff];
        for shift in 0..SLOTS {
            let fingerprint_of = |slot: usize| fingerprints[(slot + shift) % SLOTS];
            let word = (0..SLOTS)
                .fold(0, |word, slot| word | u64::from(fingerprint_of(slot)) << (8 * slot));
            for header in [BucketHeader(word), BucketHeader(word | FROZEN | MOVED | OVERFLOWED)] {
                for fingerprint in 2..=255u8 {
                    let got: Vec<usize> =
                        header.matching(Fingerprint::new(u32::from(fingerprint) << 24)).collect();
                    let must: Vec<usize> =
                        (0..SLOTS).filter(|&s| fingerprint_of(s) == fingerprint).collect();
                    assert!(must.iter().all(|slot| got.contains(slot)));
                    assert!(got.iter().all(|&slot| fingerprint_of(slot) | 1 == fingerprint | 1));
                    assert_eq!(got.is_empty(), must.is_empty());
                }
                assert!(header.vacant().eq((0..SLOTS).filter(|&slot| fingerprint_of(slot) == 0)));
                assert_eq!(header.occupied().len(), SLOTS - 1);
            }
        }
    }

    #[test]
    fn no_hash_has_the_empty_tag() {
        assert_eq!(Fingerprint::new(0).at(0), 2);
        assert_eq!(Fingerprint::new(0x01ff_ffff).at(3), 2 << 24);
        assert_eq!(Fingerprint::new(0xab00_0000).at(5), 0xab << 40);
    }
}
