//! Memory from the system: zeroed, aligned, and in huge pages if it is large; and values on the
//! heap.
//!
//! From one page on, it does not come from the allocator: a stopped thread may hold the allocator's
//! locks.

mod groups;
mod zeroed;

pub use groups::{Moving, all, all_boxed, array, boxed, clones, is_large, one, single};
pub use zeroed::{Zeroable, Zeroed};

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

/// The size of a huge page. A block of this size or more is aligned for huge pages.
pub const HUGE: usize = 2 << 20;

/// The smallest size that is mapped. A system with larger pages rounds it up.
pub const PAGE: usize = 4096;

/// The size of a cache line, to which all memory is aligned.
const ALIGN: usize = 64;

/// Returns `bytes` of zeroed memory, aligned to 64 bytes. Memory of at least [`PAGE`] or [`HUGE`]
/// bytes is aligned to [`PAGE`] or [`HUGE`].
///
/// If there is no memory, this ends the process, as the standard library's collections do.
pub fn map_zeroed(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes).expect("a size below isize::MAX");
    try_map_zeroed(bytes).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Returns memory as [`map_zeroed`] does, or `None` if there is none.
pub fn try_map_zeroed(bytes: usize) -> Option<NonNull<u8>> {
    match pages::map(bytes) {
        Some(memory) => NonNull::new(memory),
        None => allocate(bytes),
    }
}

/// Frees memory that [`map_zeroed`] returned.
///
/// # Safety
/// `memory` came from `map_zeroed(bytes)`, and no thread uses it any more.
pub unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise; `map` and `unmap` choose by the same size.
    unsafe {
        if !pages::unmap(memory.as_ptr(), bytes) {
            deallocate(memory, bytes);
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

    /// Moves a value into pages.
    pub fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= PAGE) }
        let place = map_zeroed(Self::BYTES).cast::<T>();
        // SAFETY: the memory is large enough, aligned, and exclusively owned.
        unsafe { place.write(value) };
        Self(place)
    }

    /// Gives up ownership; `from_raw` takes it back.
    pub fn into_raw(self) -> *mut T {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes ownership again.
    ///
    /// # Safety
    /// `value` came from `into_raw`, and no other thread uses it.
    pub unsafe fn from_raw(value: *mut T) -> Self {
        // SAFETY: `new` made the value at an address that is not null.
        Self(unsafe { NonNull::new_unchecked(value) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: written by `new`, in memory of this size, and exclusively owned.
        unsafe {
            self.0.drop_in_place();
            unmap(self.0.cast(), Self::BYTES);
        }
    }
}

impl<T> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written by `new`, and lives as long as `self`.
        unsafe { self.0.as_ref() }
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    let align = if bytes < PAGE { ALIGN } else { PAGE };
    Layout::from_size_align(bytes.max(1), align).ok()
}

/// Returns zeroed memory of the allocator, or `None` if there is none. If an allocator is asked for
/// zeroed pages that are aligned, it may write them all. So pages are cut out of a larger block,
/// whose address stands before them.
fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    if bytes < PAGE {
        // SAFETY: `layout` ensures that the size is not zero.
        return NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) });
    }
    // SAFETY: the size is not zero.
    let block = NonNull::new(unsafe { alloc_zeroed(block_layout(bytes)?) })?;
    let before = PAGE - block.as_ptr().addr() % PAGE;
    // SAFETY: the block has `PAGE` bytes more, and `before` is at least its alignment, so the
    // pointer's place is within the block, and aligned.
    unsafe {
        let memory = block.add(before);
        memory.cast::<NonNull<u8>>().sub(1).write(block);
        Some(memory)
    }
}

/// # Safety
/// `memory` came from `allocate(bytes)`, and no thread uses it any more.
unsafe fn deallocate(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise; `allocate` wrote the pointer.
    unsafe {
        if bytes < PAGE {
            return dealloc(memory.as_ptr(), layout(bytes).expect("as it was allocated"));
        }
        let block = memory.cast::<NonNull<u8>>().sub(1).read();
        dealloc(block.as_ptr(), block_layout(bytes).expect("as it was allocated"));
    }
}

