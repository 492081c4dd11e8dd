//! Promise: when the call that told the cache of a change has returned, nobody who looks after that gets from
//! the cache what was read from the source before the change; however long loads take, beside evictions and
//! expirations, and for related entries together.
//!
//! The source is an array of numbers that only grow, each changed by one thread. A writer raises its number, tells
//! the cache, by any of the ways that there are, and then notes that it did. A reader takes that note first.
//! What it gets must not be older; how often it is must stay 0.

mod common;
#[path = "staleness/world.rs"]
mod world;

use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use common::random::{Random, run_seed};
use common::{StopOnDrop, Store, disturb, on_every_reclaimer, stress, together, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use world::{DROPS, Kind, SETS, Source, pause};

/// How many threads, half of them readers.
const CROWDS: [usize; 3] = [2, 8, 32];

type Cache<R> = Store<usize, u64, R>;

fn trials() -> u64 {
    stress(20_000, 300_000, 10_000_000)
}

/// Runs readers, which do so many looks together, and beside them writers, until the readers have done theirs.
fn race(
    threads: usize,
    reader: impl Fn(&mut Random) + Sync,
    writer: impl Fn(&mut Random, usize) + Sync,
) {
    disturb();
    let seed = run_seed();
    let readers = threads / 2;
    let (left, failed) = (AtomicUsize::new(readers), AtomicBool::new(false));
    within(Duration::from_secs(1_200), "readers beside writers", || {
        together(threads, |thread| {
            let mut random = Random::new(seed ^ (thread as u64) << 32);
            if thread >= readers {
                while left.load(SeqCst) > 0 && !failed.load(SeqCst) {
                    writer(&mut random, thread - readers);
                    pause(&mut random);
                }
                return;
            }
            let panicked = StopOnDrop(&failed);
            (0..trials() / readers as u64).for_each(|_| reader(&mut random));
            left.fetch_sub(1, SeqCst);
            std::mem::forget(panicked);
        });
    });
}

/// A cache over a source, in which a key may have others beside it whose writes drop it or set it anew.
fn cache_of<R: Reclaim>(
    source: &Arc<Source>,
    settings: impl FnOnce(coeval::Builder<usize, u64>) -> coeval::Builder<usize, u64>,
) -> Cache<R> {
    let read = source.clone();
    let builder = coeval::Cache::builder().related(move |key, related| match *key {
        SETS.. => drop(related.insert(key - SETS, read.read(key - SETS))),
        DROPS.. => drop(related.invalidate(key - DROPS)),
        _ => {}
    });
    settings(builder).reclaimer::<R>().build()
}

/// Readers and writers of `keys`; what the readers got that was too old.
fn stale<R: Reclaim>(
    cache: &Cache<R>,
    source: &Source,
    threads: usize,
    clock: &ManualClock,
) -> u64 {
    let stale = AtomicU64::new(0);
    let reader = |random: &mut Random| {
        let key = random.below(source.len()) as usize;
        let told = source.told(key);
        let load = |random: &mut Random| {
            pause(random);
            let value = source.read(key);
            pause(random);
            value
        };
        let found = match random.below(10) {
            0 => cache.get(&key),
            1 => cache.get_many([&key, &0])[0],
            2 => cache.view().get(&key).copied(),
            3 => {
                let lease = cache.lease(&key);
                let value = load(random);
                let _ = lease.fill(value);
                cache.get(&key)
            }
            // A load that fails, whatever it has read.
            4 => cache.load(key, || Err(load(random))).ok(),
            _ => Some(cache.get_with(key, || load(random))),
        };
        if found.is_some_and(|value| value < told) {
            stale.fetch_add(1, SeqCst);
        }
    };
    let writer = |random: &mut Random, writer: usize| {
        let Some(key) = source.one_of(random, writer, threads - threads / 2) else { return };
        let value = source.raise(key);
        pause(random);
        Kind::any(random).tell(cache, key, value);
        source.tell(key, value);
        clock.advance(Duration::from_nanos(random.below(20)));
    };
    race(threads, reader, writer);
    let stats = cache.stats();
    println!("{threads} threads: {} loads, {} refused", stats.loads, stats.loads_refused);
    assert!(stats.loads > 0 && stats.hits > 0);
    stale.into_inner()
}

fn nobody_gets_what_is_stale<R: Reclaim>() {
    for threads in CROWDS {
        let source = Source::new(8.max(threads / 2));
        let cache = cache_of::<R>(&source, |builder| builder);
        assert_eq!(stale(&cache, &source, threads, &ManualClock::new()), 0, "{threads} threads");
    }
}

fn nobody_does_beside_evictions<R: Reclaim>() {
    for threads in CROWDS {
        let source = Source::new(8.max(threads / 2));
        let cache = cache_of::<R>(&source, |builder| builder.max_capacity(4));
        assert_eq!(stale(&cache, &source, threads, &ManualClock::new()), 0, "{threads} threads");
        assert!(cache.stats().removals.size > 0 && cache.len() <= 4);
    }
}

fn nobody_does_beside_expirations<R: Reclaim>() {
    for threads in CROWDS {
        let (source, clock) = (Source::new(8.max(threads / 2)), ManualClock::new());
        let cache = cache_of::<R>(&source, |builder| {
            builder.time_to_live(Duration::from_nanos(100)).manual_clock(&clock)
        });
        assert_eq!(stale(&cache, &source, threads, &clock), 0, "{threads} threads");
        assert!(cache.stats().removals.expired > 0);
    }
}

/// Of each group the first key, whose writes drop the second. A value is twice the number that was read, and one
/// more if it was written and not loaded.
fn related_entries_are_not_older<R: Reclaim>() {
    const GROUPS: usize = 16;
    for threads in CROWDS {
        let source = Source::new(GROUPS);
        let builder = coeval::Cache::builder().related(|key: &usize, related| {
            if *key < GROUPS {
                related.invalidate(key + GROUPS);
            }
        });
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        let stale = AtomicU64::new(0);
        let check = |fine: bool| _ = (!fine).then(|| stale.fetch_add(1, SeqCst));
        let reader = |random: &mut Random| {
            let key = random.below(GROUPS as u64) as usize;
            let (told, load) = (2 * source.told(key), |random: &mut Random| {
                pause(random);
                let value = 2 * source.read(key);
                pause(random);
                value
            });
            match random.below(4) {
                0 => check(cache.get_with(key, || load(random)) >= told),
                1 => check(cache.get_with(key + GROUPS, || load(random)) >= told),
                // Derived from the other.
                2 => {
                    let derive = || cache.get_with(key, || load(random)) & !1;
                    check(cache.get_with(key + GROUPS, derive) >= told);
                }
                _ => {}
            }
            let [first, second] = cache.get_many([&key, &(key + GROUPS)]);
            check([first, second].iter().flatten().all(|value| *value >= told));
            if let (Some(first), Some(second)) = (first, second)
                && first % 2 == 1
            {
                check(second >= first - 1);
            }
        };
        let writer = |random: &mut Random, writer: usize| {
            let Some(key) = source.one_of(random, writer, threads - threads / 2) else { return };
            let value = source.raise(key);
            pause(random);
            let written = 2 * value + 1;
            match random.below(8) {
                0..3 => _ = cache.insert(key, written),
                3 => _ = cache.batch().insert(key, written).insert(key + GROUPS, written).commit(),
                4 if random.one_in(4) => _ = cache.invalidate_all(),
                _ => _ = cache.batch().invalidate(key).commit(),
            }
            source.tell(key, value);
        };
        race(threads, reader, writer);
        let stats = cache.stats();
        println!("{threads} threads: {} loads, {} refused", stats.loads, stats.loads_refused);
        assert_eq!(stale.into_inner(), 0, "{threads} threads");
    }
}

on_every_reclaimer!(
    nobody_gets_what_is_stale,
    nobody_does_beside_evictions,
    nobody_does_beside_expirations,
    related_entries_are_not_older,
);
