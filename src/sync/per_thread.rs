//! One value a thread, found without a lock and without asking the thread to register anywhere.
//!
//! A thread gets a small number when it first asks and gives it back when it ends; a [`PerThread`]
//! is an array indexed by that number. A value outlives its thread: the next thread with the same
//! number inherits it. No lock is taken, not even for a new thread (which is why this is not the
//! `thread_local` crate).

use super::{AtomicPtr, Ordering};
use crossbeam_utils::CachePadded;
use std::ptr;

pub(crate) use id::thread_number;

/// Thread numbers below this count live in `BLOCKS` blocks of doubling size.
const BLOCKS: usize = 28;
/// How many values the first block holds.
const FIRST: usize = if cfg!(coeval_loom) { 4 } else { 32 };

/// A value of type `T` for every thread that asks for one.
pub struct PerThread<T> {
    blocks: [AtomicPtr<CachePadded<T>>; BLOCKS],
}

// SAFETY: a value is used by one thread at a time (`get`), and handed from a thread that ended to
// one that began after it: that needs `T: Send`. `iter` shares it: that needs `T: Sync`, which the
// caller of `iter` vouches for (see there).
unsafe impl<T: Send> Send for PerThread<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for PerThread<T> {}

/// The block of a thread number, and the place in it. Block `b` holds `FIRST << b` values.
#[inline(always)]
fn place(number: usize) -> (usize, usize) {
    let block = ((number / FIRST) + 1).ilog2() as usize;
    (block, number - FIRST * ((1 << block) - 1))
}

impl<T: Default> PerThread<T> {
    /// No values yet.
    pub fn new() -> Self {
        Self { blocks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// The calling thread's value.
    ///
    /// The reference must not leave this thread: the value may be `!Sync`, and is this thread's
    /// alone but for what `iter` may touch.
    #[inline(always)]
    pub fn get(&self) -> &T {
        let number = thread_number();
        // Acquire: pairs with the publishing CAS in `grow`.
        let first = self.blocks[0].load(Ordering::Acquire);
        if number < FIRST && !first.is_null() {
            // SAFETY: the first block holds `FIRST` values and lives as long as `self`.
            return unsafe { &*first.add(number) };
        }
        self.get_in_block(number)
    }

    #[cold]
    fn get_in_block(&self, number: usize) -> &T {
        let (block, place) = place(number);
        let start = self.blocks[block].load(Ordering::Acquire); // as above
        let start = if start.is_null() { self.grow(block) } else { start };
        // SAFETY: a block holds `FIRST << block` initialised values, `place` is below that, and
        // blocks live as long as `self`.
        unsafe { &*start.add(place) }
    }

    fn grow(&self, block: usize) -> *mut CachePadded<T> {
        let fresh: Box<[CachePadded<T>]> =
            (0..FIRST << block).map(|_| Default::default()).collect();
        let fresh = Box::into_raw(fresh);
        let publish = self.blocks[block].compare_exchange(
            ptr::null_mut(),
            fresh.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match publish {
            Ok(_) => fresh.cast(),
            Err(winner) => {
                // SAFETY: made by `Box::into_raw` above and never published.
                drop(unsafe { Box::from_raw(fresh) });
                winner
            }
        }
    }
}

impl<T> PerThread<T> {
    /// Every thread's value, in no particular order, those of ended threads included.
    ///
    /// # Safety
    /// The caller touches only what other threads may touch at the same time (the atomic fields of
    /// `T`), or knows that no other thread is using the values.
    pub unsafe fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().enumerate().flat_map(|(block, start)| {
            // Acquire: pairs with the publishing CAS in `grow`.
            let start = start.load(Ordering::Acquire);
            let count = if start.is_null() { 0 } else { FIRST << block };
            // SAFETY: as in `get`.
            (0..count).map(move |place| unsafe { &**start.add(place) })
        })
    }
}

impl<T> Drop for PerThread<T> {
    fn drop(&mut self) {
        for (block, start) in self.blocks.iter().enumerate() {
            let start = start.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            if !start.is_null() {
                // SAFETY: `grow` made this from a boxed slice of exactly this length.
                drop(unsafe {
                    Box::from_raw(ptr::slice_from_raw_parts_mut(start, FIRST << block))
                });
            }
        }
    }
}

#[cfg(not(coeval_loom))]
mod id {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    const NONE: usize = usize::MAX;
    const WORDS: usize = 64;

    /// A map of the numbers in use, one bit each; more maps are linked on when one is full.
    struct Numbers {
        used: [AtomicU64; WORDS],
        next: AtomicPtr<Numbers>,
    }

    impl Numbers {
        const fn new() -> Self {
            Self {
                used: [const { AtomicU64::new(0) }; WORDS],
                next: AtomicPtr::new(std::ptr::null_mut()),
            }
        }

        /// The map after this one, made if there is none. Maps are never freed.
        fn next(&self) -> &'static Numbers {
            let next = self.next.load(Ordering::Acquire);
            if !next.is_null() {
                // SAFETY: published below, from a box that is never freed.
                return unsafe { &*next };
            }
            let fresh = Box::into_raw(Box::new(Numbers::new()));
            let null = std::ptr::null_mut();
            match self.next.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: just published, never freed.
                Ok(_) => unsafe { &*fresh },
                Err(winner) => {
                    // SAFETY: `fresh` was never published; `winner` is never freed.
                    unsafe {
                        drop(Box::from_raw(fresh));
                        &*winner
                    }
                }
            }
        }
    }

