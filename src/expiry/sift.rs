//! Sifting: releases entries that the wheel need not hold any more, before it reaches them.
//!
//! An entry that is removed, or is now kept for ever, stays in its slot: finding it there would
//! need doubly linked lists. Instead, a thread that ends a deadline early looks at a few entries of
//! the wheel, whichever are next, and takes out those that need not be there. This keeps their
//! number in proportion to the rest.
//!
//! Each slot has two stacks, like the two halves of a copying collector. One round over all slots
//! moves entries from the stacks of one side to those of the other; the next round moves them back.
//! New entries go to the side to which the present round moves entries. So a round ends, and
//! looks at each entry once, except for entries that a delayed thread inserts on the other side.
//!
//! # What may go
//! - An entry without a deadline.
//! - A handle whose deadline comes before its slot. The wheel holds this handle once more for that
//!   deadline, because each deadline that is brought forward inserts another one.
//!
//! The second rule fails in two cases. The front shows both:
//! - An entry whose deadline had passed when it was inserted is in a slot later than its deadline.
//!   In that case the front has reached the deadline.
//! - While a slot is being emptied, the entries of this visit cannot be told from those of the
//!   next.
//!
//! So a handle stays if its deadline has passed, or while the wheel is turning.

use super::cells::CellStack;
use super::ticks::{self, LEVELS, SLOTS};
use super::{Scheduled, Wheel, WheelSlot};
use crate::queue::Handle;
use crate::sync::{AtomicU64, Ordering, fence, hook};
use std::array;

/// The largest number of entries that one call of [`Wheel::sift`] looks at. They are taken out and
/// put back together.
pub const SIFT_BATCH: usize = if cfg!(coeval_loom) { 2 } else { 16 };
/// The largest number of empty slots that one call passes over.
const PASSED: usize = SLOTS;

/// The progress of the rounds: the number of a slot, counted over all levels and all rounds.
pub(super) struct SiftCursor(AtomicU64);

impl SiftCursor {
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the side to which the present round moves entries.
    pub fn target_side(&self) -> usize {
        // Relaxed, like all accesses of the cursor: with an outdated value, entries are only looked
        // at once more.
        1 - source_side(self.0.load(Ordering::Relaxed))
    }
}

/// Returns the side that the round at `cursor` empties.
fn source_side(cursor: u64) -> usize {
    (cursor / (LEVELS * SLOTS) as u64) as usize % 2
}

/// A slot from which entries are to be taken.
struct SiftSource<'w> {
    slot: &'w WheelSlot,
    side: usize,
    /// The tick at which the wheel reaches the slot.
    begins: u64,
}

/// Entries that stay in the wheel, while the calling thread has them in hand.
struct KeptEntries {
    cells: [u32; SIFT_BATCH],
    /// The handles, with their deadlines.
    entries: [Option<(Handle, u64)>; SIFT_BATCH],
    count: usize,
}

