//! Promise: no reader ever sees a part of a batch, or one related entry new and another one old.

use crate::common::random::{Random, run_seed};
use crate::common::{
    StopOnDrop, Store, disturb, on_every_reclaimer, store, stress, together, within,
};
use coeval::reclaim::Reclaim;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Keys of a group: `group * 8` and the seven after it.
const GROUP: u64 = 8;
/// So few that readers and writers meet.
const GROUPS: u64 = 4;

fn group(group: u64) -> [u64; GROUP as usize] {
    std::array::from_fn(|at| group * GROUP + at as u64)
}

/// A cache in which a write of a group's first key rewrites the other seven with the same new
/// value.
fn with_relations<R: Reclaim>(value: &'static (impl Fn() -> u64 + Sync)) -> Store<u64, u64, R> {
    coeval::Cache::builder()
        .reclaimer::<R>()
        .related(move |key: &u64, related: &mut coeval::Related<u64, u64>| {
            if key.is_multiple_of(GROUP) {
                let value = value();
                for at in 1..GROUP {
                    related.insert(key + at, value);
                }
            }
        })
        .build()
}

/// Puts a new value under every key of a group, in one commit.
type Rewrite<'a, R> = &'a (dyn Fn(&Store<u64, u64, R>, u64, u64) + Sync);

fn by_batch<R: Reclaim>(cache: &Store<u64, u64, R>, g: u64, value: u64) {
    let batch = group(g).into_iter().fold(cache.batch(), |batch, key| batch.insert(key, value));
    batch.commit();
}

/// The value that the relation of the running thread's write gives to the other keys.
fn related_value() -> u64 {
    VALUE.get()
}

std::thread_local! { static VALUE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) }; }

fn by_relation<R: Reclaim>(cache: &Store<u64, u64, R>, g: u64, value: u64) {
    VALUE.set(value);
    cache.insert(g * GROUP, value);
}

/// Reads and checks a group.
type ReadGroup<'a, R> = &'a (dyn Fn(&Store<u64, u64, R>, u64) + Sync);

fn many_is_one<R: Reclaim>(cache: &Store<u64, u64, R>, g: u64) {
    let found = cache.get_many(group(g).each_ref());
    assert!(found.iter().all(|value| value.is_some() && *value == found[0]), "torn: {found:?}");
}

fn view_is_one<R: Reclaim>(cache: &Store<u64, u64, R>, g: u64) {
    let view = cache.view();
    let first = view.get_versioned(&(g * GROUP)).expect("groups are never removed");
    for key in group(g) {
        assert_eq!(view.get_versioned(&key), Some(first), "torn view at key {key}");
    }
    for (key, value) in view.iter() {
        assert_eq!(Some(value), view.get(key), "iteration and look-up differ");
    }
    assert_eq!(view.get_versioned(&(g * GROUP)), Some(first), "the view changed");
}

/// Plain gets, one after another: a later get never finds an older value.
fn key_first<R: Reclaim>(cache: &Store<u64, u64, R>, g: u64) {
    let mut newest = None;
    for key in group(g) {
        let (value, version) = cache.get_versioned(&key).expect("groups are never removed");
        assert!(newest <= Some(version), "{key} is older than a key that was read before it");
        assert!(cache.get(&key).is_some_and(|later| later == value || cache.version() > version));
        newest = Some(version);
    }
}

/// Half of `threads` rewrite groups. The others read groups until they have done `reads` reads.
fn beside<R: Reclaim>(
    cache: &Store<u64, u64, R>,
    threads: usize,
    reads: u64,
    rewrite: Rewrite<'_, R>,
    read: ReadGroup<'_, R>,
) {
    disturb();
    let seed = run_seed();
    (0..GROUPS).for_each(|g| rewrite(cache, g, 0));
    let stop = AtomicBool::new(false);
    let (readers, left) = (threads / 2, AtomicU64::new((threads / 2) as u64));
    together(threads, |thread| {
        let mut random = Random::new(seed ^ thread as u64);
        if thread >= readers {
            let mut value = thread as u64;
            while !stop.load(Ordering::Relaxed) {
                value += threads as u64;
                rewrite(cache, random.below(GROUPS), value);
            }
            return;
        }
        // A reader that panics stops the writers.
        let mut on_panic = Some(StopOnDrop(&stop));
        for _ in 0..reads / readers as u64 {
            read(cache, random.below(GROUPS));
        }
        if left.fetch_sub(1, Ordering::Relaxed) > 1 {
            std::mem::forget(on_panic.take());
        }
    });
}

