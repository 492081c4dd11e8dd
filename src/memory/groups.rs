//! Values on the heap, one or a group of them, and how they get there and back without a copy on
//! the stack.

use std::mem::{MaybeUninit, forget};
use std::ptr;

/// A value that is moved to the heap from where it lies, and is not used there any more.
pub struct Moving<'p, T>(&'p mut T);

impl<'p, T> Moving<'p, T> {
    /// # Safety
    /// The caller neither uses nor drops the value afterwards.
    pub unsafe fn new(value: &'p mut T) -> Self {
        Self(value)
    }

    /// Moves the value.
    pub fn into_heap(self) -> Box<T> {
        let mut place = Box::new_uninit();
        // SAFETY: the place has room for the value, which `self` owns and does not drop.
        unsafe {
            ptr::copy_nonoverlapping(self.0, place.as_mut_ptr(), 1);
            forget(self);
            place.assume_init()
        }
    }
}

impl<T, E> Moving<'_, Result<T, E>> {
    /// Moves the value, if there is one.
    pub fn try_into_heap(self) -> Result<Box<T>, E> {
        let loaded = match &mut *self.0 {
            // SAFETY: `self` owns the value and does not drop it.
            Ok(value) => Ok(unsafe { Moving::new(value) }.into_heap()),
            // SAFETY: as above, of the error.
            Err(error) => Err(unsafe { ptr::read(error) }),
        };
        forget(self);
        loaded
    }
}

impl<T> Drop for Moving<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the value.
        unsafe { ptr::drop_in_place(self.0) };
    }
}

/// Clones values to the heap.
pub fn clones<V: Clone, const N: usize>(values: [&V; N]) -> Box<[V]> {
    let mut clones = Vec::<V>::with_capacity(N);
    for value in values {
        // SAFETY: there is room for N values, and this one is made here.
        unsafe {
            clones.as_mut_ptr().add(clones.len()).write(value.clone());
            clones.set_len(clones.len() + 1);
        }
    }
    clones.into_boxed_slice()
}

/// Makes a group of one value.
pub fn single<V>(value: Box<V>) -> Box<[V]> {
    // SAFETY: an array of one value has the layout of the value.
    let group: Box<[V; 1]> = unsafe { Box::from_raw(Box::into_raw(value).cast()) };
    group
}

/// Converts the values of a group into an array. There is one value for each key.
#[inline]
pub fn array<V, const N: usize>(values: Box<[V]>) -> [V; N] {
    assert!(values.len() == N, "a group has one value for each key");
    take_out(values)
}

/// Takes the value of a group of one key.
#[inline]
pub fn one<V>(values: Box<[V]>) -> V {
    assert!(values.len() == 1, "the group has one key");
    take_out(values)
}

/// Moves all values out of a group, straight into the caller's place. `T` has room for exactly
/// these.
#[inline]
fn take_out<V, T>(values: Box<[V]>) -> T {
    assert!(size_of_val(&*values) == size_of::<T>());
    // SAFETY: the values are moved out, and the box that is left drops none of them. `T` is `V` or
    // an array of `V`s, of this size.
    unsafe {
        let left = Box::from_raw(Box::into_raw(values) as *mut [MaybeUninit<V>]);
        left.as_ptr().cast::<T>().read()
    }
}

/// Does the reverse. Keeps large values on the heap from the start.
#[inline(always)]
pub fn boxed<V, const N: usize>(values: [V; N]) -> Box<[V]> {
    Box::new(values)
}

/// Returns all values, if none is missing.
pub fn all<T, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    values.iter().all(Option::is_some).then(|| values.map(|value| value.expect("all are present")))
}

/// A group that takes more bytes than this is kept on the heap while it is processed.
const LARGE: usize = 2048;

/// Returns whether the values of a group are large.
pub const fn is_large<V, const N: usize>() -> bool {
    size_of::<[V; N]>() > LARGE
}

/// Returns all values, if none is missing. Each was cloned to the heap.
pub fn all_boxed<V, const N: usize>(values: [Option<Box<V>>; N]) -> Option<Box<[V]>> {
    let values = all(values)?;
    if N == 1 {
        return values.into_iter().next().map(single);
    }
    let mut group = Vec::<V>::with_capacity(N);
    for (at, value) in values.into_iter().enumerate() {
        // SAFETY: there is room for N values. This one is moved out of its box, which drops
        // nothing.
        unsafe {
            let left: Box<MaybeUninit<V>> = Box::from_raw(Box::into_raw(value).cast());
            ptr::copy_nonoverlapping(left.as_ptr(), group.as_mut_ptr().add(at), 1);
            group.set_len(at + 1);
        }
    }
    Some(group.into_boxed_slice())
}
