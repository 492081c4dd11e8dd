//! Promise: a program may ask what a cache holds, and in which order entries would leave, without
//! changing either. The bound may change at any time, and later writes bring the cache to it.

use crate::common::{Store, on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Terms};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

fn bounded<R: Reclaim>(capacity: u64) -> Cache<R> {
    coeval::Cache::builder().max_capacity(capacity).reclaimer().build()
}

fn fill<R: Reclaim>(cache: &Cache<R>, keys: std::ops::Range<u64>) {
    keys.for_each(|key| _ = cache.insert(key, key));
}

/// The keys that leave when the bound shrinks to `capacity` are the coldest ones, in that order.
fn the_coldest_leave_first<R: Reclaim>() {
    let cache = bounded::<R>(64);
    fill(&cache, 0..64);
    for key in (0..64).step_by(3) {
        (0..1 + key % 4).for_each(|_| _ = cache.get(&key));
    }
    let order = cache.coldest(usize::MAX);
    let mut all = order.clone();
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<_>>());
    let reversed: Vec<u64> = order.iter().rev().copied().collect();
    assert_eq!(cache.hottest(usize::MAX), reversed);
    assert_eq!((cache.hottest(3), cache.coldest(0)), (reversed[..3].to_vec(), vec![]));
    let never_hit = 64 - 64_usize.div_ceil(3);
    let (cold, hot) = order.split_at(never_hit);
    assert!(cold.iter().all(|key| key % 3 != 0) && hot.iter().all(|key| key % 3 == 0));
    assert_eq!(cache.resize(32), Some(64));
    cache.collect();
    let left = cache.hottest(usize::MAX);
    let gone = order.iter().filter(|key| !left.contains(key)).count();
    assert_eq!((left.len(), gone), (32, 32));
    assert!(hot.iter().all(|key| left.contains(key)), "{left:?} of {order:?}");
}

fn asking_changes_nothing<R: Reclaim>() {
    let clock = ManualClock::new();
    let (second, builder) = (Duration::from_secs(1), coeval::Cache::builder());
    let builder = builder.max_capacity(10).time_to_idle(second * 10).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    fill(&cache, 0..10);
    let before = cache.coldest(10);
    for _ in 0..5 {
        clock.advance(second);
        assert_eq!((cache.peek(&3), cache.peek(&10)), (Some(3), None));
        assert_eq!(cache.time_to_live_left(&10), None);
        let _ = (cache.hottest(10), cache.coldest(10));
    }
    assert_eq!(cache.time_to_live_left(&3), Some(second * 5));
    cache.get(&3);
    assert_eq!(cache.time_to_live_left(&3), Some(second * 10));
    clock.advance(second * 5);
    assert_eq!((cache.peek(&3), cache.peek(&4)), (Some(3), None));
    assert_eq!((cache.hottest(10), cache.time_to_live_left(&4)), (vec![3], None));
    assert_eq!(before.len(), 10);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 0));
}

fn an_unbounded_cache_knows_no_order<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    fill(&cache, 0..10);
    assert_eq!((cache.hottest(5), cache.coldest(5), cache.resize(3)), (vec![], vec![], None));
    fill(&cache, 10..20);
    assert_eq!((cache.len(), cache.policy().max_capacity()), (20, None));
}

/// An entry of weight zero stays, whatever the bound is: so a program pins an entry.
fn an_entry_without_weight_is_pinned<R: Reclaim>() {
    let builder = coeval::Cache::builder().max_capacity(10).weigher(|_, _| 1);
    let cache: Cache<R> = builder.reclaimer().build();
    cache.batch().insert_with(7, 7, Terms::new().weight(0)).commit();
    fill(&cache, 100..200);
    cache.resize(0);
    fill(&cache, 200..300);
    cache.collect();
    assert_eq!((cache.peek(&7), cache.len()), (Some(7), 1));
}

fn a_larger_bound_is_used<R: Reclaim>() {
    let cache = bounded::<R>(10);
    fill(&cache, 0..1_000);
    assert_eq!((cache.len(), cache.resize(500)), (10, Some(10)));
    fill(&cache, 1_000..1_490);
    assert_eq!(cache.len(), 500);
    fill(&cache, 2_000..3_000);
    assert_eq!(cache.len(), 500);
}

/// Each write evicts at most 32 entries more than it brings, and the bound is reached.
fn a_smaller_bound_is_reached_step_by_step<R: Reclaim>() {
    let cache = bounded::<R>(1_000);
    fill(&cache, 0..1_000);
    cache.resize(100);
    let mut before = 1_000;
    while before > 100 {
        fill(&cache, 0..1);
        let now = cache.len();
        assert!(now < before && before - now <= 33, "from {before} to {now}");
        before = now;
    }
    assert_eq!(cache.len(), 100);
    cache.resize(0);
    while cache.maintain(1) {}
    assert_eq!(cache.len(), 0, "not even what this thread has just brought is left");
}

/// Whether the thread that maintains the cache has added the entry or not.
fn an_entry_above_a_smaller_bound_leaves<R: Reclaim>() {
    for maintains in [true, false] {
        let builder = coeval::Cache::builder().max_capacity(100).weigher(|_, v| *v as u32);
        let cache: Cache<R> = builder.reclaimer().build();
        cache.insert(1, 90);
        cache.resize(50);
        assert_eq!(cache.peek(&1), Some(90), "the call evicts nothing");
        if maintains {
            assert!(!cache.maintain(100))
        } else {
            _ = cache.collect()
        }
        assert_eq!((cache.peek(&1), cache.stats().weight), (None, 0));
    }
}

