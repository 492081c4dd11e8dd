//! Promise: no commit builds on a value that other threads have seen expired. A commit checks
//! deadlines, and the bonds of its values, when it is decided. What a reader sees as of one version
//! is judged by one time, which belongs to that version.

#[cfg(coeval_internals)]
mod steps;

use crate::common::{Store, on_every_reclaimer, stress, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache, ManualClock, Tag};
use std::cell::RefCell;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

type Never<T> = Result<T, Infallible>;

const SECOND: Duration = Duration::from_secs(1);

std::thread_local! {
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Runs `act` once on this thread, in the middle of an operation.
fn meanwhile(act: impl FnOnce() + 'static) {
    MEANWHILE.set(Some(Box::new(act)));
}

fn now() {
    if let Some(act) = MEANWHILE.take() {
        act();
    }
}

/// A cache in which key 7 has a relation, in the middle of whose commits a test can act; and its
/// clock.
fn timed<R: Reclaim>(idle: bool) -> (ManualClock, Store<u64, u64, R>) {
    let clock = ManualClock::new();
    let builder = Cache::builder().manual_clock(&clock).related(|key: &u64, _| {
        if matches!(*key, 7 | 8) {
            now();
        }
    });
    let builder = if idle { builder.time_to_idle(SECOND) } else { builder };
    (clock, builder.reclaimer::<R>().build())
}

/// Sets key 7 for one second. The second passes, and another handle sees that, in the middle of
/// `run`.
fn passing<R: Reclaim, T>(
    run: impl Fn(&Store<u64, u64, R>) -> T,
    check: impl Fn(&Store<u64, u64, R>, T),
) {
    for idle in [false, true] {
        let (clock, cache) = timed::<R>(idle);
        cache.insert_with_ttl(7, 1, SECOND);
        let other = cache.clone();
        meanwhile(move || {
            clock.advance(SECOND);
            assert_eq!(other.get(&7), None, "at its deadline");
        });
        let came = run(&cache);
        assert!(MEANWHILE.take().is_none(), "it happened");
        check(&cache, came);
    }
}

fn a_set_on_a_value_seen_expired_is_refused<R: Reclaim>() {
    let set = |cache: &Store<u64, u64, R>| {
        let seen = cache.get_versioned(&7).map(|(_, version)| version);
        cache.compare_and_set(7, seen, 2)
    };
    passing::<R, _>(set, |cache, came| {
        let refused = came.unwrap_err();
        assert_eq!((refused.found(), refused.into_value()), (None, Some(2_u64)));
        assert_eq!(cache.get(&7), None);
    });
}

fn a_transaction_that_read_a_value_seen_expired_runs_again<R: Reclaim>() {
    let add = |key: u64| {
        move |cache: &Store<u64, u64, R>| {
            let added = cache.transact(|tx| -> Never<_> {
                let read = tx.get(&7);
                tx.insert(key, read.map_or(100, |read| read + 1));
                Ok(read)
            });
            added.unwrap().value
        }
    };
    passing::<R, _>(add(7), |cache, read| assert_eq!((read, cache.get(&7)), (None, Some(100))));
    passing::<R, _>(add(8), |cache, read| assert_eq!((read, cache.get(&8)), (None, Some(100))));
}

/// As above, for a value that is derived from key 7.
fn a_derivation_from_a_value_seen_expired<R: Reclaim>() {
    let derive = |cache: &Store<u64, u64, R>| {
        cache.derive(9, |scope| scope.derive(10, |scope| scope.get(&7).map_or(0, |read| read + 1)));
        cache.get_versioned(&9).expect("just derived").1
    };
    let read = move |cache: &Store<u64, u64, R>| {
        derive(cache);
        let read = cache.transact(|tx| -> Never<_> {
            let read = tx.get(&9);
            tx.insert(8, 1);
            Ok(read)
        });
        read.unwrap().value
    };
    passing::<R, _>(read, |_, read| assert_eq!(read, None));
}

/// Sets key 8, which is bound to others, while the given action changes one of those.
fn set_of_a_value_with_bonds<R: Reclaim>(
    meanwhile_do: impl FnOnce(&Store<u64, u64, R>, &ManualClock) + 'static,
) -> (bool, Option<u64>) {
    let (clock, cache) = timed::<R>(false);
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, SECOND);
    cache.insert_tagged(3, 30, &[Tag::from("three")]);
    let nested = |cache: &Store<u64, u64, R>| {
        cache.derive(4, |scope| scope.get(&1).unwrap_or(0) / 10);
    };
    nested(&cache);
    cache.derive(8, |scope| [2, 3, 4].iter().map(|key| scope.get(key).expect("present")).sum());
    let (value, version) = cache.get_versioned(&8).expect("just derived");
    assert_eq!(value, 51);
    let other = cache.clone();
    meanwhile(move || {
        meanwhile_do(&other, &clock);
        nested(&other);
    });
    let came = cache.compare_and_set(8, Some(version), 7);
    assert!(MEANWHILE.take().is_none(), "it happened");
    if let Err(refused) = &came {
        assert_eq!((refused.found(), cache.get(&8)), (None, None));
    }
    (came.is_ok(), cache.get(&8))
}

