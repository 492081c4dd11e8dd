//! Where a table's buckets live: zeroed memory, aligned to a line, in huge pages if it is large.

use super::bucket::Bucket;
#[cfg(not(coeval_loom))]
use crate::memory;
use std::ops::Deref;

/// A power-of-two number of buckets, empty at first.
pub(super) struct Buckets<E>(Inner<E>);

#[cfg(not(coeval_loom))]
type Inner<E> = std::ptr::NonNull<[Bucket<E>]>;
#[cfg(coeval_loom)]
type Inner<E> = Box<[Bucket<E>]>;

#[cfg(not(coeval_loom))]
impl<E> Buckets<E> {
    pub(super) fn new(count: usize) -> Self {
        let start = memory::map_zeroed(count * size_of::<Bucket<E>>()).cast();
        Self(std::ptr::NonNull::slice_from_raw_parts(start, count))
    }
}

#[cfg(not(coeval_loom))]
impl<E> Drop for Buckets<E> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this size. Buckets have no destructor.
        unsafe { memory::unmap(self.0.cast(), self.0.len() * size_of::<Bucket<E>>()) }
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
impl<E: super::Indexed> Buckets<E> {
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
