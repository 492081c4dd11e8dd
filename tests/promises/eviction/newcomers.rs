//! A new entry is not evicted to make room for itself: it stays at least until the next write of
//! its own thread.

use crate::common::on_every_reclaimer;
use crate::eviction::{Cache, assert_within, bounded, weighed};
use coeval::reclaim::Reclaim;
use std::sync::Barrier;

/// A loop of keys: each is present when its thread looks it up next.
fn in_a_loop<R: Reclaim>() {
    for capacity in [1, 2, 3, 10, 100, 1_000] {
        let cache = bounded::<R>(capacity);
        for round in 0..(200 / capacity).max(6) {
            for key in 0..capacity * 5 {
                if cache.get(&key).is_none() {
                    let version = cache.insert(key, round);
                    assert_eq!(cache.get_versioned(&key), Some((round, version)), "{capacity}");
                    // With any number of hits.
                    assert!((0..key % 4).all(|_| cache.get(&key).is_some()));
                }
            }
        }
        assert_within(&cache, capacity, false);
    }
}

/// Entries of any weight that fits, in a cache whose entries are all in use.
fn of_any_weight<R: Reclaim>() {
    for capacity in [1, 2, 7, 50, 1_000] {
        let cache = weighed::<R>(capacity);
        for n in 0..600 {
            let (key, weight) = (n * 7 % 401, n * n % capacity + 1);
            cache.insert(key, weight);
            assert_eq!(cache.get(&key), Some(weight), "{weight} of {capacity}");
            (0..401).filter(|key| key % 3 == n % 3).for_each(|key| _ = cache.get(&key));
            assert!(cache.weighted_size() <= capacity);
        }
        assert_within(&cache, capacity, true);
        // An entry that is heavier than the bound goes, and no other does.
        let before = cache.len();
        cache.insert(500, capacity + 1);
        assert_eq!((cache.get(&500), cache.len()), (None, before));
    }
}

/// A commit that fits has all of its entries.
fn of_a_batch<R: Reclaim>() {
    for capacity in [8, 100, 1_000] {
        let cache = bounded::<R>(capacity);
        for round in 0..60 {
            let count = [1, 2, 7, capacity / 2, capacity][round as usize % 5].max(1);
            let keys = round * 777..round * 777 + count;
            keys.clone().fold(cache.batch(), |batch, key| batch.insert(key, key)).commit();
            let gone = keys.filter(|key| cache.get(key).is_none()).count();
            assert_eq!(gone, 0, "of {count} at {capacity}, round {round}");
            (0..round * 777).rev().take(capacity as usize).for_each(|key| _ = cache.get(&key));
        }
        assert_within(&cache, capacity, false);
    }
}

/// With any concurrent writes.
fn beside_other_threads<R: Reclaim>() {
    const CAPACITY: u64 = 20;
    let (cache, turn) = (bounded::<R>(CAPACITY), Barrier::new(2));
    std::thread::scope(|scope| {
        let found = scope.spawn(|| {
            let bring = |n| {
                cache.insert(n, n);
                turn.wait();
                turn.wait();
                cache.get(&n)
            };
            (0..20).map(bring).collect::<Vec<_>>()
        });
        for n in 0..20 {
            turn.wait();
            (0..500).for_each(|key| _ = cache.insert(1_000 + n * 250 + key, 0));
            turn.wait();
        }
        let found = found.join().unwrap();
        assert!(found.into_iter().eq((0..20).map(Some)));
    });
    assert_within(&cache, CAPACITY, false);
    let cache = bounded::<R>(100);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..3_000 {
                    let key = (thread << 32) | (n % 200);
                    if cache.get(&key).is_none() {
                        cache.insert(key, n);
                        std::thread::yield_now();
                        assert_eq!(cache.get(&key), Some(n));
                    }
                }
            });
        }
    });
}

/// With more threads than entries that fit, the bound takes precedence.
fn of_too_many_threads<R: Reclaim>() {
    let cache = bounded::<R>(4);
    for key in 0..40 {
        std::thread::scope(|scope| _ = scope.spawn(|| cache.insert(key, key)));
        assert!(cache.contains_key(&key));
    }
    let turn = Barrier::new(12);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let (cache, turn): (&Cache<R>, _) = (&cache, &turn);
            scope.spawn(move || {
                cache.insert(1_000 + thread, 0);
                turn.wait();
            });
        }
    });
    assert_eq!(assert_within(&cache, 4, false), 4);
    for key in 0..1_000 {
        cache.insert(key, key);
        assert_eq!(cache.get(&key), Some(key));
        assert_eq!(cache.len(), 4);
    }
}

/// A spared record may lose its value in any way, and its key may come back.
fn spared_records_are_freed<R: Reclaim>() {
    let cache = bounded::<R>(10);
    for round in 0..2_000u64 {
        let key = round % 7;
        cache.insert(key, round);
        match round % 5 {
            0 => assert_eq!(cache.remove(&key), Some(round)),
            1 => _ = cache.invalidate_all(),
            2 => std::thread::scope(|scope| _ = scope.spawn(|| cache.remove(&key))),
            3 => std::thread::scope(|scope| _ = scope.spawn(|| cache.insert(key, 0))),
            _ => {}
        }
    }
    assert_within(&cache, 10, false);
}

on_every_reclaimer!(
    in_a_loop,
    of_any_weight,
    of_a_batch,
    beside_other_threads,
    of_too_many_threads,
    spared_records_are_freed,
);
