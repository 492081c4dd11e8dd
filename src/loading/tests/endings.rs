//! Tests of drops: when outcomes and keys are dropped, and what happens if user code panics there.

#[cfg(not(coeval_lsan))]
use super::join;
use super::{Loads, done, lead, poll, wait};
use crate::loading::Flights;
use crate::reclaim::Asymmetric;
use equivalent::Equivalent;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};

#[test]
fn an_outcome_is_dropped_with_its_last_waiter() {
    let loads = Loads::<Arc<u64>>::new();
    let outcome = Arc::new(5);
    let leader = lead(&loads, 1);
    let mut waiters: Vec<_> = (0..3).map(|_| wait(&loads, 1)).collect();
    leader.finish(outcome.clone());
    assert_eq!(Arc::strong_count(&outcome), 2);
    let got = done(poll(&mut waiters[0], Waker::noop()));
    assert_eq!(Arc::strong_count(&outcome), 3);
    drop(waiters); // Two of them have not taken the outcome.
    assert_eq!(Arc::strong_count(&outcome), 2);
    drop(got);
    assert_eq!(Arc::strong_count(&outcome), 1);
}

/// Counts its clones.
struct CloneCount(Arc<AtomicUsize>);

impl Clone for CloneCount {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

#[test]
fn share_clones_only_if_there_is_a_waiter() {
    let loads = Loads::<CloneCount>::new();
    let clones = Arc::new(AtomicUsize::new(0));
    let outcome = lead(&loads, 1).share(CloneCount(clones.clone()));
    assert_eq!(clones.load(SeqCst), 0);
    let leader = lead(&loads, 1);
    let waiter = wait(&loads, 1);
    let outcome = leader.share(outcome);
    assert_eq!(clones.load(SeqCst), 1);
    drop((waiter, outcome));
    assert_eq!(Arc::strong_count(&clones), 1);
}

/// Panics in the operation that it names.
struct Fragile(&'static str);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.0, "clone");
        Self("")
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop");
    }
}

#[test]
fn a_panic_in_a_clone_reaches_only_its_waiter() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let mut waiters: Vec<_> = (0..3).map(|_| wait(&loads, 1)).collect();
    leader.finish(Fragile("clone"));
    for waiter in &mut waiters {
        let polled = catch_unwind(AssertUnwindSafe(|| drop(poll(waiter, Waker::noop()))));
        assert!(polled.is_err());
    }
    drop(waiters);
    lead(&loads, 1).finish(Fragile(""));
}

#[test]
fn a_panic_in_an_outcomes_destructor_is_contained() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    leader.finish(Fragile("drop"));
    done(poll(&mut waiter, Waker::noop()));
    drop(waiter);
    lead(&loads, 1).finish(Fragile("drop"));
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("this waker panics");
    }
}

#[test]
fn a_panicking_waker_does_not_keep_others_asleep() {
    let loads = Loads::new();
    let panics = Waker::from(Arc::new(PanickingWaker));
    let leader = lead(&loads, 1);
    let mut waiters: Vec<_> = (0..3).map(|_| wait(&loads, 1)).collect();
    assert!(waiters.iter_mut().all(|waiter| poll(waiter, &panics).is_pending()));
    drop(leader);
    drop(waiters.remove(0));
    drop(waiters.remove(0));
    let leader = super::lead_signal(poll(&mut waiters[0], &panics)).unwrap();
    leader.finish(1);
}

/// A key whose comparison or destructor panics, if it says so.
#[derive(Debug, PartialEq, Eq)]
struct Key(&'static str);

impl Equivalent<Key> for &'static str {
    fn equivalent(&self, key: &Key) -> bool {
        assert_ne!(*self, "compare");
        *self == key.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop");
    }
}

#[test]
fn panics_of_keys_leave_the_flights_intact() {
    let flights = Flights::<Key, u64, Asymmetric>::new();
    let join = |key: &'static str| flights.join(0, &key, || Key(key));
    let first = join("first");
    let own = || flights.join(0, &"own", || panic!("no key"));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(own()))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(join("compare")))).is_err());
    drop(join("drop"));
    drop((join("own"), first));
}

#[cfg(not(coeval_lsan))] // The forgotten leader leaks.
#[test]
fn a_forgotten_leader_leaks_only_its_flight() {
    let loads = Loads::<u64>::new();
    std::mem::forget(join(&loads, 1));
    let mut waiter = wait(&loads, 1);
    assert!(poll(&mut waiter, Waker::noop()).is_pending());
    lead(&loads, 2).finish(2);
}
