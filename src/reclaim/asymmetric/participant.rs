//! A thread's part in the reclamation, and what it has retired.

use super::{FIRST, GUARDS, Guard};
use crate::reclaim::pile::{Pile, Spare};
use crate::reclaim::{Garbage, Tally};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use std::cell::{Cell, UnsafeCell};

/// A thread's part. Only `announced`, `tally` and `waiting` are touched by other threads.
#[repr(C)] // What a pin touches comes first, in one line.
pub(super) struct Participant {
    /// 0: not pinned. Otherwise the epoch read when pinning.
    pub(super) announced: AtomicU64,
    /// How many guards are live beside the one with which that was announced.
    pub(super) nested: Cell<u32>,
    /// Written by the owner only.
    pub(super) tally: Tally,
    /// Set while this thread calls reclaim functions, which may come back to `collect`.
    pub(super) reclaiming: Cell<bool>,
    /// Retirements since the last call of `collect`.
    pub(super) fresh: Cell<usize>,
    /// Retirements before that, since the last attempt to advance.
    pub(super) since: Cell<usize>,
    /// The global epoch at the end of that attempt.
    pub(super) seen: Cell<u64>,
    /// How many objects lie in `bags` and `due`. Written by the owner only.
    pub(super) waiting: AtomicUsize,
    /// What was retired, by stamp modulo four. Never borrowed across a call to the outside.
    pub(super) bags: UnsafeCell<[Bag; 4]>,
    /// What may be reclaimed at the next opportunity. Never borrowed across a call to the outside.
    pub(super) due: UnsafeCell<Pile>,
    /// Pages for both. Never borrowed across a call to the outside.
    pub(super) spare: UnsafeCell<Spare>,
}

/// What was retired while the global epoch read `stamp`.
#[derive(Default)]
pub(super) struct Bag {
    pub(super) stamp: u64,
    pub(super) garbage: Pile,
}

// SAFETY: a participant goes from a thread that ended to one that began later; the garbage in it may
// be reclaimed by any thread (contract of `retire`).
unsafe impl Send for Participant {}

impl Participant {
    #[inline(always)]
    pub(super) fn is_pinned(&self) -> bool {
        self.announced.load(Ordering::Relaxed) != 0 // Written by this thread only.
    }

    /// A guard beside others of the same thread.
    #[inline(always)]
    pub(super) fn nest(&self) -> Option<Guard<'_>> {
        let nested = self.nested.get() + 1;
        if nested == GUARDS {
            return None;
        }
        self.nested.set(nested);
        Some(Guard { participant: self })
    }

    /// Puts `garbage` into the bag for `stamp`.
    #[inline]
    pub(super) fn keep(&self, stamp: u64, garbage: Garbage) {
        // SAFETY: the owner's alone, and no other borrow of them lives: none leaves this type's
        // methods or spans a call to the outside.
        let (bags, due, spare) =
            unsafe { (&mut *self.bags.get(), &mut *self.due.get(), &mut *self.spare.get()) };
        let bag = &mut bags[(stamp % 4) as usize];
        if bag.stamp != stamp {
            due.append(&mut bag.garbage); // It is four or more epochs old.
            bag.stamp = stamp;
        }
        if bag.garbage.is_full() {
            bag.garbage.begin_page(spare);
        }
        bag.garbage.push(garbage);
        self.fresh.set(self.fresh.get() + 1);
        self.waiting.store(self.waiting.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes over the garbage of a thread that has ended. Only who visits it calls this, at the global epoch `stamp`, or
    /// one before that: as if all of it were retired now.
    pub(super) fn take_over(&self, left: &Participant, stamp: u64) {
        if left.waiting.load(Ordering::Relaxed) == 0 {
            return; // Relaxed, here and below: the visitor's own.
        }
        // SAFETY: as in `keep`, for both.
        let (bags, due) = unsafe { (&mut *self.bags.get(), &mut *self.due.get()) };
        // SAFETY: as above; they are two participants.
        let (left_bags, left_due) = unsafe { (&mut *left.bags.get(), &mut *left.due.get()) };
        let bag = &mut bags[(stamp % 4) as usize];
        if bag.stamp != stamp {
            due.append(&mut bag.garbage); // It is four or more epochs old.
            bag.stamp = stamp;
        }
        for left_bag in left_bags {
            bag.garbage.append(&mut left_bag.garbage);
        }
        due.append(left_due);
        let count = left.waiting.load(Ordering::Relaxed);
        left.waiting.store(0, Ordering::Relaxed);
        self.waiting.store(self.waiting.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Gives empty pages back to the system. Only who visits it calls this.
    pub(super) fn forget_pages(&self) {
        // SAFETY: as in `keep`.
        drop(std::mem::take(unsafe { &mut *self.spare.get() }));
    }

    /// Moves to `due` what is in bags whose stamp satisfies `is_due`.
    pub(super) fn gather(&self, is_due: impl Fn(u64) -> bool) {
        // SAFETY: as in `keep`.
        let (bags, due) = unsafe { (&mut *self.bags.get(), &mut *self.due.get()) };
        for bag in bags.iter_mut().filter(|bag| is_due(bag.stamp)) {
            due.append(&mut bag.garbage);
        }
    }

    /// Reclaims up to `most` of what is in `due` and tells how much it was.
    ///
    /// # Safety
    /// It may be reclaimed.
    pub(super) unsafe fn reclaim_due(&self, most: usize) -> usize {
        let mut count = 0;
        while count < most {
            // SAFETY: as in `keep`; the borrow ends before the call below.
            let (due, spare) = unsafe { (&mut *self.due.get(), &mut *self.spare.get()) };
            let Some(garbage) = due.pop(spare) else { break };
            count += 1;
            // SAFETY: due, says the caller; taken out of the list, so it is called once.
            unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        }
        self.waiting.store(self.waiting.load(Ordering::Relaxed) - count, Ordering::Relaxed);
        count
    }
}

impl Default for Participant {
    fn default() -> Self {
        Self {
            announced: AtomicU64::new(0),
            nested: Cell::new(0),
            tally: Tally::default(),
            reclaiming: Cell::new(false),
            fresh: Cell::new(0),
            since: Cell::new(0),
            seen: Cell::new(FIRST),
            waiting: AtomicUsize::new(0),
            bags: UnsafeCell::default(),
            due: UnsafeCell::default(),
            spare: UnsafeCell::default(),
        }
    }
}