/// Tests every way to write against one way to read, at 2, 8 and 32 threads.
fn every_way<R: Reclaim>(reads: u64, read: ReadGroup<'_, R>) {
    for threads in [2, 8, 32] {
        beside(&store(), threads, reads / 6, &by_batch, read);
        beside(&with_relations(&related_value), threads, reads / 6, &by_relation, read);
    }
}

fn get_many_never_mixes<R: Reclaim>() {
    every_way::<R>(stress(12_000, 600_000, 10_000_000), &many_is_one);
}

fn views_never_mix<R: Reclaim>() {
    every_way::<R>(stress(6_000, 300_000, 10_000_000), &view_is_one);
}

fn related_entries_are_never_older_than_their_key<R: Reclaim>() {
    every_way::<R>(stress(12_000, 600_000, 10_000_000), &key_first);
}

/// Two keys take turns being present. Records come and go, and some reader meets every moment.
fn of_two_keys_exactly_one_is_present<R: Reclaim>() {
    let reads = stress(20_000, 1_000_000, 10_000_000);
    for threads in [2, 8, 32] {
        let cache = store::<u64, u64, R>();
        cache.insert(0, 0);
        let swap = |cache: &Store<u64, u64, R>, _, value| {
            // Unconditional: the last commit decides, and each commit leaves exactly one key
            // present.
            let batch = cache.batch();
            match value % 2 {
                0 => batch.remove(0).insert(1, value).commit(),
                _ => batch.insert(0, value).remove(1).commit(),
            };
        };
        let one = |cache: &Store<u64, u64, R>, _| {
            let found = cache.get_many([&0, &1]);
            assert!(found[0].is_some() != found[1].is_some(), "not exactly one: {found:?}");
            let view = cache.view();
            assert!(view.contains_key(&0) != view.contains_key(&1), "not exactly one in a view");
            assert_eq!((view.len(), view.iter().count()), (1, 1));
        };
        beside(&cache, threads, reads / 3, &swap, &one);
    }
}

/// As above with many pairs, so that writers of other keys also make and reclaim records.
fn of_many_pairs_exactly_one_is_present<R: Reclaim>() {
    let reads = stress(10_000, 500_000, 10_000_000);
    let cache = store::<u64, u64, R>();
    let swap = |cache: &Store<u64, u64, R>, _, value: u64| {
        let pair = value / 7 % 64 * 2;
        let (here, gone) =
            if value.is_multiple_of(2) { (pair, pair + 1) } else { (pair + 1, pair) };
        cache.batch().insert(here, value).remove(gone).commit();
    };
    (0..64).for_each(|pair| swap(&cache, 0, pair * 7));
    let one = |cache: &Store<u64, u64, R>, g: u64| {
        let found = cache.get_many([g * 2, g * 2 + 1, g * 2 + 8, g * 2 + 9].each_ref());
        assert!(found[0].is_some() != found[1].is_some(), "not exactly one: {found:?}");
        assert!(found[2].is_some() != found[3].is_some(), "not exactly one: {found:?}");
        assert_eq!(cache.view().len(), 64);
    };
    beside(&cache, 8, reads, &swap, &one);
}

