//! Iteration: all entries, part by part, whatever growth does meanwhile.
//!
//! A part is the set of entries whose hashes agree in their low bits, so an entry belongs to one part
//! for good, whichever tables it passes through. A call visits one part, or some in a row. Within a
//! call:
//!
//! - *None is missed.* Take an entry that lives throughout the call. When the call loads the root, the
//!   entry is tagged in some table reachable from it. Tags stay where they are when a bucket is moved,
//!   so the walk, from the root to the newest table, finds it there: its home in that table is among
//!   the homes that the walk visits, all buckets of its sequence before the one in which it stands had
//!   overflowed when it was put there, and the walk goes on behind every bucket that has overflowed.
//! - *None comes twice.* The walk visits no bucket of a table twice, a table shows an entry once, and
//!   only entries of the call's parts are taken. Two tables may both show one; such doubles are
//!   removed by address. The address means the same entry throughout, since the guard keeps entries
//!   from being freed.
//!
//! Which parts a call takes is therefore a matter of cost alone: the caller goes on with the part that
//! the call ended before. Where hashes collide, the sequences of many homes run through the same
//! buckets; a call for each part would visit these buckets each time. So a call takes 1, 2, 4 parts and
//! so on, until it visits no more buckets behind the homes of its parts than it visits homes. All calls
//! of an iteration together visit each bucket about twice at most, whatever the hashes.

use super::table::Table;
use super::{Index, Indexed};
use crate::reclaim::Reclaim;
use std::ops::Range;
use std::ptr;

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// The number of parts to iterate over: a power of two. An iteration takes it once.
    pub fn homes(&self, guard: &R::Guard<'_>) -> usize {
        self.root(guard).len()
    }

    /// The first of these `parts` of `homes`, and as many after it as are to be visited with it.
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

    /// Appends the living entries of the first of these `parts` of `homes`, and of some after it: each
    /// that lives throughout the call once, and at most once each that is inserted or dies during it.
    /// Returns the part to go on with, which is the end when all were visited.
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

    /// All living entries, as [`entries_of`](Self::entries_of) says.
    pub fn all_entries<'g>(&self, guard: &'g R::Guard<'_>) -> Vec<&'g E> {
        let (homes, mut next, mut all) = (self.homes(guard), 0, Vec::new());
        while next < homes {
            next = self.entries_of(guard, homes, next..homes, &mut all);
        }
        all
    }

    /// Visits the living entries of all these parts of `homes`, some perhaps once for each table. Returns
    /// how many tables there are.
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
            // SAFETY: `guard` protects the tables that it reaches from the root.
            unsafe { table.visit_parts(homes, parts.clone(), &mut visit) };
            tables += 1;
        }
        tables
    }

    /// The tables, from the root to the newest.
    fn tables<'g>(&self, guard: &'g R::Guard<'_>) -> impl Iterator<Item = &'g Table<E>>
    where
        E: 'g,
    {
        std::iter::successors(Some(self.root(guard)), |table| table.next())
    }
}

impl<E: Indexed> Table<E> {
    /// Whether a sequence leads through more than `size` buckets behind the homes of so many parts from
    /// `start` on.
    fn runs_over(&self, homes: usize, start: usize, size: usize) -> bool {
        if size >= self.len() {
            return false; // They are all homes of these parts.
        }
        // In a larger table the parts have several rows of homes; in a smaller one they share one.
        let mut last = (start + size - 1) & (self.len() - 1);
        while last < self.len() {
            if (last..=last + size).all(|number| self.bucket(number).header().is_overflowed()) {
                return true;
            }
            last += homes;
        }
        false
    }

    /// Visits the living entries of these parts of `homes` that stand in this table.
    ///
    /// # Safety
    /// The caller's guard protects this table, to the end of `'g`.
    unsafe fn visit_parts<'g>(
        &self,
        homes: usize,
        parts: Range<usize>,
        visit: &mut impl FnMut(&'g E),
    ) where
        E: 'g,
    {
        let mask = homes - 1;
        let mut offset = 0; // From the first home, round to the bucket before it.
        while offset < self.len() {
            let bucket = self.bucket(parts.start + offset);
            let header = bucket.header();
            for slot in header.occupied() {
                // SAFETY: tagged in a header that was loaded under the caller's guard.
                let entry: &'g E = unsafe { bucket.entry(slot) };
                if parts.contains(&(entry.hash() as usize & mask)) && !entry.is_sealed() {
                    visit(entry);
                }
            }
            offset += 1;
            if offset & mask >= parts.len() && !header.is_overflowed() {
                offset = (offset | mask) + 1; // The next row of homes, if the table has another.
            }
        }
    }
}
