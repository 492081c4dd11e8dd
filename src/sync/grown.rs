//! A short row of parts that are made when they are first needed, and live as long as the row.
//!
//! This is how something grows without a lock and without reclamation: the parts double (or so) in
//! size, and nothing that was made is freed before the row is dropped. A part of a page or more has pages
//! of its own (see [`memory`]).

use super::hook::is_torn_down;
use super::{AtomicPtr, Ordering};
use crate::memory::{self, Mapped};
use std::ptr;

/// Room for `N` parts.
pub struct Grown<T, const N: usize> {
    parts: [AtomicPtr<T>; N],
}

// SAFETY: a row owns its parts, and hands out shared references to them on every thread.
unsafe impl<T: Send + Sync, const N: usize> Send for Grown<T, N> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync, const N: usize> Sync for Grown<T, N> {}

impl<T, const N: usize> Grown<T, N> {
    /// No parts yet.
    #[cfg(not(coeval_loom))]
    pub const fn new() -> Self {
        Self { parts: [const { AtomicPtr::new(ptr::null_mut()) }; N] }
    }

    /// No parts yet. (loom's atomics are not made by constant functions.)
    #[cfg(coeval_loom)]
    pub fn new() -> Self {
        Self { parts: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// The part, if it has been made.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        // Acquire: pairs with the publishing CAS in `get_or_make`.
        let part = self.parts[place].load(Ordering::Acquire);
        // SAFETY: null, or published by `get_or_make`, and kept until the row is dropped.
        unsafe { part.as_ref() }
    }

    /// The part, made now if need be. Of several threads that make it, one's stays.
    pub fn get_or_make(&self, place: usize, make: impl FnOnce() -> T) -> &T {
        if let Some(part) = self.get(place) {
            return part;
        }
        let fresh = put(make());
        let publish = self.parts[place].compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let part = match publish {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: made above and never published.
                unsafe { discard(fresh) };
                winner
            }
        };
        // SAFETY: published, and kept until the row is dropped.
        unsafe { &*part }
    }
}

impl<T, const N: usize> Default for Grown<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Drop for Grown<T, N> {
    fn drop(&mut self) {
        if is_torn_down() {
            return;
        }
        for part in &self.parts {
            let part = part.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            if !part.is_null() {
                // SAFETY: `get_or_make` made it, and no reference outlives the row.
                unsafe { discard(part) };
            }
        }
    }
}

/// Puts a part where it stays.
fn put<T>(part: T) -> *mut T {
    if size_of::<T>() < memory::PAGE {
        Box::into_raw(Box::new(part))
    } else {
        Mapped::new(part).into_raw()
    }
}

/// Drops a part.
///
/// # Safety
/// It came from `put`, and nobody uses it any more.
unsafe fn discard<T>(part: *mut T) {
    // SAFETY: the caller's promise; `put` and `discard` decide alike where a part is.
    unsafe {
        if size_of::<T>() < memory::PAGE {
            drop(Box::from_raw(part));
        } else {
            drop(Mapped::from_raw(part));
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_threads_get_the_same_part() {
        let row = Grown::<String, 3>::new();
        assert!(row.get(1).is_none());
        let parts: Vec<&String> = std::thread::scope(|scope| {
            let make = |n: usize| {
                let row = &row;
                scope.spawn(move || row.get_or_make(1, || n.to_string()))
            };
            let threads: Vec<_> = (0..8).map(make).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(parts.iter().all(|part| std::ptr::eq(*part, row.get(1).unwrap())));
        assert!(row.get(0).is_none() && row.get(2).is_none());
    }

    #[test]
    fn parts_of_any_size_are_dropped_with_the_row() {
        fn check<const BYTES: usize>() {
            let dropped = std::sync::Arc::new(());
            let row = Grown::<([u8; BYTES], std::sync::Arc<()>), 2>::new();
            assert_eq!(row.get_or_make(1, || ([7; BYTES], dropped.clone())).0[BYTES - 1], 7);
            assert_eq!(std::sync::Arc::strong_count(&dropped), 2);
            drop(row);
            assert_eq!(std::sync::Arc::strong_count(&dropped), 1);
        }
        check::<1>();
        check::<{ memory::PAGE }>();
    }
}
