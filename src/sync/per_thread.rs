//! One value a thread, found without a lock and without asking the thread to register anywhere.
//!
//! A thread gets a small number when it first asks and gives it back when it ends; see
//! [`super::thread_number`]. A [`PerThread`] has a *place* for each thread that uses it, in a list in which each place,
//! once made, stays: as many as there were such threads at a time. A place has an owner, by the number, and outlives
//! it: who needs a place takes one over whose owner has ended, with the value that is in it. No lock is taken, not
//! even for a new thread (which is why this is not the `thread_local` crate).
//!
//! A small [`Table`] tells each thread its place. It is only a hint: a place says itself whose it is.
//!
//! # Who goes over all values passes by what nobody uses
//! Places whose owners have ended are emptied now and then ([`PerThread::vacate`]), and free then. `used` says how many
//! places, from the first on, may have an owner. A thread that takes a place says so there afterwards, by a step that
//! changes the word in any case; who wants to lower it reads the word first, then looks at the places, and lowers
//! it only if the word is still the same. So it does not fall below a place that somebody has taken, and who has used
//! his place is met by all who go over the places after that.

use super::hook::{mutant, step};
use super::place_table::{NOBODY, Place, Table};
use super::thread_number::{Borrowed, are_ends_told, thread_number_if_any};
use super::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use crossbeam_utils::CachePadded;
use std::iter;
use std::ptr;

pub(crate) use super::thread_number::{Hold, thread_number};
#[cfg(coeval_loom)]
pub use super::thread_number::{end_thread, with_ends};

/// So many places at most are counted in `used`, below what makes each of its values new.
const MOST: u64 = (1 << 24) - 1;

/// How often a sum is taken again because something was moved meanwhile.
const TRIES: usize = 16;

/// A value of type `T` for every thread that asks for one.
#[repr(C)] // What `get` reads of it lies in one line.
pub struct PerThread<T> {
    table: Table<T>,
    first: AtomicPtr<CachePadded<Place<T>>>,
    /// How many places, from the first on, may have an owner; and how often a place was taken.
    used: AtomicU64,
    /// How often somebody began to empty places, and how often that was done.
    begun: AtomicU64,
    done: AtomicU64,
}

// SAFETY: a value is used by one thread at a time (`get`), and handed from a thread that ended to
// another that needs a place: that needs `T: Send`. `iter` shares it: that needs `T: Sync`, which the
// caller of `iter` vouches for (see there).
unsafe impl<T: Send> Send for PerThread<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for PerThread<T> {}

impl<T: Default> PerThread<T> {
    /// No values yet.
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            first: AtomicPtr::new(ptr::null_mut()),
            used: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// The calling thread's value.
    ///
    /// The reference must not leave this thread: the value may be `!Sync`, and is this thread's
    /// alone but for what `iter` may touch. If it is kept beyond the caller's return, the caller
    /// must keep a [`Hold`] that long.
    #[inline(always)]
    pub fn get(&self) -> &T {
        self.try_get().unwrap_or_else(|| self.find())
    }

    /// The same, if it is found at once.
    #[inline(always)]
    pub fn try_get(&self) -> Option<&T> {
        self.table.get(thread_number_if_any)
    }

    #[cold]
    fn find(&self) -> &T {
        let number = thread_number();
        if let Some(value) = self.table.get_apart(number) {
            return value;
        }
        // Relaxed: only the thread with this number, and who has borrowed it, makes a place its own.
        let is_own = |place: &&CachePadded<Place<T>>| place.owner.load(Ordering::Relaxed) == number;
        let own = if are_ends_told() { self.used().find(is_own) } else { None };
        let place = own.unwrap_or_else(|| self.take(number));
        self.table.put(number, place, || self.used());
        &place.value
    }

    /// A place for a thread that has none.
    fn take(&self, number: usize) -> &CachePadded<Place<T>> {
        let (mut link, mut count) = (&self.first, 0);
        let place = loop {
            // Acquire: pairs with the CAS in `append`.
            let next = link.load(Ordering::Acquire);
            // SAFETY: null, or published there; places live as long as `self`.
            let place = match unsafe { next.as_ref() } {
                Some(place) if are_ends_told() && place.take(number) => break place,
                Some(place) => place,
                None => match self.append(link, number, count) {
                    Ok(place) => break place,
                    Err(other) => other,
                },
            };
            (link, count) = (&place.next, count + 1);
        };
        step("per_thread.taken");
        self.count_in(place);
        place
    }

