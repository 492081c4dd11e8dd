//! Prefetch hints. A hint reads nothing, so any address is valid.

/// Prefetches the cache line in which `object` begins.
#[inline(always)]
pub fn line<T>(object: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    // SAFETY: a prefetch affects only caches, whatever the address; the target has SSE.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(object.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch affects only caches, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) object, options(nostack, readonly));
    }
    #[cfg(not(any(all(target_arch = "x86_64", target_feature = "sse"), target_arch = "aarch64")))]
    let _ = object;
}

/// Prefetches the cache line in which `object` begins, for a write: no other core has a copy of the
/// line then. The caller is about to read the line and then to write it. Without this, the line is
/// asked for twice if another core has written it.
#[inline(always)]
pub fn line_to_write<T>(object: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch affects only caches, whatever the address. A processor without this
    // instruction skips it.
    unsafe {
        let address = object.addr();
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, nomem, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch affects only caches, whatever the address.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) object, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    line(object);
}

/// Prefetches the cache line with the last of the first `size` bytes of `object`. The caller is
/// about to read the first line. If the last byte is in another line, both misses then overlap.
#[inline(always)]
pub fn end<T>(object: *const T, size: usize) {
    line(object.cast::<u8>().wrapping_add(size - 1));
}
