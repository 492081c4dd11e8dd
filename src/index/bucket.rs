//! One bucket: a header word and the pointers that it describes, together one 64-byte line.
//!
//! The header holds an eight-bit tag for each slot, 0 for an empty one, and three flags above them.
//! | what | set by | cleared by |
//! |---|---|---|
//! | tag | `publish`, never in a frozen or overflowed bucket | `clear`, once its entry is sealed |
//! | `OVERFLOWED` | an inserter that found no free slot | nobody: no insert here in this table any more |
//! | `FROZEN` | whoever begins to move the bucket | nobody: no tag and no `OVERFLOWED` is added any more |
//! | `MOVED` | whoever has copied all its living entries | nobody: the next table has them all |
//!
//! A slot's pointer is stored before its tag and outlives it: `clear` leaves it, and it becomes null
//! a grace period later. So within one guard a slot is not used for two entries, and a header value
//! that was seen once does not come back: a compare-and-swap of the header proves that nothing was
//! added since the bucket was searched.
//!
//! The header changes by read-modify-writes only. They continue each other's release sequences, so an
//! acquire load of the header synchronizes with *every* earlier release of it, not just the last.

use super::Indexed;
use crate::memory::{Zeroable, prefetch};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, hook};
use std::ptr::{self, NonNull};

/// Entries a bucket. Models use two, so that a bucket overflows at once.
pub(super) const SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 7 };

/// A one in every tag's byte.
const ONES: u64 = ((1 << (8 * SLOTS)) - 1) / 0xff;
const HIGH: u64 = ONES * 0x80;

const FROZEN: u64 = 1 << 56;
const MOVED: u64 = 1 << 57;
const OVERFLOWED: u64 = 1 << 58;

/// An entry's tag, repeated in every byte.
#[derive(Clone, Copy)]
pub(super) struct Tag(u64);

impl Tag {
    #[inline(always)]
    pub(super) fn new(hash: u32) -> Self {
        // The high bits: the low ones chose the bucket. 0 means an empty slot, and `matching` is simple
        // because there is no 1.
        Self(u64::from((hash >> 24).max(2)) * ONES)
    }

    fn at(self, slot: usize) -> u64 {
        self.0 & (0xff << (8 * slot))
    }
}

/// A header word as it was at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header(u64);

impl Header {
    /// The slots that bear `tag`, and sometimes one whose tag differs in the lowest bit; never an
    /// empty one.
    #[inline(always)]
    pub(super) fn matching(self, tag: Tag) -> Slots {
        let difference = self.0 ^ tag.0;
        // Subtracting one borrows into a byte's high bit if the byte is zero; or if it is one and the
        // byte below has borrowed, being zero. An empty slot differs from every tag by two or more.
        Slots(difference.wrapping_sub(ONES) & !difference & HIGH)
    }

    /// The empty slots: exactly those, as no tag is one.
    pub(super) fn vacant(self) -> Slots {
        self.matching(Tag(0))
    }

    pub(super) fn occupied(self) -> Slots {
        Slots(self.vacant().0 ^ HIGH)
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

    /// Whether a key that is not in this bucket may be elsewhere.
    #[inline(always)]
    pub(super) fn leads_on(self) -> bool {
        self.0 & (FROZEN | MOVED | OVERFLOWED) != 0
    }
}

/// A set of slots, one high bit a byte.
pub(super) struct Slots(u64);

impl Slots {
    #[inline(always)]
    pub(super) fn first(&self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize / 8)
    }

