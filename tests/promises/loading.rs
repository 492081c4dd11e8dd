//! Promise: of the callers that want the same absent key, one loads it. All others get its value,
//! or load in turn if the load failed. No other operation is delayed. No caller gets a value that
//! was read before a removal that had returned when the caller came.

mod beside;
mod cycles;
#[cfg(feature = "async")]
mod each_way;
mod failures;
#[cfg(feature = "async")]
mod futures;
#[cfg(feature = "async")]
mod futures_of_many;
mod groups;
#[cfg(coeval_internals)]
mod late;
#[cfg(feature = "async")]
mod left_alone;
mod outage;
mod refresh;
mod serving;
mod taken_over;

use crate::common::{Store, on_every_reclaimer, store, stress, together, within};
use coeval::reclaim::Reclaim;
use coeval::{LoadError, ManualClock, RemovalCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

type Cache<R> = Store<u64, u64, R>;

/// A cache in which callers that waited for a failed load then load in turn.
fn in_turn<R: Reclaim>() -> Cache<R> {
    coeval::Cache::builder().loads_in_turn().reclaimer::<R>().build()
}

/// Waits until this many look-ups have missed, which means that so many callers want the key.
fn until_missed<R: Reclaim>(cache: &Cache<R>, misses: u64) {
    while cache.stats().misses < misses {
        std::thread::yield_now();
    }
}

fn loads<R: Reclaim>(cache: &Cache<R>) -> (u64, u64, u64) {
    let stats = cache.stats();
    (stats.loads, stats.loads_failed, stats.loads_refused)
}

fn one_load_for_all<R: Reclaim>() {
    const THREADS: u64 = 64;
    within(LIMIT, "a load that 64 threads want", || {
        for round in 0..stress(5, 100, 2_000) {
            let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
            together(THREADS as usize, |_| {
                let value = cache.get_with(7, || {
                    count.fetch_add(1, SeqCst);
                    until_missed(&cache, THREADS);
                    round
                });
                assert_eq!(value, round);
            });
            assert_eq!((count.into_inner(), loads(&cache)), (1, (1, 0, 0)));
            assert_eq!((cache.get(&7), cache.len()), (Some(round), 1));
        }
    });
}

/// Loads that fail until the fourth: each failure goes to its own caller.
fn another_loads_if_one_fails<R: Reclaim>() {
    const THREADS: u64 = 16;
    within(LIMIT, "loads that fail", || {
        let (cache, count, failed) = (in_turn::<R>(), AtomicU64::new(0), AtomicU64::new(0));
        together(THREADS as usize, |_| {
            let loaded = cache.try_get_with(7, || {
                let n = count.fetch_add(1, SeqCst);
                until_missed(&cache, THREADS);
                if n < 3 { Err(n) } else { Ok(n) }
            });
            match loaded {
                Ok(value) => assert_eq!(value, 3),
                Err(error) => drop((failed.fetch_add(1, SeqCst), assert!(*error < 3))),
            }
        });
        assert_eq!((count.into_inner(), failed.into_inner()), (4, 3));
        assert_eq!(loads(&cache), (1, 3, 0));
        assert_eq!(cache.load(8, || Err::<u64, _>("no")), Err(LoadError::Failed("no")));
        assert_eq!(cache.get(&8), None);
    });
}

fn another_loads_if_one_panics<R: Reclaim>() {
    const THREADS: u64 = 16;
    within(LIMIT, "loads that panic", || {
        let (cache, count, failed) = (in_turn::<R>(), AtomicU64::new(0), AtomicU64::new(0));
        together(THREADS as usize, |_| {
            let load = || {
                let n = count.fetch_add(1, SeqCst);
                until_missed(&cache, THREADS);
                if n < 3 {
                    std::panic::resume_unwind(Box::new("a loader"));
                }
                n
            };
            match catch_unwind(AssertUnwindSafe(|| cache.get_with(7, load))) {
                Ok(value) => assert_eq!(value, 3),
                Err(_) => drop(failed.fetch_add(1, SeqCst)),
            }
        });
        assert_eq!((count.into_inner(), failed.into_inner()), (4, 3));
        assert_eq!(loads(&cache), (1, 3, 0), "a panic counts as a failure");
        assert_eq!(cache.get(&7), Some(3));
    });
}

/// After the loader has returned, the clone of the loaded value panics, or the weigher does.
fn another_loads_if_a_value_panics<R: Reclaim>() {
    const THREADS: u64 = 8;
    #[derive(Debug, PartialEq)]
    struct Value(u64);
    impl Clone for Value {
        fn clone(&self) -> Self {
            if self.0 == 0 {
                std::panic::resume_unwind(Box::new("a clone"));
            }
            Self(self.0)
        }
    }
    within(LIMIT, "loads of values that panic", || {
        let builder = coeval::Cache::builder().weigher(|_, value: &Value| {
            if value.0 == 1 {
                std::panic::resume_unwind(Box::new("a weigher"));
            }
            1
        });
        let cache = builder.loads_in_turn().reclaimer::<R>().build();
        let (count, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        together(THREADS as usize, |_| {
            let load = || {
                while cache.stats().misses < THREADS {
                    std::thread::yield_now();
                }
                Value(count.fetch_add(1, SeqCst))
            };
            match catch_unwind(AssertUnwindSafe(|| cache.get_with(7, load))) {
                Ok(value) => assert_eq!(value, Value(2)),
                Err(_) => drop(failed.fetch_add(1, SeqCst)),
            }
        });
        assert_eq!((count.into_inner(), failed.into_inner()), (3, 2));
        assert_eq!(cache.get(&7), Some(Value(2)));
    });
}

/// A refused value goes to the caller that loaded it; the waiting callers load again.
fn a_refused_load_is_for_its_caller_alone<R: Reclaim>() {
    const THREADS: u64 = 8;
    within(LIMIT, "a load that is refused", || {
        let (cache, count, old) = (store::<u64, u64, R>(), AtomicU64::new(0), AtomicU64::new(0));
        together(THREADS as usize, |_| {
            let value = cache.get_with(7, || {
                let n = count.fetch_add(1, SeqCst);
                until_missed(&cache, THREADS);
                if n == 0 {
                    cache.invalidate(&7);
                }
                n
            });
            if value == 0 {
                old.fetch_add(1, SeqCst);
            }
        });
        assert_eq!((count.into_inner(), old.into_inner()), (2, 1));
        assert_eq!((loads(&cache), cache.get(&7)), ((1, 0, 1), Some(1)));
        // With a single caller, nothing is cached.
        let load = || {
            cache.batch().remove(8).commit();
            80
        };
        assert_eq!(cache.get_with(8, load), 80);
        assert_eq!((cache.get(&8), loads(&cache)), (None, (1, 0, 2)));
    });
}

fn a_loader_may_use_the_cache<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let sum = cache.get_with(3, || cache.get_with(1, || 1) + cache.get_with(2, || 2));
    assert_eq!((sum, cache.get_many([&1, &2, &3])), (3, [Some(1), Some(2), Some(3)]));
    // What the loader does to its own key precedes the value that it returns.
    assert_eq!(cache.get_with(4, || (cache.insert(4, 40), 41).1), 41);
    assert_eq!(cache.get(&4), Some(40));
    assert_eq!(cache.get_with(5, || (cache.invalidate_all(), 50).1), 50);
    assert_eq!((cache.get(&5), cache.len()), (None, 0));
    let lease = cache.lease(&6);
    assert_eq!(cache.get_with(6, || (lease.fill(60).unwrap(), 61).1), 61);
    assert_eq!(cache.get(&6), Some(60));
    assert_eq!(loads(&cache), (4, 0, 3));
}

fn cycles_are_reported<R: Reclaim>() {
    within(LIMIT, "loads in a cycle", || {
        let cache = store::<u64, u64, R>();
        let mut inner = Ok(0);
        let outer = cache.load(1, || {
            inner = cache.load(2, || cache.load(1, || Ok::<_, ()>(0)));
            Ok::<_, ()>(1)
        });
        assert_eq!((outer, inner), (Ok(1), Err(LoadError::Failed(LoadError::Cycle))));
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));

        let panic = catch_unwind(AssertUnwindSafe(|| {
            cache.get_with(3, || cache.get_with(3, || unreachable!("its load is in progress")))
        }));
        let message = *panic.unwrap_err().downcast::<String>().expect("a message");
        assert!(message.ends_with(&LoadError::<std::convert::Infallible>::Cycle.to_string()));
        assert!(message.starts_with("the key 3 wanted at ") && message.contains("cycle"));
        assert_eq!(cache.get_with(3, || 3), 3, "the key is unchanged");

        let (both, told) = (Barrier::new(2), AtomicU64::new(0));
        together(2, |thread| {
            let (mine, others) = (10 + thread as u64, 11 - thread as u64);
            let loaded = cache.load(mine, || {
                both.wait();
                cache.load(others, || Ok::<_, ()>(others)).or_else(|error| {
                    told.fetch_add(1, SeqCst);
                    if error == LoadError::Cycle { Ok(others) } else { Err(error) }
                })
            });
            assert!(loaded.is_ok());
        });
        assert!(told.into_inner() >= 1, "no caller was told");
    });
}

