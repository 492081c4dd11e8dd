//! Asking for memory ahead of its use. A hint: nothing is read, no address is invalid.

/// Asks for the line that begins `object`.
#[inline(always)]
pub fn line<T>(object: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    // SAFETY: a prefetch has no effect but on caches, whatever the address; SSE is there.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(object.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) object, options(nostack, readonly));
    }
    #[cfg(not(any(all(target_arch = "x86_64", target_feature = "sse"), target_arch = "aarch64")))]
    let _ = object;
}

/// Asks for the line of the last of the first `size` bytes of `object`, whose first line the caller is about to
/// read: if it is another one, its miss is then not waited for after the first.
#[inline(always)]
pub fn end<T>(object: *const T, size: usize) {
    line(object.cast::<u8>().wrapping_add(size - 1));
}
