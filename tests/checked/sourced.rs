//! Numbers of a source, read through the cache. Whoever changes the source tells the cache, in each
//! of the ways there are. A look-up that begins after that shows the change.
//!
//! Here the judge is the test: a loaded value that its caller could not set is for that caller
//! alone, so callers during a change may see it in any order.

use crate::common::Store;
use crate::common::random::Random;
use crate::crew::crew;
use crate::pause;
use coeval::reclaim::Reclaim;
use coeval::{Loaded, Terms};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const KEYS: u64 = 4;

/// What the source holds of a key. One thread at a time changes it; readers do not wait.
#[derive(Default)]
struct Number {
    now: AtomicU64,
    /// What the cache was told of.
    told: AtomicU64,
    changing: Mutex<()>,
}

type Source = [Number; KEYS as usize];

/// Runs the threads, and returns the number of look-ups.
pub fn run<R: Reclaim>(seed: u64, threads: usize, operations: u64) -> u64 {
    // A write of a key plus this drops the key.
    let related = |key: &u64, related: &mut coeval::Related<u64, u64>| {
        if *key >= KEYS {
            related.invalidate(key - KEYS);
        }
    };
    let mut builder = coeval::Cache::builder().related(related);
    if seed.is_multiple_of(2) {
        builder = builder.load_timeout(Duration::from_micros(300)); // then another caller loads
    }
    let cache: Cache<R> = builder.reclaimer().build();
    let source = Source::default();
    crew(threads, seed, |thread| {
        let mut random = Random::new(seed ^ (thread as u64) << 32);
        for at in 0..operations {
            let key = random.below(KEYS);
            let number = &source[key as usize];
            if random.one_in(4) {
                change(&cache, number, key, &mut random);
            } else {
                let told = number.told.load(SeqCst);
                let found = look_up(&cache, &source, key, &mut random);
                let within = (at + 1) * threads as u64;
                assert!(found >= told, "within {within} operations: {found} of key {key} is old");
            }
        }
    });
    threads as u64 * operations
}

/// Changes the source, then tells the cache.
fn change<R: Reclaim>(cache: &Cache<R>, number: &Number, key: u64, random: &mut Random) {
    let alone = number.changing.lock();
    let now = number.now.fetch_add(1, SeqCst) + 1;
    pause(random);
    match random.below(6) {
        0 => _ = cache.invalidate(&key),
        1 => _ = cache.remove(&key),
        2 => _ = cache.invalidate_all(),
        3 if key.is_multiple_of(2) => _ = cache.invalidate_tag(key),
        4 => _ = cache.insert(KEYS + key, 0),
        _ => _ = cache.batch().remove(key).remove(KEYS + key).commit(),
    }
    number.told.store(now, SeqCst);
    drop(alone);
}

/// The number of a key from the cache, or else from the source.
fn look_up<R: Reclaim>(cache: &Cache<R>, source: &Source, key: u64, random: &mut Random) -> u64 {
    let number = &source[key as usize];
    let load = || {
        let found = number.now.load(SeqCst);
        std::thread::yield_now();
        found
    };
    if key % 2 == 1 && random.one_in(3) {
        return load_oddly(cache, source, key, random);
    }
    // Even keys may be told of by their tags, so each of their entries must have its tag.
    match (key.is_multiple_of(2), random.one_in(2)) {
        (true, true) => cache.get_with_terms(key, || Loaded::new(load()).tags([key])),
        (true, false) => {
            let tags = Terms::new().tags([key]);
            cache.get_with_terms(key, || Loaded::new(load()).terms(tags))
        }
        (false, true) => cache.get_with(key, load),
        (false, false) => cache.get(&key).unwrap_or_else(|| {
            let lease = cache.lease(&key);
            let found = load();
            match lease.fill(found) {
                Ok(_) => found,
                Err(_) => load(), // the lease was outdated
            }
        }),
    }
}

/// Loads that fail, that panic, and that wait for each other. For the odd keys, 1 and 3.
fn load_oddly<R: Reclaim>(cache: &Cache<R>, source: &Source, key: u64, random: &mut Random) -> u64 {
    let read = |key: u64| {
        let found = source[key as usize].now.load(SeqCst);
        std::thread::yield_now();
        found
    };
    let fails = random.one_in(3);
    let found = match random.below(3) {
        0 => cache.load(key, || if fails { Err(()) } else { Ok(read(key)) }).ok(),
        1 => catch_unwind(AssertUnwindSafe(|| {
            cache.get_with(key, || if fails { resume_unwind(Box::new(())) } else { read(key) })
        }))
        .ok(),
        _ => {
            let other = 4 - key;
            let wait_for_other = || {
                // Whoever would close a cycle gets an error.
                let _ = cache.load(other, || Ok::<_, ()>(read(other)));
                Ok::<_, ()>(read(key))
            };
            cache.load(key, wait_for_other).ok()
        }
    };
    found.unwrap_or_else(|| read(key))
}
