//! The state of one thread in this scheme, and the objects that it has retired.

use super::{FIRST, Guard, MAX_GUARDS};
use crate::reclaim::garbage_list::{GarbageList, PageCache};
use crate::reclaim::{Garbage, Tally};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use std::cell::{Cell, UnsafeCell};

/// The state of one thread. Other threads access only `announced`, `tally` and `waiting`.
#[repr(C)] // The fields that a pin accesses come first, in one cache line.
pub(super) struct Participant {
    /// 0 if not pinned, otherwise the epoch read when pinning.
    pub(super) announced: AtomicU64,
    /// The number of live guards besides the outermost one.
    pub(super) nested: Cell<u32>,
    /// Written by the owner only.
    pub(super) tally: Tally,
    /// Set while this thread calls reclaim functions, which may call `collect`.
    pub(super) reclaiming: Cell<bool>,
    /// The number of retirements since the last call of `collect`.
    pub(super) since_collect: Cell<usize>,
    /// The number of retirements before that, since the last attempt to advance.
    pub(super) since_attempt: Cell<usize>,
    /// The global epoch after that attempt.
    pub(super) seen_epoch: Cell<u64>,
    /// The number of objects in `bags` and `due`. Written by the owner only.
    pub(super) waiting: AtomicUsize,
    /// Retired objects, by stamp modulo four. Never borrowed across a call to the outside.
    pub(super) bags: UnsafeCell<[Bag; 4]>,
    /// Objects that may be reclaimed. Never borrowed across a call to the outside.
    pub(super) due: UnsafeCell<GarbageList>,
    /// Empty pages for both. Never borrowed across a call to the outside.
    pub(super) page_cache: UnsafeCell<PageCache>,
}

/// The objects that were retired while the global epoch read `stamp`.
#[derive(Default)]
pub(super) struct Bag {
    pub(super) stamp: u64,
    pub(super) garbage: GarbageList,
}

// SAFETY: a participant passes from a thread that ended to one that began later. Any thread may
// reclaim the garbage in it (contract of `retire`).
unsafe impl Send for Participant {}

impl Participant {
    #[inline(always)]
    pub(super) fn is_pinned(&self) -> bool {
        self.announced.load(Ordering::Relaxed) != 0 // Relaxed: only this thread writes it.
    }

    /// Returns an inner guard, or `None` if the thread holds too many guards.
    #[inline(always)]
    pub(super) fn pin_nested(&self) -> Option<Guard<'_>> {
        let nested = self.nested.get() + 1;
        if nested == MAX_GUARDS {
            return None;
        }
        self.nested.set(nested);
        Some(Guard { participant: self })
    }

    /// Puts `garbage` into the bag for `stamp`.
    #[inline]
    pub(super) fn push(&self, stamp: u64, garbage: Garbage) {
        // SAFETY: only the owner uses these cells, and no other borrow of them is live: none leaves
        // this type's methods or spans a call to the outside.
        let (bags, due, page_cache) =
            unsafe { (&mut *self.bags.get(), &mut *self.due.get(), &mut *self.page_cache.get()) };
        let bag = &mut bags[(stamp % 4) as usize];
        if bag.stamp != stamp {
            due.append(&mut bag.garbage); // Its stamp is four or more epochs old.
            bag.stamp = stamp;
        }
        if bag.garbage.is_full() {
            bag.garbage.add_page(page_cache);
        }
        bag.garbage.push(garbage);
        self.since_collect.set(self.since_collect.get() + 1);
        self.waiting.store(self.waiting.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes over the garbage of an ended thread, as if it were retired now. Only the thread that
    /// visits `left` calls this. `stamp` is the global epoch, or the one before.
    pub(super) fn take_over(&self, left: &Participant, stamp: u64) {
        if left.waiting.load(Ordering::Relaxed) == 0 {
            return; // Relaxed, here and below: the field belongs to the visitor.
        }
        // SAFETY: as in `push`, for both.
        let (bags, due) = unsafe { (&mut *self.bags.get(), &mut *self.due.get()) };
        // SAFETY: as above; `self` and `left` are distinct.
        let (left_bags, left_due) = unsafe { (&mut *left.bags.get(), &mut *left.due.get()) };
        let bag = &mut bags[(stamp % 4) as usize];
        if bag.stamp != stamp {
            due.append(&mut bag.garbage); // Its stamp is four or more epochs old.
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

    /// Frees empty pages. Only the thread that visits this participant calls it.
    pub(super) fn free_pages(&self) {
        // SAFETY: as in `push`.
        drop(std::mem::take(unsafe { &mut *self.page_cache.get() }));
    }

    /// Moves the objects whose stamps satisfy `is_due` to `due`.
    pub(super) fn move_due(&self, is_due: impl Fn(u64) -> bool) {
        // SAFETY: as in `push`.
        let (bags, due) = unsafe { (&mut *self.bags.get(), &mut *self.due.get()) };
        for bag in bags.iter_mut().filter(|bag| is_due(bag.stamp)) {
            due.append(&mut bag.garbage);
        }
    }

    /// Reclaims up to `most` objects of `due` and returns their number.
    ///
    /// # Safety
    /// All objects in `due` may be reclaimed.
    pub(super) unsafe fn reclaim_due(&self, most: usize) -> usize {
        let mut count = 0;
        while count < most {
            // SAFETY: as in `push`; the borrow ends before the call below.
            let (due, page_cache) = unsafe { (&mut *self.due.get(), &mut *self.page_cache.get()) };
            let Some(garbage) = due.pop(page_cache) else { break };
            count += 1;
            // SAFETY: the caller's promise; the object is off the list, so this is the only call.
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
            since_collect: Cell::new(0),
            since_attempt: Cell::new(0),
            seen_epoch: Cell::new(FIRST),
            waiting: AtomicUsize::new(0),
            bags: UnsafeCell::default(),
            due: UnsafeCell::default(),
            page_cache: UnsafeCell::default(),
        }
    }
}
