//! A hash table from a thread's number to its place; see [`super::per_thread`].
//!
//! The number of entries is a power of two. The low bits of a number select its first entry, and a
//! hash of all bits selects its second. An entry is valid only if the place that it points to names
//! the number as its owner. An entry that is out of date is overwritten. Collisions make the table
//! grow, up to a fixed multiple of the number of places. Beyond that, a number that collides in
//! both entries is found by a walk over all places.

use super::{AtomicPtr, AtomicUsize};
use crossbeam_utils::CachePadded;

pub(super) use table::PlaceTable;

/// The owner of a free place. It is no thread's number, and differs from the value for a thread
/// without a number.
pub(super) const NOBODY: usize = usize::MAX - 1;

/// The value of one thread. The word before the value is the number of its owner.
#[repr(C)]
pub(super) struct ThreadPlace<T> {
    pub(super) owner: AtomicUsize,
    pub(super) value: T,
    /// The position in the list of places, from zero.
    pub(super) index: u64,
    pub(super) next: AtomicPtr<CachePadded<ThreadPlace<T>>>,
}

#[cfg(not(coeval_loom))]
mod table {
    use super::super::{AtomicPtr, AtomicUsize, Ordering};
    use super::{NOBODY, ThreadPlace};
    use crossbeam_utils::CachePadded;
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
    use std::ptr;

    /// An entry holds the address of the place's value, so that a look-up computes no offset.
    type PlaceEntry<T> = AtomicPtr<T>;

    /// The number of entries in the first table.
    const FIRST_SIZE: usize = 2;
    /// A table grows only while it has at most this many entries per place. So it ends with at
    /// most twice as many.
    const MAX_SPARSITY: usize = 4;

    /// The target of an empty entry: an owner word that matches no number, with no value behind it.
    static EMPTY_ENTRY: CachePadded<AtomicUsize> = CachePadded::new(AtomicUsize::new(NOBODY));
    const OWNER: usize = size_of::<AtomicUsize>();

    /// The table of a `PerThread` without values.
    static EMPTY_TABLE: Entries<(), 1> =
        Entries { mask: 0, older: ptr::null_mut(), entries: [AtomicPtr::new(empty())] };

    const fn empty<T>() -> *mut T {
        (&raw const EMPTY_ENTRY).cast_mut().wrapping_byte_add(OWNER).cast()
    }

    /// Returns what an entry for this place holds.
    fn value<T>(place: &CachePadded<ThreadPlace<T>>) -> *mut T {
        const { assert!(std::mem::offset_of!(ThreadPlace<T>, owner) == 0) }
        const { assert!(std::mem::offset_of!(ThreadPlace<T>, value) == OWNER) }
        ptr::from_ref::<ThreadPlace<T>>(place).cast_mut().wrapping_byte_add(OWNER).cast()
    }

    /// The memory of a table. `mask + 1` entries follow the head, whatever `N` is.
    #[repr(C)]
    struct Entries<T, const N: usize = 0> {
        mask: usize,
        older: *mut Entries<T>,
        entries: [PlaceEntry<T>; N],
    }

    // SAFETY: `EMPTY_TABLE` is only read, and only `entries` change once a table is published.
    unsafe impl<T, const N: usize> Sync for Entries<T, N> {}

    /// See the module's documentation.
    pub(in super::super) struct PlaceTable<T>(AtomicPtr<Entries<T>>);

    impl<T> PlaceTable<T> {
        pub(in super::super) fn new() -> Self {
            Self(AtomicPtr::new((&raw const EMPTY_TABLE).cast_mut().cast()))
        }

        /// Returns the value of the thread with this number, if the number's first entry has its
        /// place. Taking the number as a closure saves an instruction.
        #[inline(always)]
        pub(in super::super) fn get(&self, number: impl Fn() -> usize) -> Option<&T> {
            // Acquire: pairs with `grow`.
            let table = self.0.load(Ordering::Acquire);
            // SAFETY: `EMPTY_TABLE`, or made by `grow` and kept as long as `self`.
            unsafe { look(table, number() & (*table).mask, number) }
        }

        /// Returns the value of the thread with this number, if the second entry has its place.
        pub(in super::super) fn get_second(&self, number: usize) -> Option<&T> {
            let table = self.0.load(Ordering::Acquire); // Acquire: as in `get`.
            // SAFETY: as there.
            unsafe { look(table, second_entry(number, (*table).mask), || number) }
        }

