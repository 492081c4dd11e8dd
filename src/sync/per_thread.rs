//! One value per thread, found without a lock and without registration by the caller.
//!
//! A thread gets a small number at its first look-up and returns it when it ends; see
//! [`super::thread_number`]. A [`PerThread`] keeps a linked list of *places*, one for each thread
//! that uses it. A place is never freed before the list is, so the list is as long as the largest
//! number of such threads at one time. Each place names its owner by the thread's number. The
//! place outlives its owner: a thread without a place takes over one whose owner has ended,
//! together with its value. No operation takes a lock, not even for a new thread. (This is why the
//! `thread_local` crate is not used.)
//!
//! A small [`PlaceTable`] maps a thread's number to its place. The table is only a hint. The owner
//! field of a place is decisive.
//!
//! # Iteration skips unused places
//! [`PerThread::vacate`] empties places whose owners have ended, and marks them as free. `used`
//! counts the places, from the first on, that may have an owner. A thread takes a place first and
//! then updates `used`; the update always changes the word. To lower `used`, a thread reads the
//! word, then inspects the places, and then lowers the word by a CAS, which fails if the word has
//! changed. So `used` never falls below a place that was taken, and an iteration that starts
//! after a thread has used its place meets that place.

use super::hook::{mutant, step};
use super::place_table::{NOBODY, PlaceTable, ThreadPlace};
use super::thread_number::{Borrowed, detects_thread_ends, thread_number_if_any};
use super::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use crossbeam_utils::CachePadded;
use std::iter;
use std::ptr;

pub(crate) use super::thread_number::{NumberHold, thread_number};
#[cfg(coeval_loom)]
pub use super::thread_number::{end_thread, with_ends};

/// The largest count of places in `used`. The bits above it count how often a place was taken.
const COUNT: u64 = (1 << 24) - 1;

/// How often a read is repeated because a value moved meanwhile.
const TRIES: usize = 16;

/// A value of type `T` for every thread that asks for one.
#[repr(C)] // All fields that `get` reads lie in one cache line.
pub struct PerThread<T> {
    table: PlaceTable<T>,
    first: AtomicPtr<CachePadded<ThreadPlace<T>>>,
    /// The number of places, from the first on, that may have an owner. The bits above it count how
    /// often a place was taken.
    used: AtomicU64,
    /// How many moves out of a place have begun, and how many are done.
    begun: AtomicU64,
    done: AtomicU64,
}

// SAFETY: one thread at a time uses a value (`get`). A value passes from a thread that ended to
// another one, which requires `T: Send`. `iter` shares it, which requires `T: Sync`; the caller of
// `iter` guarantees that (see there).
unsafe impl<T: Send> Send for PerThread<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for PerThread<T> {}

