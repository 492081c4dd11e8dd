//! Where each thread's place is, told at once: see [`super::per_thread`].
//!
//! A table has a power of two of entries. A number's entry is that of its last bits, and what is in it is the
//! number's place if the place says so itself: entries may be out of date, and are overwritten then. Numbers that are in
//! each other's way make the table grow, as long as it is not much larger than what is in it. Then one of them is
//! found in another entry, or by going over all places.

use super::{AtomicPtr, AtomicUsize};
use crossbeam_utils::CachePadded;

pub(super) use table::Table;

/// The owner of a place that is nobody's. No thread has this number, nor is it what one says that has none.
pub(super) const NOBODY: usize = usize::MAX - 1;

/// One thread's value. The word before it is the number of its owner.
#[repr(C)]
pub(super) struct Place<T> {
    pub(super) owner: AtomicUsize,
    pub(super) value: T,
    /// Which place it is, counted from the first.
    pub(super) at: u64,
    pub(super) next: AtomicPtr<CachePadded<Place<T>>>,
}

#[cfg(not(coeval_loom))]
mod table {
    use super::super::{AtomicPtr, AtomicUsize, Ordering};
    use super::{NOBODY, Place};
    use crossbeam_utils::CachePadded;
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
    use std::ptr;

    /// What an entry holds: the address of a place's value, so that a look-up need not reckon.
    type Entry<T> = AtomicPtr<T>;

    /// How many entries the first table has.
    const FEWEST: usize = 2;
    /// For each place a table has at most so many entries, and twice as many.
    const SPARSE: usize = 4;

    /// What an empty entry points to, as if a value were behind it.
    static EMPTY: CachePadded<AtomicUsize> = CachePadded::new(AtomicUsize::new(NOBODY));
    const OWNER: usize = size_of::<AtomicUsize>();

    /// The table of which there is nothing yet.
    static NOTHING: Entries<(), 1> =
        Entries { mask: 0, older: ptr::null_mut(), entries: [AtomicPtr::new(empty())] };

    const fn empty<T>() -> *mut T {
        (&raw const EMPTY).cast_mut().wrapping_byte_add(OWNER).cast()
    }

    /// What is put into an entry for a place.
    fn value<T>(place: &CachePadded<Place<T>>) -> *mut T {
        const { assert!(std::mem::offset_of!(Place<T>, owner) == 0) }
        const { assert!(std::mem::offset_of!(Place<T>, value) == OWNER) }
        ptr::from_ref::<Place<T>>(place).cast_mut().wrapping_byte_add(OWNER).cast()
    }

    /// A table's memory. There are more entries than its type says.
    #[repr(C)]
    struct Entries<T, const N: usize = 0> {
        mask: usize,
        older: *mut Entries<T>,
        entries: [Entry<T>; N],
    }

    // SAFETY: `NOTHING` is only read, and the other fields are not changed once a table is published.
    unsafe impl<T, const N: usize> Sync for Entries<T, N> {}

    /// See the module's header.
    pub(in super::super) struct Table<T>(AtomicPtr<Entries<T>>);

    impl<T> Table<T> {
        pub(in super::super) fn new() -> Self {
            Self(AtomicPtr::new((&raw const NOTHING).cast_mut().cast()))
        }

        /// The value of the thread with this number, if its place is in its entry. The number is asked for where it is
        /// needed, which spares an instruction.
        #[inline(always)]
        pub(in super::super) fn get(&self, number: impl Fn() -> usize) -> Option<&T> {
            // Acquire: pairs with `grow`.
            let table = self.0.load(Ordering::Acquire);
            // SAFETY: `NOTHING`, or made by `grow`, and there as long as `self`.
            unsafe { look(table, number() & (*table).mask, number) }
        }

        /// The same, if it is in the other entry in which it may be.
        pub(in super::super) fn get_apart(&self, number: usize) -> Option<&T> {
            let table = self.0.load(Ordering::Acquire); // Acquire: as in `get`.
            // SAFETY: as there.
            unsafe { look(table, apart(number, (*table).mask), || number) }
        }

