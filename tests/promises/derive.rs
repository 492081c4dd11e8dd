//! Promise: a derived value is available exactly as long as its inputs are unchanged.

mod absences;
mod beside_writers;
mod deep;
mod early_cutoff;
#[cfg(feature = "async")]
mod futures;
mod levels;
mod memory;
mod receivers;
mod shared;

use crate::common::{Store, assert_gone, on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RemovalCause, Scope};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;
type Scoped<'s, R> = Scope<'s, u64, u64, coeval::RandomState, R>;

/// Derives key 100 as ten times the value of key 1, or 0.
fn ten_times<R: Reclaim>(scope: &mut Scoped<'_, R>) -> u64 {
    scope.get(&1).unwrap_or(0) * 10
}

fn it_is_derived_once<R: Reclaim>() {
    let (cache, count) = (store::<u64, u64, R>(), Cell::new(0));
    cache.insert(1, 5);
    for _ in 0..3 {
        let value = cache.derive(100, |scope| {
            count.set(count.get() + 1);
            ten_times(scope)
        });
        assert_eq!(value, 50);
    }
    assert_eq!(count.get(), 1);
    assert_eq!((cache.get(&100), cache.get_many([&100, &1])), (Some(50), [Some(50), Some(5)]));
    let (value, version) = cache.get_versioned(&100).unwrap();
    assert_eq!((value, version), (50, cache.version()));
    assert_eq!((cache.stats().loads, cache.len()), (1, 2));
    cache.insert(2, 0); // not read
    assert_eq!(cache.get(&100), Some(50));
    assert_eq!(cache.pin().get(&100), Some(&50));
}

/// Each way to change key 1 ends key 100 in the same commit.
fn every_write_ends_it<R: Reclaim>() {
    type Write<R> = fn(&Cache<R>);
    let writes: [(&str, Write<R>); 9] = [
        ("insert", |cache| _ = cache.insert(1, 6)),
        ("the same again", |cache| _ = cache.insert(1, 5)),
        ("insert with a time", |cache| _ = cache.insert_with_ttl(1, 6, Duration::from_secs(3_600))),
        ("remove", |cache| assert_eq!(cache.remove(&1), Some(5))),
        ("invalidate", |cache| _ = cache.invalidate(&1)),
        ("invalidate all", |cache| _ = cache.invalidate_all()),
        ("batch", |cache| _ = cache.batch().insert(3, 3).insert(1, 6).commit()),
        ("batch removal", |cache| _ = cache.batch().remove(1).insert(4, 4).commit()),
        ("compare and set", |cache| {
            let (_, version) = cache.get_versioned(&1).unwrap();
            cache.compare_and_set(1, Some(version), 6).unwrap();
        }),
    ];
    for (name, write) in writes {
        let cache = store::<u64, u64, R>();
        cache.insert(1, 5);
        assert_eq!(cache.derive(100, ten_times), 50);
        let before = cache.view();
        write(&cache);
        println!("{name}");
        assert_gone(&cache, 100);
        assert_eq!((before.get(&1), before.get(&100)), (Some(&5), Some(&50)), "{name}");
        assert_eq!(before.iter().count(), 2);
        let now = cache.get(&1).unwrap_or(0) * 10;
        assert_eq!(cache.derive(100, ten_times), now, "{name}");
        assert_eq!(cache.get(&100), Some(now), "{name}");
    }
}

/// An absent key is also an input, whether it never existed, was removed, or was cleared.
fn absence_counts<R: Reclaim>() {
    type Prepare<R> = fn(&Cache<R>);
    let prepare: [Prepare<R>; 4] = [
        |_| {},
        |cache| {
            cache.insert(1, 9);
            cache.remove(&1);
        },
        |cache| {
            cache.insert(1, 9);
            cache.invalidate_all();
        },
        |cache| _ = cache.invalidate(&1),
    ];
    for prepare in prepare {
        let cache = store::<u64, u64, R>();
        prepare(&cache);
        assert_eq!(cache.derive(100, ten_times), 0);
        for key in 1_000..1_100 {
            cache.insert(key, key); // Gives upkeep a turn.
        }
        // A cleared input may be swept in the meantime, which ends the derived value; it is then
        // derived again.
        assert_eq!(cache.derive(100, ten_times), 0);
        assert_eq!(cache.get(&100), Some(0));
        cache.insert(1, 7);
        assert_gone(&cache, 100);
        assert_eq!(cache.derive(100, ten_times), 70);
    }
}

fn time_ends_it<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
    cache.insert_with_ttl(1, 5, Duration::from_secs(10));
    assert_eq!(cache.derive(100, ten_times), 50);
    clock.advance(Duration::from_secs(9));
    let before = cache.view();
    assert_eq!(cache.get(&100), Some(50));
    clock.advance(Duration::from_secs(1));
    assert_eq!(before.get(&100), Some(&50), "a view keeps the time at which it was opened");
    assert_gone(&cache, 100);
    // Derived from the absence of an expired value, this value lasts until that key is set.
    assert_eq!(cache.derive(100, ten_times), 0);
    assert_eq!(cache.derive(100, ten_times), 0);
    cache.insert(1, 1);
    assert_gone(&cache, 100);
    assert_eq!(cache.derive(100, ten_times), 10);
}

/// A derived value has the cache's terms.
fn it_has_terms_of_its_own<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().manual_clock(&clock);
    let cache: Cache<R> = builder.time_to_live(Duration::from_secs(10)).reclaimer().build();
    cache.insert_with_ttl(1, 5, Duration::from_secs(60));
    assert_eq!(cache.derive(100, ten_times), 50);
    clock.advance(Duration::from_secs(10));
    assert_gone(&cache, 100);
    assert_eq!(cache.derive(100, ten_times), 50);
}