impl<T: Default> PerThread<T> {
    /// Creates a `PerThread` without values.
    pub fn new() -> Self {
        Self {
            table: PlaceTable::new(),
            first: AtomicPtr::new(ptr::null_mut()),
            used: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Returns the calling thread's value, and creates it if necessary.
    ///
    /// The reference must not leave this thread: the value may be `!Sync`, and no other thread
    /// uses it except through `iter`. A caller that keeps the reference beyond its own return
    /// must keep a [`NumberHold`] for as long.
    #[inline(always)]
    pub fn get(&self) -> &T {
        self.try_get().unwrap_or_else(|| self.find())
    }

    /// Returns about how many threads have a value.
    pub fn count(&self) -> u64 {
        self.used.load(Ordering::Relaxed) & COUNT
    }

    /// Returns the calling thread's value if the first entry of the table has it.
    #[inline(always)]
    pub fn try_get(&self) -> Option<&T> {
        self.table.get(thread_number_if_any)
    }

    #[cold]
    fn find(&self) -> &T {
        let number = thread_number();
        if let Some(value) = self.table.get_second(number) {
            return value;
        }
        // Relaxed: only the thread with this number, or one that has borrowed the number, makes
        // itself the owner of a place.
        let is_own =
            |place: &&CachePadded<ThreadPlace<T>>| place.owner.load(Ordering::Relaxed) == number;
        let own = if detects_thread_ends() { self.used().find(is_own) } else { None };
        let place = own.unwrap_or_else(|| self.take(number));
        self.table.put(number, place, || self.used());
        &place.value
    }

    /// Takes or makes a place for a thread that has none.
    fn take(&self, number: usize) -> &CachePadded<ThreadPlace<T>> {
        let (mut link, mut count) = (&self.first, 0);
        let place = loop {
            // Acquire: pairs with the CAS in `append`.
            let next = link.load(Ordering::Acquire);
            // SAFETY: null, or published by `append`; places live as long as `self`.
            let place = match unsafe { next.as_ref() } {
                Some(place) if detects_thread_ends() && place.take(number) => break place,
                Some(place) => place,
                None => match self.append(link, number, count) {
                    Ok(place) => break place,
                    Err(other) => other,
                },
            };
            (link, count) = (&place.next, count + 1);
        };
        step("per_thread.taken");
        self.mark_used(place);
        place
    }

    /// Appends a place at `link`, the end of the list. If another thread was first, returns that
    /// thread's place as the error.
    fn append(
        &self,
        link: &AtomicPtr<CachePadded<ThreadPlace<T>>>,
        number: usize,
        index: u64,
    ) -> Result<&CachePadded<ThreadPlace<T>>, &CachePadded<ThreadPlace<T>>> {
        let fresh = Box::into_raw(Box::new(CachePadded::new(ThreadPlace {
            owner: AtomicUsize::new(number),
            value: T::default(),
            index,
            next: AtomicPtr::new(ptr::null_mut()),
        })));
        let null = ptr::null_mut();
        // Release: publishes the place to threads that load the link (Acquire).
        match link.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: published, and places live as long as `self`.
            Ok(_) => Ok(unsafe { &*fresh }),
            Err(winner) => {
                // SAFETY: `fresh` was never published; the winner's place lives as long as `self`.
                unsafe {
                    drop(Box::from_raw(fresh));
                    Err(&*winner)
                }
            }
        }
    }

    /// Records in `used` that a place has an owner.
    fn mark_used(&self, place: &ThreadPlace<T>) {
        if !detects_thread_ends() {
            return;
        }
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let count = (used & COUNT).max((place.index + 1).min(COUNT));
            if mutant("per_thread.taken_silently") && count == used & COUNT {
                return;
            }
            let taken = (used & !COUNT).wrapping_add(COUNT + 1);
            // Release: pairs with the load in `vacate`, which then sees the owner. Acquire: passes
            // on what earlier takers published.
            match self.used.compare_exchange_weak(
                used,
                taken | count,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => used = now,
            }
        }
    }
}

impl<T> PerThread<T> {
    /// Iterates over all places that were ever made.
    fn places(&self) -> impl Iterator<Item = &CachePadded<ThreadPlace<T>>> {
        // Acquire: pairs with the CAS in `append`.
        // SAFETY: null, or published by `append`; places live as long as `self`.
        let at = |link: &AtomicPtr<CachePadded<ThreadPlace<T>>>| unsafe {
            link.load(Ordering::Acquire).as_ref()
        };
        iter::successors(at(&self.first), move |place| at(&place.next))
    }

    /// Iterates over all places that may have an owner.
    fn used(&self) -> impl Iterator<Item = &CachePadded<ThreadPlace<T>>> {
        // Acquire: pairs with `mark_used`. It also passes on what the thread that lowered `used`
        // had acquired.
        let used =
            if detects_thread_ends() { self.used.load(Ordering::Acquire) & COUNT } else { COUNT };
        // The largest count stands for itself and for every larger number.
        self.places().take(if used == COUNT { usize::MAX } else { used as usize })
    }

