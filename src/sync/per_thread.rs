//! One value a thread, found without a lock and without asking the thread to register anywhere.
//!
//! A thread gets a small number when it first asks and gives it back when it ends; a [`PerThread`]
//! is an array indexed by that number. A value outlives its thread: the next thread with the same
//! number inherits it. No lock is taken, not even for a new thread (which is why this is not the
//! `thread_local` crate); see [`super::thread_number`] for what that leaves to the system.

use super::{AtomicPtr, AtomicUsize, Ordering};
use crate::memory;
use crossbeam_utils::CachePadded;
use std::hint;
use std::ptr::{self, NonNull};

use super::thread_number::{Borrowed, thread_number, thread_number_below};

pub(crate) use super::thread_number::Hold;

/// Thread numbers below this count live in `BLOCKS` blocks of doubling size.
const BLOCKS: usize = if cfg!(coeval_loom) { 4 } else { 28 };
/// How many values the first block holds.
const FIRST: usize = if cfg!(coeval_loom) { 4 } else { 32 };

/// A value of type `T` for every thread that asks for one.
#[repr(C)] // What `get` reads of it lies in one line.
pub struct PerThread<T> {
    /// Thread numbers below this have their value in the first block: none before that is made, so one
    /// comparison tells the usual case.
    ready: AtomicUsize,
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
        let blocks = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Self { ready: AtomicUsize::new(0), blocks }
    }

    /// The calling thread's value.
    ///
    /// The reference must not leave this thread: the value may be `!Sync`, and is this thread's
    /// alone but for what `iter` may touch. If it is kept beyond the caller's return, the caller
    /// must keep a [`Hold`] that long.
    #[inline(always)]
    pub fn get(&self) -> &T {
        self.try_get().unwrap_or_else(|| self.get_in_block())
    }

    /// The same, if it lies where most do.
    #[inline(always)]
    pub fn try_get(&self) -> Option<&T> {
        if cfg!(coeval_loom) {
            return None; // A shortcut would only multiply the schedules.
        }
        // Acquire: pairs with the Release in `get_in_block`.
        let number = thread_number_below(self.ready.load(Ordering::Acquire))?;
        // Relaxed: what showed it ready showed it.
        let start = self.blocks[0].load(Ordering::Relaxed);
        // SAFETY: the first block is made, holds `FIRST` values and lives as long as `self`.
        Some(unsafe {
            hint::assert_unchecked(!start.is_null());
            &*start.add(number)
        })
    }

    #[cold]
    fn get_in_block(&self) -> &T {
        let (block, place) = place(thread_number());
        // Acquire: pairs with the publishing CAS in `grow`.
        let start = self.blocks[block].load(Ordering::Acquire);
        let start = if start.is_null() { self.grow(block) } else { start };
        if block == 0 && !cfg!(coeval_loom) {
            self.ready.store(FIRST, Ordering::Release); // Pairs with `get`: the block is there.
        }
        // SAFETY: a block holds `FIRST << block` initialised values, `place` is below that, and
        // blocks live as long as `self`.
        unsafe { &*start.add(place) }
    }

    /// The values of a block, in memory of their own.
    fn make(block: usize) -> NonNull<CachePadded<T>> {
        let first = memory::map_zeroed(Self::bytes(block)).cast::<CachePadded<T>>();
        for place in 0..FIRST << block {
            // SAFETY: there is room for so many.
            unsafe { first.add(place).write(CachePadded::default()) };
        }
        first
    }

    fn grow(&self, block: usize) -> *mut CachePadded<T> {
        let fresh = Self::make(block);
        let publish = self.blocks[block].compare_exchange(
            ptr::null_mut(),
            fresh.as_ptr(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match publish {
            Ok(_) => fresh.as_ptr(),
            Err(winner) => {
                // SAFETY: made above and never published.
                unsafe { Self::unmake(block, fresh) };
                winner
            }
        }
    }
}

impl<T> PerThread<T> {
    const ALIGNED: () = assert!(align_of::<CachePadded<T>>() <= memory::PAGE);

    fn bytes(block: usize) -> usize {
        let () = Self::ALIGNED;
        // Whole pages, which are aligned as a padded value has to be.
        (size_of::<CachePadded<T>>() * (FIRST << block)).next_multiple_of(memory::PAGE)
    }

    /// # Safety
    /// `first` came from `make` for this block, and nobody uses it any more.
    unsafe fn unmake(block: usize, first: NonNull<CachePadded<T>>) {
        for place in 0..FIRST << block {
            // SAFETY: `make` wrote so many; the caller's promise.
            unsafe { first.add(place).drop_in_place() };
        }
        // SAFETY: `make` mapped so much.
        unsafe { memory::unmap(first.cast(), Self::bytes(block)) };
    }

    /// Every thread's value, in no particular order, those of ended threads included.
    ///
    /// # Safety
    /// The caller touches only what other threads may touch at the same time (the atomic fields of
    /// `T`), or knows that no other thread is using the values.
    pub unsafe fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: the caller's promise.
        unsafe { self.numbered() }.map(|(_, value)| value)
    }

    /// Every value that may be shared, with its thread's number, those of ended threads included.
    pub fn shared(&self) -> impl Iterator<Item = (usize, &T)>
    where
        T: Sync,
    {
        // SAFETY: whatever its own thread does with the value by a shared reference, `T: Sync` lets others
        // hold one, too.
        unsafe { self.numbered() }
    }

    /// Every value with its thread's number.
    ///
    /// # Safety
    /// As for [`iter`](Self::iter).
    unsafe fn numbered(&self) -> impl Iterator<Item = (usize, &T)> {
        self.blocks.iter().enumerate().flat_map(|(block, start)| {
            // Acquire: pairs with the publishing CAS in `grow`.
            let start = start.load(Ordering::Acquire);
            let count = if start.is_null() { 0 } else { FIRST << block };
            let base = FIRST * ((1 << block) - 1);
            // SAFETY: as in `get`.
            (0..count).map(move |place| (base + place, unsafe { &**start.add(place) }))
        })
    }
}