fn eviction_of_an_input_ends_it<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().max_capacity(20).reclaimer().build();
    for round in 0..2_000 {
        cache.insert(1, round);
        let derived = cache.derive(100, ten_times);
        assert!(derived == round * 10 || derived == 0, "{derived} of {round}, or of nothing");
        for key in 0..round % 60 {
            cache.insert(1_000 + key, key);
            if let [Some(derived), input] = cache.get_many([&100, &1]) {
                assert_eq!(
                    derived,
                    input.unwrap_or(0) * 10,
                    "its age differs from that of its input"
                );
            }
        }
        assert!(cache.weighted_size() <= 20);
    }
}

/// A plain write of its own key takes precedence over the derivation.
fn it_can_be_written<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 5);
    cache.derive(100, ten_times);
    cache.insert(100, 7);
    cache.insert(1, 6);
    assert_eq!(cache.get(&100), Some(7), "a value that was set has no bonds");
    assert_eq!(cache.derive(100, ten_times), 7);
    assert_eq!(cache.remove(&100), Some(7));
    assert_eq!(cache.derive(100, ten_times), 60);
    assert_eq!(cache.remove(&100), Some(60));
    assert_eq!(cache.derive(100, ten_times), 60);
    cache.insert(1, 7);
    assert_eq!(cache.remove(&100), None, "it had ended already");
    assert_eq!(cache.derive(100, ten_times), 70);
    cache.insert(1, 8);
    let version = cache.compare_and_set(100, None, 1).expect("absent to everyone");
    assert_eq!(cache.get_versioned(&100), Some((1, version)));
}

fn written_during_the_computation<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 5);
    let value = cache.derive(100, |scope| {
        let value = ten_times(scope);
        cache.insert(1, 6);
        assert_eq!(scope.get(&1), Some(5), "all as of one version");
        value
    });
    assert_eq!(value, 50, "right during the call");
    assert_gone(&cache, 100);
    assert_eq!(cache.stats().loads_refused, 1);
    // Its own key.
    let value = cache.derive(100, |scope| {
        let value = ten_times(scope);
        cache.insert(100, 1);
        value
    });
    assert_eq!((value, cache.get(&100)), (60, Some(1)));
}

/// The value of a fill of a derived entry was read from the source before an input was written.
fn a_lease_knows_the_dependencies<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.batch().insert(1, 5).insert(2, 6).commit();
    cache.derive(101, |scope| scope.get(&1).unwrap() / 10);
    cache.derive(100, |scope| scope.get(&101).unwrap() + scope.get(&2).unwrap());
    for write in [1, 2] {
        let lease = cache.lease(&100);
        assert!(!lease.is_outdated());
        cache.insert(write, 7);
        assert!(lease.is_outdated());
        assert_eq!(lease.fill(9).unwrap_err().into_value(), 9, "key {write} was written since");
        assert_eq!(cache.get(&100), None);
    }
    // A filled value has the same inputs.
    assert_eq!(cache.derive(101, |scope| scope.get(&1).unwrap() / 10), 0);
    cache.lease(&100).fill(9).unwrap();
    assert_eq!(cache.get(&100), Some(9));
    cache.insert(1, 5);
    assert_eq!(cache.get(&100), None);
    assert_eq!(cache.derive(101, |scope| scope.get(&1).unwrap() / 10), 0);
    assert_eq!(cache.get(&100), Some(9), "a change that made no difference");
    cache.insert(2, 5);
    assert_eq!(cache.get(&100), None);
    let lease = cache.lease(&100);
    lease.fill(8).unwrap();
    assert_eq!((cache.get(&100), cache.remove(&2), cache.get(&100)), (Some(8), Some(5), None));
}

fn a_panic_changes_nothing<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 5);
    for _ in 0..3 {
        let panics = || {
            cache.derive(100, |scope| {
                scope.get(&1);
                scope.derive(101, |scope| scope.get(&2).expect("key 2 is present"))
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    }
    assert_eq!((cache.get(&100), cache.get(&101), cache.len()), (None, None, 1));
    assert_eq!(cache.derive(100, ten_times), 50);
}

fn cycles_are_reported<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let cycle =
        || cache.derive(100, |scope| scope.derive(101, |scope| scope.derive(100, ten_times)));
    assert!(catch_unwind(AssertUnwindSafe(cycle)).is_err());
    let direct = || cache.derive(100, |_| cache.derive(100, ten_times));
    assert!(catch_unwind(AssertUnwindSafe(direct)).is_err());
    assert_eq!((cache.derive(100, ten_times), cache.derive(101, |_| 3)), (0, 3));
}

/// The listener hears once of each derived value that ends, when it is replaced or found.
fn the_listener_hears_of_ended_values<R: Reclaim>() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let tell = heard.clone();
    let builder = coeval::Cache::builder().eviction_listener(move |key, value, cause, _| {
        tell.lock().unwrap().push((*key, value, cause));
    });
    let cache: Cache<R> = builder.reclaimer().build();
    cache.insert(1, 5);
    cache.derive(100, ten_times);
    cache.insert(1, 6);
    cache.derive(100, ten_times);
    cache.remove(&100);
    let expected = [
        (1, 5, RemovalCause::Replaced),
        (100, 50, RemovalCause::Related),
        (100, 60, RemovalCause::Explicit),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

on_every_reclaimer!(
    it_is_derived_once,
    every_write_ends_it,
    absence_counts,
    time_ends_it,
    it_has_terms_of_its_own,
    eviction_of_an_input_ends_it,
    it_can_be_written,
    written_during_the_computation,
    a_lease_knows_the_dependencies,
    a_panic_changes_nothing,
    cycles_are_reported,
    the_listener_hears_of_ended_values,
);
