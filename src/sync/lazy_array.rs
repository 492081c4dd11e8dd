//! A short array whose elements are made at first use, and live as long as the array.
//!
//! This is how a structure grows without a lock and without reclamation: its elements roughly
//! double in size, and none is freed before the array is dropped. An element of a page or more has
//! pages of its own (see [`memory`]).

use super::hook::is_torn_down;
use super::{AtomicPtr, Ordering};
use crate::memory::{self, Mapped};
use std::ptr;

/// An array of `N` elements, each made at first use.
pub struct LazyArray<T, const N: usize> {
    elements: [AtomicPtr<T>; N],
}

// SAFETY: an array owns its elements, and hands out shared references to them on every thread.
unsafe impl<T: Send + Sync, const N: usize> Send for LazyArray<T, N> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync, const N: usize> Sync for LazyArray<T, N> {}

impl<T, const N: usize> LazyArray<T, N> {
    /// Creates an array without elements.
    #[cfg(not(coeval_loom))]
    pub const fn new() -> Self {
        Self { elements: [const { AtomicPtr::new(ptr::null_mut()) }; N] }
    }

    /// Creates an array without elements. (Constant functions cannot make loom's atomics.)
    #[cfg(coeval_loom)]
    pub fn new() -> Self {
        Self { elements: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// Returns the element, if it has been made.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        // Acquire: pairs with the publishing CAS in `get_or_make`.
        let element = self.elements[index].load(Ordering::Acquire);
        // SAFETY: null, or published by `get_or_make`, and kept until the array is dropped.
        unsafe { element.as_ref() }
    }

    /// Returns the element, and makes it if necessary. If several threads make it, one result is
    /// kept.
    #[inline]
    pub fn get_or_make(&self, index: usize, make: impl FnOnce() -> T) -> &T {
        if let Some(element) = self.get(index) {
            return element;
        }
        let fresh = allocate(make());
        let publish = self.elements[index].compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let element = match publish {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: made above and never published.
                unsafe { discard(fresh) };
                winner
            }
        };
        // SAFETY: published, and kept until the array is dropped.
        unsafe { &*element }
    }
}

impl<T, const N: usize> Default for LazyArray<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Drop for LazyArray<T, N> {
    fn drop(&mut self) {
        if is_torn_down() {
            return;
        }
        for element in &self.elements {
            let element = element.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            if !element.is_null() {
                // SAFETY: `get_or_make` made it, and no reference outlives the array.
                unsafe { discard(element) };
            }
        }
    }
}

/// Moves an element to the heap, or to pages of its own.
fn allocate<T>(element: T) -> *mut T {
    if size_of::<T>() < memory::PAGE {
        Box::into_raw(Box::new(element))
    } else {
        Mapped::new(element).into_raw()
    }
}

/// Drops an element and frees its memory.
///
/// # Safety
/// It came from `allocate`, and no thread uses it any more.
unsafe fn discard<T>(element: *mut T) {
    // SAFETY: the caller's promise; `allocate` and `discard` choose by the same size.
    unsafe {
        if size_of::<T>() < memory::PAGE {
            drop(Box::from_raw(element));
        } else {
            drop(Mapped::from_raw(element));
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_threads_get_the_same_element() {
        let array = LazyArray::<String, 3>::new();
        assert!(array.get(1).is_none());
        let elements: Vec<&String> = std::thread::scope(|scope| {
            let make = |n: usize| {
                let array = &array;
                scope.spawn(move || array.get_or_make(1, || n.to_string()))
            };
            let threads: Vec<_> = (0..8).map(make).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(elements.iter().all(|element| std::ptr::eq(*element, array.get(1).unwrap())));
        assert!(array.get(0).is_none() && array.get(2).is_none());
    }

    #[test]
    fn elements_of_any_size_are_dropped_with_the_array() {
        fn check<const BYTES: usize>() {
            let dropped = std::sync::Arc::new(());
            let array = LazyArray::<([u8; BYTES], std::sync::Arc<()>), 2>::new();
            assert_eq!(array.get_or_make(1, || ([7; BYTES], dropped.clone())).0[BYTES - 1], 7);
            assert_eq!(std::sync::Arc::strong_count(&dropped), 2);
            drop(array);
            assert_eq!(std::sync::Arc::strong_count(&dropped), 1);
        }
        check::<1>();
        check::<{ memory::PAGE }>();
    }
}