        /// Puts a thread's place into its entry. `all` are those of all threads.
        pub(in super::super) fn put<'a, I>(
            &self,
            number: usize,
            place: &'a CachePadded<Place<T>>,
            all: impl Fn() -> I,
        ) where
            I: Iterator<Item = &'a CachePadded<Place<T>>>,
            T: 'a,
        {
            loop {
                let table = self.0.load(Ordering::Acquire); // Acquire: as in `get`.
                // SAFETY: as in `get`; the mask is not changed.
                let mask = unsafe { (*table).mask };
                if mask == 0 {
                    self.grow(table, FEWEST, all());
                    continue;
                }
                for at in [number & mask, apart(number, mask)] {
                    // SAFETY: not `NOTHING`; so many entries are there.
                    let entry = unsafe { &*entry(table, at) };
                    // Acquire: pairs with the store below.
                    // SAFETY: read from an entry.
                    let other = unsafe { owner(entry.load(Ordering::Acquire)) };
                    let is_his = [other & mask, apart(other, mask)].contains(&at);
                    if other == NOBODY || other == number || !is_his {
                        // Release: the place is there for those who load the entry (Acquire).
                        return entry.store(value(place), Ordering::Release);
                    }
                }
                if mask >= SPARSE * all().count() {
                    return;
                }
                self.grow(table, 2 * (mask + 1), all());
            }
        }

