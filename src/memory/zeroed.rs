//! Slices that begin as zeroed memory, in huge pages if they are large: nothing is written before it is used.

use std::ops::Deref;

/// What all zeroes are one of.
///
/// # Safety
/// Zeroed memory is what `zero` makes, and the type has no destructor.
pub unsafe trait Zeroable {
    /// For the models, whose atomics are not just words.
    #[cfg_attr(not(coeval_loom), allow(dead_code))]
    fn zero() -> Self;
}

/// A slice in memory of its own, aligned to a line.
pub struct Zeroed<T>(Inner<T>);

#[cfg(not(coeval_loom))]
type Inner<T> = std::ptr::NonNull<[T]>;
#[cfg(coeval_loom)]
type Inner<T> = Box<[T]>;

// SAFETY: it owns its elements, as a boxed slice does.
unsafe impl<T: Send> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Zeroed<T> {}

#[cfg(not(coeval_loom))]
impl<T: Zeroable> Zeroed<T> {
    /// So many zeroes.
    pub fn new(count: usize) -> Self {
        const { assert!(align_of::<T>() <= super::ALIGN) }
        let start = super::map_zeroed(count * size_of::<T>()).cast();
        Self(std::ptr::NonNull::slice_from_raw_parts(start, count))
    }
}

#[cfg(not(coeval_loom))]
impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size. What is in it has no destructor.
        unsafe { super::unmap(self.0.cast(), self.0.len() * size_of::<T>()) }
    }
}

#[cfg(not(coeval_loom))]
impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` mapped so many; zeroes are valid, and they are only ever shared.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(coeval_loom)]
impl<T: Zeroable> Zeroed<T> {
    /// So many zeroes.
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
