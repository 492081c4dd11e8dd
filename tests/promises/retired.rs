//! Promise: every operation that retires memory also collects it. However often a thread repeats an
//! operation, and even if no other thread writes, the amount of retired memory that is not yet
//! reclaimed stays bounded.

use crate::common::quiet::quietly;
use crate::common::{IS_SLOW, Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Tag};
use std::time::Duration;

/// How often each operation runs.
const TIMES: u64 = if IS_SLOW { 10_000 } else { 30_000 };
/// The most objects that one thread may have retired and that are not yet reclaimed, while no
/// thread holds a guard.
const RETIRED: u64 = 8_192;

type Cache<R> = Store<u64, u64, R>;

/// Runs `operate` with ever new numbers, and checks the number of retired objects.
#[track_caller]
fn bounded<R: Reclaim>(what: &str, cache: &Cache<R>, mut operate: impl FnMut(&Cache<R>, u64)) {
    for number in 1..=TIMES {
        operate(cache, number);
        if number % 64 == 0 {
            let retired = cache.stats().retired;
            assert!(retired <= RETIRED, "{what}: {retired} retired after {number}");
        }
    }
}

/// Ignores an outcome.
fn ignore<T>(_: T) {}

fn empty<R: Reclaim>() -> Cache<R> {
    coeval::Cache::builder().max_capacity(1_000).reclaimer::<R>().build()
}

/// A cache with key 0 and a relation of every other key to 0, which panics for multiples of 13.
fn related<R: Reclaim>() -> Cache<R> {
    let builder = coeval::Cache::builder().related(|key: &u64, related| {
        assert!(!key.is_multiple_of(13), "a relation panics");
        related.invalidate(0);
    });
    builder.reclaimer::<R>().build()
}

fn loads_that_fail<R: Reclaim>() {
    let cache = empty::<R>();
    bounded("an error", &cache, |cache, key| {
        assert!(cache.try_get_with(key, || Err::<u64, ()>(())).is_err());
    });
    bounded("a panic", &cache, |cache, key| {
        quietly(|| ignore(cache.get_with(key, || panic!("not found"))));
    });
    bounded("a group", &cache, |cache, key| {
        let keys = [3 * key, 3 * key + 1, 3 * key + 2];
        assert!(cache.try_get_many_with(keys, || Err::<[u64; 3], ()>(())).is_err());
    });
    bounded("refused", &cache, |cache, key| {
        let load = || {
            cache.remove(&key);
            key
        };
        assert_eq!(cache.get_with(key, load), key);
    });
    bounded("a derivation that panics", &cache, |cache, key| {
        quietly(|| {
            cache.derive(key, |scope| {
                assert_eq!(scope.get(&(TIMES + key)), None);
                panic!("not to be derived")
            });
        });
    });
    bounded("a job that is dropped", &cache, |cache, key| {
        cache.remove(&key);
        let _ = cache.load_on(key, drop, || Err::<u64, ()>(()));
    });
    assert_eq!(cache.len(), 0);
}

fn refreshes_that_fail<R: Reclaim>() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let builder = coeval::Cache::builder().refresh_after(second).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer::<R>().build();
    cache.insert(1, 1);
    clock.advance(second);
    bounded("a refresh", &cache, |cache, _| {
        assert_eq!(cache.try_get_with(1, || Err::<u64, ()>(())), Ok(1));
    });
    bounded("a job that is dropped", &cache, |cache, _| {
        assert_eq!(cache.load_on(1, drop, || Err::<u64, ()>(())).ok(), Some(1));
    });
}

fn leases<R: Reclaim>() {
    let cache = empty::<R>();
    bounded("dropped", &cache, |cache, key| drop(cache.lease(&key)));
    bounded("outdated", &cache, |cache, key| {
        let lease = cache.lease(&key);
        cache.invalidate(&key);
        assert!(lease.is_outdated());
    });
    let taken = cache.clone();
    let take = move || (1..=TIMES).map(|key| taken.lease(&key)).collect::<Vec<_>>();
    let mut leases = std::thread::spawn(take).join().unwrap();
    bounded("dropped by another thread", &cache, |_, _| drop(leases.pop()));
}

fn refused_operations<R: Reclaim>() {
    let cache = empty::<R>();
    let other = Some(cache.version());
    bounded("compare_and_set", &cache, |cache, key| {
        assert!(cache.compare_and_set(key, other, 1).is_err());
    });
    bounded("tag on absent", &cache, |cache, key| {
        cache.tag(key, &[Tag::from("tag")]);
    });
    bounded("remove of absent", &cache, |cache, key| assert_eq!(cache.remove(&key), None));
    bounded("remove of absent with a lease", &cache, |cache, key| {
        let _lease = cache.lease(&key);
        assert_eq!(cache.remove(&key), None);
    });
    bounded("invalidate of absent", &cache, |cache, key| ignore(cache.invalidate(&key)));
    bounded("invalidate_tag of an unknown tag", &cache, |cache, key| {
        cache.invalidate_tag(format!("{key}"));
    });
    bounded("a batch of removals", &cache, |cache, key| {
        cache.batch().remove(key).invalidate(key + 1).commit();
    });
    bounded("a batch that is dropped", &cache, |cache, key| drop(cache.batch().insert(key, 1)));
    assert_eq!(cache.len(), 0);
}