/// During a load, all other operations go on, on other keys and on this one.
fn no_other_operation_waits<R: Reclaim>() {
    within(LIMIT, "operations beside a load", || {
        let cache = store::<u64, u64, R>();
        let (begun, is_begun) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let loader = scope.spawn(|| {
                cache.get_with(7, move || {
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                    70
                })
            });
            is_begun.recv().unwrap();
            for key in 1_000..2_000 {
                assert_eq!(cache.get_with(key, || key), key);
                cache.invalidate(&key);
            }
            assert_eq!(cache.get(&7), None);
            cache.insert(7, 71);
            assert_eq!(cache.get_with(7, || unreachable!("present")), 71);
            assert_eq!(cache.remove(&7), Some(71));
            cache.invalidate_all();
            assert!(cache.lease(&7).fill(72).is_ok());
            go_on.send(()).unwrap();
            assert_eq!(loader.join().unwrap(), 70);
        });
        assert_eq!(cache.get(&7), Some(72));
        assert_eq!(cache.stats().loads_refused, 1);
    });
}

fn prewarming<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 10);
    let mut held = None; // So that the cache knows the key that is removed.
    let entries = (0..1_000).map(|key| {
        if key == 500 {
            cache.insert(500, 1);
        } else if key == 600 {
            held = Some(cache.lease(&600));
            cache.invalidate(&600);
        }
        (key, key)
    });
    // Not the key that was present, the one that was written in the meantime, or the one that was
    // removed.
    assert_eq!(cache.prewarm(entries), 997);
    assert_eq!(
        cache.get_many([&0, &1, &500, &600, &999]),
        [Some(0), Some(10), Some(1), None, Some(999)]
    );
    assert_eq!((cache.stats().loads, cache.prewarm((0..1_000).map(|key| (key, 0)))), (997, 1));
    #[cfg(feature = "rayon")]
    {
        use rayon::iter::{IntoParallelIterator, ParallelIterator};
        let entries = (0..10_000).into_par_iter().map(|key: u64| (key, key));
        assert_eq!(cache.par_prewarm(entries), 9_000);
        assert_eq!(
            (cache.len(), cache.get(&9_999), cache.get(&1)),
            (10_000, Some(9_999), Some(10))
        );
    }
}

