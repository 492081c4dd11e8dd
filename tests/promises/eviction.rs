//! Promise: the total weight of all entries is within the bound, except for what operations in
//! progress bring. An eviction is a commit like any other. Entries that are used stay.

mod concurrent;
mod idle;
#[cfg(coeval_internals)]
mod in_hand;
mod memory;
mod newcomers;
mod oversized;
mod owed;
mod weightless;

use crate::common::random::{Random, run_seed};
use crate::common::{Store, on_every_reclaimer, stress};
use coeval::Builder;
use coeval::reclaim::Reclaim;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value is its own weight, where a test uses weights.
type Cache<R> = Store<u64, u64, R>;

fn bounded<R: Reclaim>(capacity: u64) -> Cache<R> {
    coeval::Cache::builder().max_capacity(capacity).reclaimer().build()
}

fn weighed<R: Reclaim>(capacity: u64) -> Cache<R> {
    with_weigher(coeval::Cache::builder().max_capacity(capacity))
}

fn with_weigher<R: Reclaim>(builder: Builder<u64, u64>) -> Cache<R> {
    builder.weigher(|_, value| *value as u32).reclaimer().build()
}

/// Checks at rest that all accounts match the visible entries and are within the bound. Returns the
/// number of entries.
#[track_caller]
fn assert_within<R: Reclaim>(cache: &Cache<R>, capacity: u64, is_weighed: bool) -> u64 {
    let view = cache.view();
    let count = view.iter().count();
    let weight = match is_weighed {
        true => view.iter().map(|(_, value)| *value).sum(),
        false => count as u64,
    };
    assert_eq!((cache.len(), cache.weighted_size()), (count, weight));
    assert!(weight <= capacity, "{weight} of {capacity}");
    count as u64
}

fn the_bound_in_entries<R: Reclaim>() {
    for capacity in [0, 1, 2, 3, 10, 1_000] {
        let cache = bounded::<R>(capacity);
        for key in 0..capacity * 4 + 10 {
            cache.insert(key, key);
            let count = assert_within_quickly(&cache, capacity);
            assert_eq!(count, capacity.min(key + 1));
        }
        assert_eq!(assert_within(&cache, capacity, false), capacity);
    }
}

/// Like `assert_within`, without a look at each entry.
#[track_caller]
fn assert_within_quickly<R: Reclaim>(cache: &Cache<R>, capacity: u64) -> u64 {
    let (count, weight) = (cache.len() as u64, cache.weighted_size());
    assert_eq!(count, weight);
    assert!(count <= capacity, "{count} of {capacity}");
    count
}

fn the_bound_by_weight<R: Reclaim>() {
    let mut random = Random::new(run_seed());
    for capacity in [1, 10, 100, 100_000] {
        let cache = weighed::<R>(capacity);
        for _ in 0..2_000 {
            let (key, weight) = (random.below(500), random.below(capacity / 3 + 2));
            match random.below(4) {
                0 => _ = cache.remove(&key),
                1 => {
                    _ = cache
                        .batch()
                        .insert(key, weight)
                        .insert(key + 1, 1)
                        .remove(key + 2)
                        .commit()
                }
                _ => _ = cache.insert(key, weight),
            }
            assert!(cache.weighted_size() <= capacity);
        }
        assert_within(&cache, capacity, true);
        cache.invalidate_all();
        assert_eq!(assert_within(&cache, capacity, true), 0);
    }
}

/// A batch may bring more entries than there is room for; conversely, a removal in a batch frees
/// room.
fn batches<R: Reclaim>() {
    let cache = bounded::<R>(100);
    let insert = |keys: std::ops::Range<u64>| {
        keys.fold(cache.batch(), |batch, key| batch.insert(key, key)).commit()
    };
    for size in [1, 99, 100, 101, 1_000] {
        insert(10_000 * size..10_000 * size + size);
        assert_within(&cache, 100, false);
    }
    assert_eq!(cache.len(), 100);
    let keys: Vec<_> = cache.view().iter().map(|(key, _)| *key).collect();
    keys.iter().fold(cache.batch(), |batch, key| batch.remove(*key)).insert(1, 1).commit();
    assert_eq!(assert_within(&cache, 100, false), 1);
    // Overwriting all entries displaces none.
    insert(1..101);
    let before: Vec<_> = (1..101).filter(|key| cache.contains_key(key)).collect();
    assert_eq!(before.len(), 100);
    insert(1..101);
    assert_eq!(assert_within(&cache, 100, false), 100);
    assert!(before.iter().all(|key| cache.contains_key(key)));
}

