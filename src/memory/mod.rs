//! Memory from the system: zeroed, aligned, and in huge pages where there is enough of it.
//!
//! From one page on it does not come from the allocator, whose locks a stopped thread may hold.

pub mod prefetch;
mod zeroed;

pub use zeroed::{Zeroable, Zeroed};

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

/// The size of a huge page, and the least size that is worth one.
pub const HUGE: usize = 2 << 20;

/// The least size that is mapped. Where the system's pages are larger, it rounds up by itself.
pub const PAGE: usize = 4096;

/// What everything is aligned to: a cache line.
const ALIGN: usize = 64;

/// `bytes` of zeroed memory, aligned to 64 bytes, or to [`PAGE`] or [`HUGE`] from that size on.
///
/// Ends the process, as the collections of the standard library do, when there is no memory.
pub fn map_zeroed(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes).expect("a size below isize::MAX");
    try_map_zeroed(bytes).unwrap_or_else(|| handle_alloc_error(layout))
}

/// The same, or `None` when there is no memory.
pub fn try_map_zeroed(bytes: usize) -> Option<NonNull<u8>> {
    NonNull::new(match pages::map(bytes) {
        Some(memory) => memory,
        // SAFETY: the size is not zero, `layout` sees to it.
        None => unsafe { alloc_zeroed(layout(bytes)?) },
    })
}

/// Gives back what [`map_zeroed`] returned.
///
/// # Safety
/// `memory` came from `map_zeroed(bytes)`, and nobody uses it any more.
pub unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise; `map` and `unmap` decide alike who serves a size.
    unsafe {
        if !pages::unmap(memory.as_ptr(), bytes) {
            dealloc(memory.as_ptr(), layout(bytes).expect("as it was mapped"));
        }
    }
}

/// A box in pages of its own.
pub struct Mapped<T>(NonNull<T>);

// SAFETY: it owns a `T`, as a box does.
unsafe impl<T: Send> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T> Mapped<T> {
    const BYTES: usize = size_of::<T>().next_multiple_of(PAGE);

    /// Puts a value into pages.
    pub fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= PAGE) }
        let place = map_zeroed(Self::BYTES).cast::<T>();
        // SAFETY: large enough, aligned, and ours.
        unsafe { place.write(value) };
        Self(place)
    }

    /// Gives up ownership, until `from_raw`.
    pub fn into_raw(self) -> *mut T {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes ownership again.
    ///
    /// # Safety
    /// `value` came from `into_raw`, and nobody else uses it.
    pub unsafe fn from_raw(value: *mut T) -> Self {
        // SAFETY: a mapped value's address is not null.
        Self(unsafe { NonNull::new_unchecked(value) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: written by `new`, in memory of this size, and nobody else's.
        unsafe {
            self.0.drop_in_place();
            unmap(self.0.cast(), Self::BYTES);
        }
    }
}

impl<T> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written by `new`; the value lives as long as `self`.
        unsafe { self.0.as_ref() }
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    let align = if bytes < PAGE { ALIGN } else { PAGE };
    Layout::from_size_align(bytes.max(1), align).ok()
}

/// Whole pages, mapped without the allocator. Not under a leak sanitizer, which looks for references
/// only in memory that the allocator gave.
#[cfg(all(target_os = "linux", not(any(coeval_lsan, coeval_loom))))]
mod pages {
    use super::{HUGE, PAGE};
    use std::ptr;

    /// Null when there is no memory, `None` when the size is not one for pages.
    pub(super) fn map(bytes: usize) -> Option<*mut u8> {
        let length = length(bytes)?;
        if bytes < HUGE {
            return Some(map_pages(length));
        }
        // One page more, so that an aligned stretch lies within; the rest is given back.
        let Some(mapped) = length.checked_add(HUGE) else { return Some(ptr::null_mut()) };
        let start = map_pages(mapped);
        if start.is_null() {
            return Some(start);
        }
        let before = start.align_offset(HUGE);
        // SAFETY: both cuts lie inside the mapping made above, outside what is returned, and on
        // page borders, as `start`, `HUGE` and `length` are multiples of the page size. Advice
        // that the system does not take changes nothing.
        unsafe {
            let memory = start.add(before);
            cut(start, before);
            cut(memory.add(length), HUGE - before);
            libc::madvise(memory.cast(), length, libc::MADV_HUGEPAGE);
            Some(memory)
        }
    }

    /// Null when there is no memory.
    fn map_pages(length: usize) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping, wherever the system puts it, touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
    }

    /// Whether the memory was of a size for pages; it is unmapped then.
    ///
    /// # Safety
    /// `memory` came from `map(bytes)`, and nobody uses it any more.
    pub(super) unsafe fn unmap(memory: *mut u8, bytes: usize) -> bool {
        let Some(length) = length(bytes) else { return false };
        // SAFETY: `map` left exactly this stretch mapped; the caller gives it up.
        unsafe { cut(memory, length) };
        true
    }

    /// The size in whole pages, huge ones from the size of one on, if it is a size for them.
    fn length(bytes: usize) -> Option<usize> {
        let page = if bytes < HUGE { PAGE } else { HUGE };
        (bytes >= PAGE).then(|| bytes.checked_next_multiple_of(page)).flatten()
    }

    /// # Safety
    /// The stretch is mapped, begins and ends on page borders, and nobody uses it.
    unsafe fn cut(start: *mut u8, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller's promise. It fails only where the system is out of its own
            // bookkeeping; the stretch then stays mapped, which harms nobody.
            unsafe { libc::munmap(start.cast(), bytes) };
        }
    }
}

/// Elsewhere the allocator serves every size.
#[cfg(not(all(target_os = "linux", not(any(coeval_lsan, coeval_loom)))))]
mod pages {
    pub(super) fn map(_bytes: usize) -> Option<*mut u8> {
        None
    }

    pub(super) unsafe fn unmap(_memory: *mut u8, _bytes: usize) -> bool {
        false
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable_to_its_end() {
        for bytes in [1, 24, PAGE - 1, PAGE, PAGE + 1, HUGE - 1, HUGE, HUGE + 1, 3 * HUGE] {
            for _ in 0..3 {
                let memory = map_zeroed(bytes);
                let is_huge = cfg!(all(target_os = "linux", not(coeval_lsan))) && bytes >= HUGE;
                let align = if is_huge {
                    HUGE
                } else if bytes < PAGE {
                    ALIGN
                } else {
                    PAGE
                };
                assert_eq!(memory.as_ptr().addr() % align, 0);
                // SAFETY: the memory is ours, `bytes` long, and is given back once.
                unsafe {
                    let all = std::slice::from_raw_parts_mut(memory.as_ptr(), bytes);
                    assert!(all.iter().all(|&byte| byte == 0));
                    all.fill(0xA5);
                    unmap(memory, bytes);
                }
            }
        }
    }
}
