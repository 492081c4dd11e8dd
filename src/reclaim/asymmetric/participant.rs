//! What one thread does in this scheme: it pins, it retires objects, and it reclaims them.
//!
//! Lists of retired objects are in pages that do not come from the allocator. So a thread that is
//! stopped while it retires an object does not block others.

use super::{Asymmetric, BATCH, FIRST};
use crate::memory::{self, PAGE};
use crate::reclaim::{Garbage, Tally};
use crate::sync::barrier::Barrier;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, prefetch};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// The largest number of guards that a thread may hold at a time.
pub(super) const MAX_GUARDS: u32 = (1 << 20) - 1;

/// A call of `collect` reclaims at most as many due objects as the thread retired since the last
/// call, and some more: one of [`WAITING_SHARE`] that wait, but no fewer than the first number, and
/// no more than the second. So due objects do not accumulate, and cause no pause.
const RECLAIM_STEPS: (usize, usize) = (2, 32);
/// See [`RECLAIM_STEPS`].
const WAITING_SHARE: usize = 4096;

/// Returns `order`, or Relaxed in a model that asked for this defect.
#[inline(always)]
pub(super) fn unless_mutant(defect: &'static str, order: Ordering) -> Ordering {
    if mutant(defect) { Ordering::Relaxed } else { order }
}

/// Every pin reads this. Only an advance of the epoch writes it.
pub(super) struct Shared {
    /// Counts from [`FIRST`].
    pub(super) epoch: AtomicU64,
    pub(super) barrier: Barrier,
}

/// Keeps a thread pinned. Neither `Send` nor `Sync`, since `Participant` is not `Sync`.
pub struct Guard<'a> {
    participant: &'a Participant,
}

