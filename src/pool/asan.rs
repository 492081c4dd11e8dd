//! Reports free slots to AddressSanitizer, which by itself sees only the system's allocations, not
//! slots that went back to the pool. With `--cfg coeval_asan` (set by `ci/sanitize.sh`), it reports
//! a use of a free slot like a use of freed memory. Otherwise, this compiles to nothing.

/// Forbids all access to these bytes outside of the pool. Both ends are multiples of 8.
#[inline(always)]
pub(super) fn poison(_start: *mut u8, _bytes: usize) {
    #[cfg(coeval_asan)]
    // SAFETY: marks bytes of memory that the pool owns.
    unsafe {
        __asan_poison_memory_region(_start.cast(), _bytes);
    }
}

/// Permits access to these bytes again.
#[inline(always)]
pub(super) fn unpoison(_start: *mut u8, _bytes: usize) {
    #[cfg(coeval_asan)]
    // SAFETY: as in `poison`.
    unsafe {
        __asan_unpoison_memory_region(_start.cast(), _bytes);
    }
}

#[cfg(coeval_asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const core::ffi::c_void, bytes: usize);
    fn __asan_unpoison_memory_region(start: *const core::ffi::c_void, bytes: usize);
}

#[cfg(all(test, coeval_asan))]
mod tests {
    use std::alloc::Layout;

    unsafe extern "C" {
        fn __asan_address_is_poisoned(address: *const core::ffi::c_void) -> i32;
    }

    #[test]
    fn free_slots_are_poisoned() {
        let pool = super::super::Pool::new(super::super::Shape::plain(Layout::new::<[u64; 4]>()));
        // SAFETY: only a query.
        let is_free = |word: *const u64| unsafe { __asan_address_is_poisoned(word.cast()) } != 0;
        // SAFETY: one thread, which gives back only what it took.
        unsafe {
            let slot = pool.take().cast::<[u64; 4]>();
            let word = slot.cast::<u64>().as_ptr().add(3);
            assert!(!is_free(word) && is_free(word.add(3)));
            pool.put_back(slot.cast());
            assert!(is_free(word));
            assert_eq!(pool.take(), slot.cast());
            assert!(!is_free(word));
            pool.give(slot.cast());
            assert!(is_free(word));
        }
    }
}
