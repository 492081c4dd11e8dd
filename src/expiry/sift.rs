//! Letting go of entries that are not waited for any more, before the wheel comes to them.
//!
//! An entry that is removed, or kept for ever, stays in the slot that it was put into: to find it there would
//! take links both ways. Instead whoever ends a deadline early goes over a few entries of the wheel, whichever are
//! next, and takes out those that need not be there. So what need not be there is in proportion to the rest.
//!
//! Each slot has two lists, as a copying collector has two halves: in one round over all slots entries go from the
//! lists of one side to those of the other, in the next round back, and new ones come to the side where this
//! round's go. So a round looks at each entry once, but for those that a thread put in that slept meanwhile, and ends.
//!
//! # What may go
//! An entry without a deadline; and a handle of one whose deadline comes before the slot: the wheel holds another for
//! it, as one is put in for each deadline that is brought forward. There are two cases where that is not so, and the
//! front tells both: what was over when it was put in is in a later slot than its deadline's, but then the front has
//! come to the deadline; and while a slot is emptied, what was put there for this turn is not told from what was put
//! there for the next. So a handle stays if its deadline is over, or if the wheel is turning.

use super::cells::List;
use super::ticks::{self, LEVELS, SLOTS};
use super::{Scheduled, Slot, Wheel};
use crate::queue::Handle;
use crate::sync::{AtomicU64, Ordering, fence, hook};
use std::array;

/// The most entries that are looked at in one go, taken out and put back together.
pub const AT_ONCE: usize = if cfg!(coeval_loom) { 2 } else { 16 };
/// How many slots without an entry are passed over in one go.
const PASSED: usize = SLOTS;

/// How far the rounds have come: the number of a slot, all levels in a row, round upon round.
pub(super) struct Cursor(AtomicU64);

impl Cursor {
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The side that entries come to in this round.
    pub fn side(&self) -> usize {
        // Relaxed, as all of it: who is wrong about the round has entries looked at once more.
        1 - left_side(self.0.load(Ordering::Relaxed))
    }
}

/// The side that is emptied in the round.
fn left_side(cursor: u64) -> usize {
    (cursor / (LEVELS * SLOTS) as u64) as usize % 2
}

/// A slot that entries are to be taken out of.
struct Next<'w> {
    slot: &'w Slot,
    side: usize,
    /// The tick for which the wheel comes to it.
    begins: u64,
}

/// Entries that stay, in one thread's hands.
struct Kept {
    cells: [u32; AT_ONCE],
    /// With their deadlines.
    entries: [Option<(Handle, u64)>; AT_ONCE],
    count: usize,
}

impl Kept {
    fn has(&self, entry: Handle) -> bool {
        self.entries.iter().flatten().any(|(other, _)| *other == entry)
    }

    fn push(&mut self, cell: u32, entry: Handle, deadline: u64) {
        self.cells[self.count] = cell;
        self.entries[self.count] = Some((entry, deadline));
        self.count += 1;
    }

    fn cells(&self) -> &[u32] {
        &self.cells[..self.count]
    }
}

impl Wheel {
    /// Goes over some entries, [`AT_ONCE`] at most, and lets go of those that are not waited for where they are.
    pub fn sift(&self, timed: &impl Scheduled) {
        // Acquire: pairs with the CAS on `swept`, so that the lists are as they were left then. In this order: if the
        // two are equal, the slots up to the front were empty when the second was read.
        let front = self.time.front.load(Ordering::Acquire);
        let is_turning = self.time.swept.load(Ordering::Acquire) != front;
        if is_turning && !hook::mutant("expiry.sift_while_turning") {
            return;
        }
        let Some(Next { slot, side, begins }) = self.next(front) else { return };
        let mut cells = [0; AT_ONCE];
        let count = self.cells.pop_some(&slot.0[side], &mut cells);
        hook::step("expiry.sift_out");
        // Relaxed: if it is the same, it was when they were taken out; who put them in saw none that is later.
        let is_same = self.time.front.load(Ordering::Relaxed) == front
            || hook::mutant("expiry.sift_while_turning");
        let begins = if is_same { begins } else { 0 };
        let kept = self.sort_out(&cells[..count], front, begins, timed);
        if kept.count > 0 {
            self.put_back(kept, &slot.0[1 - side], begins, timed);
        }
    }

    /// The slot where to go on, if there is one at hand.
    fn next(&self, front: u64) -> Option<Next<'_>> {
        let cursor = &self.cursor.0;
        let begin = cursor.load(Ordering::Relaxed);
        let mut at = begin;
        let mut found = None;
        for _ in 0..PASSED {
            let slots = SLOTS as u64;
            let (number, slot) = ((at / slots) as usize % LEVELS, (at % slots) as usize);
            let side = left_side(at);
            match self.levels.get(number).map(|level| &level.0[slot]) {
                Some(there) if !there.0[side].is_empty() => {
                    let begins = ticks::next_begin(front, number, slot);
                    found = Some(Next { slot: there, side, begins });
                    break;
                }
                Some(_) => at += 1,
                None => at += slots - at % slots,
            }
        }
        if at != begin {
            // If another thread has moved it, it is that far, or further.
            let _ = cursor.compare_exchange(begin, at, Ordering::Relaxed, Ordering::Relaxed);
        }
        found
    }

    /// Lets go of those that need not be in a slot that begins at this tick.
    fn sort_out(&self, cells: &[u32], front: u64, begins: u64, timed: &impl Scheduled) -> Kept {
        let entries: [Option<Handle>; AT_ONCE] =
            array::from_fn(|at| cells.get(at).map(|cell| self.cells.entry(*cell)));
        entries.iter().flatten().for_each(|entry| timed.prefetch(*entry));
        let mut kept = Kept { cells: [0; AT_ONCE], entries: [None; AT_ONCE], count: 0 };
        let (mut gone, mut gone_count) = ([0; AT_ONCE], 0);
        for (&cell, entry) in cells.iter().zip(entries.into_iter().flatten()) {
            let deadline = timed.awaits(entry).filter(|deadline| {
                let tick = ticks::of_deadline(*deadline);
                // One that is here twice stays once.
                (tick <= front || begins <= tick) && !kept.has(entry)
            });
            if let Some(deadline) = deadline {
                kept.push(cell, entry, deadline);
            } else {
                timed.let_go(entry);
                gone[gone_count] = cell;
                gone_count += 1;
            }
        }
        if gone_count > 0 {
            self.cells.free(&gone[..gone_count]);
        }
        kept
    }

    /// Puts entries back into their slot, on this list, if the wheel has yet to come to it; else as their deadlines say.
    fn put_back(&self, mut kept: Kept, list: &List, begins: u64, timed: &impl Scheduled) {
        if begins != 0 {
            let put = self.cells.push(list, kept.cells());
            hook::step("expiry.sift_back");
            fence(Ordering::SeqCst); // partner: the fence in `sweep`
            let is_ahead = self.time.front.load(Ordering::Relaxed) < begins;
            if is_ahead || hook::mutant("expiry.sift_unchecked") {
                return;
            }
            if !self.cells.take_back(list, put, kept.cells()) {
                // As in `put`: the slot keeps copies.
                for (cell, (entry, _)) in kept.cells.iter_mut().zip(kept.entries.iter().flatten()) {
                    timed.hold(*entry);
                    *cell = self.cells.make(*entry);
                }
            }
        }
        for (cell, (entry, deadline)) in kept.cells.iter().zip(kept.entries.iter().flatten()) {
            self.put(*cell, *entry, *deadline, timed);
        }
    }
}
