//! Promise: once the call that told the cache of a change has returned, no later look-up returns a
//! value that was read from the source before the change. This holds however long loads take, and
//! however entries end in the meantime. No reader sees one entry of a group new and another one
//! old, or a derived value beside an input from which it was not derived.
//!
//! The source is an array of numbers that only grow. One thread changes each number. A writer
//! raises its number, tells the cache in one of the available ways, and then notes that it did. A
//! reader reads that note first, and must not get an older value. The counts of older values, and
//! of torn groups, must stay 0.

mod looks;
mod world;

use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, Store, disturb, on_every_reclaimer, stress, together, within};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use looks::Watch;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use world::{DROPS, Kind, OWN, PAIR, SETS, SOME, Source, TWIN, pause, tags};

/// The numbers of threads. Half of the threads are readers.
const CROWDS: [usize; 3] = [2, 8, 32];

type Cache<R> = Store<usize, u64, R>;
type Builder = coeval::Builder<usize, u64>;

fn trials() -> u64 {
    stress(10_000, 300_000, 10_000_000)
}

/// Runs readers, which do `looks` looks together, and writers beside them until the readers are
/// done.
fn race(
    threads: usize,
    looks: u64,
    reader: impl Fn(&mut Random) + Sync,
    writer: impl Fn(&mut Random, usize) + Sync,
) {
    disturb();
    let seed = run_seed();
    let readers = threads / 2;
    let (left, failed) = (AtomicUsize::new(readers), AtomicBool::new(false));
    within(Duration::from_secs(3_600), "readers beside writers", || {
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
            (0..looks / readers as u64).for_each(|_| reader(&mut random));
            left.fetch_sub(1, SeqCst);
            std::mem::forget(panicked);
        });
    });
}

/// A cache on a source. A write of a key drops its twin, or sets it too.
fn cache_of<R: Reclaim>(
    source: &Arc<Source>,
    settings: impl FnOnce(Builder) -> Builder,
) -> Cache<R> {
    let read = source.clone();
    let builder = coeval::Cache::builder().related(move |key, related| match *key {
        DROPS..SETS => drop(related.invalidate(key - DROPS)),
        SETS..PAIR => drop(related.insert(key - SETS, read.written(key - SETS))),
        key if key < TWIN && key.is_multiple_of(2) => drop(related.invalidate(key + TWIN)),
        key if key < TWIN => drop(related.insert(key + TWIN, read.written(key))),
        _ => {}
    });
    settings(builder).reclaimer::<R>().build()
}

/// Runs readers and writers. `tell` tells the cache of a change in one of the ways, and returns
/// which.
fn watched<R: Reclaim>(
    watch: &Watch<'_, R>,
    threads: usize,
    looks: u64,
    clock: &ManualClock,
    tell: impl Fn(&mut Random, usize, u64) -> Kind + Sync,
) {
    let (source, began) = (&watch.source, Instant::now());
    let told: [AtomicU64; Kind::TagOfAll as usize + 1] = Default::default();
    let writer = |random: &mut Random, writer: usize| {
        let Some(key) = source.one_of(random, writer, threads - threads / 2) else { return };
        let number = source.raise(key);
        pause(random);
        let kind = tell(random, key, source.written(key));
        source.tell(key, number);
        told[kind as usize].fetch_add(1, SeqCst);
        clock.advance(Duration::from_nanos(random.below(20)));
        if random.one_in(16) {
            watch.cache.invalidate_tag(SOME);
        }
    };
    race(threads, looks, |random| watch.look(random), writer);
    let stats = watch.cache.stats();
    println!(
        "{threads} threads: {} looks, {} stale, {} torn; told {told:?}; {} loads, {} refused, \
        {} derived again, {:?}; {:.1} s",
        looks,
        watch.stale.load(SeqCst),
        watch.torn.load(SeqCst),
        stats.loads,
        stats.loads_refused,
        stats.recomputed,
        stats.removals,
        began.elapsed().as_secs_f32(),
    );
    assert!(stats.loads > 0 && stats.hits > 0);
}