        /// Puts a larger table in the place of `before`, unless somebody has.
        fn grow<'a>(
            &self,
            before: *mut Entries<T>,
            size: usize,
            all: impl Iterator<Item = &'a CachePadded<Place<T>>>,
        ) where
            T: 'a,
        {
            // SAFETY: the layout is not of size zero. The memory is ours, and is written before it is used; a table
            // that is not published is freed, with the size that it was made with.
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
                    let owner = place.owner.load(Ordering::Relaxed); // Relaxed: who looks compares again.
                    let entries = [owner & (size - 1), apart(owner, size - 1)];
                    let entries = entries.map(|at| &*entry(fresh, at));
                    // Relaxed, both: published with the table.
                    let is_free = |entry: &&Entry<T>| entry.load(Ordering::Relaxed) == empty();
                    if let Some(entry) = entries.into_iter().find(is_free) {
                        entry.store(value(place), Ordering::Relaxed);
                    }
                }
                // Release: the entries are there for those who load the table (Acquire).
                let publish =
                    self.0.compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Relaxed);
                if publish.is_err() {
                    dealloc(fresh.cast(), layout::<T>(size));
                }
            }
        }
    }

    /// The place in an entry, if it is this thread's.
    ///
    /// # Safety
    /// The table has the entry, and exists as long as the places in it, for `'a`.
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
            seldom();
            return None;
        }
        // SAFETY: only a real place has a thread as its owner, and it is there as long as the table.
        Some(unsafe { &*value })
    }

    /// Keeps the compiler from weighing both ways alike, and going them at once.
    #[cold]
    fn seldom() {}

    /// The owner of an entry's place.
    ///
    /// # Safety
    /// `value` was read from an entry of a table that exists.
    #[inline(always)]
    unsafe fn owner<T>(value: *mut T) -> usize {
        // SAFETY: the word before it is this, be it in a place or `EMPTY`, and is there as long as the table. Relaxed: it is
        // a thread's number only if that thread stored it, or one that had the number before.
        unsafe { (*value.byte_sub(OWNER).cast::<AtomicUsize>()).load(Ordering::Relaxed) }
    }

    /// The address of an entry.
    ///
    /// # Safety
    /// The table has it.
    #[inline(always)]
    unsafe fn entry<T>(table: *const Entries<T>, at: usize) -> *const Entry<T> {
        // SAFETY: the entries lie behind the head, as many as it says.
        unsafe { (&raw const (*table).entries).cast::<Entry<T>>().add(at) }
    }

    /// The other entry in which a number's place may be.
    fn apart(number: usize, mask: usize) -> usize {
        // By all bits, where the first goes by the last ones.
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> (usize::BITS / 2) & mask
    }

    fn layout<T>(size: usize) -> Layout {
        let entries = Layout::array::<Entry<T>>(size).expect("a size below isize::MAX");
        let all = Layout::new::<Entries<T>>().extend(entries).expect("as above");
        all.0.pad_to_align()
    }

    impl<T> Drop for Table<T> {
        fn drop(&mut self) {
            let mut table = self.0.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            // SAFETY: made by `grow` but for `NOTHING`, whose mask is 0; `&mut self` is exclusive.
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

        fn place(owner: usize) -> Box<CachePadded<Place<AtomicU64>>> {
            let (value, next) = (AtomicU64::new(0), AtomicPtr::new(ptr::null_mut()));
            Box::new(CachePadded::new(Place { owner: AtomicUsize::new(owner), value, at: 0, next }))
        }

        fn size<T>(table: &Table<T>) -> usize {
            // SAFETY: the table is there.
            unsafe { (*table.0.load(Ordering::Relaxed)).mask + 1 }
        }

        #[test]
        fn places_are_found_and_the_table_is_small() {
            let dense: Vec<usize> = (0..1_000).collect();
            let lists: [&[usize]; 5] =
                [&[0], &[1_000], &[7, 1_000_000], &[0, 1 << 20, 1 << 40], &dense];
            for numbers in lists {
                let places: Vec<_> = numbers.iter().map(|&number| place(number)).collect();
                let table = Table::new();
                assert!(numbers.iter().all(|&number| table.get(|| number).is_none()));
                assert!(table.get(|| usize::MAX).is_none() && table.get(|| NOBODY - 1).is_none());
                for (at, (&number, place)) in numbers.iter().zip(&places).enumerate() {
                    table.put(number, place, || places[..=at].iter().map(|place| &**place));
                }
                let found = |number| table.get(|| number).or_else(|| table.get_apart(number));
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
        fn what_is_out_of_date_is_overwritten() {
            let (first, second) = (place(4), place(6));
            let table = Table::new();
            let put = |number, place: &CachePadded<_>| {
                // SAFETY: both are there until the table is dropped.
                let place = unsafe { &*ptr::from_ref(place) };
                table.put(number, place, || [place].into_iter());
            };
            put(4, &first);
            assert!(table.get(|| 4).is_some() && table.get(|| 6).is_none());
            first.owner.store(NOBODY, Ordering::Relaxed);
            assert!(table.get(|| 4).is_none() && table.get(|| NOBODY - 1).is_none());
            put(6, &second);
            assert!(ptr::eq(table.get(|| 6).unwrap(), &second.value));
            assert_eq!(size(&table), FEWEST);
        }
    }
}

/// The models have no use for what is only faster: here is told at once, and outside of the model, what a thread has
/// found once.
#[cfg(coeval_loom)]
mod table {
    use super::Place;
    use crossbeam_utils::CachePadded;
    use std::cell::UnsafeCell;
    use std::ptr;

    /// A thread's number, and its place.
    type Entry<T> = (usize, *const CachePadded<Place<T>>);

    pub(in super::super) struct Table<T>(UnsafeCell<Vec<Entry<T>>>);

    impl<T> Table<T> {
        pub(in super::super) fn new() -> Self {
            Self(UnsafeCell::new(Vec::new()))
        }

        pub(in super::super) fn get(&self, number: impl Fn() -> usize) -> Option<&T> {
            let number = number();
            // SAFETY: a model's threads run in turns, and not in the midst of this. Places live as long as the table.
            unsafe {
                let found = (*self.0.get()).iter().find(|found| found.0 == number);
                found.map(|found| &(**found.1).value)
            }
        }

        pub(in super::super) fn get_apart(&self, _number: usize) -> Option<&T> {
            None
        }

        pub(in super::super) fn put<I>(
            &self,
            number: usize,
            place: &CachePadded<Place<T>>,
            _all: impl Fn() -> I,
        ) {
            // SAFETY: as in `get`.
            unsafe { (*self.0.get()).push((number, ptr::from_ref(place))) };
        }
    }
}