fn the_bound_changes_among_writers<R: Reclaim>() {
    let (cache, stop) = (bounded::<R>(1_000), AtomicBool::new(false));
    let (keys, rounds) = (AtomicU64::new(0), stress(20, 200, 2_000));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let key = keys.fetch_add(1, Ordering::Relaxed) % 5_000;
                    cache.insert(key, key);
                    assert!(cache.peek(&key).is_none_or(|value| value == key));
                }
            });
        }
        for round in 0..rounds {
            cache.resize([10, 2_000, 300, 0, 1_000][round as usize % 5]);
            let hot = cache.hottest(50);
            let mut distinct = hot.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert!(hot.len() <= 50 && hot.iter().all(|key| *key < 5_000));
            assert_eq!(distinct.len(), hot.len());
        }
        stop.store(true, Ordering::Relaxed);
    });
    cache.resize(40);
    cache.collect();
    assert!(cache.len() <= 40 && cache.coldest(100).len() == cache.len());
}

fn the_index_is_counted<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    let empty = cache.stats();
    fill(&cache, 0..10_000);
    let full = cache.stats();
    assert!(empty.index_memory > 0 && full.memory > empty.memory);
    // 8 to 32 bytes for an entry, in one table or two.
    assert!((8 * 10_000..96 * 10_000).contains(&full.index_memory), "{}", full.index_memory);
}

fn open_views_are_listed<R: Reclaim>() {
    let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    let cache: Cache<R> = coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
    assert!(cache.open_views().is_empty());
    let old = cache.insert(1, 1);
    let (first, line) = (cache.view(), line!());
    clock.advance(second * 5);
    let new = cache.insert(1, 2);
    let (second_view, copy) = (cache.view_at(new).unwrap(), first.clone());
    let list = || {
        let open = cache.open_views();
        open.iter().map(|view| (view.version, view.age)).collect::<Vec<_>>()
    };
    assert_eq!(list(), [(old, second * 5), (new, Duration::ZERO)]);
    let keys = cache.keys();
    let places = cache.open_views().into_iter().map(|view| view.opened_at);
    let lines: Vec<u32> = places.flatten().map(|place| place.line()).collect();
    match cfg!(any(feature = "metrics", feature = "tracing")) {
        // The iterator's view has the line of the call, too, not one of the library.
        true => assert_eq!(lines, [line, line + 3, line + 9]),
        false => assert_eq!(lines, []),
    }
    drop((keys, first));
    assert_eq!(list().len(), 2, "the copy keeps it open");
    drop((copy, second_view));
    assert!(cache.open_views().is_empty());
    // A view that an operation opens for itself has no place in the program's code.
    let seen = cache.atomically(|tx| {
        tx.get(&1);
        cache.open_views().iter().map(|view| view.opened_at).collect::<Vec<_>>()
    });
    assert_eq!(seen.unwrap().value, [None]);
}

/// Two of a thousand keys hardly ever have the same 32 bits.
fn a_key_is_known_by_its_hash<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    fill(&cache, 0..1_000);
    let hash = |key: u64| cache.explain(&key).key_hash;
    let found = |key: u64| cache.key_with_hash(hash(key));
    assert!((0..1_000).filter(|key| found(*key) == Some(*key)).count() > 990);
    assert!((0..1_000).all(|key| found(key).is_some_and(|other| hash(other) == hash(key))));
    assert!((1_000..2_000).filter(|key| found(*key).is_some()).count() < 10);
    let view = cache.view();
    cache.remove(&7);
    assert!(found(7).is_some(), "a view still shows its value");
    drop(view);
}

fn loads_under_way_are_listed<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    assert!(cache.loads_under_way().is_empty(), "there was no load yet");
    std::thread::scope(|scope| {
        let loaded = cache.get_with(1, || {
            scope.spawn(|| assert_eq!(cache.get_with(1, || 8), 7));
            while cache.loads_under_way()[0].waiters == 0 {
                std::thread::yield_now();
            }
            cache.get_with(2, || {
                let (one, [two]) = (cache.loads_under_way(), [2]);
                assert_eq!(one.len(), 2, "{one:?}");
                assert!(one.iter().all(|load| load.age.is_some() == cfg!(feature = "metrics")));
                two
            });
            7
        });
        assert_eq!(loaded, 7);
    });
    assert!(cache.loads_under_way().is_empty());
}

/// Views and loads that come and go do not disturb whoever lists them.
fn listing_beside_others<R: Reclaim>() {
    let (cache, rounds) = (bounded::<R>(100), stress(2_000, 20_000, 2_000_000));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = |seed: u64| {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                for key in (seed..seed + rounds).map(|round| round % 7) {
                    let view = cache.view();
                    cache.get_with(key, || key);
                    cache.remove(&key);
                    drop(view);
                }
                stop.store(true, Ordering::Relaxed);
            });
        };
        [1, 3, 5].into_iter().for_each(worker);
        while !stop.load(Ordering::Relaxed) {
            assert!(cache.open_views().is_sorted_by_key(|view| view.version));
            assert!(cache.loads_under_way().iter().all(|load| load.waiters <= 2));
        }
    });
    assert!(cache.open_views().is_empty() && cache.loads_under_way().is_empty());
}

on_every_reclaimer! {
    open_views_are_listed,
    loads_under_way_are_listed,
    a_key_is_known_by_its_hash,
    listing_beside_others,
    the_coldest_leave_first,
    asking_changes_nothing,
    an_unbounded_cache_knows_no_order,
    an_entry_without_weight_is_pinned,
    a_larger_bound_is_used,
    a_smaller_bound_is_reached_step_by_step,
    an_entry_above_a_smaller_bound_leaves,
    the_bound_changes_among_writers,
    the_index_is_counted,
}
