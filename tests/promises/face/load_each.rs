//! Loading and removing any number of keys.

use crate::common::{Store, on_every_reclaimer, store, stress, together, within};
use coeval::reclaim::Reclaim;
use coeval::{Cache, LoadError, ManualClock, WeakCache};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[test]
fn the_loader_is_given_the_missing_keys() {
    let cache = Cache::new();
    cache.insert_many([(2_u64, "two".to_string()), (4, "four".to_string())]);
    let mut calls = Vec::new();
    let names = cache.get_each_with([5, 2, 3, 5, 4, 3], |missing| {
        calls.push(missing.to_vec());
        missing.iter().map(|n| format!("#{n}")).collect::<Vec<_>>()
    });
    assert_eq!(names, ["#5", "two", "#3", "#5", "four", "#3"]);
    assert_eq!(calls, [vec![5, 3]]);
    let unreachable = |_: &[u64]| -> Vec<String> { unreachable!("all are cached") };
    assert_eq!(cache.get_each_with(vec![3, 4], unreachable), ["#3", "four"]);
    assert!(cache.get_each_with(0..0, unreachable).is_empty());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.hits, stats.misses), (2, 4, 4));
    assert_ne!(cache.get_versioned(&3).unwrap().1, cache.get_versioned(&5).unwrap().1);
}

#[test]
fn keys_may_be_owned_or_borrowed() {
    let cache: Cache<String, usize> = Cache::new();
    let lengths = |missing: &[String]| missing.iter().map(String::len).collect::<Vec<_>>();
    assert_eq!(cache.get_each_with(["a", "bb"], lengths), [1, 2]);
    assert_eq!(cache.get_each_with(&["ccc".to_string()], lengths), [3]);
    assert_eq!(cache.get_each_with(vec!["dddd".to_string()], lengths), [4]);
    cache.remove_many(["a", "x"]);
    cache.remove_many(&["ccc".to_string()]);
    let version = cache.remove_many((1..=4).map(|n| "d".repeat(n)));
    assert_eq!((version, cache.len(), cache.get("bb")), (cache.version(), 1, Some(2)));
    let empty: [&str; 0] = [];
    assert!(cache.remove_many(empty) > version);
    let text: Cache<&str, u64> = Cache::from([("a", 1), ("b", 2), ("c", 3)]);
    text.remove_many(["a"]);
    text.remove_many(&["b"]);
    text.invalidate_many(vec!["c", "c"]);
    assert!(text.is_empty());
}

#[test]
fn many_keys_leave_by_one_commit_and_their_relations_with_them() {
    let cache = Cache::<u64, u64>::builder()
        .related(|key, related| _ = (*key < 100).then(|| related.invalidate(key + 100)))
        .build();
    cache.batch().insert(101, 1).insert(102, 2).insert(1, 1).insert(2, 2).commit();
    cache.insert_many([(101, 1), (102, 2)]);
    let view = cache.view();
    let version = cache.remove_many(&[1, 2]);
    assert_eq!(cache.get_many([&1, &2, &101, &102]), [None, None, Some(1), Some(2)]);
    assert_eq!(version.get(), view.version().get() + 1, "one commit");
    cache.invalidate_many(&[1, 2]);
    assert!(cache.is_empty());
    assert_eq!(view.get_many(&[1, 2, 101]), [Some(&1), Some(&2), Some(&1)]);
}

#[test]
fn thousands_of_keys_are_loaded_in_a_few_calls() {
    let cache: Cache<u64, u64> = Cache::new();
    let mut calls = 0;
    let squares = cache.get_each_with(0..3000, |missing| {
        calls += 1;
        missing.iter().map(|n| n * n).collect::<Vec<_>>()
    });
    assert!(squares.into_iter().eq((0..3000).map(|n| n * n)));
    assert_eq!((calls, cache.len()), (3, 3000));
}