impl<T> PerThread<T> {
    /// Visits the values that `wanted` picks of threads that have ended, each as its owner: no thread gets
    /// that thread's number meanwhile. Skips what others are visiting.
    ///
    /// `wanted` is also asked about values of living threads, so it touches only what `iter` allows.
    pub fn visit_orphans(&self, wanted: impl Fn(&T) -> bool, mut visit: impl FnMut(&T)) {
        if cfg!(coeval_loom) {
            return; // Numbers are not reused in models, and looking would multiply the schedules.
        }
        // SAFETY: `wanted` touches only what may be shared.
        for (number, value) in unsafe { self.numbered() } {
            if wanted(value)
                && let Some(_number) = Borrowed::claim(number)
            {
                visit(value);
            }
        }
    }
}

impl<T> Drop for PerThread<T> {
    fn drop(&mut self) {
        for (block, start) in self.blocks.iter().enumerate() {
            let start = start.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            if let Some(start) = NonNull::new(start) {
                // SAFETY: `make` made it; `&mut self` is exclusive.
                unsafe { Self::unmake(block, start) };
            }
        }
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

    #[test]
    fn a_number_and_its_value_are_inherited() {
        let counters = std::sync::Arc::new(PerThread::<Cell<usize>>::new());
        for _ in 0..1000 {
            let counters = counters.clone();
            let count = move || counters.get().set(counters.get().get() + 1);
            std::thread::spawn(count).join().unwrap(); // To its end, destructors included.
        }
        // SAFETY: the threads have ended.
        let counts: Vec<usize> = unsafe { counters.iter() }.map(Cell::get).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1000);
        // Other tests' threads are at work beside, but not 500 at a time.
        assert!(counts.len() < 2000);
        assert!(counts.iter().filter(|&&count| count > 0).count() < 500);
    }

    #[test]
    fn what_is_shared_comes_with_its_threads_number() {
        let values = PerThread::<super::super::AtomicU64>::new();
        assert_eq!(values.shared().count(), 0);
        values.get().store(7, Ordering::Relaxed);
        let mine: Vec<_> =
            values.shared().filter(|(_, value)| value.load(Ordering::Relaxed) == 7).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].0, thread_number());
    }
}
