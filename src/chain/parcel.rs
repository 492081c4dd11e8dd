//! A value on its way into the cache, or back to its caller.

use std::mem::{MaybeUninit, needs_drop};
use std::ptr;

/// A place that may have a value. A value travels through the cache as a reference to such a place,
/// and is moved straight from one place to the next. An `Option` would move it through the stack,
/// in each call that fills or empties it.
///
/// An unoptimized build copies a variable each time that it is passed by move. So whoever gets a
/// value by move [puts](Self::put) it into a place at once.
pub struct Parcel<V> {
    has_value: bool,
    /// Initialised if `has_value`.
    value: MaybeUninit<V>,
}

impl<V> Parcel<V> {
    /// An empty place.
    #[inline]
    pub const fn empty() -> Self {
        Self { has_value: false, value: MaybeUninit::uninit() }
    }

    /// Adds an empty place to a list.
    #[inline(always)]
    pub fn add_to(list: &mut Vec<Self>) -> &mut Self {
        list.reserve(1);
        let at = list.len();
        // SAFETY: there is room for one more. A place without a value needs no other field.
        unsafe {
            (&raw mut (*list.as_mut_ptr().add(at)).has_value).write(false);
            list.set_len(at + 1);
            list.get_unchecked_mut(at)
        }
    }

    /// Clones of these values, in places on the heap.
    pub fn clones(values: &[V]) -> Vec<Self>
    where
        V: Clone,
    {
        let mut clones = Vec::with_capacity(values.len());
        values.iter().for_each(|value| Self::add_to(&mut clones).put_clone(value));
        clones
    }

    /// Makes an empty place in memory.
    ///
    /// # Safety
    /// The caller may write to `place`.
    #[inline(always)]
    pub unsafe fn init(place: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { (&raw mut (*place).has_value).write(false) };
    }

    /// Puts a value into the empty place.
    #[inline(always)]
    pub fn put(&mut self, value: V) {
        debug_assert!(!self.has_value);
        // SAFETY: the place is the caller's.
        unsafe { self.value.as_mut_ptr().write(value) };
        self.has_value = true;
    }

    /// Puts a clone of a value into the empty place.
    #[inline(never)]
    pub fn put_clone(&mut self, value: &V)
    where
        V: Clone,
    {
        self.put(value.clone());
    }

    /// Whether there is a value.
    #[inline(always)]
    pub fn is_some(&self) -> bool {
        self.has_value
    }

    /// The value, if there is one.
    #[inline(always)]
    pub fn get(&self) -> Option<&V> {
        // SAFETY: there is a value.
        if self.has_value { Some(unsafe { self.value.assume_init_ref() }) } else { None }
    }

    /// Moves the value to `place`, if there is one. Returns whether there was.
    ///
    /// # Safety
    /// The caller may write a value to `place`.
    #[inline(always)]
    pub unsafe fn move_to(&mut self, place: *mut V) -> bool {
        let has_value = std::mem::take(&mut self.has_value);
        if has_value {
            // SAFETY: the caller's promise. From now on the value is there and not here.
            unsafe { ptr::copy_nonoverlapping(self.value.as_ptr(), place, 1) };
        }
        has_value
    }

    /// Moves a value from `place` to this place, which is empty.
    ///
    /// # Safety
    /// There is a value in `place`, and nobody uses or drops it there from now on.
    #[inline(always)]
    pub unsafe fn move_from(&mut self, place: *const V) {
        debug_assert!(!self.has_value);
        // SAFETY: the caller's promise.
        unsafe { ptr::copy_nonoverlapping(place, self.value.as_mut_ptr(), 1) };
        self.has_value = true;
    }

    /// Moves the value of another place to this one, which is empty.
    #[inline(always)]
    pub fn take_from(&mut self, other: &mut Self) {
        // SAFETY: the place is the caller's.
        self.has_value = unsafe { other.move_to(self.value.as_mut_ptr()) };
    }

    /// Drops the value.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_value) {
            // SAFETY: there was a value, which nobody uses any more.
            unsafe { self.value.assume_init_drop() };
        }
    }

    /// Takes the value out, which is there.
    pub fn take(&mut self) -> V {
        assert!(std::mem::take(&mut self.has_value), "there is a value");
        // SAFETY: there was a value, which nobody uses here any more.
        unsafe { self.value.as_ptr().read() }
    }

    /// Moves the value, which is there, to the heap.
    pub fn take_to_heap(&mut self) -> Box<V> {
        assert!(self.has_value, "there is a value");
        let mut place = Box::new_uninit();
        // SAFETY: the place has room for a value, which is there afterwards.
        unsafe {
            self.move_to(place.as_mut_ptr());
            place.assume_init()
        }
    }
}

impl<V> Drop for Parcel<V> {
    #[inline(always)]
    fn drop(&mut self) {
        if const { needs_drop::<V>() } {
            self.clear();
        }
    }
}

/// Puts what a small closure returns on the heap. Not inlined, so that no other frame
/// has room for it.
#[inline(never)]
pub fn write_on_heap<T>(make: impl FnOnce() -> T) -> Box<T> {
    let mut place = Box::<T>::new_uninit();
    // SAFETY: the place has room for a `T`, which is there afterwards.
    unsafe {
        place.as_mut_ptr().write(make());
        place.assume_init()
    }
}

/// Clones a value to the heap.
#[inline(never)]
pub fn clone_to_heap<V: Clone>(value: &V) -> Box<V> {
    write_on_heap(|| value.clone())
}