#[test]
fn a_loader_that_fails_loads_nothing() {
    let cache: Cache<u64, u64> = Cache::new();
    cache.insert(1, 1);
    let failed = cache.load_each([1, 2], |_| Err::<Vec<u64>, _>("down"));
    assert_eq!(failed, Err(LoadError::Failed("down")));
    let panics = AssertUnwindSafe(|| cache.get_each_with([2, 3], |_| -> Vec<u64> { panic!() }));
    assert!(catch_unwind(panics).is_err());
    for wrong in [vec![], vec![2], vec![2, 3, 4]] {
        let load = AssertUnwindSafe(|| cache.get_each_with([2, 3], |_| wrong.clone()));
        assert!(catch_unwind(load).is_err());
    }
    assert_eq!((cache.len(), cache.stats().loads_failed), (1, 1 + 4 * 2));
    assert_eq!(cache.load_each([1, 2], |_| Ok::<_, ()>([2])), Ok(vec![1, 2]));
    // A loader that asks for one of its own keys is told so.
    let circle = cache.load_each([7, 8, 9], |missing| {
        assert_eq!(missing, [7, 8, 9]);
        let each = [7, 8, 9].map(|key| cache.load(key, || Ok::<_, ()>(0)));
        assert_eq!(each, [const { Err(LoadError::Cycle) }; 3]);
        Err::<Vec<u64>, _>(())
    });
    assert_eq!(circle, Err(LoadError::Failed(())));
}

#[test]
fn a_key_that_changes_meanwhile_refuses_its_value_alone() {
    let cache: Cache<u64, u64> = Cache::new();
    let loaded = cache.get_each_with([1, 2, 3], |missing| {
        cache.insert(1, 10);
        cache.invalidate(&2);
        missing.iter().map(|n| n * 100).collect::<Vec<_>>()
    });
    assert_eq!(loaded, [100, 200, 300], "the caller gets what it read");
    assert_eq!(cache.get_many([&1, &2, &3]), [Some(10), None, Some(300)]);
}

#[test]
fn what_is_due_is_loaded_with_what_is_absent() {
    let clock = ManualClock::new();
    let minute = Duration::from_secs(60);
    let cache = Cache::builder().refresh_after(minute).manual_clock(&clock).build();
    cache.insert(1, 1);
    clock.advance(minute);
    assert_eq!(cache.load_each([1], |_| Err::<Vec<i32>, _>("down")), Ok(vec![1]), "it stays");
    let both = cache.get_each_with([1, 2], |missing| {
        let mut missing = missing.to_vec();
        missing.sort();
        assert_eq!(missing, [1, 2]);
        [11, 11]
    });
    assert_eq!((both, cache.get(&1)), (vec![11, 11], Some(11)));
}

/// Threads load overlapping lists. Each key is loaded once, and nobody waits for ever.
fn each_key_is_loaded_once<R: Reclaim>() {
    let rounds = stress(200, 2_000, 20_000);
    within(Duration::from_secs(300), "overlapping loads", || {
        for round in 0..rounds {
            let cache: Store<u64, u64, R> = store();
            let loaded = AtomicU64::new(0);
            together(3, |thread| {
                let turn = thread as u64 + round;
                let keys = (0..20).map(|n| if turn.is_multiple_of(2) { n } else { 19 - n });
                let found = cache.get_each_with(keys.clone().skip(thread), |missing| {
                    loaded.fetch_add(missing.len() as u64, Ordering::Relaxed);
                    if turn.is_multiple_of(3) {
                        std::thread::yield_now();
                    }
                    missing.iter().map(|n| n + 1).collect::<Vec<_>>()
                });
                assert!(found.into_iter().eq(keys.skip(thread).map(|n| n + 1)));
            });
            assert_eq!((loaded.into_inner(), cache.len()), (20, 20), "in round {round}");
        }
    });
}

/// The listener runs when all loads of the call have ended.
#[test]
fn a_listener_may_load_a_key_of_the_same_call() {
    let slot = Arc::new(OnceLock::<WeakCache<u64, u64>>::new());
    let others = Arc::clone(&slot);
    let cache = Cache::<u64, u64>::builder()
        .max_capacity(1)
        .eviction_listener(move |_, _, _, _| {
            if let Some(cache) = others.get().and_then(WeakCache::upgrade) {
                assert_eq!(cache.get_with(2, || 2), 2);
            }
        })
        .build();
    assert!(slot.set(cache.downgrade()).is_ok());
    cache.insert(0, 0);
    within(Duration::from_secs(60), "a listener that loads", || {
        assert_eq!(cache.get_each_with([1, 2, 3], <[u64]>::to_vec), [1, 2, 3]);
    });
    assert_eq!(cache.stats().listener_panics, 0);
}

