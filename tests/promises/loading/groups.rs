//! Groups: one call loads several keys, and one commit sets them.

use super::{Cache, LIMIT, loads, until_missed};
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, disturb, on_every_reclaimer, store, stress, together, within};
use coeval::reclaim::Reclaim;
use coeval::{LoadError, ManualClock, Tag};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

const KEYS: [u64; 3] = [1, 2, 3];
const SECOND: Duration = Duration::from_secs(1);

/// The version that all keys of the group share. Panics if they differ.
fn version<R: Reclaim>(cache: &Cache<R>) -> u64 {
    let view = cache.view();
    let versions = KEYS.map(|key| view.get_versioned(&key).expect("present").1.get());
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    versions[0]
}

fn refreshing<R: Reclaim>() -> (Cache<R>, ManualClock) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND).manual_clock(&clock);
    (builder.reclaimer::<R>().build(), clock)
}

fn all_by_one_commit<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    assert_eq!(cache.get_many_with(KEYS, || [10, 20, 30]), [10, 20, 30]);
    assert_eq!(version(&cache), cache.version().get());
    assert_eq!(cache.get_many_with(KEYS, || unreachable!("all are present")), [10, 20, 30]);
    assert_eq!((loads(&cache), cache.len()), ((3, 0, 0), 3));
    // One key is absent: all keys are loaded anew, including the present ones.
    cache.remove(&2);
    assert_eq!(cache.get_many_with(KEYS, || [11, 21, 31]), [11, 21, 31]);
    assert_eq!(version(&cache), cache.version().get());
    // For a key that is given twice, the last value counts.
    assert_eq!(cache.get_many_with([7, 8, 7], || [70, 80, 71]), [70, 80, 71]);
    assert_eq!((cache.get(&7), cache.get(&8)), (Some(71), Some(80)));
    assert_eq!(cache.get_many_with([7, 8, 7], || unreachable!()), [71, 80, 71]);
    let many = std::array::from_fn::<u64, 200, _>(|at| 1_000 + at as u64);
    assert_eq!(cache.get_many_with(many, || many), many);
    assert!(many.iter().all(|key| cache.get_versioned(key).unwrap().1 == cache.version()));
}

fn one_load_of_a_group_for_all<R: Reclaim>() {
    const THREADS: u64 = 32;
    within(LIMIT, "a group that 32 threads want", || {
        for round in 0..stress(5, 50, 1_000) {
            let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
            together(THREADS as usize, |thread| {
                let load = || {
                    count.fetch_add(1, SeqCst);
                    // Each of the other callers has missed at least the first key.
                    until_missed(&cache, 3 * THREADS - 2 * (THREADS / 4));
                    [round, round + 1, round + 2]
                };
                if thread % 4 == 0 {
                    // The first key alone is present when the group is.
                    assert_eq!(cache.get_with(1, || load()[0]), round);
                } else {
                    assert_eq!(cache.get_many_with(KEYS, load), [round, round + 1, round + 2]);
                }
            });
            assert!(
                count.into_inner() <= 2,
                "one for the first alone, perhaps, and one for the group"
            );
            version(&cache);
        }
    });
}

/// While a group is reloaded, other callers get the old values. Afterwards all values are new.
fn the_old_set_is_served<R: Reclaim>() {
    within(LIMIT, "a group that is refreshed", || {
        let (cache, clock) = refreshing::<R>();
        cache.get_many_with(KEYS, || [10, 20, 30]);
        clock.advance(SECOND / 2);
        cache.insert(2, 21); // Younger, but a group is as old as its oldest member.
        clock.advance(SECOND / 2);
        let (begun, (done, wait)) = (Barrier::new(2), mpsc::channel());
        let wait = std::sync::Mutex::new(wait);
        std::thread::scope(|scope| {
            let refresher = scope.spawn(|| {
                cache.get_many_with(KEYS, || {
                    begun.wait();
                    wait.lock().unwrap().recv().unwrap();
                    [12, 22, 32]
                })
            });
            begun.wait();
            for _ in 0..10 {
                let others =
                    cache.get_many_with(KEYS, || unreachable!("another caller refreshes it"));
                assert_eq!(others, [10, 21, 30]);
                assert_eq!(cache.get_with(1, || unreachable!("the same")), 10);
            }
            done.send(()).unwrap();
            assert_eq!(refresher.join().unwrap(), [12, 22, 32]);
        });
        assert_eq!(cache.get_many_with(KEYS, || unreachable!("all are new")), [12, 22, 32]);
        version(&cache);
        // A load that fails leaves the old values.
        clock.advance(SECOND);
        assert_eq!(cache.load_many(KEYS, || Err::<[u64; 3], _>("no")), Ok([12, 22, 32]));
        assert_eq!(cache.get_many_with(KEYS, || [13, 23, 33]), [13, 23, 33]);
        assert_eq!(loads(&cache), (9, 1, 0));
    });
}