fn entries_that_get_heavier<R: Reclaim>() {
    let cache = weighed::<R>(1_000);
    (0..100).for_each(|key| _ = cache.insert(key, 10));
    assert_eq!(assert_within(&cache, 1_000, true), 100);
    for (key, weight) in [(0, 20), (1, 500), (2, 999), (3, 1_000)] {
        cache.insert(key, weight);
        assert_within(&cache, 1_000, true);
    }
    // By `compare_and_set`, by a relation, and in a batch.
    let cache =
        with_weigher::<R>(coeval::Cache::builder().max_capacity(1_000).related(|key, related| {
            if *key == 1 {
                related.insert(2, 400);
            }
        }));
    (10..110).for_each(|key| _ = cache.insert(key, 10));
    let (_, version) = (10..110).find_map(|key| cache.get_versioned(&key)).unwrap();
    let key = (10..110).find(|key| cache.get_versioned(key).is_some_and(|(_, v)| v == version));
    cache.compare_and_set(key.unwrap(), Some(version), 300).unwrap();
    assert_within(&cache, 1_000, true);
    cache.insert(1, 400);
    assert_within(&cache, 1_000, true);
    cache.batch().insert(5, 600).insert(6, 600).insert(7, 600).commit();
    assert_within(&cache, 1_000, true);
}

/// An entry that is heavier than the bound goes at once, and displaces only the value that it
/// replaces.
fn entries_that_are_too_heavy<R: Reclaim>() {
    let cache = weighed::<R>(100);
    (0..10).for_each(|key| _ = cache.insert(key, 10));
    let version = cache.insert(20, 101);
    assert!(cache.get(&20).is_none() && cache.version() > version);
    cache.insert(3, 1_000);
    assert_eq!(cache.get(&3), None, "the old value does not come back");
    assert_eq!(assert_within(&cache, 100, true), 9);
    cache.batch().insert(4, 101).insert(21, u64::from(u32::MAX)).insert(22, 10).commit();
    assert!((0..10).filter(|key| ![3, 4].contains(key)).all(|key| cache.contains_key(&key)));
    assert_eq!(cache.get_many([&4, &21, &22]), [None, None, Some(10)]);
    assert_eq!(assert_within(&cache, 100, true), 9);
    let view = cache.view();
    cache.insert(22, 101);
    assert_eq!((view.get(&22), cache.get(&22)), (Some(&10), None));
    cache.insert(22, 100);
    assert_eq!(cache.get(&22), Some(100));
    assert_eq!(assert_within(&cache, 100, true), 1);
}

fn no_room_at_all<R: Reclaim>() {
    let cache = bounded::<R>(0);
    for key in 0..100 {
        let version = cache.insert(key, key);
        assert!(cache.version() > version, "its eviction is a commit");
        assert!(cache.get(&key).is_none() && cache.is_empty());
        cache.batch().insert(key, 1).insert(key + 1, 2).commit();
        assert!(cache.compare_and_set(key, None, 3).is_ok());
        assert!(cache.is_empty());
    }
    let one = bounded::<R>(1);
    for key in 0..100 {
        one.insert(key, key);
        assert_eq!(assert_within(&one, 1, false), 1);
        one.batch().insert(key, 1).insert(key + 1, 2).commit();
        assert_eq!(assert_within(&one, 1, false), 1);
    }
}

fn clearing<R: Reclaim>() {
    let cache = bounded::<R>(50);
    for round in 0..50 {
        (0..70).for_each(|key| _ = cache.insert(key * (round + 1), round));
        assert_eq!(assert_within(&cache, 50, false), 50.min(cache.len() as u64));
        let before = cache.view();
        cache.invalidate_all();
        assert_eq!(assert_within(&cache, 50, false), 0);
        assert!(before.len() >= 50);
        // There is room for all of these again, whether the policy knows them or not.
        (0..50).for_each(|key| _ = cache.insert(key * 3, round));
        assert_eq!(assert_within(&cache, 50, false), 50);
    }
}

/// Keys that go and come back while the policy still holds them.
fn keys_that_come_back<R: Reclaim>() {
    let cache = bounded::<R>(20);
    let mut random = Random::new(run_seed());
    for round in 0..stress(20_000, 500_000, 10_000_000) {
        let key = random.below(40);
        match random.below(6) {
            0 => _ = cache.remove(&key),
            1 => _ = cache.invalidate(&key),
            2 => _ = cache.batch().remove(key).insert((key + 1) % 40, round).commit(),
            3 => {
                let held = cache.get_versioned(&key).map(|(_, version)| version);
                let version =
                    cache.compare_and_set(key, held, round).expect("no other thread writes");
                let now = cache.get_versioned(&key);
                assert!(now.is_none_or(|now| now == (round, version)), "{now:?}");
            }
            _ => {
                let version = cache.insert(key, round);
                let now = cache.get_versioned(&key);
                assert!(now.is_none_or(|now| now == (round, version)), "{now:?}");
            }
        }
        assert_within_quickly(&cache, 20);
    }
    // After all this, the cache holds as many entries as it may.
    (0..40).for_each(|key| _ = cache.insert(key, 0));
    assert_eq!(assert_within(&cache, 20, false), 20);
}