        /// Stores a thread's place in one of its entries. `all` iterates over all places.
        pub(in super::super) fn put<'a, I>(
            &self,
            number: usize,
            place: &'a CachePadded<ThreadPlace<T>>,
            all: impl Fn() -> I,
        ) where
            I: Iterator<Item = &'a CachePadded<ThreadPlace<T>>>,
            T: 'a,
        {
            loop {
                let table = self.0.load(Ordering::Acquire); // Acquire: as in `get`.
                // SAFETY: as in `get`; the mask does not change.
                let mask = unsafe { (*table).mask };
                if mask == 0 {
                    self.grow(table, FIRST_SIZE, all());
                    continue;
                }
                for at in [number & mask, second_entry(number, mask)] {
                    // SAFETY: not `EMPTY_TABLE`; the table has `mask + 1` entries.
                    let entry = unsafe { &*entry(table, at) };
                    // Acquire: pairs with the store below.
                    // SAFETY: read from an entry.
                    let other = unsafe { owner(entry.load(Ordering::Acquire)) };
                    let belongs_to_other = [other & mask, second_entry(other, mask)].contains(&at);
                    if other == NOBODY || other == number || !belongs_to_other {
                        // Release: publishes the place to threads that load the entry (Acquire).
                        return entry.store(value(place), Ordering::Release);
                    }
                }
                if mask >= MAX_SPARSITY * all().count() {
                    return;
                }
                self.grow(table, 2 * (mask + 1), all());
            }
        }