/// Tests each change of one member while the group is loaded.
fn a_change_of_one_refuses_all<R: Reclaim>() {
    let tag = Tag::new("tag");
    let changes: [fn(&Cache<R>, &Tag); 7] = [
        |cache, _| _ = cache.insert(3, 31),
        |cache, _| _ = cache.remove(&2),
        |cache, _| _ = cache.invalidate(&1),
        |cache, _| _ = cache.batch().insert(9, 9).remove(2).commit(),
        |cache, _| _ = cache.invalidate_all(),
        |cache, tag| _ = cache.invalidate_tag(tag),
        |cache, _| _ = cache.get_with(4, || 40), // Not a member, so not a change.
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for is_present in [false, true] {
            let (cache, clock) = refreshing::<R>();
            if is_present {
                cache.get_many_with(KEYS, || [10, 20, 30]);
                cache.tag(2, std::slice::from_ref(&tag));
                clock.advance(SECOND);
            }
            let before = loads(&cache);
            let loaded = cache.get_many_with(KEYS, || {
                change(&cache, &tag);
                [12, 22, 32]
            });
            assert_eq!(loaded, [12, 22, 32], "the loaded values go to the caller");
            let (loads, _, refused) = loads(&cache);
            let is_kept = number == 6 || number == 5 && !is_present;
            assert_eq!(refused, if is_kept { 0 } else { 3 }, "{number}, {is_present}");
            if is_kept {
                version(&cache);
                continue;
            }
            assert_eq!(loads, before.0);
            let there = cache.get_many(KEYS.each_ref());
            let was = if is_present { [10, 20, 30].map(Some) } else { [None; 3] };
            let now = match number {
                0 => [was[0], was[1], Some(31)],
                1 | 3 | 5 => [was[0], None, was[2]],
                2 => [None, was[1], was[2]],
                _ => [None; 3],
            };
            assert_eq!(there, now, "{number}, {is_present}: nothing of the load is cached");
        }
    }
}

fn failures<R: Reclaim>() {
    const THREADS: u64 = 8;
    within(LIMIT, "groups whose loads fail", || {
        let (cache, count) = (super::in_turn::<R>(), AtomicU64::new(0));
        together(THREADS as usize, |_| {
            let loaded = cache.try_get_many_with(KEYS, || {
                let n = count.fetch_add(1, SeqCst);
                until_missed(&cache, 3 * THREADS);
                if n < 3 { Err(n) } else { Ok([n; 3]) }
            });
            assert!(loaded.is_err_and(|n| *n < 3) || cache.get(&1) == Some(3));
        });
        assert_eq!((count.into_inner(), loads(&cache)), (4, (3, 3, 0)));
        // A loader that wants its own group gets an error.
        let inner = |cache: &Cache<R>| cache.load_many([7, 8], || Ok::<_, ()>([1, 2]));
        let outer = cache.load_many([7, 8], || {
            assert_eq!(inner(&cache), Err(LoadError::Cycle));
            Ok::<_, ()>([3, 4])
        });
        assert_eq!(outer, Ok([3, 4]));
    });
}

fn with_a_bound_and_deadlines<R: Reclaim>() {
    const THREADS: u64 = 4;
    within(LIMIT, "groups that are not kept", || {
        // One member goes as soon as all are present, so no look-up finds all of them.
        let cache: Cache<R> = coeval::Cache::builder().max_capacity(2).reclaimer::<R>().build();
        let count = AtomicU64::new(0);
        together(THREADS as usize, |_| {
            let load = || {
                count.fetch_add(1, SeqCst);
                until_missed(&cache, 3 * THREADS);
                [10, 20, 30]
            };
            assert_eq!(cache.get_many_with(KEYS, load), [10, 20, 30]);
        });
        assert!(cache.len() <= 2);
        assert!((1..=THREADS).contains(&count.into_inner()));
        // A common deadline ends them together.
        let clock = ManualClock::new();
        let builder = coeval::Cache::builder().time_to_live(SECOND).manual_clock(&clock);
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        cache.get_many_with(KEYS, || [10, 20, 30]);
        clock.advance(SECOND);
        assert_eq!(cache.get_many(KEYS.each_ref()), [None; 3]);
        assert_eq!(cache.get_many_with(KEYS, || [11, 21, 31]), [11, 21, 31]);
    });
}

/// A reload takes over tags and inputs, member by member.
fn bonds_stay<R: Reclaim>() {
    let (cache, clock) = refreshing::<R>();
    let tag = Tag::new("tag");
    cache.insert(9, 90);
    cache.derive(1, |scope| scope.get(&9).unwrap() / 9);
    cache.insert_tagged(2, 20, std::slice::from_ref(&tag));
    clock.advance(SECOND);
    assert_eq!(cache.get_many_with(KEYS, || [11, 21, 31]), [11, 21, 31]);
    version(&cache);
    cache.insert(9, 99);
    assert_eq!(cache.get_many(KEYS.each_ref()), [None, Some(21), Some(31)]);
    cache.invalidate_tag(&tag);
    assert_eq!(cache.get_many(KEYS.each_ref()), [None, None, Some(31)]);
    // An input of a member was written in the meantime: nothing is kept, and nothing is held for
    // ever.
    let loaded = cache.get_many_with(KEYS, || {
        cache.insert(9, 100);
        [12, 22, 32]
    });
    assert_eq!((loaded, cache.get(&3)), ([12, 22, 32], Some(31)));
    assert_eq!(cache.get_many_with(KEYS, || [13, 23, 33]), [13, 23, 33]);
    version(&cache);
}

