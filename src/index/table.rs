//! One table: a power-of-two number of buckets, probed one after the other from a hash's home.
//!
//! The *sequence* of a hash in a table is its home bucket and, as long as a bucket has overflowed,
//! the one after it. An overflowed bucket takes no entry any more, so an entry goes into the last
//! bucket of its sequence, and a sequence only grows.

use super::Indexed;
use super::bucket::{Bucket, SLOTS, Tag};
use crate::memory::{Mapped, Zeroed};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, hook};
use crossbeam_utils::CachePadded;
use std::ptr::{self, NonNull};

/// The smallest table.
const FEWEST: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// The largest: a hash has hardly more bits to choose a home by, and a small machine no more memory.
const MOST: usize = 1 << if cfg!(target_pointer_width = "64") { 31 } else { 24 };
/// A table for a known number of entries has at most so many a bucket. With four, one bucket in 18
/// overflows.
const PLANNED: usize = if cfg!(coeval_loom) { 1 } else { 4 };
/// A rebuilt table begins with at most half so many a bucket, to be far from the next rebuild.
const TWICE_AFTER_REBUILD: usize = if cfg!(coeval_loom) { 2 } else { 5 };
/// A table is rebuilt when more than one bucket in so many has overflowed.
const CROWDED: usize = 8;
/// A table with so many buckets more than would fit is sparse.
const SPARSE: usize = 4;
/// Buckets that are counted to estimate how many entries there are.
const SAMPLES: usize = 128;

/// A table and how far its move into the next one has come.
pub(super) struct Table<E> {
    // This line is only read, but for `next`, which changes once.
    mask: usize,
    buckets: Zeroed<Bucket<E>>,
    next: AtomicPtr<Table<E>>,
    pub(super) progress: CachePadded<Progress>,
}

/// What changes while a table fills and is moved away.
pub(super) struct Progress {
    /// Buckets that have overflowed (fewer while a thread that set the flag has yet to count it).
    overflowed: AtomicUsize,
    /// Buckets below this were claimed by a thread that moves them.
    pub(super) claimed: AtomicUsize,
    /// Buckets below this were seen to be moved.
    pub(super) verified: AtomicUsize,
}

/// What came of an attempt to place an entry in one table.
pub(super) enum Placed<'g, E> {
    /// It is published.
    Here,
    /// The same entry or key was there.
    Met(&'g E),
    /// A bucket of the sequence is being moved, or has been: the entry belongs into the next table.
    Frozen,
    /// Every bucket of the table has overflowed.
    Exhausted,
}

impl<E> Table<E> {
    /// The next table's address, for the one who owns them all.
    pub(super) fn next_pointer(&self) -> *mut Self {
        self.next.load(Ordering::Relaxed) // Relaxed: nobody else is left.
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
        Self::new(table_size(entries.div_ceil(PLANNED)))
    }

    pub(super) fn len(&self) -> usize {
        self.mask + 1
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<Bucket<E>>() * self.len()
    }

    /// The bucket with this number, taken modulo the table's size.
    #[inline(always)]
    pub(super) fn bucket(&self, number: usize) -> &Bucket<E> {
        // SAFETY: there are `mask + 1` buckets.
        unsafe { self.buckets.get_unchecked(number & self.mask) }
    }