    /// Makes a place behind the last, which `link` belongs to, unless somebody else has: then it is his.
    fn append(
        &self,
        link: &AtomicPtr<CachePadded<Place<T>>>,
        number: usize,
        at: u64,
    ) -> Result<&CachePadded<Place<T>>, &CachePadded<Place<T>>> {
        let fresh = Box::into_raw(Box::new(CachePadded::new(Place {
            owner: AtomicUsize::new(number),
            value: T::default(),
            at,
            next: AtomicPtr::new(ptr::null_mut()),
        })));
        let null = ptr::null_mut();
        // Release: the place is there for those who load the link (Acquire).
        match link.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: published, and places live as long as `self`.
            Ok(_) => Ok(unsafe { &*fresh }),
            Err(winner) => {
                // SAFETY: `fresh` was never published; the winner's lives as long as `self`.
                unsafe {
                    drop(Box::from_raw(fresh));
                    Err(&*winner)
                }
            }
        }
    }

    /// Says that a place has an owner.
    fn count_in(&self, place: &Place<T>) {
        if !are_ends_told() {
            return;
        }
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let count = (used & MOST).max((place.at + 1).min(MOST));
            if mutant("per_thread.taken_silently") && count == used & MOST {
                return;
            }
            let taken = (used & !MOST).wrapping_add(MOST + 1);
            // Release: pairs with the load in `vacate`, which sees the owner then. Acquire: hands on what others said.
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
    /// All places that were ever made.
    fn places(&self) -> impl Iterator<Item = &CachePadded<Place<T>>> {
        // Acquire: pairs with the CAS in `append`. SAFETY: null, or published there, and there as long as `self`.
        let at = |link: &AtomicPtr<CachePadded<Place<T>>>| unsafe {
            link.load(Ordering::Acquire).as_ref()
        };
        iter::successors(at(&self.first), move |place| at(&place.next))
    }

    /// All places that may have an owner.
    fn used(&self) -> impl Iterator<Item = &CachePadded<Place<T>>> {
        // Acquire: pairs with `count_in`, and hands on to the caller what whoever lowered it has acquired.
        let used = if are_ends_told() { self.used.load(Ordering::Acquire) & MOST } else { MOST };
        // The last count stands for all that come after it.
        self.places().take(if used == MOST { usize::MAX } else { used as usize })
    }

    /// Every thread's value, in no particular order; also of threads that have ended, but those that were vacated.
    ///
    /// # Safety
    /// The caller touches only what other threads may touch at the same time (the atomic fields of
    /// `T`), or knows that no other thread is using the values.
    pub unsafe fn iter(&self) -> impl Iterator<Item = &T> {
        self.used().map(|place| &place.value)
    }

    /// Every value that may be shared, with the number of its place.
    pub fn shared(&self) -> impl Iterator<Item = (usize, &T)>
    where
        T: Sync,
    {
        // Whatever its own thread does with the value by a shared reference, `T: Sync` lets others hold one, too.
        self.used().map(|place| (place.at as usize, &place.value))
    }

    /// Visits the values of threads that have ended, each as its owner: no thread gets that thread's number meanwhile,
    /// or takes its place. `empty` says whether nothing is left in it that anybody would look for. Then it is passed by
    /// from now on, until a thread takes the place. Skips what others are visiting.
    pub fn vacate(&self, mut empty: impl FnMut(&T) -> bool) {
        if !are_ends_told() {
            return;
        }
        // Acquire: pairs with `count_in`: who has taken a place before that is seen below.
        let before = self.used.load(Ordering::Acquire);
        let mut needed = 0;
        for place in self.used() {
            // Acquire: pairs with the store below, for `used` may be lowered by what is free.
            let owner = place.owner.load(Ordering::Acquire);
            let vacated = owner == NOBODY
                || Borrowed::claim(owner).is_some_and(|_number| {
                    // Relaxed: it changes only in the hands of who has borrowed the number of the owner.
                    let is_his = place.owner.load(Ordering::Relaxed) == owner;
                    let is_empty = is_his && self.moving(|| empty(&place.value));
                    if is_empty {
                        // Release: pairs with `Place::take`: the value is the next owner's.
                        place.owner.store(NOBODY, Ordering::Release);
                    }
                    is_empty
                });
            if !vacated {
                needed = place.at + 1;
            }
        }
        step("per_thread.looked");
        if needed < before & MOST && before & MOST < MOST {
            let lowered = before & !MOST | needed;
            // Release: hands on what the places' owners did to those who pass them by. A place that was taken since makes
            // it fail. Relaxed on failure: it is as it is.
            let _ =
                self.used.compare_exchange(before, lowered, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn moving<U>(&self, act: impl FnOnce() -> U) -> U {
        if mutant("per_thread.moves_silently") {
            return act();
        }
        self.begun.fetch_add(1, Ordering::Relaxed); // Relaxed: the fence is below.
        fence(Ordering::Release); // partner: the fence in `apart_from_moves`
        let result = act();
        self.done.fetch_add(1, Ordering::Release); // Pairs with the load there.
        result
    }

    /// What `sum` returns of all values and what [`vacate`](Self::vacate) moves elsewhere, as it is when nothing is
    /// being moved. (If something is each time, it may be short of that, or have it twice.)
    pub fn apart_from_moves<U>(&self, sum: impl Fn() -> U) -> U {
        (0..TRIES).find_map(|_| self.try_apart(&sum)).unwrap_or_else(sum)
    }

    /// The same, if nothing was being moved meanwhile.
    pub fn try_apart<U>(&self, sum: impl Fn() -> U) -> Option<U> {
        // Acquire: pairs with `moving`: what was moved is where it belongs.
        let done = self.done.load(Ordering::Acquire);
        let result = sum();
        fence(Ordering::Acquire); // partner: the fence in `moving`. Who has seen anything of it sees it begun.
        // Relaxed: the fence is above.
        (self.begun.load(Ordering::Relaxed) == done).then_some(result)
    }
}

impl<T> Place<T> {
    /// Takes the place if it is nobody's, or if its owner has ended.
    fn take(&self, number: usize) -> bool {
        let owner = self.owner.load(Ordering::Relaxed); // Relaxed: looked at again below.
        if owner == NOBODY {
            // Acquire: pairs with the store in `vacate`.
            return self
                .owner
                .compare_exchange(NOBODY, number, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        }
        // What the owner left in it is ours: to claim the number acquires what its last holder did.
        Borrowed::claim(owner).is_some_and(|_number| {
            // Relaxed, both: it changes only in the hands of who has borrowed the number of the owner.
            let is_his = self.owner.load(Ordering::Relaxed) == owner;
            if is_his {
                self.owner.store(number, Ordering::Relaxed);
            }
            is_his
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

    /// Runs so many threads that are there together to their ends, each of which has a value.
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
    fn who_has_ended_is_passed_by_and_the_place_used_again() {
        let values = std::sync::Arc::new(PerThread::<super::super::AtomicU64>::new());
        values.get().store(1, Ordering::Relaxed);
        for round in 0..3 {
            peak(&values, 300);
            assert!(values.places().count() <= 301, "{round}: a place is used again");
            // Threads of other tests may have some of the numbers, for a while.
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
    fn what_is_left_in_a_place_keeps_it() {
        let values = std::sync::Arc::new(PerThread::<super::super::AtomicU64>::new());
        for _ in 0..100 {
            let values = values.clone();
            let count = move || _ = values.get().fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(count).join().unwrap();
        }
        values.vacate(|_| false);
        let sum = || values.shared().map(|(_, value)| value.load(Ordering::Relaxed)).sum::<u64>();
        assert_eq!(values.apart_from_moves(sum), 100);
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
        assert!(counts.iter().filter(|&&count| count > 0).count() < 500);
    }

    #[test]
    fn what_is_shared_comes_with_the_number_of_its_place() {
        let values = PerThread::<super::super::AtomicU64>::new();
        assert_eq!(values.shared().count(), 0);
        values.get().store(7, Ordering::Relaxed);
        let mine: Vec<_> =
            values.shared().filter(|(_, value)| value.load(Ordering::Relaxed) == 7).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].0, 0);
    }
}
