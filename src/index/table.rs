//! One table: a power-of-two number of buckets, with linear probing from a hash's home bucket.
//!
//! The *sequence* of a hash in a table is its home bucket and, after each bucket that has
//! overflowed, the next one. An overflowed bucket admits no more entries. So an entry goes into the
//! last bucket of its sequence, and a sequence only grows.

use super::Indexed;
use super::bucket::{Bucket, Fingerprint, SLOTS};
use crate::memory::{Mapped, Zeroed};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, hook};
use crossbeam_utils::CachePadded;
use std::ptr::{self, NonNull};

/// The number of buckets in the smallest table.
const MIN_BUCKETS: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// The number of buckets in the largest table. A hash has few more bits to select a home bucket,
/// and a small machine has no more memory.
const MAX_BUCKETS: usize = 1 << if cfg!(target_pointer_width = "64") { 31 } else { 24 };
/// The largest number of entries per bucket in a table for a known number of entries. With four,
/// one bucket in 18 overflows.
const PLANNED_LOAD: usize = if cfg!(coeval_loom) { 1 } else { 4 };
/// A rebuilt table begins with at most half this many entries per bucket, to delay the next
/// rebuild.
const TWICE_LOAD_AFTER_REBUILD: usize = if cfg!(coeval_loom) { 2 } else { 5 };
/// A table is rebuilt when more than one bucket in this many has overflowed.
const CROWDED: usize = 8;
/// A table with this many times the fitting number of buckets is sparse.
const SPARSE: usize = 4;
/// The number of buckets that are counted to estimate the number of entries.
const SAMPLES: usize = 128;

/// A table, and the progress of its move into the next one.
pub(super) struct Table<E> {
    // This cache line is read-only, except for `next`, which changes once.
    mask: usize,
    buckets: Zeroed<Bucket<E>>,
    next: AtomicPtr<Table<E>>,
    pub(super) progress: CachePadded<Progress>,
}

/// The part of a table that changes while it fills and is moved.
pub(super) struct Progress {
    /// The number of overflowed buckets (fewer until the thread that set a flag has counted it).
    overflowed: AtomicUsize,
    /// Some thread has claimed all buckets below this, in order to move them.
    pub(super) claimed: AtomicUsize,
    /// All buckets below this were verified to be moved.
    pub(super) verified: AtomicUsize,
}

/// The result of an attempt to place an entry in one table.
pub(super) enum Placed<'g, E> {
    /// The entry is published.
    Here,
    /// The same entry, or one with the same key, is present.
    Existing(&'g E),
    /// A bucket of the sequence is being moved, or was moved: the entry belongs in the next table.
    Frozen,
    /// Every bucket of the table has overflowed.
    Exhausted,
}

impl<E> Table<E> {
    /// Returns the address of the next table, for the exclusive owner of all tables.
    pub(super) fn next_pointer(&self) -> *mut Self {
        self.next.load(Ordering::Relaxed) // Relaxed: the caller is the exclusive owner.
    }
}

impl<E: Indexed> Table<E> {
    pub(super) fn new(buckets: usize) -> Mapped<Self> {
        debug_assert!(buckets.is_power_of_two());
        Mapped::new(Self {
            mask: buckets - 1,
            buckets: Zeroed::new(buckets),
            next: AtomicPtr::new(ptr::null_mut()),
            progress: CachePadded::new(Progress {
                overflowed: AtomicUsize::new(0),
                claimed: AtomicUsize::new(0),
                verified: AtomicUsize::new(0),
            }),
        })
    }

    pub(super) fn with_capacity(entries: usize) -> Mapped<Self> {
        Self::new(table_size(entries.div_ceil(PLANNED_LOAD)))
    }

    pub(super) fn len(&self) -> usize {
        self.mask + 1
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<Bucket<E>>() * self.len()
    }

    /// Returns the bucket with this number, modulo the size of the table.
    #[inline(always)]
    pub(super) fn bucket(&self, number: usize) -> &Bucket<E> {
        // SAFETY: there are `mask + 1` buckets.
        unsafe { self.buckets.get_unchecked(number & self.mask) }
    }