fn a_set_on_a_value_that_has_just_ended_is_refused<R: Reclaim>() {
    let refused = (false, None);
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.insert(1, 20)), refused);
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.remove(&2)), refused);
    assert_eq!(set_of_a_value_with_bonds::<R>(|_, clock| clock.advance(SECOND)), refused);
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.insert(3, 30)), refused);
    assert_eq!(
        set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.invalidate_tag("three")),
        refused
    );
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.invalidate_all()), refused);
}

fn a_set_on_a_value_that_is_valid_again_is_made<R: Reclaim>() {
    let made = (true, Some(7));
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.insert(5, 50)), made);
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.invalidate_tag("two")), made);
    // The input that is derived again comes out equal.
    assert_eq!(set_of_a_value_with_bonds::<R>(|cache, _| _ = cache.insert(1, 11)), made);
}

fn a_set_on_a_tagged_value<R: Reclaim>() {
    for (tag, is_made) in [("mine", false), ("other", true)] {
        let (_, cache) = timed::<R>(false);
        let version = cache.insert_tagged(7, 1, &[Tag::from("mine")]);
        let other = cache.clone();
        meanwhile(move || _ = other.invalidate_tag(tag));
        assert_eq!(cache.compare_and_set(7, Some(version), 2).is_ok(), is_made);
        assert_eq!(cache.get(&7), is_made.then_some(2));
    }
}

/// A key whose comparison runs the test's action.
#[derive(Clone, Debug, Eq)]
struct Slow(u64);

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == 7 {
            now();
        }
        self.0 == other.0
    }
}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Several keys are read as of one version. Then one of them is used, and reaches its deadline.
fn a_group_read_is_as_of_one_instant<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    cache.insert_with_ttl(Slow(7), 1, SECOND);
    cache.insert(Slow(1), 10);
    let other = cache.clone();
    meanwhile(move || {
        let used = other.transact(|tx| -> Never<_> {
            let read = tx.get(&Slow(7));
            tx.insert(Slow(1), 11);
            Ok(read)
        });
        assert_eq!(used.unwrap().value, Some(1));
        clock.advance(SECOND);
    });
    let seen = cache.get_many([&Slow(7), &Slow(1)]);
    assert!(MEANWHILE.take().is_none(), "it happened");
    assert!(seen != [None, Some(10)], "expired before it was read");
}

fn a_view_at_a_version_is_of_the_same_time<R: Reclaim>() {
    let (clock, cache) = timed::<R>(false);
    let version = cache.insert_with_ttl(1, 1, SECOND);
    let view = cache.view();
    clock.advance(SECOND);
    let again = cache.view_at(version).expect("a view keeps it");
    assert_eq!((view.get(&1), again.get(&1)), (Some(&1), Some(&1)));
    assert_eq!(cache.view().get(&1), None);
}

/// One thread commits on a value while another sees it expired.
fn beside_a_thread_that_sees_it_expired<R: Reclaim>() {
    for round in 0..stress(1_500, 40_000, 1_000_000) {
        let clock = ManualClock::new();
        let cache: Store<u64, u64, R> =
            Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
        let version = cache.insert_with_ttl(1, 1, SECOND);
        let (gone, made) = (AtomicBool::new(false), AtomicBool::new(false));
        together(2, |thread| {
            crate::common::disturb();
            if thread == 0 {
                clock.advance(SECOND);
                let found = match round % 4 {
                    0 => cache.get(&1),
                    1 => cache.get_many([&1])[0],
                    2 => cache.view().get(&1).copied(),
                    _ => cache.transact(|tx| -> Never<_> { Ok(tx.get(&1)) }).unwrap().value,
                };
                gone.store(found.is_none(), SeqCst);
            } else if round % 8 < 4 {
                made.store(cache.compare_and_set(1, Some(version), 2).is_ok(), SeqCst);
            } else {
                let written = cache.transact(|tx| {
                    tx.get(&1).ok_or(())?;
                    tx.insert(1, 2);
                    Ok::<_, ()>(())
                });
                made.store(written.is_ok(), SeqCst);
            }
        });
        assert!(!(gone.into_inner() && made.into_inner()), "expired, and yet continued ({round})");
    }
}

on_every_reclaimer!(
    a_set_on_a_value_seen_expired_is_refused,
    a_transaction_that_read_a_value_seen_expired_runs_again,
    a_derivation_from_a_value_seen_expired,
    a_set_on_a_value_that_has_just_ended_is_refused,
    a_set_on_a_value_that_is_valid_again_is_made,
    a_set_on_a_tagged_value,
    a_group_read_is_as_of_one_instant,
    a_view_at_a_version_is_of_the_same_time,
    beside_a_thread_that_sees_it_expired,
);
