//! Lists of retired objects, in pages that do not come from the allocator. So a thread that is
//! stopped while it retires an object does not block others.

use super::Garbage;
use crate::memory::{self, PAGE, prefetch};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

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
    pub fn is_empty(&self) -> bool {
        self.top.is_null()
    }

    /// Returns whether the next push needs a page first; see [`add_page`](Self::add_page).
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        // SAFETY: the pages of a list are its own.
        self.top.is_null() || unsafe { (*self.top).count } == PAGE_CAPACITY
    }

    /// Adds an empty page, which the caller fills at once.
    #[cold]
    #[inline(never)]
    pub fn add_page(&mut self, cache: &mut PageCache) {
        self.push_page(cache.take());
    }

    /// Pushes garbage onto a list that is not full.
    #[inline]
    pub fn push(&mut self, garbage: Garbage) {
        debug_assert!(!self.is_full());
        // SAFETY: the pages of a list are its own; the top page has space, by the caller's check.
        unsafe {
            let page = &mut *self.top;
            page.garbage[page.count].write(garbage);
            page.count += 1;
        }
    }

    #[inline]
    pub fn pop(&mut self, cache: &mut PageCache) -> Option<Garbage> {
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
    pub fn append(&mut self, other: &mut GarbageList) {
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