/// Whether or not the cleared entries have been swept by then.
fn prewarming_cleared_keys<R: Reclaim>() {
    for is_kept in [false, true] {
        let cache = store::<u64, u64, R>();
        (0..100).for_each(|key| _ = cache.insert(key, 0));
        let view = is_kept.then(|| cache.view());
        cache.invalidate_all();
        assert_eq!(cache.prewarm((0..100).map(|key| (key, 1))), 100, "beside a view: {is_kept}");
        assert_eq!((cache.len(), cache.get_many([&0, &99])), (100, [Some(1), Some(1)]));
        drop(view);
        // A key that was cleared in the meantime is not filled with a value read earlier.
        let cleared = cache.clone();
        let entries =
            (100..200).inspect(move |key| _ = (*key == 150).then(|| cleared.invalidate_all()));
        cache.prewarm(entries.map(|key| (key, 1)));
        assert_eq!((cache.get(&149), cache.get(&150)), (None, None));
    }
}

fn with_a_bound_and_a_listener<R: Reclaim>() {
    let (left, leaving) = mpsc::channel();
    let cache = coeval::Cache::builder()
        .max_capacity(10)
        .eviction_listener(move |key: Arc<u64>, value, cause, _| {
            let _ = left.send((*key, value, cause));
        })
        .reclaimer::<R>()
        .build();
    for key in 0..1_000 {
        assert_eq!(cache.get_with(key, || key), key);
        assert!(cache.len() <= 10);
    }
    let gone: Vec<_> = leaving.try_iter().collect();
    assert_eq!(gone.len(), 990);
    assert!(gone.iter().all(|(key, value, cause)| key == value && *cause == RemovalCause::Size));
    assert_eq!(
        cache.prewarm((0..1_000).map(|key| (key, key))) as usize,
        leaving.try_iter().count()
    );
    // A value that is heavier than the bound goes at once; its loader still gets it.
    let heavy = coeval::Cache::builder().max_capacity(10).weigher(|_, weight: &u32| *weight);
    let heavy = heavy.reclaimer::<R>().build();
    assert_eq!((heavy.get_with(1, || 11), heavy.get(&1), heavy.get_with(1, || 5)), (11, None, 5));
}

