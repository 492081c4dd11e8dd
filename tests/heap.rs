//! Promise: memory does not grow with the number of operations. The tests count at the allocator.

#[path = "common/bytes.rs"]
mod bytes;
mod common;

use bytes::IN_USE;
use coeval::reclaim::Reclaim;
use common::{Store, on_every_reclaimer, store, stress, together};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// Runs one test at a time, because all tests count the same bytes.
static ALONE: Mutex<()> = Mutex::new(());

const LIMIT: i64 = 10_000_000;

/// Runs `work` on a cache that `warm` has brought to its size. The heap may grow by less than
/// `LIMIT`, and must return to its size once the cache is dropped.
fn grows_little<R: Reclaim>(
    warm: impl FnOnce(&Store<u64, Box<u64>, R>),
    work: impl FnOnce(&Store<u64, Box<u64>, R>),
) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let at_first = IN_USE.load(Ordering::Relaxed);
    let cache = store();
    warm(&cache);
    let before = IN_USE.load(Ordering::Relaxed);
    work(&cache);
    let growth = IN_USE.load(Ordering::Relaxed) - before;
    println!("grew by {growth} bytes");
    assert!(growth < LIMIT, "the heap grew by {growth} bytes");
    drop(cache);
    let left = IN_USE.load(Ordering::Relaxed) - at_first;
    println!("{left} bytes left");
    // The memory of the test harness and of thread-local values may differ a little.
    assert!(left < 100_000, "{left} bytes are left after the cache is gone");
}

fn overwrites_under_a_held_view<R: Reclaim>() {
    let rounds = stress(200_000, 2_000_000, 10_000_000);
    for keys in [1, 1_000] {
        grows_little::<R>(
            |cache| {
                for key in 0..keys {
                    cache.insert(key, Box::new(key));
                }
            },
            |cache| {
                let view = cache.view();
                for round in 0..rounds {
                    cache.insert(round % keys, Box::new(round));
                }
                assert!((0..keys).all(|key| view.get(&key).is_some_and(|value| **value == key)));
            },
        );
    }
}

fn fresh_keys_that_are_removed<R: Reclaim>() {
    let rounds = stress(200_000, 5_000_000, 100_000_000);
    grows_little::<R>(
        |_| {},
        |cache| {
            for key in 0..rounds {
                cache.insert(key, Box::new(key));
                assert_eq!(cache.remove(&key).as_deref(), Some(&key));
            }
            assert!(cache.is_empty());
        },
    );
}

fn fresh_keys_that_are_removed_under_a_held_view<R: Reclaim>() {
    let rounds = stress(50_000, 1_000_000, 20_000_000);
    grows_little::<R>(
        |_| {},
        |cache| {
            let view = cache.view();
            for key in 0..rounds {
                cache.insert(key, Box::new(key));
                cache.batch().remove(key).commit();
            }
            assert_eq!(view.len(), 0);
        },
    );
}

fn fresh_keys_in_batches<R: Reclaim>() {
    let rounds = stress(30_000, 1_000_000, 20_000_000);
    grows_little::<R>(
        |_| {},
        |cache| {
            for round in 0..rounds {
                let first = round * 3;
                let batch = (0..3).fold(cache.batch(), |b, at| b.insert(first + at, Box::new(at)));
                (0..3).fold(batch, |b, at| b.remove(first + at - 3.min(first))).commit();
            }
        },
    );
}

fn views_that_come_and_go<R: Reclaim>() {
    let rounds = stress(50_000, 1_000_000, 10_000_000);
    grows_little::<R>(
        |cache| {
            for key in 0..10 {
                cache.insert(key, Box::new(key));
            }
        },
        |cache| {
            for round in 0..rounds {
                let view = cache.view();
                cache.insert(round % 10, Box::new(round));
                assert_eq!(view.len(), 10);
            }
        },
    );
}

fn batches_dropped_and_sets_refused<R: Reclaim>() {
    let rounds = stress(50_000, 1_000_000, 10_000_000);
    grows_little::<R>(
        |cache| {
            cache.insert(0, Box::new(0));
        },
        |cache| {
            for round in 0..rounds {
                drop(cache.batch().insert(round, Box::new(round)));
                assert!(cache.compare_and_set(0, None, Box::new(round)).is_err());
                let expected = Some(cache.version());
                assert!(cache.compare_and_set(round + 1, expected, Box::new(round)).is_err());
            }
            assert_eq!(cache.len(), 1);
        },
    );
}

fn threads_that_come_and_go<R: Reclaim>() {
    let rounds = stress(50, 500, 5_000);
    let some_threads = |cache: &Store<u64, Box<u64>, R>| {
        together(4, |thread| {
            for key in 0..50 {
                cache.insert(key, Box::new(thread as u64));
                cache.view().get(&key);
                cache.remove(&key);
            }
        });
    };
    grows_little::<R>(some_threads, |cache| {
        for _ in 0..rounds {
            some_threads(cache);
        }
    });
}

fn caches_that_come_and_go<R: Reclaim>() {
    let rounds = stress(200, 5_000, 100_000);
    grows_little::<R>(
        |_| {},
        |_| {
            for round in 0..rounds {
                let cache = store::<u64, Box<u64>, R>();
                for key in 0..100 {
                    cache.insert(key, Box::new(round));
                    cache.remove(&(key / 2));
                }
            }
        },
    );
}

on_every_reclaimer!(
    overwrites_under_a_held_view,
    fresh_keys_that_are_removed,
    fresh_keys_that_are_removed_under_a_held_view,
    fresh_keys_in_batches,
    views_that_come_and_go,
    batches_dropped_and_sets_refused,
    threads_that_come_and_go,
    caches_that_come_and_go,
);