    /// The bucket where a hash's sequence begins.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> &Bucket<E> {
        self.bucket(hash as usize)
    }

    /// All buckets in the order in which `hash` probes them. The caller stops at the first one that
    /// has not overflowed, which ends the sequence.
    pub(super) fn probe(&self, hash: u32) -> impl Iterator<Item = &Bucket<E>> {
        (0..self.len()).map(move |step| self.bucket(hash as usize + step))
    }

    /// The table that this one is moved into, if that has begun.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<&Self> {
        // Acquire: pairs with the CAS in `set_next`.
        // SAFETY: a table is retired after the one before it, so the guard that protects this one
        // protects the next one too; and `Index::drop` owns all.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Makes `fresh` the next table, unless there is one. The next table.
    pub(super) fn set_next(&self, fresh: Mapped<Self>) -> &Self {
        let fresh = Mapped::into_raw(fresh);
        // Release: pairs with `next`, for what is in the table. Acquire: the same, for the winner's.
        match self.next.compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            // SAFETY: published just now; lives as `next` says.
            Ok(_) => unsafe { &*fresh },
            Err(winner) => {
                // SAFETY: mapped above, and never published.
                drop(unsafe { Mapped::from_raw(fresh) });
                // SAFETY: published by another thread; lives as `next` says.
                unsafe { &*winner }
            }
        }
    }

    /// Places `entry` in this table unless `same` holds for one that is there. Sets `overflowed` if
    /// it closed a bucket.
    ///
    /// One entry a key: a key can only be added to the last bucket of its sequence. The buckets
    /// before it were closed when they were searched, and the CAS that publishes fails if the last
    /// one changed since.
    ///
    /// # Safety
    /// The caller holds a guard that protects this table, to the end of `'g`. `entry` stays valid
    /// until it is unlinked and a grace period has passed.
    pub(super) unsafe fn place<'g>(
        &self,
        hash: u32,
        entry: NonNull<E>,
        same: &mut impl FnMut(&'g E) -> bool,
        overflowed: &mut bool,
    ) -> Placed<'g, E> {
        let tag = Tag::new(hash);
        for bucket in self.probe(hash) {
            let mut reserved = None;
            loop {
                hook::step("index.search");
                let header = bucket.header();
                if header.is_frozen() {
                    return Placed::Frozen;
                }
                // SAFETY: `header` was loaded under the caller's guard.
                if let Some(met) = unsafe { bucket.search(header, tag, &mut *same) } {
                    return Placed::Met(met);
                }
                if header.is_overflowed() {
                    break;
                }
                let Some(slot) = reserved.take().or_else(|| bucket.reserve(header, entry)) else {
                    // Each slot bears a tag, or a pointer that waits: for its tag, or for the end
                    // of a grace period.
                    if bucket.overflow(header) {
                        // Relaxed: a count that decides nothing but when to rebuild.
                        self.progress.overflowed.fetch_add(1, Ordering::Relaxed);
                        *overflowed = true;
                        break;
                    }
                    continue;
                };
                hook::step("index.reserved");
                match slot.publish(header, tag) {
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

    /// Whether so many buckets have overflowed that the table should be rebuilt.
    pub(super) fn is_crowded(&self) -> bool {
        // Relaxed: see the count's increment.
        self.progress.overflowed.load(Ordering::Relaxed) * CROWDED > self.len()
    }

    /// How many buckets the next table should have. `forced`: more than this one in any case.
    ///
    /// Larger if there are many entries. The same if buckets overflowed because slots were used up
    /// by entries that have died since; but larger if those buckets are full of living ones (equal
    /// hashes), for then a table of this size would be crowded at once. Smaller if little is left.
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

    /// Whether a much smaller table would do.
    pub(super) fn is_sparse(&self) -> bool {
        self.sample().is_sparse(self.len())
    }

    /// Counts in some buckets, of a small table in all.
    fn sample(&self) -> Sample {
        let samples = self.len().min(SAMPLES);
        let stride = self.len() / samples;
        let (mut living, mut overflowed, mut full) = (0, 0, 0);
        for number in 0..samples {
            // One bucket of each stride, at places that follow no pattern of the hashes.
            let place = (number.wrapping_mul(0x9e37_79b1) >> 8) % stride;
            let header = self.bucket(number * stride + place).header();
            let occupied = header.occupied().len();
            living += occupied;
            overflowed += usize::from(header.is_overflowed());
            full += usize::from(header.is_overflowed() && occupied == SLOTS);
        }
        // Where few were counted, more may have been missed.
        let living = if stride == 1 { living } else { living + SAMPLES / 16 };
        let fitting = table_size((living * stride * 2).div_ceil(TWICE_AFTER_REBUILD));
        Sample { fitting, overflowed, full }
    }
}

/// What a look at some of a table's buckets showed.
struct Sample {
    /// The size of a table for as many entries as there seem to be.
    fitting: usize,
    /// How many of the buckets had overflowed.
    overflowed: usize,
    /// How many had overflowed and have no empty slot.
    full: usize,
}

impl Sample {
    fn is_sparse(&self, buckets: usize) -> bool {
        self.fitting * SPARSE <= buckets
    }
}

/// The size of a table that has at least so many buckets, within bounds.
fn table_size(buckets: usize) -> usize {
    buckets.clamp(FEWEST, MOST).next_power_of_two()
}
