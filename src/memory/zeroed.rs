//! Slices that begin as zeroed memory, in huge pages if they are large. They write nothing before
//! their first use.

use std::ops::Deref;

/// A type for which zeroed memory is a valid value.
///
/// # Safety
/// Zeroed memory equals the value that `zero` makes, and the type has no destructor.
pub unsafe trait Zeroable {
    /// Makes the zero value in models, whose atomics are not plain words.
    #[cfg_attr(not(coeval_loom), allow(dead_code))]
    fn zero() -> Self;
}

/// A slice in memory of its own, aligned to a cache line.
pub struct Zeroed<T>(ZeroedStorage<T>);

#[cfg(not(coeval_loom))]
type ZeroedStorage<T> = std::ptr::NonNull<[T]>;
#[cfg(coeval_loom)]
type ZeroedStorage<T> = Box<[T]>;

// SAFETY: it owns its elements, as a boxed slice does.
unsafe impl<T: Send> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Zeroed<T> {}

#[cfg(not(coeval_loom))]
impl<T: Zeroable> Zeroed<T> {
    /// Creates a slice of `count` zeroes.
    pub fn new(count: usize) -> Self {
        const { assert!(align_of::<T>() <= super::ALIGN) }
        let start = super::map_zeroed(count * size_of::<T>()).cast();
        Self(std::ptr::NonNull::slice_from_raw_parts(start, count))
    }
}

#[cfg(not(coeval_loom))]
impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size. The elements have no destructor.
        unsafe { super::unmap(self.0.cast(), self.0.len() * size_of::<T>()) }
    }
}

#[cfg(not(coeval_loom))]
impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` mapped this many elements; zeroes are valid, and they are only ever shared.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(coeval_loom)]
impl<T: Zeroable> Zeroed<T> {
    /// Creates a slice of `count` zeroes.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| T::zero()).collect())
    }
}

#[cfg(coeval_loom)]
impl<T> Deref for Zeroed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