fn with_deadlines<R: Reclaim>() {
    const THREADS: u64 = 8;
    within(LIMIT, "loads of expired values", || {
        let clock = ManualClock::new();
        let builder = coeval::Cache::builder().time_to_live(Duration::from_secs(10));
        let cache: Cache<R> = builder.manual_clock(&clock).reclaimer::<R>().build();
        for round in 0..50 {
            let (misses, count) = (cache.stats().misses, AtomicU64::new(0));
            together(THREADS as usize, |_| {
                let value = cache.get_with(7, || {
                    count.fetch_add(1, SeqCst);
                    until_missed(&cache, misses + THREADS);
                    round
                });
                assert_eq!(value, round);
            });
            assert_eq!(count.into_inner(), 1, "loaded again, once");
            clock.advance(Duration::from_secs(9));
            assert_eq!(cache.get_with(7, || unreachable!("not expired")), round);
            clock.advance(Duration::from_secs(1));
            assert!(!cache.contains_key(&7));
        }
        assert_eq!(loads(&cache), (50, 0, 0));
    });
}

/// A key is removed while a load is about to end. A caller that comes after the removal does not
/// get the loaded value.
fn a_caller_after_a_removal_loads<R: Reclaim>() {
    within(LIMIT, "a load whose end is late", || {
        let late = Arc::new(std::sync::Mutex::new(None::<std::thread::JoinHandle<u64>>));
        let (slot, handle) = (late.clone(), Arc::new(std::sync::Mutex::new(None::<Cache<R>>)));
        let reach = handle.clone();
        // The listener runs between the commit of the value, which evicts an older entry, and the
        // end of the load.
        let builder = coeval::Cache::builder().eviction_listener(move |_, _, cause, _| {
            let cache = reach.lock().unwrap().clone().expect("made");
            if cause == RemovalCause::Expired && cache.remove(&7) == Some(1) {
                let misses = cache.stats().misses;
                let other = cache.clone();
                *slot.lock().unwrap() = Some(std::thread::spawn(move || other.get_with(7, || 2)));
                until_missed(&cache, misses + 1);
                std::thread::sleep(Duration::from_millis(20)); // The other caller comes to wait.
            }
        });
        let clock = ManualClock::new();
        let cache: Cache<R> = builder.manual_clock(&clock).reclaimer::<R>().build();
        *handle.lock().unwrap() = Some(cache.clone());
        cache.insert_with_ttl(7, 0, Duration::from_secs(1));
        clock.advance(Duration::from_secs(2));
        assert_eq!(cache.get_with(7, || 1), 1);
        let late = late.lock().unwrap().take().expect("the listener has run").join().unwrap();
        assert_eq!(late, 2, "a value removed before the call");
        assert_eq!(cache.get(&7), Some(2));
        handle.lock().unwrap().take(); // Otherwise the listener keeps its own cache alive.
    });
}

on_every_reclaimer!(
    one_load_for_all,
    another_loads_if_one_fails,
    another_loads_if_one_panics,
    another_loads_if_a_value_panics,
    a_refused_load_is_for_its_caller_alone,
    a_loader_may_use_the_cache,
    cycles_are_reported,
    no_other_operation_waits,
    prewarming,
    prewarming_cleared_keys,
    with_a_bound_and_a_listener,
    with_deadlines,
    a_caller_after_a_removal_loads,
);