impl KeptEntries {
    fn contains(&self, entry: Handle) -> bool {
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
    /// Looks at some entries, at most [`SIFT_BATCH`], and releases those that the wheel need not
    /// hold where they are.
    pub fn sift(&self, timed: &impl Scheduled) {
        // Acquire: pairs with the CAS on `swept` in `turn`, so that the stacks are as that turn
        // left them. The order of the two loads matters: if the values are equal, the slots up to
        // the front were empty at the second load.
        let front = self.progress.front.load(Ordering::Acquire);
        let is_turning = self.progress.swept.load(Ordering::Acquire) != front;
        if is_turning && !hook::mutant("expiry.sift_while_turning") {
            return;
        }
        let Some(SiftSource { slot, side, begins }) = self.next_source(front) else { return };
        let mut cells = [0; SIFT_BATCH];
        let count = self.cells.pop_many(&slot.0[side], &mut cells);
        hook::step("expiry.sift_out");
        // Relaxed: if the front is unchanged now, it was unchanged at the pop, and the threads that
        // inserted these entries saw no later front.
        let is_same = self.progress.front.load(Ordering::Relaxed) == front
            || hook::mutant("expiry.sift_while_turning");
        let begins = if is_same { begins } else { 0 };
        let kept = self.release_unneeded(&cells[..count], front, begins, timed);
        if kept.count > 0 {
            self.put_back(kept, &slot.0[1 - side], begins, timed);
        }
    }

    /// Moves the cursor to the next slot with entries. Returns `None` if none is within reach.
    fn next_source(&self, front: u64) -> Option<SiftSource<'_>> {
        let cursor = &self.cursor.0;
        let begin = cursor.load(Ordering::Relaxed);
        let mut at = begin;
        let mut found = None;
        for _ in 0..PASSED {
            let slots = SLOTS as u64;
            let (level, number) = ((at / slots) as usize % LEVELS, (at % slots) as usize);
            let side = source_side(at);
            match self.levels.get(level).map(|level| &level.0[number]) {
                Some(slot) if !slot.0[side].is_empty() => {
                    let begins = ticks::next_begin(front, level, number);
                    found = Some(SiftSource { slot, side, begins });
                    break;
                }
                Some(_) => at += 1,
                None => at += slots - at % slots,
            }
        }
        if at != begin {
            // If this fails, another thread has moved the cursor at least as far.
            let _ = cursor.compare_exchange(begin, at, Ordering::Relaxed, Ordering::Relaxed);
        }
        found
    }

    /// Releases the entries that need not be in a slot that the wheel reaches at the tick `begins`.
    /// Returns the others.
    fn release_unneeded(
        &self,
        cells: &[u32],
        front: u64,
        begins: u64,
        timed: &impl Scheduled,
    ) -> KeptEntries {
        let entries: [Option<Handle>; SIFT_BATCH] =
            array::from_fn(|at| cells.get(at).map(|cell| self.cells.entry(*cell)));
        entries.iter().flatten().for_each(|entry| timed.prefetch(*entry));
        let mut kept =
            KeptEntries { cells: [0; SIFT_BATCH], entries: [None; SIFT_BATCH], count: 0 };
        let (mut released, mut released_count) = ([0; SIFT_BATCH], 0);
        for (&cell, entry) in cells.iter().zip(entries.into_iter().flatten()) {
            let deadline = timed.deadline_of(entry).filter(|deadline| {
                let tick = ticks::of_deadline(*deadline);
                // Of several holds on one handle, one stays.
                (tick <= front || begins <= tick) && !kept.contains(entry)
            });
            if let Some(deadline) = deadline {
                kept.push(cell, entry, deadline);
            } else {
                timed.let_go(entry);
                released[released_count] = cell;
                released_count += 1;
            }
        }
        if released_count > 0 {
            self.cells.free(&released[..released_count]);
        }
        kept
    }

    /// Puts entries back into their slot, on `stack`, if the wheel has yet to reach it. Otherwise
    /// inserts them by their deadlines.
    fn put_back(
        &self,
        mut kept: KeptEntries,
        stack: &CellStack,
        begins: u64,
        timed: &impl Scheduled,
    ) {
        if begins != 0 {
            let pushed = self.cells.push(stack, kept.cells());
            hook::step("expiry.sift_back");
            fence(Ordering::SeqCst); // partner: the fence in `sweep`
            let is_ahead = self.progress.front.load(Ordering::Relaxed) < begins;
            if is_ahead || hook::mutant("expiry.sift_unchecked") {
                return;
            }
            if !self.cells.undo_push(stack, pushed, kept.cells()) {
                // The slot keeps copies, as in `insert`.
                for (cell, (entry, _)) in kept.cells.iter_mut().zip(kept.entries.iter().flatten()) {
                    timed.hold(*entry);
                    *cell = self.cells.allocate(*entry);
                }
            }
        }
        for (cell, (entry, deadline)) in kept.cells.iter().zip(kept.entries.iter().flatten()) {
            self.insert(*cell, *entry, *deadline, timed);
        }
    }
}