/// Tells the cache of changes in all ways, and checks that no reader sees a stale or torn value.
fn nothing_is_stale<R: Reclaim>(
    settings: impl Fn(Builder, &ManualClock) -> Builder,
    check: impl Fn(&Cache<R>),
) {
    for threads in CROWDS {
        let (source, clock) = (Source::new(8.max(threads / 2)), ManualClock::new());
        let cache = cache_of(&source, |builder| settings(builder, &clock));
        let watch = Watch::new(&cache, &source);
        watched(&watch, threads, trials(), &clock, |random, key, value| {
            let kind = Kind::any(random, false);
            kind.tell(&cache, key, value, random);
            kind
        });
        let counts = (watch.stale.into_inner(), watch.torn.into_inner());
        assert_eq!(counts, (0, 0), "stale and torn, with {threads} threads");
        check(&cache);
    }
}

fn no_reader_gets_a_stale_value<R: Reclaim>() {
    nothing_is_stale::<R>(|builder, _| builder, |_| {});
}

fn no_stale_value_beside_evictions<R: Reclaim>() {
    nothing_is_stale::<R>(
        |builder, _| builder.max_capacity(12),
        |cache| assert!(cache.stats().removals.size > 0 && cache.len() <= 12),
    );
}

fn no_stale_value_beside_expirations_and_refreshes<R: Reclaim>() {
    let (time, refresh) = (Duration::from_nanos(200), Duration::from_nanos(50));
    nothing_is_stale::<R>(
        |builder, clock| builder.time_to_live(time).refresh_after(refresh).manual_clock(clock),
        |cache| assert!(cache.stats().removals.expired > 0),
    );
}

/// All entries that are read from the source have tags from the beginning, and so do the values
/// that replace them.
fn no_stale_value_with_tags<R: Reclaim>() {
    let refresh = Duration::from_nanos(50);
    for threads in CROWDS {
        let (source, clock) = (Source::new(8.max(threads / 2)), ManualClock::new());
        let builder = coeval::Cache::builder().refresh_after(refresh).manual_clock(&clock);
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        for key in 0..source.len() as usize {
            for member in [key, key + TWIN] {
                cache.insert_tagged(member, 0, &tags(key));
            }
            // Derived from the beginning, because a refresh of the key ends it before any tag does.
            cache.derive(key + OWN, |scope| scope.get(&key).expect("just inserted"));
            cache.tag(key + OWN, &tags(key));
        }
        let watch = Watch::new(&cache, &source);
        watched(&watch, threads, trials(), &clock, |random, key, value| {
            let kind = Kind::any(random, true);
            kind.tell(&cache, key, value, random);
            kind
        });
        let counts = (watch.stale.into_inner(), watch.torn.into_inner());
        assert_eq!(counts, (0, 0), "stale and torn, with {threads} threads");
    }
}

/// A writer that tells the cache in two commits, or forgets to, is detected: the counters work.
fn wrong_invalidations_are_detected<R: Reclaim>() {
    let (source, clock) = (Source::new(8), ManualClock::new());
    let cache = cache_of::<R>(&source, |builder| builder);
    let watch = Watch::new(&cache, &source);
    watched(&watch, 8, trials().min(300_000), &clock, |random, key, value| {
        if random.one_in(2) {
            // The relation drops or sets the twin. This write sets the twin without the key.
            cache.insert(key + TWIN, value);
            std::thread::yield_now();
            cache.insert(key, value);
        }
        Kind::Insert
    });
    assert!(watch.stale.into_inner() > 0 && watch.torn.into_inner() > 0);
}

on_every_reclaimer!(
    no_reader_gets_a_stale_value,
    no_stale_value_beside_evictions,
    no_stale_value_beside_expirations_and_refreshes,
    no_stale_value_with_tags,
    wrong_invalidations_are_detected,
);