        /// Replaces `before` by a table with `size` entries, unless another thread has replaced it.
        fn grow<'a>(
            &self,
            before: *mut Entries<T>,
            size: usize,
            all: impl Iterator<Item = &'a CachePadded<ThreadPlace<T>>>,
        ) where
            T: 'a,
        {
            // SAFETY: the layout's size is not zero. The memory is ours, and is written before it
            // is read. An unpublished table is freed with the size that it was made with.
            unsafe {
                let fresh = alloc(layout::<T>(size)).cast::<Entries<T>>();
                if fresh.is_null() {
                    handle_alloc_error(layout::<T>(size));
                }
                fresh.write(Entries { mask: size - 1, older: before, entries: [] });
                for at in 0..size {
                    entry(fresh, at).cast_mut().write(AtomicPtr::new(empty()));
                }
                for place in all {
                    // Relaxed: a look-up compares the owner again.
                    let owner = place.owner.load(Ordering::Relaxed);
                    let entries = [owner & (size - 1), second_entry(owner, size - 1)];
                    let entries = entries.map(|at| &*entry(fresh, at));
                    // Relaxed, both: the CAS below publishes the entries.
                    let is_free = |entry: &&PlaceEntry<T>| entry.load(Ordering::Relaxed) == empty();
                    if let Some(entry) = entries.into_iter().find(is_free) {
                        entry.store(value(place), Ordering::Relaxed);
                    }
                }
                // Release: publishes the entries to threads that load the table (Acquire).
                let publish =
                    self.0.compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Relaxed);
                if publish.is_err() {
                    dealloc(fresh.cast(), layout::<T>(size));
                }
            }
        }
    }

    /// Returns the value in an entry, if this thread owns its place.
    ///
    /// # Safety
    /// The table has the entry. The table and the places in it exist for `'a`.
    #[inline(always)]
    unsafe fn look<'a, T>(
        table: *const Entries<T>,
        at: usize,
        number: impl Fn() -> usize,
    ) -> Option<&'a T> {
        // SAFETY: the caller's promise. Acquire: pairs with `put`.
        let value = unsafe { (*entry(table, at)).load(Ordering::Acquire) };
        // SAFETY: read from an entry.
        if unsafe { owner(value) } != number() {
            cold_path();
            return None;
        }
        // SAFETY: only a real place has a thread as its owner, and it lives as long as the table.
        Some(unsafe { &*value })
    }

    /// Marks the branch that calls it as cold, so that the compiler does not evaluate both
    /// branches.
    #[cold]
    fn cold_path() {}

    /// Returns the owner of an entry's place.
    ///
    /// # Safety
    /// `value` was read from an entry of a table that exists.
    #[inline(always)]
    unsafe fn owner<T>(value: *mut T) -> usize {
        // SAFETY: in a place and in `EMPTY_ENTRY`, the word before `value` is the owner, and exists
        // as long as the table. Relaxed: the word equals a thread's number only if that thread, or
        // an earlier holder of the number, stored it.
        unsafe { (*value.byte_sub(OWNER).cast::<AtomicUsize>()).load(Ordering::Relaxed) }
    }

    /// Returns the address of an entry.
    ///
    /// # Safety
    /// The table has this entry.
    #[inline(always)]
    unsafe fn entry<T>(table: *const Entries<T>, at: usize) -> *const PlaceEntry<T> {
        // SAFETY: `mask + 1` entries follow the head.
        unsafe { (&raw const (*table).entries).cast::<PlaceEntry<T>>().add(at) }
    }

    /// Returns the second entry in which a number's place may be.
    fn second_entry(number: usize, mask: usize) -> usize {
        // A hash of all bits; the first entry depends on the low bits only.
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> (usize::BITS / 2) & mask
    }

    fn layout<T>(size: usize) -> Layout {
        let entries = Layout::array::<PlaceEntry<T>>(size).expect("a size below isize::MAX");
        let all = Layout::new::<Entries<T>>().extend(entries).expect("as above");
        all.0.pad_to_align()
    }

    impl<T> Drop for PlaceTable<T> {
        fn drop(&mut self) {
            let mut table = self.0.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            // SAFETY: `grow` made every table but `EMPTY_TABLE`, whose mask is 0; `&mut self` is
            // exclusive.
            unsafe {
                while (*table).mask != 0 {
                    let older = (*table).older;
                    dealloc(table.cast(), layout::<T>((*table).mask + 1));
                    table = older;
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::super::AtomicU64;
        use super::*;

        fn place(owner: usize) -> Box<CachePadded<ThreadPlace<AtomicU64>>> {
            let (value, next) = (AtomicU64::new(0), AtomicPtr::new(ptr::null_mut()));
            Box::new(CachePadded::new(ThreadPlace {
                owner: AtomicUsize::new(owner),
                value,
                index: 0,
                next,
            }))
        }

        fn size<T>(table: &PlaceTable<T>) -> usize {
            // SAFETY: the table exists.
            unsafe { (*table.0.load(Ordering::Relaxed)).mask + 1 }
        }

        #[test]
        fn most_numbers_are_found_in_a_small_table() {
            let dense: Vec<usize> = (0..1_000).collect();
            let lists: [&[usize]; 5] =
                [&[0], &[1_000], &[7, 1_000_000], &[0, 1 << 20, 1 << 40], &dense];
            for numbers in lists {
                let places: Vec<_> = numbers.iter().map(|&number| place(number)).collect();
                let table = PlaceTable::new();
                assert!(numbers.iter().all(|&number| table.get(|| number).is_none()));
                assert!(table.get(|| usize::MAX).is_none() && table.get(|| NOBODY - 1).is_none());
                for (at, (&number, place)) in numbers.iter().zip(&places).enumerate() {
                    table.put(number, place, || places[..=at].iter().map(|place| &**place));
                }
                let found = |number| table.get(|| number).or_else(|| table.get_second(number));
                for (&number, place) in numbers.iter().zip(&places) {
                    if let Some(found) = found(number) {
                        assert!(ptr::eq(found, &place.value));
                    }
                }
                let known = numbers.iter().filter(|&&number| found(number).is_some()).count();
                assert!(known * 3 >= numbers.len() * 2, "{known} of {}", numbers.len());
                assert!(
                    size(&table) <= 8 * numbers.len(),
                    "{} for {}",
                    size(&table),
                    numbers.len()
                );
            }
        }

        #[test]
        fn entries_that_are_out_of_date_are_overwritten() {
            let (first, second) = (place(4), place(6));
            let table = PlaceTable::new();
            let put = |number, place: &CachePadded<_>| {
                // SAFETY: both places outlive the table.
                let place = unsafe { &*ptr::from_ref(place) };
                table.put(number, place, || [place].into_iter());
            };
            put(4, &first);
            assert!(table.get(|| 4).is_some() && table.get(|| 6).is_none());
            first.owner.store(NOBODY, Ordering::Relaxed);
            assert!(table.get(|| 4).is_none() && table.get(|| NOBODY - 1).is_none());
            put(6, &second);
            assert!(ptr::eq(table.get(|| 6).unwrap(), &second.value));
            assert_eq!(size(&table), FIRST_SIZE);
        }
    }
}

/// A substitute for the models, in which the table's speed does not matter. It records the places
/// outside of the model, so that it adds no schedules to explore.
#[cfg(coeval_loom)]
mod table {
    use super::ThreadPlace;
    use crossbeam_utils::CachePadded;
    use std::cell::UnsafeCell;
    use std::ptr;

    /// A thread's number, and its place.
    type PlaceEntry<T> = (usize, *const CachePadded<ThreadPlace<T>>);

    pub(in super::super) struct PlaceTable<T>(UnsafeCell<Vec<PlaceEntry<T>>>);

    impl<T> PlaceTable<T> {
        pub(in super::super) fn new() -> Self {
            Self(UnsafeCell::new(Vec::new()))
        }

        pub(in super::super) fn get(&self, number: impl Fn() -> usize) -> Option<&T> {
            let number = number();
            // SAFETY: a model's threads take turns and do not switch here. Places live as long as
            // the table.
            unsafe {
                let found = (*self.0.get()).iter().find(|found| found.0 == number);
                found.map(|found| &(**found.1).value)
            }
        }

        pub(in super::super) fn get_second(&self, _number: usize) -> Option<&T> {
            None
        }

        pub(in super::super) fn put<I>(
            &self,
            number: usize,
            place: &CachePadded<ThreadPlace<T>>,
            _all: impl Fn() -> I,
        ) {
            // SAFETY: as in `get`.
            unsafe { (*self.0.get()).push((number, ptr::from_ref(place))) };
        }
    }
}