fn transactions<R: Reclaim>() {
    let cache = empty::<R>();
    bounded("only reads", &cache, |cache, key| {
        let read = cache.transact(|tx| Ok::<_, ()>(tx.get_many([&(2 * key), &(2 * key + 1)])));
        assert_eq!(read.map(|read| read.value), Ok([None, None]));
    });
    bounded("an error", &cache, |cache, key| {
        let aborted = cache.transact(|tx| {
            tx.get(&key);
            tx.insert(key, 1);
            Err::<(), _>(())
        });
        assert!(aborted.is_err());
    });
    bounded("a panic", &cache, |cache, key| {
        quietly(|| {
            let _ = cache.transact(|tx| -> Result<(), ()> {
                tx.get(&key);
                panic!("in a transaction")
            });
        });
    });
    let mut conflicts = 0;
    for key in 1..=TIMES / 64 {
        let outcome = cache.transact(|tx| {
            tx.get(&key);
            cache.insert(key, tx.get(&key).unwrap_or(0) + 1);
            tx.insert(TIMES + key, 1);
            Ok::<_, ()>(())
        });
        conflicts += u64::from(outcome.is_err());
        assert!(cache.stats().retired <= RETIRED, "conflicts");
    }
    assert_eq!(conflicts, TIMES / 64);
}

fn users_code_that_panics<R: Reclaim>() {
    let cache = related::<R>();
    let panicking = |number: u64| 13 * number;
    let panics = |what, operate: fn(&Cache<R>, u64)| {
        bounded(what, &cache, |cache, number| quietly(|| operate(cache, panicking(number))));
    };
    panics("insert", |cache, key| ignore(cache.insert(key, 1)));
    panics("a batch", |cache, key| {
        ignore(cache.batch().insert(key, 1).insert(key + 1, 1).commit())
    });
    panics("insert_tagged", |cache, key| ignore(cache.insert_tagged(key, 1, &[Tag::from("tag")])));
    panics("compare_and_set", |cache, key| ignore(cache.compare_and_set(key, None, 1)));
    panics("transact", |cache, key| {
        let _ = cache.transact(|tx| {
            tx.insert(key, 1);
            Ok::<_, ()>(())
        });
    });
    panics("invalidate", |cache, key| {
        let lease = cache.lease(&key);
        cache.invalidate(&key);
        drop(lease);
    });
    assert_eq!(cache.len(), 0);
}

fn views<R: Reclaim>() {
    let cache = empty::<R>();
    cache.insert(1, 1);
    bounded("views", &cache, |cache, number| {
        let (first, second) = (cache.view(), cache.view());
        if number % 100 == 0 {
            cache.invalidate_all();
        }
        let clone = first.clone();
        drop((first, second, clone));
    });
    bounded("view_at", &cache, |cache, _| assert!(cache.view_at(cache.version()).is_some()));
    let mut monitor = cache.monitor();
    bounded("a monitor", &cache, |_, _| ignore(monitor.step(3)));
}

fn prewarming<R: Reclaim>() {
    let cache = empty::<R>();
    bounded("prewarm of entries that are too heavy", &cache, |cache, key| {
        cache.prewarm([(key, key), (key, key)]);
        cache.invalidate(&key);
    });
    let cache: Cache<R> =
        coeval::Cache::builder().max_capacity(1).weigher(|_, _| 2).reclaimer::<R>().build();
    bounded("entries that never stay", &cache, |cache, key| ignore(cache.prewarm([(key, key)])));
    bounded("loads that never stay", &cache, |cache, key| ignore(cache.get_with(key, || key)));
}

/// Threads load absent keys for a while and then end. What they leave behind does not pile up from
/// one thread to the next.
fn many_threads<R: Reclaim>() {
    let cache = empty::<R>();
    for thread in 0..60_u64 {
        let cache = cache.clone();
        let fail = move |key| ignore(cache.try_get_with(thread << 32 | key, || Err::<u64, ()>(())));
        std::thread::spawn(move || (0..1_000).for_each(fail)).join().unwrap();
    }
    assert!(cache.stats().retired <= RETIRED, "{} retired", cache.stats().retired);
}

on_every_reclaimer!(
    loads_that_fail,
    refreshes_that_fail,
    leases,
    refused_operations,
    transactions,
    users_code_that_panics,
    views,
    prewarming,
    many_threads,
);

#[cfg(feature = "async")]
mod futures;
#[cfg(coeval_internals)]
mod late;