    pub(super) fn len(&self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let slot = self.first()?;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// See the module's header. All zeroes is an empty bucket.
#[repr(C, align(64))]
pub(super) struct Bucket<E> {
    header: AtomicU64,
    entries: [AtomicPtr<E>; SLOTS],
}

#[cfg(not(coeval_loom))]
const _: () = assert!(size_of::<Bucket<u64>>() == 64);

// SAFETY: an atomic zero and null pointers are all zeroes, and have no destructor.
unsafe impl<E> Zeroable for Bucket<E> {
    fn zero() -> Self {
        Self {
            header: AtomicU64::new(0),
            entries: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }
}

impl<E: Indexed> Bucket<E> {
    #[inline(always)]
    pub(super) fn header(&self) -> Header {
        // Acquire: pairs with `publish` (the slot's pointer and the entry behind it), with `freeze`
        // (the next table is there) and with `mark_moved` (so are the copies).
        Header(self.header.load(Ordering::Acquire))
    }

    /// The entry whose tag was seen in `slot`.
    ///
    /// # Safety
    /// The slot's tag was seen set in a header of this bucket loaded under a guard that is still
    /// live, and does not end before `'g` does.
    #[inline(always)]
    pub(super) unsafe fn entry<'g>(&self, slot: usize) -> &'g E {
        debug_assert!(slot < SLOTS);
        // SAFETY: `Slots` yields slots below `SLOTS` only.
        let pointer = unsafe { self.entries.get_unchecked(slot) };
        // Relaxed: the header load that showed the tag acquired the pointer too, and while the
        // guard lives the slot gets no other.
        let entry = pointer.load(Ordering::Relaxed);
        if cfg!(coeval_loom) {
            assert!(!entry.is_null(), "a tag without its pointer");
        }
        // SAFETY: a tagged slot's pointer is not null, and its entry is not freed before a grace
        // period has passed since the tag was cleared: not during this guard (the caller's clause).
        unsafe { &*entry }
    }

    /// The first entry among those that bear `tag` in `header` for which `same` holds.
    ///
    /// # Safety
    /// As for [`entry`](Self::entry), for `header`.
    #[inline(always)]
    pub(super) unsafe fn search<'g>(
        &self,
        header: Header,
        tag: Tag,
        mut same: impl FnMut(&'g E) -> bool,
    ) -> Option<&'g E> {
        let mut slots = header.matching(tag);
        while let Some(slot) = slots.first() {
            // SAFETY: the caller's clause; `slot` is tagged in `header`.
            let entry = unsafe { self.entry(slot) };
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

    /// Takes a slot for `entry` that is empty in `seen` and not reserved.
    pub(super) fn reserve(&self, seen: Header, entry: NonNull<E>) -> Option<Reservation<'_, E>> {
        let null = ptr::null_mut();
        for slot in seen.vacant() {
            let pointer = &self.entries[slot];
            // Relaxed, all three: nobody follows the pointer before the tag is published, and that
            // is a release.
            if pointer.load(Ordering::Relaxed).is_null()
                && pointer
                    .compare_exchange(null, entry.as_ptr(), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return Some(Reservation { bucket: self, slot });
            }
        }
        None
    }

    /// Closes the bucket for inserts, unless it changed since it was `seen`.
    pub(super) fn overflow(&self, seen: Header) -> bool {
        // Relaxed: the flag leads to no other memory. It says something about this word alone (no
        // tag is added after it), and a word's changes have one order for everyone.
        let new = seen.0 | OVERFLOWED;
        self.header.compare_exchange(seen.0, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Forbids further tags. The header from then on, but for tags that are cleared.
    pub(super) fn freeze(&self) -> Header {
        // Release: pairs with `header`: whoever sees the flag sees the next table, which the caller
        // has seen. Acquire: pairs with `publish`, for the entries that the caller will copy.
        Header(self.header.fetch_or(FROZEN, Ordering::AcqRel) | FROZEN)
    }

    pub(super) fn mark_moved(&self) {
        // Release: pairs with `header`: whoever sees the flag finds the copies in the next table.
        self.header.fetch_or(MOVED, Ordering::Release);
    }

    /// Clears the tag of `entry`, if it stands here.
    pub(super) fn clear(&self, entry: NonNull<E>, tag: Tag) {
        for slot in self.header().matching(tag) {
            // Relaxed: as in `entry`. Only compared, never followed.
            if self.entries[slot].load(Ordering::Relaxed) == entry.as_ptr() {
                // Relaxed: no reader draws a conclusion from a missing tag about other memory; that
                // later guards do not see the tag is what retiring the entry ensures.
                self.header.fetch_and(!(0xff << (8 * slot)), Ordering::Relaxed);
            }
        }
    }

    /// Makes the slots of `entry` usable again, a grace period after `clear`.
    pub(super) fn release(&self, entry: NonNull<E>) {
        for pointer in &self.entries {
            // Relaxed, both: the slot's tag is clear, so nobody follows the pointer; and nobody else
            // writes a pointer that is not null, but for a reservation's owner, who is long gone.
            if pointer.load(Ordering::Relaxed) == entry.as_ptr() {
                pointer.store(ptr::null_mut(), Ordering::Relaxed);
            }
        }
    }
}

/// A slot taken for an entry whose tag is not published. Dropping it, also when the user's equality
/// panics, gives the slot back.
pub(super) struct Reservation<'b, E> {
    bucket: &'b Bucket<E>,
    slot: usize,
}

impl<E> Reservation<'_, E> {
    /// Publishes the tag, unless the bucket changed since it was `seen`: then hands the reservation
    /// back.
    pub(super) fn publish(self, seen: Header, tag: Tag) -> Result<(), Self> {
        let tag = tag.at(self.slot);
        let header = &self.bucket.header;
        if hook::mutant("index.publish_blindly") {
            header.fetch_or(tag, Ordering::Release);
            std::mem::forget(self);
            return Ok(());
        }
        // Release: pairs with the acquire loads of the header. The pointer and the entry behind it
        // come with the tag.
        let release = if hook::mutant("index.publish_relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        match header.compare_exchange(seen.0, seen.0 | tag, release, Ordering::Relaxed) {
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
        // Relaxed: nobody follows the pointer of a slot without a tag, and while it is not null
        // nobody else stores to it.
        self.bucket.entries[self.slot].store(ptr::null_mut(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn matching_finds_all_and_hardly_more() {
        let tags = [0u8, 3, 2, 0x7f, 0x80, 0x81, 0xff];
        for shift in 0..SLOTS {
            let tag_of = |slot: usize| tags[(slot + shift) % SLOTS];
            let word =
                (0..SLOTS).fold(0, |word, slot| word | u64::from(tag_of(slot)) << (8 * slot));
            for header in [Header(word), Header(word | FROZEN | MOVED | OVERFLOWED)] {
                for tag in 2..=255u8 {
                    let got: Vec<usize> = header.matching(Tag::new(u32::from(tag) << 24)).collect();
                    let must: Vec<usize> = (0..SLOTS).filter(|&s| tag_of(s) == tag).collect();
                    assert!(must.iter().all(|slot| got.contains(slot)));
                    assert!(got.iter().all(|&slot| tag_of(slot) | 1 == tag | 1));
                    assert_eq!(got.is_empty(), must.is_empty());
                }
                assert!(header.vacant().eq((0..SLOTS).filter(|&slot| tag_of(slot) == 0)));
                assert_eq!(header.occupied().len(), SLOTS - 1);
            }
        }
    }

    #[test]
    fn no_hash_has_the_empty_tag() {
        assert_eq!(Tag::new(0).at(0), 2);
        assert_eq!(Tag::new(0x01ff_ffff).at(3), 2 << 24);
        assert_eq!(Tag::new(0xab00_0000).at(6), 0xab << 48);
    }
}
