//! Iteration: all entries, part by part, whatever growth does meanwhile.
//!
//! A part is the set of entries whose hashes agree in their low bits, so an entry belongs to one part
//! for good, whichever tables it passes through. Within a part, in one call:
//!
//! - *None is missed.* Take an entry that lives throughout the call. When the call loads the root, the
//!   entry is tagged in some table reachable from it. Tags stay where they are when a bucket is moved,
//!   so the walk, from the root to the newest table, finds it there; its home in that table is among
//!   the homes that the walk visits, and the sequence from there leads to it.
//! - *None comes twice.* A table shows an entry once, and the walk takes it only from the sequence of
//!   its own home. Two tables may both show it; such doubles are removed by address. The address means
//!   the same entry throughout, since the guard keeps entries from being freed.

use super::table::Table;
use super::{Index, Indexed};
use crate::reclaim::Reclaim;
use std::ptr;

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// The number of parts to iterate over: a power of two. An iteration takes it once.
    pub fn homes(&self, guard: &R::Guard<'_>) -> usize {
        self.root(guard).len()
    }

    /// Appends the living entries of part `home` of `homes`: each that lives throughout the call once,
    /// and at most once each that is inserted or dies during it.
    pub fn entries_of<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        homes: usize,
        home: usize,
        out: &mut Vec<&'g E>,
    ) {
        let first = out.len();
        if self.visit_part(guard, homes, home, |entry| out.push(entry)) > 1 {
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
    }

    /// Visits what [`entries_of`](Self::entries_of) appends, but some perhaps once for each table. Returns
    /// how many there are.
    pub fn visit_part<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        homes: usize,
        home: usize,
        mut visit: impl FnMut(&'g E),
    ) -> usize
    where
        E: 'g,
    {
        debug_assert!(homes.is_power_of_two() && home < homes);
        let mut tables = 0;
        let mut table = Some(self.root(guard));
        while let Some(current) = table {
            // SAFETY: `guard` protects the tables that it reaches from the root.
            unsafe { current.visit_part(homes, home, &mut visit) };
            tables += 1;
            table = current.next();
        }
        tables
    }
}

impl<E: Indexed> Table<E> {
    /// Visits the living entries of part `home` of `homes` that stand in this table.
    ///
    /// # Safety
    /// The caller's guard protects this table, to the end of `'g`.
    unsafe fn visit_part<'g>(&self, homes: usize, home: usize, visit: &mut impl FnMut(&'g E))
    where
        E: 'g,
    {
        let mask = self.len() - 1;
        // In a larger table the part has several homes; in a smaller one it shares its only one.
        for start in (home & mask..self.len()).step_by(homes) {
            for step in 0..self.len() {
                let bucket = self.bucket(start + step);
                let header = bucket.header();
                for slot in header.occupied() {
                    // SAFETY: tagged in a header that was loaded under the caller's guard.
                    let entry: &'g E = unsafe { bucket.entry(slot) };
                    let hash = entry.hash() as usize;
                    if hash & mask == start && hash & (homes - 1) == home && !entry.is_sealed() {
                        visit(entry);
                    }
                }
                if !header.is_overflowed() {
                    break;
                }
            }
        }
    }
}