/// An evicted entry is gone for all later readers, and for no earlier view.
fn views_show_evicted_entries<R: Reclaim>() {
    let cache = bounded::<R>(10);
    (0..10).for_each(|key| _ = cache.insert(key, key));
    let view = cache.view();
    (100..200).for_each(|key| _ = cache.insert(key, key));
    assert!((0..10).all(|key| view.get(&key) == Some(&key)));
    assert_eq!((view.len(), cache.len()), (10, 10));
    let later = cache.view();
    let gone: Vec<_> = (0..10).filter(|key| cache.get(key).is_none()).collect();
    assert!(!gone.is_empty() && gone.iter().all(|key| !later.contains_key(key)));
    drop(view);
    assert!(gone.iter().all(|key| cache.get(key).is_none()));
}

/// Entries that are read again and again survive a scan of others.
fn hits_keep_entries<R: Reclaim>() {
    for capacity in [100, 1_000] {
        let cache = bounded::<R>(capacity);
        let popular = capacity / 2;
        (0..popular).for_each(|key| _ = cache.insert(key, key));
        let mut misses = 0;
        for round in 0..20 {
            for key in 0..popular {
                for _ in 0..2 {
                    if cache.get(&key).is_none() {
                        misses += u64::from(round > 2);
                        cache.insert(key, key);
                    }
                }
            }
            let scan = 1_000_000 * (round + 1);
            (scan..scan + capacity).for_each(|key| _ = cache.insert(key, key));
        }
        assert!(misses * 20 <= popular * 17, "{misses} misses of {}", popular * 17);
    }
}

/// A panic in a weigher reaches the caller, and nothing is written.
fn a_weigher_that_panics<R: Reclaim>() {
    let burns = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&burns);
    let cache: Cache<R> = coeval::Cache::builder()
        .max_capacity(100)
        .weigher(move |_, value| {
            if *value == 66 && armed.load(Ordering::Relaxed) {
                std::panic::resume_unwind(Box::new("burnt"));
            }
            10
        })
        .related(|key, related| {
            if *key == 3 {
                related.insert(4, 66);
            }
        })
        .reclaimer()
        .build();
    (0..3).for_each(|key| _ = cache.insert(key, 66));
    burns.store(true, Ordering::Relaxed);
    let version = cache.version();
    let whole = |version| {
        assert_eq!((cache.version(), cache.len(), cache.weighted_size()), (version, 3, 30));
        assert_eq!(cache.get_many([&0, &1, &2, &3, &4]).iter().flatten().count(), 3);
    };
    let panics = |write: &dyn Fn()| {
        assert!(catch_unwind(AssertUnwindSafe(write)).is_err());
        whole(version);
    };
    panics(&|| _ = cache.insert(0, 66));
    panics(&|| _ = cache.insert(9, 66));
    panics(&|| _ = cache.insert(3, 1));
    panics(&|| _ = cache.batch().insert(5, 5).insert(6, 66).remove(0).commit());
    panics(&|| _ = cache.compare_and_set(9, None, 66));
    let (_, held) = cache.get_versioned(&0).unwrap();
    panics(&|| _ = cache.compare_and_set(0, Some(held), 66));
    (0..1_000).for_each(|key| _ = cache.insert(10 + key, key % 60));
    assert_eq!((cache.len(), cache.weighted_size()), (10, 100));
}

/// A weigher without a capacity only counts. Without a bound, entries are counted.
fn weight_without_a_bound<R: Reclaim>() {
    let cache = with_weigher::<R>(coeval::Cache::builder());
    (0..100).for_each(|key| _ = cache.insert(key, key));
    assert_eq!(assert_within(&cache, u64::MAX, true), 100);
    cache.insert(50, 0);
    cache.remove(&99);
    assert_eq!(cache.weighted_size(), 4_950 - 50 - 99);
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    (0..100).for_each(|key| _ = cache.insert(key, key));
    assert_eq!(cache.weighted_size(), 100);
    let huge = with_weigher::<R>(coeval::Cache::builder().max_capacity(u64::MAX));
    (0..100).for_each(|key| _ = huge.insert(key, u64::from(u32::MAX)));
    assert_eq!(huge.weighted_size(), 100 * u64::from(u32::MAX));
}

on_every_reclaimer!(
    the_bound_in_entries,
    the_bound_by_weight,
    batches,
    entries_that_get_heavier,
    entries_that_are_too_heavy,
    no_room_at_all,
    clearing,
    keys_that_come_back,
    views_show_evicted_entries,
    hits_keep_entries,
    a_weigher_that_panics,
    weight_without_a_bound,
);