    /// Returns the home bucket of a hash, where its sequence begins.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> &Bucket<E> {
        self.bucket(hash as usize)
    }

    /// Iterates over all buckets in the order in which `hash` probes them. The caller stops at the
    /// first one that has not overflowed, which ends the sequence.
    pub(super) fn probe(&self, hash: u32) -> impl Iterator<Item = &Bucket<E>> {
        (0..self.len()).map(move |step| self.bucket(hash as usize + step))
    }

    /// Returns the table into which this one is moved, if that has begun.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<&Self> {
        // Acquire: pairs with the CAS in `set_next`.
        // SAFETY: a table is retired after the one before it, so the guard that protects this table
        // also protects the next one. `Index::drop` owns all tables.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Makes `fresh` the next table, unless there is one. Returns the next table.
    pub(super) fn set_next(&self, fresh: Mapped<Self>) -> &Self {
        let fresh = Mapped::into_raw(fresh);
        // Release: pairs with `next`, for the table's content. Acquire: for that of the winner's
        // table.
        match self.next.compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            // SAFETY: published just now; protected as in `next`.
            Ok(_) => unsafe { &*fresh },
            Err(winner) => {
                // SAFETY: mapped above, and never published.
                drop(unsafe { Mapped::from_raw(fresh) });
                // SAFETY: published by another thread; protected as in `next`.
                unsafe { &*winner }
            }
        }
    }

    /// Places `entry` in this table, unless `same` holds for an entry that is present. Sets
    /// `overflowed` if it closed a bucket.
    ///
    /// A key gets only one entry. It can only be added to the last bucket of its sequence. The
    /// buckets before that were closed when they were searched, and the CAS that publishes the
    /// entry fails if the last bucket has changed since its search.
    ///
    /// # Safety
    /// The caller holds a guard that protects this table until the end of `'g`. `entry` stays valid
    /// until it is unlinked and a grace period has passed.
    pub(super) unsafe fn place<'g>(
        &self,
        hash: u32,
        entry: NonNull<E>,
        same: &mut impl FnMut(&'g E) -> bool,
        overflowed: &mut bool,
    ) -> Placed<'g, E> {
        let fingerprint = Fingerprint::new(hash);
        for bucket in self.probe(hash) {
            let mut reserved = None;
            loop {
                hook::step("index.search");
                let header = bucket.header();
                if header.is_frozen() {
                    return Placed::Frozen;
                }
                // SAFETY: `header` was loaded under the caller's guard.
                if let Some(existing) = unsafe { bucket.search(header, fingerprint, &mut *same) } {
                    return Placed::Existing(existing);
                }
                if header.is_overflowed() {
                    break;
                }
                let Some(slot) = reserved.take().or_else(|| bucket.reserve(header, entry)) else {
                    // Each slot has a fingerprint, or a pointer that is reserved or waits for the
                    // end of a grace period.
                    if bucket.overflow(header) {
                        // Relaxed: the count only decides when to rebuild.
                        self.progress.overflowed.fetch_add(1, Ordering::Relaxed);
                        *overflowed = true;
                        break;
                    }
                    continue;
                };
                hook::step("index.reserved");
                match slot.publish(header, fingerprint) {
                    Ok(()) => {
                        hook::step("index.published");
                        return Placed::Here;
                    }
                    Err(slot) => reserved = Some(slot),
                }
            }
        }
        Placed::Exhausted
    }

    /// Returns whether so many buckets have overflowed that the table should be rebuilt.
    pub(super) fn is_crowded(&self) -> bool {
        // Relaxed: as for the increment.
        self.progress.overflowed.load(Ordering::Relaxed) * CROWDED > self.len()
    }

    /// Returns the number of buckets that the next table should have; with `forced`, always more
    /// than this one has.
    ///
    /// A larger number if there are many entries. The same number if slots were used up by entries
    /// that have died since. But a larger number if the overflowed buckets are full of living
    /// entries (with equal hashes): a table of the same size would be crowded at once. A smaller
    /// number if few entries are left.
    pub(super) fn next_size(&self, forced: bool) -> usize {
        let sample = self.sample();
        if sample.fitting > self.len() {
            sample.fitting
        } else if forced || 2 * sample.full > sample.overflowed {
            table_size(2 * self.len())
        } else if sample.is_sparse(self.len()) {
            sample.fitting
        } else {
            self.len()
        }
    }

    /// Returns whether a much smaller table would be enough.
    pub(super) fn is_sparse(&self) -> bool {
        self.sample().is_sparse(self.len())
    }

    /// Counts entries in some of the buckets, or in all buckets of a small table.
    fn sample(&self) -> Sample {
        let samples = self.len().min(SAMPLES);
        let stride = self.len() / samples;
        let (mut living, mut overflowed, mut full) = (0, 0, 0);
        for number in 0..samples {
            // One bucket of each stride, at positions unrelated to any pattern of the hashes.
            let place = (number.wrapping_mul(0x9e37_79b1) >> 8) % stride;
            let header = self.bucket(number * stride + place).header();
            let occupied = header.occupied().len();
            living += occupied;
            overflowed += usize::from(header.is_overflowed());
            full += usize::from(header.is_overflowed() && occupied == SLOTS);
        }
        // If few buckets were counted, entries may have been missed.
        let living = if stride == 1 { living } else { living + SAMPLES / 16 };
        let fitting = table_size((living * stride * 2).div_ceil(TWICE_LOAD_AFTER_REBUILD));
        Sample { fitting, overflowed, full }
    }
}

/// The result of counting in some of a table's buckets.
struct Sample {
    /// The size of a table for the estimated number of entries.
    fitting: usize,
    /// The number of counted buckets that have overflowed.
    overflowed: usize,
    /// The number of counted buckets that have overflowed and have no empty slot.
    full: usize,
}

impl Sample {
    fn is_sparse(&self, buckets: usize) -> bool {
        self.fitting * SPARSE <= buckets
    }
}

/// Returns the size, within bounds, of a table with at least this many buckets.
fn table_size(buckets: usize) -> usize {
    buckets.clamp(MIN_BUCKETS, MAX_BUCKETS).next_power_of_two()
}