impl Guard<'_> {
    /// The counts of the pinned thread.
    #[inline(always)]
    pub(super) fn tally(&self) -> &Tally {
        &self.participant.tally
    }
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let nested = self.participant.nested.get();
        if nested != 0 && !mutant("reclaim.inner_guard_leaves") {
            return self.participant.nested.set(nested - 1);
        }
        // Release: pairs with the scan in `advance`, so that everything done under the guard
        // happens before the advance and the reclamation that it permits.
        self.participant
            .announced
            .store(0, unless_mutant("reclaim.leave_relaxed", Ordering::Release));
    }
}

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

    fn has_due(&self) -> bool {
        // SAFETY: as in `push`; the borrow ends here.
        !unsafe { &*self.due.get() }.is_empty()
    }

    /// See [`RECLAIM_STEPS`].
    fn surplus(&self) -> usize {
        let waiting = self.waiting.load(Ordering::Relaxed); // Relaxed: written by this thread.
        (waiting / WAITING_SHARE).clamp(RECLAIM_STEPS.0, RECLAIM_STEPS.1)
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

impl Asymmetric {
    /// Pins the thread. Returns `None` if it holds too many guards.
    #[inline(always)]
    pub(super) fn announce<'a>(&'a self, participant: &'a Participant) -> Option<Guard<'a>> {
        if participant.is_pinned() {
            return participant.pin_nested();
        }
        // Acquire: pairs with the CAS in `advance`. Step 1 of the proof depends on it.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        step("reclaim.pin.read");
        // Release: pairs with the scan in `advance`. A scan that reads this store and missed the
        // store that ended an earlier guard still comes after everything done under that guard.
        let order = unless_mutant("reclaim.announce_relaxed", Ordering::Release);
        participant.announced.store(epoch, order);
        self.shared.barrier.light();
        step("reclaim.pin.announced");
        Some(Guard { participant })
    }

    /// Retires garbage under the caller's guard.
    #[inline]
    pub(super) fn push(&self, guard: &Guard<'_>, garbage: Garbage) {
        let participant = guard.participant;
        // Relaxed: the stamp must not be older than the module's documentation says. The light
        // barrier of `pin` (for every load after it) and coherence with the load in `pin` ensure
        // it.
        let mut stamp = self.shared.epoch.load(Ordering::Relaxed);
        if mutant("reclaim.stamp_announced") {
            stamp = participant.announced.load(Ordering::Relaxed);
        }
        participant.push(stamp, garbage);
    }

    /// Reclaims some of what is due, and from time to time attempts to advance the epoch.
    #[inline]
    pub(super) fn collect_due(&self) {
        let participant = self.participants.get();
        let since_collect = participant.since_collect.get();
        let idle =
            since_collect == 0 && participant.since_attempt.get() < BATCH && !participant.has_due();
        if !idle && !participant.is_pinned() && !participant.reclaiming.get() {
            participant.since_collect.set(0);
            participant.since_attempt.set(participant.since_attempt.get() + since_collect);
            if participant.since_attempt.get() >= BATCH {
                self.collect_now(participant);
            }
            if !participant.has_due() {
                return;
            }
            participant.reclaiming.set(true);
            // SAFETY: by the module's documentation, no thread holds an object that is three epochs
            // old. Only such objects get into `due`, after an Acquire load of the epoch.
            unsafe { participant.reclaim_due(participant.surplus() + since_collect) };
            participant.reclaiming.set(false);
        }
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

/// The number of objects that a page holds.
const PAGE_CAPACITY: usize = (PAGE - 16) / size_of::<Garbage>();
/// `pop` prefetches the object that is this many positions behind the one that it returns.
const PREFETCH_DISTANCE: usize = 4;
/// The largest number of empty pages that a thread keeps.
const MAX_PAGES: usize = 64;

struct Page {
    below: *mut Page,
    count: usize,
    garbage: [MaybeUninit<Garbage>; PAGE_CAPACITY],
}

const _: () = assert!(size_of::<Page>() <= PAGE);

/// A stack of garbage, except that `append` puts older garbage on top. None of its pages is empty.
pub(super) struct GarbageList {
    top: *mut Page,
    bottom: *mut Page,
}

/// The empty pages that a thread keeps for its lists.
#[derive(Default)]
pub(super) struct PageCache {
    pages: GarbageList,
    count: usize,
}

impl Default for GarbageList {
    fn default() -> Self {
        Self { top: ptr::null_mut(), bottom: ptr::null_mut() }
    }
}

impl GarbageList {
    fn is_empty(&self) -> bool {
        self.top.is_null()
    }

    /// Returns whether the next push needs a page first; see [`add_page`](Self::add_page).
    #[inline(always)]
    fn is_full(&self) -> bool {
        // SAFETY: the pages of a list are its own.
        self.top.is_null() || unsafe { (*self.top).count } == PAGE_CAPACITY
    }

    /// Adds an empty page, which the caller fills at once.
    #[cold]
    #[inline(never)]
    fn add_page(&mut self, cache: &mut PageCache) {
        self.push_page(cache.take());
    }

    /// Pushes garbage onto a list that is not full.
    #[inline]
    fn push(&mut self, garbage: Garbage) {
        debug_assert!(!self.is_full());
        // SAFETY: the pages of a list are its own; the top page has space, by the caller's check.
        unsafe {
            let page = &mut *self.top;
            page.garbage[page.count].write(garbage);
            page.count += 1;
        }
    }

    #[inline]
    fn pop(&mut self, cache: &mut PageCache) -> Option<Garbage> {
        // SAFETY: the pages of a list are its own, and the first `count` entries are written.
        unsafe {
            let page = self.top.as_mut()?;
            page.count -= 1;
            let garbage = page.garbage[page.count].assume_init_read();
            if let Some(later) = page.count.checked_sub(PREFETCH_DISTANCE) {
                prefetch::line(page.garbage[later].assume_init_ref().object);
            }
            if page.count == 0 {
                cache.keep(self.pop_page());
            }
            Some(garbage)
        }
    }

    /// Moves all of `other` to the top, in constant time.
    fn append(&mut self, other: &mut GarbageList) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.bottom = other.bottom;
        }
        // SAFETY: the pages of a list are its own; `other` has at least one.
        unsafe { (*other.bottom).below = self.top };
        self.top = other.top;
        (other.top, other.bottom) = (ptr::null_mut(), ptr::null_mut());
    }

    fn push_page(&mut self, page: *mut Page) {
        // SAFETY: the caller owns the page and gives it up.
        unsafe { (*page).below = self.top };
        self.top = page;
        if self.bottom.is_null() {
            self.bottom = page;
        }
    }

    /// Takes the top page, which must exist.
    fn pop_page(&mut self) -> *mut Page {
        let page = self.top;
        // SAFETY: the pages of a list are its own.
        self.top = unsafe { (*page).below };
        if self.top.is_null() {
            self.bottom = ptr::null_mut();
        }
        page
    }
}

impl Drop for GarbageList {
    /// Frees the pages. Garbage that is still in them is lost.
    fn drop(&mut self) {
        while !self.is_empty() {
            free(self.pop_page());
        }
    }
}

impl PageCache {
    fn take(&mut self) -> *mut Page {
        if self.pages.is_empty() {
            return memory::map_zeroed(size_of::<Page>()).cast().as_ptr();
        }
        self.count -= 1;
        self.pages.pop_page()
    }

    fn keep(&mut self, page: *mut Page) {
        if self.count == MAX_PAGES {
            free(page);
        } else {
            self.pages.push_page(page);
            self.count += 1;
        }
    }
}

fn free(page: *mut Page) {
    // SAFETY: pages are made by `PageCache::take` with this size, and callers own the page.
    unsafe { memory::unmap(NonNull::new_unchecked(page.cast()), size_of::<Page>()) };
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    fn garbage(number: usize) -> Garbage {
        unsafe fn nothing(_: *mut (), _: *const ()) {}
        Garbage {
            object: ptr::without_provenance_mut(number),
            context: ptr::null(),
            reclaim: nothing,
        }
    }

    #[test]
    fn everything_pushed_is_popped_once() {
        let mut cache = PageCache::default();
        for sizes in [
            [0, 5, 0],
            [1, 0, 1],
            [PAGE_CAPACITY, PAGE_CAPACITY + 1, 3 * PAGE_CAPACITY],
            [200 * PAGE_CAPACITY, 7, 0],
        ] {
            let (mut all, mut next) = (GarbageList::default(), 0);
            for size in sizes {
                let mut list = GarbageList::default();
                for number in next..next + size {
                    if list.is_full() {
                        list.add_page(&mut cache);
                    }
                    list.push(garbage(number));
                }
                next += size;
                all.append(&mut list);
                assert!(list.is_empty());
            }
            let mut seen = vec![false; next];
            while let Some(garbage) = all.pop(&mut cache) {
                assert!(!std::mem::replace(&mut seen[garbage.object.addr()], true));
            }
            assert!(seen.iter().all(|&seen| seen) && all.is_empty());
            assert!(cache.count <= MAX_PAGES);
        }
    }
}