/// Groups are written whole, and all keys are invalidated at once. A reader finds a whole group or
/// none of it.
fn invalidate_all_takes_everything_at_once<R: Reclaim>() {
    let reads = stress(12_000, 500_000, 10_000_000);
    let cache = store::<u64, u64, R>();
    let write = |cache: &Store<u64, u64, R>, g, value: u64| match value % 3 {
        0 => {
            cache.invalidate_all();
        }
        _ => by_batch(cache, g, value),
    };
    let whole = |cache: &Store<u64, u64, R>, g| {
        let found = cache.get_many(group(g).each_ref());
        assert!(found.iter().all(|value| *value == found[0]), "torn: {found:?}");
        let view = cache.view();
        assert_eq!(view.len() as u64 % GROUP, 0, "a view shows a part of a group");
        assert_eq!(view.iter().count(), view.len());
    };
    beside(&cache, 8, reads, &write, &whole);
}

fn batches_of_every_size<R: Reclaim>() {
    let rounds = stress(2, 20, 500);
    for size in [1u64, 2, 1_000, 20_000] {
        let cache = store::<u64, u64, R>();
        let rewrite = |value: u64| {
            (0..size).fold(cache.batch(), |batch, key| batch.insert(key, value)).commit()
        };
        rewrite(0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let view = cache.view();
                        let first = view.get_versioned(&0);
                        let last = view.get_versioned(&(size - 1));
                        assert_eq!(first, last, "torn batch of {size}");
                        let ends = cache.get_many([&0, &(size / 2), &(size - 1)]);
                        assert!(ends.iter().all(|value| *value == ends[0]), "torn: {ends:?}");
                        assert_eq!(view.len() as u64, size);
                    }
                });
            }
            let _stop = StopOnDrop(&stop);
            let mut last = cache.version();
            for value in 1..=rounds {
                let version = rewrite(value);
                assert!(version > last);
                last = version;
                assert_eq!(cache.get_versioned(&(size - 1)), Some((value, version)));
            }
        });
        assert_eq!(cache.len() as u64, size);
        assert!(cache.view().iter().all(|(_, value)| *value == rounds));
    }
}

/// Batches over the same keys, given in opposite orders, all finish.
fn overlapping_batches_finish<R: Reclaim>() {
    let rounds = stress(300, 10_000, 500_000);
    within(Duration::from_secs(60 + rounds / 100), "overlapping batches", || {
        let cache = store::<u64, u64, R>();
        together(16, |thread| {
            for round in 0..rounds {
                let keys = 0..10 + round % 7;
                let value = round << 8 | thread as u64;
                let mut batch = cache.batch();
                for at in keys.clone() {
                    let key = if thread % 2 == 0 { at } else { keys.end - 1 - at };
                    batch = batch.insert(key, value);
                }
                batch.commit();
                let found = cache.get_many([&0, &5, &9]);
                assert!(found.iter().all(|value| *value == found[0]), "torn: {found:?}");
            }
        });
    });
}

/// A batch also writes fresh keys. A reader that sees the shared key also sees the fresh keys.
fn fresh_keys_come_with_their_batch<R: Reclaim>() {
    let rounds = stress(2_000, 50_000, 1_000_000);
    let cache = store::<u64, u64, R>();
    cache.insert(0, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) {
                    let newest = cache.get(&0).expect("never removed");
                    assert!(newest >= seen, "went back from {seen} to {newest}");
                    seen = newest;
                    if newest > 0 {
                        assert!(cache.get(&newest).is_some(), "{newest} came without its batch");
                        assert!(cache.get(&(newest | 1 << 40)).is_some());
                    }
                    let next = newest + 1;
                    let [shared, own] = cache.get_many([&0, &next]);
                    assert_eq!(shared >= Some(next), own.is_some(), "torn at {next}");
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        for round in 1..=rounds {
            cache.batch().insert(round, 0).insert(0, round).insert(round | 1 << 40, 0).commit();
        }
    });
    assert_eq!(cache.len() as u64, 2 * rounds + 1);
}

on_every_reclaimer!(
    get_many_never_mixes,
    views_never_mix,
    related_entries_are_never_older_than_their_key,
    of_two_keys_exactly_one_is_present,
    of_many_pairs_exactly_one_is_present,
    invalidate_all_takes_everything_at_once,
    batches_of_every_size,
    overlapping_batches_finish,
    fresh_keys_come_with_their_batch,
);
