//! Where a table's buckets live: zeroed memory, aligned to a line.

use super::bucket::Bucket;
use std::ops::Deref;

/// A power-of-two number of buckets, empty at first.
pub(super) struct Buckets<E>(Inner<E>);

#[cfg(not(coeval_loom))]
type Inner<E> = std::ptr::NonNull<[Bucket<E>]>;
#[cfg(coeval_loom)]
type Inner<E> = Box<[Bucket<E>]>;

#[cfg(not(coeval_loom))]
mod lines {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 64).expect("a table's size is far below isize::MAX")
    }

    /// `bytes` zeroed bytes, more than none.
    pub(super) fn allocate(bytes: usize) -> NonNull<u8> {
        debug_assert!(bytes > 0);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout(bytes)) };
        NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout(bytes)))
    }

    /// # Safety
    /// `start` came from `allocate(bytes)` and is not used any more.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        // SAFETY: allocated with this layout (the caller's clause).
        unsafe { dealloc(start.as_ptr(), layout(bytes)) }
    }
}

#[cfg(not(coeval_loom))]
impl<E> Buckets<E> {
    pub(super) fn new(count: usize) -> Self {
        let start = lines::allocate(count * size_of::<Bucket<E>>()).cast();
        Self(std::ptr::NonNull::slice_from_raw_parts(start, count))
    }
}

#[cfg(not(coeval_loom))]
impl<E> Drop for Buckets<E> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this size. Buckets have no destructor.
        unsafe { lines::free(self.0.cast(), self.0.len() * size_of::<Bucket<E>>()) }
    }
}

#[cfg(not(coeval_loom))]
impl<E> Deref for Buckets<E> {
    type Target = [Bucket<E>];

    #[inline(always)]
    fn deref(&self) -> &[Bucket<E>] {
        // SAFETY: `new` allocated this many buckets; zeroes are a valid bucket (an atomic zero and
        // null pointers), and they are only ever shared.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(coeval_loom)]
impl<E> Buckets<E> {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Bucket::new()).collect())
    }
}

#[cfg(coeval_loom)]
impl<E> Deref for Buckets<E> {
    type Target = [Bucket<E>];

    fn deref(&self) -> &[Bucket<E>] {
        &self.0
    }
}