/// A clone that waits for a load of the same call gets an error.
#[test]
fn a_clone_may_ask_for_a_key_of_the_same_call() {
    static CACHE: OnceLock<Cache<u64, Asks>> = OnceLock::new();
    #[derive(Debug, PartialEq)]
    struct Asks(u64);
    impl Clone for Asks {
        fn clone(&self) -> Self {
            if self.0 != 2 {
                let other = CACHE.get().unwrap().load(2, || Ok::<_, ()>(Self(2)));
                assert!(matches!(other, Ok(_) | Err(LoadError::Cycle)));
            }
            Self(self.0)
        }
    }
    let cache = CACHE.get_or_init(Cache::new);
    within(Duration::from_secs(60), "a clone that loads", || {
        let load = |missing: &[u64]| missing.iter().map(|n| Asks(*n)).collect::<Vec<_>>();
        assert_eq!(cache.get_each_with([1], load), [Asks(1)]);
        cache.remove(&2);
        assert_eq!(cache.get_each_with([3, 2, 4], load), [Asks(3), Asks(2), Asks(4)]);
    });
}

/// The clone of a value that another caller has cached since the look-up, too.
#[test]
fn a_clone_of_a_value_that_came_meanwhile_may_ask_for_a_key_of_the_same_call() {
    static CACHE: OnceLock<Cache<Comes, Asks>> = OnceLock::new();
    static ASKED: AtomicU64 = AtomicU64::new(0);
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Comes(u64);
    impl Clone for Comes {
        /// Is called for key 2 between the look-up and the load. Stands for another caller.
        fn clone(&self) -> Self {
            if self.0 == 2 && ASKED.load(Ordering::Relaxed) == 0 {
                CACHE.get().unwrap().insert(Self(2), Asks(2));
            }
            Self(self.0)
        }
    }
    #[derive(Debug, PartialEq)]
    struct Asks(u64);
    impl Clone for Asks {
        fn clone(&self) -> Self {
            if self.0 == 2 {
                ASKED.fetch_add(1, Ordering::Relaxed);
                let other = CACHE.get().unwrap().load(Comes(1), || Ok::<_, ()>(Self(1)));
                assert!(matches!(other, Ok(_) | Err(LoadError::Cycle)));
            }
            Self(self.0)
        }
    }
    let cache = CACHE.get_or_init(Cache::new);
    within(Duration::from_secs(60), "a clone of what came meanwhile", || {
        let load = |missing: &[Comes]| {
            assert_eq!(missing, [Comes(1), Comes(3)], "2 has come");
            missing.iter().map(|key| Asks(key.0)).collect::<Vec<_>>()
        };
        let found = cache.get_each_with([Comes(1), Comes(2), Comes(3)], load);
        assert_eq!(found, [Asks(1), Asks(2), Asks(3)]);
    });
    assert!(ASKED.load(Ordering::Relaxed) > 0);
}

/// Some callers fail. The others load what those left.
fn a_failed_list_is_loaded_by_others<R: Reclaim>() {
    let rounds = stress(200, 2_000, 20_000);
    within(Duration::from_secs(300), "failing loads", || {
        for round in 0..rounds {
            let cache: Store<u64, u64, R> = store();
            together(3, |thread| {
                let result = cache.load_each(0..10, |missing| {
                    std::thread::yield_now();
                    let values = missing.iter().map(|n| n + 1).collect::<Vec<_>>();
                    if thread == 0 { Err(round) } else { Ok(values) }
                });
                match result {
                    Ok(values) => assert!(values.into_iter().eq(1..11)),
                    Err(error) => assert_eq!((thread, error), (0, LoadError::Failed(round))),
                }
            });
            assert_eq!(cache.len(), 10);
        }
    });
}

on_every_reclaimer!(each_key_is_loaded_once, a_failed_list_is_loaded_by_others);
