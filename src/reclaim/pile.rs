//! Lists of garbage, in pages that do not come from the allocator: a thread that is stopped while it
//! retires something must not stop others.

use super::Garbage;
use crate::memory::{self, PAGE, prefetch};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// How much garbage a page holds.
const ROOM: usize = (PAGE - 16) / size_of::<Garbage>();
/// So many places ahead what is to be reclaimed is asked for.
const AHEAD: usize = 4;
/// How many empty pages a thread keeps.
const KEPT: usize = 64;

struct Page {
    below: *mut Page,
    count: usize,
    garbage: [MaybeUninit<Garbage>; ROOM],
}

const _: () = assert!(size_of::<Page>() <= PAGE);

/// Garbage, the last that came first to go (but for what was appended). No page of it is empty.
pub(super) struct Pile {
    top: *mut Page,
    bottom: *mut Page,
}

/// Empty pages.
#[derive(Default)]
pub(super) struct Spare {
    pages: Pile,
    count: usize,
}

impl Default for Pile {
    fn default() -> Self {
        Self { top: ptr::null_mut(), bottom: ptr::null_mut() }
    }
}

impl Pile {
    pub fn is_empty(&self) -> bool {
        self.top.is_null()
    }

    /// Whether nothing can be pushed before a page is begun.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        // SAFETY: the pages of a pile are its own.
        self.top.is_null() || unsafe { (*self.top).count } == ROOM
    }

    /// Begins a page.
    #[cold]
    #[inline(never)]
    pub fn begin_page(&mut self, spare: &mut Spare) {
        self.put_on(spare.take());
    }

    /// Puts garbage on top of a pile that is not full.
    #[inline]
    pub fn push(&mut self, garbage: Garbage) {
        debug_assert!(!self.is_full());
        // SAFETY: the pages of a pile are its own; the top has room, as the caller has seen to.
        unsafe {
            let page = &mut *self.top;
            page.garbage[page.count].write(garbage);
            page.count += 1;
        }
    }

    #[inline]
    pub fn pop(&mut self, spare: &mut Spare) -> Option<Garbage> {
        // SAFETY: the pages of a pile are its own, and the first `count` places are written.
        unsafe {
            let page = self.top.as_mut()?;
            page.count -= 1;
            let garbage = page.garbage[page.count].assume_init_read();
            if let Some(later) = page.count.checked_sub(AHEAD) {
                prefetch::line(page.garbage[later].assume_init_ref().object);
            }
            if page.count == 0 {
                spare.keep(self.take_off());
            }
            Some(garbage)
        }
    }

    /// Puts all of `other` on top, in constant time.
    pub fn append(&mut self, other: &mut Pile) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.bottom = other.bottom;
        }
        // SAFETY: the pages of a pile are its own; `other` has one at least.
        unsafe { (*other.bottom).below = self.top };
        self.top = other.top;
        (other.top, other.bottom) = (ptr::null_mut(), ptr::null_mut());
    }

    fn put_on(&mut self, page: *mut Page) {
        // SAFETY: the page is the caller's, who gives it up.
        unsafe { (*page).below = self.top };
        self.top = page;
        if self.bottom.is_null() {
            self.bottom = page;
        }
    }

    /// Takes the top page, which there is.
    fn take_off(&mut self) -> *mut Page {
        let page = self.top;
        // SAFETY: the pages of a pile are its own.
        self.top = unsafe { (*page).below };
        if self.top.is_null() {
            self.bottom = ptr::null_mut();
        }
        page
    }
}

impl Drop for Pile {
    /// What is still in it is lost.
    fn drop(&mut self) {
        while !self.is_empty() {
            free(self.take_off());
        }
    }
}

impl Spare {
    fn take(&mut self) -> *mut Page {
        if self.pages.is_empty() {
            return memory::map_zeroed(size_of::<Page>()).cast().as_ptr();
        }
        self.count -= 1;
        self.pages.take_off()
    }

    fn keep(&mut self, page: *mut Page) {
        if self.count == KEPT {
            free(page);
        } else {
            self.pages.put_on(page);
            self.count += 1;
        }
    }
}

fn free(page: *mut Page) {
    // SAFETY: pages are made by `Spare::take` with this size, and callers own the page.
    unsafe { memory::unmap(NonNull::new_unchecked(page.cast()), size_of::<Page>()) };
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Garbage {
        unsafe fn nothing(_: *mut (), _: *const ()) {}
        Garbage {
            object: ptr::without_provenance_mut(number),
            context: ptr::null(),
            reclaim: nothing,
        }
    }

    #[test]
    fn everything_comes_out_once() {
        let mut spare = Spare::default();
        for sizes in [[0, 5, 0], [1, 0, 1], [ROOM, ROOM + 1, 3 * ROOM], [200 * ROOM, 7, 0]] {
            let (mut all, mut next) = (Pile::default(), 0);
            for size in sizes {
                let mut pile = Pile::default();
                for number in next..next + size {
                    if pile.is_full() {
                        pile.begin_page(&mut spare);
                    }
                    pile.push(numbered(number));
                }
                next += size;
                all.append(&mut pile);
                assert!(pile.is_empty());
            }
            let mut seen = vec![false; next];
            while let Some(garbage) = all.pop(&mut spare) {
                assert!(!std::mem::replace(&mut seen[garbage.object.addr()], true));
            }
            assert!(seen.iter().all(|&seen| seen) && all.is_empty());
            assert!(spare.count <= KEPT);
        }
    }
}