/// Writers change the source and drop the group; readers load and refresh it. No look-up shows
/// parts of two loads, or a value older than the last drop.
fn beside_writers<R: Reclaim>() {
    disturb();
    let (seed, rounds) = (run_seed(), stress(3_000, 60_000, 1_000_000));
    let (cache, clock) = refreshing::<R>();
    let (source, told, stop) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    within(Duration::from_secs(600), "groups beside writers", || {
        together(4, |thread| {
            let mut random = Random::new(seed ^ thread as u64);
            if thread == 0 {
                while !stop.load(SeqCst) {
                    let now = source.fetch_add(1, SeqCst) + 1;
                    match random.below(3) {
                        0 => drop(
                            KEYS.iter()
                                .fold(cache.batch(), |batch, key| batch.remove(*key))
                                .commit(),
                        ),
                        1 => drop(
                            KEYS.iter()
                                .fold(cache.batch(), |batch, key| batch.insert(*key, now))
                                .commit(),
                        ),
                        _ => drop(cache.invalidate_all()),
                    }
                    told.store(now, SeqCst);
                    clock.advance(SECOND / 3);
                    (0..random.below(200)).for_each(|_| std::hint::spin_loop());
                }
                return;
            }
            let _stop = StopOnDrop(&stop);
            let seen = Cell::new(0);
            for _ in 0..rounds {
                let least = told.load(SeqCst);
                let group = match random.below(3) {
                    0 => cache.get_many(KEYS.each_ref()),
                    1 => {
                        let view = cache.view();
                        KEYS.map(|key| view.get(&key).copied())
                    }
                    _ => cache.get_many_with(KEYS, || [source.load(SeqCst); 3]).map(Some),
                };
                assert!(group.iter().all(|value| *value == group[0]), "torn: {group:?}");
                if let Some(value) = group[0] {
                    assert!(value >= least, "stale: {value}, the cache was told of {least}");
                    seen.set(seen.get() + 1);
                }
            }
            assert!(seen.get() > rounds / 10);
        });
    });
}

#[cfg(feature = "async")]
fn futures<R: Reclaim>() {
    use super::futures::{give_way, poll, run};
    use std::pin::Pin;
    let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
    let load = || async {
        count.fetch_add(1, SeqCst);
        give_way().await;
        [10, 20, 30]
    };
    let mut first = Box::pin(cache.get_many_with_async(KEYS, load()));
    assert!(poll(first.as_mut()).is_pending());
    let mut others: Vec<Pin<Box<dyn Future<Output = [u64; 3]>>>> = Vec::new();
    for _ in 0..100 {
        let mut other = Box::pin(cache.get_many_with_async(KEYS, load()));
        assert!(poll(other.as_mut()).is_pending());
        others.push(other);
    }
    drop(first); // One of the others loads.
    assert!(run(others).iter().all(|values| *values == [10, 20, 30]));
    assert_eq!((count.into_inner(), loads(&cache)), (2, (3, 0, 0)));
    version(&cache);
    let failed = cache.try_get_many_with_async([7, 8], async { Err::<[u64; 2], _>("no") });
    let mut failed = std::pin::pin!(failed);
    let std::task::Poll::Ready(failed) = poll(failed.as_mut()) else {
        panic!("it has nothing to wait for")
    };
    assert_eq!(failed.map_err(|error| *error), Err("no"));
}

#[cfg(not(feature = "async"))]
fn futures<R: Reclaim>() {}

/// Values that have ended pass on their tags to those that are loaded in their place. A tag that was
/// invalidated meanwhile refuses the whole group.
fn a_tag_of_one_refuses_all<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let fill = || {
        cache.insert_tagged(1, 1, &["first".into(), "both".into()]);
        cache.insert_tagged(2, 2, &["second".into(), "both".into()]);
        cache.invalidate_tag("both");
        assert_eq!(cache.get_many([1, 2].each_ref()), [None; 2]);
    };
    fill();
    let loaded = cache.get_many_with([1, 2], || {
        cache.invalidate_tag("second");
        [10, 20]
    });
    assert_eq!((loaded, loads(&cache)), ([10, 20], (0, 0, 2)));
    assert_eq!(cache.get_many([1, 2].each_ref()), [None; 2]);
    fill();
    assert_eq!(cache.get_many_with([1, 2], || [11, 21]), [11, 21]);
    cache.invalidate_tag("first");
    assert_eq!(cache.get_many([1, 2].each_ref()), [None, Some(21)]);
}

on_every_reclaimer!(
    all_by_one_commit,
    one_load_of_a_group_for_all,
    the_old_set_is_served,
    a_change_of_one_refuses_all,
    a_tag_of_one_refuses_all,
    failures,
    with_a_bound_and_deadlines,
    bonds_stay,
    beside_writers,
    futures,
);