    /// Iterates over the values of all threads, in no particular order. This includes the values of
    /// ended threads, except those that `vacate` has emptied.
    ///
    /// # Safety
    /// The caller accesses only what other threads may access at the same time (the atomic fields
    /// of `T`), or knows that no other thread uses the values.
    pub unsafe fn iter(&self) -> impl Iterator<Item = &T> {
        self.used().map(|place| &place.value)
    }

    /// Iterates over all values, each with the index of its place.
    pub fn shared(&self) -> impl Iterator<Item = (usize, &T)>
    where
        T: Sync,
    {
        // Sound, as the owner has only a shared reference, and `T: Sync` lets others have one, too.
        self.used().map(|place| (place.index as usize, &place.value))
    }

    /// Calls `empty` with the values of ended threads. During the call the caller acts as the
    /// owner: no thread gets the ended thread's number or takes its place. `empty` returns whether
    /// the value holds nothing that any reader needs. If so, iterations skip the place until a
    /// thread takes it. Skips places that another call is visiting.
    pub fn vacate(&self, mut empty: impl FnMut(&T) -> bool) {
        if !detects_thread_ends() {
            return;
        }
        // Acquire: pairs with `mark_used`, so that places taken before are seen below.
        let before = self.used.load(Ordering::Acquire);
        let mut needed = 0;
        for place in self.used() {
            // Acquire: pairs with the store below, since a free place may lower `used`.
            let owner = place.owner.load(Ordering::Acquire);
            let vacated = owner == NOBODY
                || Borrowed::claim(owner).is_some_and(|_number| {
                    // Relaxed: only a thread that has borrowed the owner's number changes it.
                    let is_unchanged = place.owner.load(Ordering::Relaxed) == owner;
                    let is_empty = is_unchanged && self.during_move(|| empty(&place.value));
                    if is_empty {
                        // Release: pairs with `ThreadPlace::take`, which hands on the value.
                        place.owner.store(NOBODY, Ordering::Release);
                    }
                    is_empty
                });
            if !vacated {
                needed = place.index + 1;
            }
        }
        step("per_thread.looked");
        if needed < before & COUNT && before & COUNT < COUNT {
            let lowered = before & !COUNT | needed;
            // Release: passes on what the owners did to iterations that skip their places. The CAS
            // fails if a place was taken meanwhile. Relaxed on failure: nothing is read.
            let _ =
                self.used.compare_exchange(before, lowered, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Runs `act`, which moves data out of a place, between the two counts that `try_read_stable`
    /// compares.
    fn during_move<U>(&self, act: impl FnOnce() -> U) -> U {
        if mutant("per_thread.moves_silently") {
            return act();
        }
        self.begun.fetch_add(1, Ordering::Relaxed); // Relaxed: the fence is below.
        fence(Ordering::Release); // Partner: the fence in `try_read_stable`.
        let result = act();
        self.done.fetch_add(1, Ordering::Release); // Partner: the load in `try_read_stable`.
        result
    }

    /// Returns what `sum` computes from all values and from the place to which
    /// [`vacate`](Self::vacate) moves data. Repeats `sum` if a move overlaps with it. If a move
    /// overlaps with every try, the result may miss what moved, or count it twice.
    pub fn read_stable<U>(&self, sum: impl Fn() -> U) -> U {
        (0..TRIES).find_map(|_| self.try_read_stable(&sum)).unwrap_or_else(sum)
    }

    /// Runs `sum` once and returns its result, or `None` if a move overlapped with it.
    pub fn try_read_stable<U>(&self, sum: impl Fn() -> U) -> Option<U> {
        // Acquire: pairs with `during_move`: completed moves are visible.
        let done = self.done.load(Ordering::Acquire);
        let result = sum();
        // Partner: the fence in `during_move`. If `sum` saw any part of a move, the load below
        // sees that it has begun.
        fence(Ordering::Acquire);
        // Relaxed: the fence is above.
        (self.begun.load(Ordering::Relaxed) == done).then_some(result)
    }
}

impl<T> ThreadPlace<T> {
    /// Takes the place if it is free, or if its owner has ended.
    fn take(&self, number: usize) -> bool {
        let owner = self.owner.load(Ordering::Relaxed); // Relaxed: checked again below.
        if owner == NOBODY {
            // Acquire: pairs with the store in `vacate`.
            return self
                .owner
                .compare_exchange(NOBODY, number, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        }
        // The claim acquires what the number's last holder did, so the value is visible.
        Borrowed::claim(owner).is_some_and(|_number| {
            // Relaxed, both: only a thread that has borrowed the owner's number changes the field.
            let is_unchanged = self.owner.load(Ordering::Relaxed) == owner;
            if is_unchanged {
                self.owner.store(number, Ordering::Relaxed);
            }
            is_unchanged
        })
    }
}

impl<T> Drop for PerThread<T> {
    fn drop(&mut self) {
        let mut place = self.first.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !place.is_null() {
            // SAFETY: made by `append` from a box; `&mut self` is exclusive.
            let freed = unsafe { Box::from_raw(place) };
            place = freed.next.load(Ordering::Relaxed); // Relaxed: as above.
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

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

    /// Runs `threads` threads that live at the same time and use a value each, to their ends.
    fn peak<T: Default + Send + 'static>(values: &std::sync::Arc<PerThread<T>>, threads: usize) {
        let together = std::sync::Arc::new(std::sync::Barrier::new(threads));
        let body = || {
            let (values, together) = (values.clone(), together.clone());
            std::thread::spawn(move || {
                values.get();
                together.wait();
            })
        };
        let threads: Vec<_> = (0..threads).map(|_| body()).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn places_of_ended_threads_are_skipped_and_reused() {
        let values = std::sync::Arc::new(PerThread::<super::super::AtomicU64>::new());
        values.get().store(1, Ordering::Relaxed);
        for round in 0..3 {
            peak(&values, 300);
            assert!(values.places().count() <= 301, "{round}: places are reused");
            // Threads of other tests may hold some of the numbers for a while.
            for _ in 0..100_000 {
                values.vacate(|value| value.load(Ordering::Relaxed) == 0);
                if values.shared().count() == 1 {
                    break;
                }
                std::thread::yield_now();
            }
            assert_eq!(values.shared().count(), 1, "{round}");
            assert_eq!(values.get().load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_place_that_is_not_empty_is_kept() {
        let values = std::sync::Arc::new(PerThread::<super::super::AtomicU64>::new());
        for _ in 0..100 {
            let values = values.clone();
            let count = move || _ = values.get().fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(count).join().unwrap();
        }
        values.vacate(|_| false);
        let sum = || values.shared().map(|(_, value)| value.load(Ordering::Relaxed)).sum::<u64>();
        assert_eq!(values.read_stable(sum), 100);
    }

    #[test]
    fn numbers_and_values_are_inherited() {
        let counters = std::sync::Arc::new(PerThread::<Cell<usize>>::new());
        for _ in 0..1000 {
            let counters = counters.clone();
            let count = move || counters.get().set(counters.get().get() + 1);
            std::thread::spawn(count).join().unwrap(); // `join` waits for destructors, too.
        }
        // SAFETY: the threads have ended.
        let counts: Vec<usize> = unsafe { counters.iter() }.map(Cell::get).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1000);
        // Threads of other tests take numbers meanwhile, but not 500 at one time.
        assert!(counts.iter().filter(|&&count| count > 0).count() < 500);
    }

    #[test]
    fn shared_values_come_with_their_indices() {
        let values = PerThread::<super::super::AtomicU64>::new();
        assert_eq!(values.shared().count(), 0);
        values.get().store(7, Ordering::Relaxed);
        let mine: Vec<_> =
            values.shared().filter(|(_, value)| value.load(Ordering::Relaxed) == 7).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].0, 0);
    }
}
