//! Iteration over all entries, part by part, while the index may grow.
//!
//! A part is the set of entries whose hashes agree in their low bits. So an entry always belongs to
//! the same part, whichever tables it passes through. A call visits one part, or several successive
//! ones. Within a call:
//!
//! - *No entry is missed.* Take an entry that lives throughout the call. When the call loads the
//!   root, the entry has a fingerprint in some table reachable from the root. Fingerprints stay in
//!   place when a bucket is moved. So the walk, from the root to the newest table, finds the entry
//!   there: its home in that table is among the homes that the walk visits, all earlier buckets of
//!   its sequence had overflowed when it was inserted, and the walk continues after every
//!   overflowed bucket.
//! - *No entry is returned twice.* The walk visits no bucket of a table twice, a table contains an
//!   entry once, and the call takes only entries of its own parts. Two tables may both contain one
//!   entry; such duplicates are removed by address. The address identifies the entry throughout the
//!   call, since the guard keeps entries from being freed.
//!
//! The choice of a call's parts is therefore only a matter of cost: the caller continues with the
//! part at which the call ended. Where hashes collide, the sequences of many homes run through the
//! same buckets, and a call for each part would visit these buckets each time. So a call takes 1,
//! 2, 4, ... parts, until it visits at most as many buckets after the homes of its parts as it
//! visits homes. Together, all calls of an iteration visit each bucket about twice at most, for any
//! hashes.

use super::table::Table;
use super::{Index, Indexed};
use crate::reclaim::Reclaim;
use std::ops::Range;
use std::ptr;

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// Returns the number of parts to iterate over: a power of two. An iteration calls it once.
    pub fn homes(&self, guard: &R::Guard<'_>) -> usize {
        self.root(guard).len()
    }

    /// Returns the first of these `parts` of `homes`, and the parts to be visited together with it.
    pub fn run(&self, guard: &R::Guard<'_>, homes: usize, parts: Range<usize>) -> Range<usize> {
        debug_assert!(homes.is_power_of_two() && parts.start < parts.end && parts.end <= homes);
        let mut size = 1;
        while size < parts.len()
            && self.tables(guard).any(|t| t.runs_over(homes, parts.start, size))
        {
            size *= 2;
        }
        parts.start..parts.start + size.min(parts.len())
    }

    /// Appends the living entries of the first of these `parts` of `homes`, and of some parts after
    /// it. An entry that lives throughout the call is appended once. An entry that is inserted or
    /// dies during the call is appended at most once. Returns the next part, which is the end when
    /// all were visited.
    pub fn entries_of<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        homes: usize,
        parts: Range<usize>,
        out: &mut Vec<&'g E>,
    ) -> usize {
        let parts = self.run(guard, homes, parts);
        let (first, next) = (out.len(), parts.end);
        if self.visit_parts(guard, homes, parts, |entry| out.push(entry)) > 1 {
            out[first..].sort_unstable_by_key(|entry| ptr::from_ref::<E>(entry));
            let mut kept = first;
            for at in first..out.len() {
                if at == first || !ptr::eq(out[at], out[kept - 1]) {
                    out[kept] = out[at];
                    kept += 1;
                }
            }
            out.truncate(kept);
        }
        next
    }

    /// Returns all living entries, with the guarantees of [`entries_of`](Self::entries_of).
    pub fn all_entries<'g>(&self, guard: &'g R::Guard<'_>) -> Vec<&'g E> {
        let (homes, mut next, mut all) = (self.homes(guard), 0, Vec::new());
        while next < homes {
            next = self.entries_of(guard, homes, next..homes, &mut all);
        }
        all
    }

    /// Visits the living entries of all these parts of `homes`. It may visit an entry once per
    /// table. Returns the number of tables.
    pub fn visit_parts<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        homes: usize,
        parts: Range<usize>,
        mut visit: impl FnMut(&'g E),
    ) -> usize
    where
        E: 'g,
    {
        let mut tables = 0;
        for table in self.tables(guard) {
            // SAFETY: `guard` protects the tables that are reached from the root.
            unsafe { table.visit_parts(&self.memory, homes, parts.clone(), &mut visit) };
            tables += 1;
        }
        tables
    }

    /// Iterates over the tables, from the root to the newest.
    fn tables<'g>(&self, guard: &'g R::Guard<'_>) -> impl Iterator<Item = &'g Table<E>>
    where
        E: 'g,
    {
        std::iter::successors(Some(self.root(guard)), |table| table.next())
    }
}

/// A visit asks for the entries of the bucket that comes this many buckets later, most likely in a
/// later call.
const AHEAD: usize = 8;
/// Entries of tables with fewer buckets are near the processor. To ask for them costs more than it
/// gains.
const FAR: usize = 1 << 15;

impl<E: Indexed> Table<E> {
    /// Returns whether a sequence runs through more than `size` buckets after the homes of the
    /// `size` parts from `start` on.
    fn runs_over(&self, homes: usize, start: usize, size: usize) -> bool {
        if size >= self.len() {
            return false; // All buckets are homes of these parts.
        }
        // In a larger table, the parts have several ranges of homes. In a smaller one, they share
        // one.
        let mut last = (start + size - 1) & (self.len() - 1);
        while last < self.len() {
            if (last..=last + size).all(|number| self.bucket(number).header().is_overflowed()) {
                return true;
            }
            last += homes;
        }
        false
    }

    /// Visits the living entries of these parts of `homes` in this table.
    ///
    /// # Safety
    /// The caller's guard protects this table until the end of `'g`.
    unsafe fn visit_parts<'g>(
        &self,
        memory: &E::Memory,
        homes: usize,
        parts: Range<usize>,
        visit: &mut impl FnMut(&'g E),
    ) where
        E: 'g,
    {
        let mask = homes - 1;
        let mut offset = 0; // From the first home, around to the bucket before it.
        while offset < self.len() {
            let bucket = self.bucket(parts.start + offset);
            if self.len() >= FAR {
                self.bucket(parts.start + offset + AHEAD).prefetch_entries(memory);
            }
            let header = bucket.header();
            for slot in header.occupied() {
                // SAFETY: the slot is occupied in a header that was loaded under the caller's
                // guard.
                let entry: &'g E = unsafe { bucket.entry(memory, slot) };
                if parts.contains(&(entry.hash() as usize & mask)) && !entry.is_sealed() {
                    visit(entry);
                }
            }
            offset += 1;
            if offset & mask >= parts.len() && !header.is_overflowed() {
                offset = (offset | mask) + 1; // The next range of homes, if there is another.
            }
        }
    }
}
