//! Where a new entry goes in a table, and how large the next table is.

use super::Indexed;
use super::bucket::{Fingerprint, SLOTS};
use super::table::Table;
use crate::memory::Mapped;
use crate::sync::{Ordering, hook};
use std::num::NonZeroU32;

/// The number of buckets in the smallest table.
const MIN_BUCKETS: usize = if cfg!(coeval_loom) { 1 } else { 8 };
/// The number of buckets in the largest table. A hash has few more bits to select a home bucket,
/// and a small machine has no more memory.
const MAX_BUCKETS: usize = 1 << if cfg!(target_pointer_width = "64") { 31 } else { 24 };
/// The largest number of entries per bucket in a table for a known number of entries. With four,
/// one bucket in six overflows.
const PLANNED_LOAD: usize = if cfg!(coeval_loom) { 1 } else { 4 };
/// A rebuilt table begins with at most half this many entries per bucket, to delay the next
/// rebuild.
const TWICE_LOAD_AFTER_REBUILD: usize = if cfg!(coeval_loom) { 2 } else { 5 };
/// A table is rebuilt when more than one bucket in this many has overflowed.
const CROWDED: usize = 5;
/// The same for a small table. Such a table is near the processor, so what counts is that look-ups
/// need one bucket.
const CROWDED_IF_SMALL: usize = 12;
/// A table with fewer buckets is small.
const SMALL: usize = if cfg!(coeval_loom) { 1 } else { 1 << 12 };
/// A table with this many times the fitting number of buckets is sparse.
const SPARSE: usize = 4;
/// The number of buckets that are counted to estimate the number of entries.
const SAMPLES: usize = 128;

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

impl<E: Indexed> Table<E> {
    /// Makes a table with room for `entries` entries.
    pub(super) fn with_capacity(entries: usize) -> Mapped<Self> {
        let buckets = table_size(entries.div_ceil(PLANNED_LOAD));
        let is_planned = entries > MIN_BUCKETS * PLANNED_LOAD;
        Self::new(if is_planned && buckets < SMALL { 2 * buckets } else { buckets })
    }

    /// Places the entry `number` in this table, unless `same` holds for an entry that is present.
    /// Sets `overflowed` if it closed a bucket.
    ///
    /// A key gets only one entry. It can only be added to the last bucket of its sequence. The
    /// buckets before that were closed when they were searched, and the CAS that publishes the
    /// entry fails if the last bucket has changed since its search.
    ///
    /// # Safety
    /// The caller holds a guard that protects this table until the end of `'g`. The entry stays
    /// valid until it is unlinked and a grace period has passed.
    pub(super) unsafe fn place<'g>(
        &self,
        memory: &E::Memory,
        hash: u32,
        number: NonZeroU32,
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
                let found = unsafe { bucket.search(memory, header, fingerprint, &mut *same) };
                if let Some(existing) = found {
                    return Placed::Existing(existing);
                }
                if header.is_overflowed() {
                    break;
                }
                let Some(slot) = reserved.take().or_else(|| bucket.reserve(header, number)) else {
                    // Each slot has a fingerprint, or a number that is reserved or waits for the
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
        let crowded = if self.len() < SMALL { CROWDED_IF_SMALL } else { CROWDED };
        // Relaxed: as for the increment.
        self.progress.overflowed.load(Ordering::Relaxed) * crowded > self.len()
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
        let (mut used, mut overflowed, mut full) = (0, 0, 0);
        for number in 0..samples {
            // One bucket of each stride, at positions unrelated to any pattern of the hashes.
            let place = (number.wrapping_mul(0x9e37_79b1) >> 8) % stride;
            let bucket = self.bucket(number * stride + place);
            let header = bucket.header();
            let occupied = header.occupied().len();
            // In the next table, too, slots will wait for the end of grace periods.
            used += bucket.used();
            overflowed += usize::from(header.is_overflowed());
            full += usize::from(header.is_overflowed() && occupied == SLOTS);
        }
        // If few buckets were counted, entries may have been missed.
        let used = if stride == 1 { used } else { used + SAMPLES / 16 };
        let fitting = table_size((used * stride * 2).div_ceil(TWICE_LOAD_AFTER_REBUILD));
        Sample { fitting, overflowed, full }
    }
}

/// The result of counting in some of a table's buckets.
struct Sample {
    /// The size of a table for the estimated number of entries and of slots that wait.
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