/// The layout of a block out of which `bytes` of pages are cut.
fn block_layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(PAGE)?, align_of::<NonNull<u8>>()).ok()
}

/// Whole pages, mapped without the allocator. Not used under a leak sanitizer, which searches only
/// the allocator's memory for references.
#[cfg(all(target_os = "linux", not(any(coeval_lsan, coeval_loom))))]
mod pages {
    use super::{HUGE, PAGE};
    use std::ptr;

    /// Maps memory. Returns null if there is none, and `None` if the size is too small for pages.
    pub(super) fn map(bytes: usize) -> Option<*mut u8> {
        let length = page_bytes(bytes)?;
        if bytes < HUGE {
            return Some(map_pages(length));
        }
        // Maps one huge page more, to contain an aligned range, and unmaps the rest.
        let Some(mapped) = length.checked_add(HUGE) else { return Some(ptr::null_mut()) };
        let start = map_pages(mapped);
        if start.is_null() {
            return Some(start);
        }
        let before = start.align_offset(HUGE);
        // SAFETY: both ranges lie inside the mapping made above, outside of the returned range, and
        // on page borders, since `start`, `HUGE` and `length` are multiples of the page size. If
        // the system ignores the advice, nothing changes.
        unsafe {
            let memory = start.add(before);
            unmap_range(start, before);
            unmap_range(memory.add(length), HUGE - before);
            libc::madvise(memory.cast(), length, libc::MADV_HUGEPAGE);
            Some(memory)
        }
    }

    /// Maps pages. Returns null if there is no memory.
    fn map_pages(length: usize) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping, at an address that the system chooses, affects no existing
        // memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
    }

    /// Unmaps memory, and returns true, if its size is one for pages.
    ///
    /// # Safety
    /// `memory` came from `map(bytes)`, and no thread uses it any more.
    pub(super) unsafe fn unmap(memory: *mut u8, bytes: usize) -> bool {
        let Some(length) = page_bytes(bytes) else { return false };
        // SAFETY: `map` left exactly this range mapped, and the caller gives it up.
        unsafe { unmap_range(memory, length) };
        true
    }

    /// Returns the size in whole pages (huge pages from [`HUGE`] on), or `None` if it is too small.
    fn page_bytes(bytes: usize) -> Option<usize> {
        let page = if bytes < HUGE { PAGE } else { HUGE };
        (bytes >= PAGE).then(|| bytes.checked_next_multiple_of(page)).flatten()
    }

    /// # Safety
    /// The range is mapped, begins and ends on page borders, and no thread uses it.
    unsafe fn unmap_range(start: *mut u8, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller's promise. The call fails only if the kernel lacks memory for its
            // bookkeeping. The range then stays mapped, which is harmless.
            unsafe { libc::munmap(start.cast(), bytes) };
        }
    }
}

/// On other systems, the allocator serves every size.
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
                // SAFETY: the memory is exclusively owned, `bytes` long, and freed once.
                unsafe {
                    let all = std::slice::from_raw_parts_mut(memory.as_ptr(), bytes);
                    assert!(all.iter().all(|&byte| byte == 0));
                    all.fill(0xA5);
                    unmap(memory, bytes);
                }
            }
        }
    }

    /// On systems without `mmap`, pages come from the allocator, which must not write them all.
    #[cfg(all(target_os = "linux", not(any(coeval_asan, coeval_lsan))))]
    #[test]
    fn what_the_allocator_gives_takes_memory_as_it_is_used() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
        };
        let (bytes, before) = (256 << 20, resident());
        let memory = allocate(bytes).unwrap();
        // Other tests use memory at the same time.
        assert!(resident() < before + bytes / 2);
        assert_eq!(memory.as_ptr().addr() % PAGE, 0);
        // SAFETY: the memory is exclusively owned, `bytes` long, and freed once.
        unsafe {
            assert_eq!((memory.read(), memory.add(bytes - 1).read()), (0, 0));
            memory.add(bytes - 1).write(1);
            deallocate(memory, bytes);
        }
    }
}
