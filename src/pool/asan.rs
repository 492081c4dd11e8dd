//! Tells AddressSanitizer which slots are free: it sees only what the system gave and got back,
//! not a slot that went back to the pool. With `--cfg coeval_asan` (`ci/sanitize.sh` sets it) a
//! use of a free slot is reported like a use of freed memory. Compiles to nothing otherwise.

/// From here on nobody but the pool touches these bytes. Both ends are multiples of 8.
#[inline(always)]
pub(super) fn forbid(_start: *mut u8, _bytes: usize) {
    #[cfg(coeval_asan)]
    // SAFETY: marks bytes of a chunk that the pool owns.
    unsafe {
        __asan_poison_memory_region(_start.cast(), _bytes);
    }
}

/// These bytes have an owner again.
#[inline(always)]
pub(super) fn allow(_start: *mut u8, _bytes: usize) {
    #[cfg(coeval_asan)]
    // SAFETY: as in `forbid`.
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
    fn a_free_slot_is_forbidden() {
        let pool = super::super::Pool::new(super::super::Shape::plain(Layout::new::<[u64; 4]>()));
        // SAFETY: only asks.
        let is_free = |word: *const u64| unsafe { __asan_address_is_poisoned(word.cast()) } != 0;
        // SAFETY: one thread, which gives back what it took and took nothing else.
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