    static NUMBERS: Numbers = Numbers::new();

    std::thread_local! {
        // Const and without a destructor: reading it is one load.
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
        static GIVE_BACK: GiveBack = const { GiveBack };
    }

    /// Its destructor gives the thread's number back.
    struct GiveBack;

    impl Drop for GiveBack {
        fn drop(&mut self) {
            let number = NUMBER.replace(NONE);
            if number != NONE {
                release(number);
            }
        }
    }

    /// The calling thread's number: small, and no other living thread's.
    #[inline(always)]
    pub(crate) fn thread_number() -> usize {
        let number = NUMBER.get();
        if number == NONE { assign() } else { number }
    }

    #[cold]
    fn assign() -> usize {
        let number = acquire();
        NUMBER.set(number);
        // Registers the destructor. A thread that is already past it (a destructor of another
        // thread-local is calling us) keeps its number for good: a few bytes, lost once.
        let _ = GIVE_BACK.try_with(|_| ());
        number
    }

    fn acquire() -> usize {
        let (mut map, mut base) = (&NUMBERS, 0);
        loop {
            for (index, word) in map.used.iter().enumerate() {
                let mut used = word.load(Ordering::Relaxed);
                while used != u64::MAX {
                    let bit = used.trailing_ones();
                    // Acquire: pairs with `release`, so that this thread sees what the number's
                    // last owner left in its values.
                    match word.compare_exchange_weak(
                        used,
                        used | 1 << bit,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    ) {
                        Ok(_) => return base + index * 64 + bit as usize,
                        Err(now) => used = now,
                    }
                }
            }
            base += WORDS * 64;
            map = map.next();
        }
    }

    fn release(number: usize) {
        let (mut map, mut number) = (&NUMBERS, number);
        while number >= WORDS * 64 {
            number -= WORDS * 64;
            map = map.next();
        }
        // Release: pairs with the CAS in `acquire`.
        map.used[number / 64].fetch_and(!(1 << (number % 64)), Ordering::Release);
    }
}

#[cfg(coeval_loom)]
mod id {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::cell::Cell;

    loom::lazy_static! { static ref NEXT: AtomicUsize = AtomicUsize::new(0); }
    loom::thread_local! { static NUMBER: Cell<usize> = Cell::new(usize::MAX); }

    /// The calling thread's number. Models do not reuse numbers.
    pub(crate) fn thread_number() -> usize {
        NUMBER.with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn places_are_dense_and_distinct() {
        let mut expected = (0..BLOCKS).flat_map(|b| (0..FIRST << b).map(move |p| (b, p)));
        for number in 0..10_000 {
            assert_eq!(Some(place(number)), expected.next());
        }
    }

    #[test]
    fn each_thread_has_its_own_value() {
        let counters = PerThread::<Cell<usize>>::new();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mine = counters.get();
                        mine.set(mine.get() + 1);
                    }
                });
            }
        });
        // SAFETY: the threads have ended.
        let total: usize = unsafe { counters.iter() }.map(Cell::get).sum();
        assert_eq!(total, 40_000);
    }
}
