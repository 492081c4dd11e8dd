//! Readers and writers while the clock advances.

use super::ns;
use crate::common::monotone::Seen;
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, Store, disturb, on_every_reclaimer, stress};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

const KEYS: u64 = 16;

fn now(clock: &ManualClock) -> u64 {
    clock.now().as_nanos() as u64
}

/// Runs writers, and readers until the writers are done. The clock moves only while no thread
/// writes.
fn beside_the_clock(
    clock: &ManualClock,
    write: impl Fn(&mut Random) + Sync,
    read: impl Fn(&mut Random, &mut [Seen]) + Sync,
) {
    disturb();
    let (seed, rounds) = (run_seed(), stress(15_000, 400_000, 10_000_000));
    let (stop, still) = (AtomicBool::new(false), RwLock::new(()));
    std::thread::scope(|scope| {
        let (stop, still, write, read) = (&stop, &still, &write, &read);
        for thread in 0..2 {
            scope.spawn(move || {
                let mut random = Random::new(seed ^ thread);
                let mut seen = vec![Seen::default(); KEYS as usize];
                while !stop.load(Ordering::Acquire) {
                    read(&mut random, &mut seen);
                }
            });
        }
        scope.spawn(move || {
            let mut random = Random::new(seed ^ 10);
            while !stop.load(Ordering::Acquire) {
                {
                    let _still = still.write().unwrap();
                    clock.advance(ns(random.spread(24)));
                }
                std::thread::yield_now();
            }
        });
        let _stop = StopOnDrop(stop);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || {
                    let mut random = Random::new(seed ^ 20 ^ thread);
                    for _ in 0..rounds {
                        let _still = still.read().unwrap();
                        write(&mut random);
                    }
                });
            }
        });
    });
}

/// A value is its own deadline, which is known exactly because the clock stands still during a
/// write. No reader gets a value whose deadline had passed when the read began.
fn no_reader_sees_an_expired_value<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Store<u64, u64, R> =
        coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
    let write = |random: &mut Random| {
        let (key, time) = (random.below(KEYS), random.spread(26));
        let deadline = now(&clock) + time;
        match random.below(8) {
            0 => _ = cache.remove(&key),
            1 => {
                let held = cache.get_versioned(&key).map(|(_, version)| version);
                drop(cache.compare_and_set(key, held, u64::MAX));
            }
            2 => {
                let batch = cache.batch().insert_with_ttl(key, deadline, ns(time));
                batch.insert_with_ttl((key + 1) % KEYS, deadline, ns(time)).commit();
            }
            _ => _ = cache.insert_with_ttl(key, deadline, ns(time)),
        }
    };
    let read = |random: &mut Random, seen: &mut [Seen]| {
        let key = random.below(KEYS);
        let began = now(&clock);
        let found = cache.get_versioned(&key);
        assert!(found.is_none_or(|(deadline, _)| deadline > began), "{found:?} at {began}");
        seen[key as usize].note(found.map(|(_, version)| version));
        let began = now(&clock);
        let view = cache.view();
        let other = (key + 1) % KEYS;
        let many = cache.get_many([&key, &other]);
        assert!(many.iter().flatten().all(|deadline| *deadline > began), "{many:?} at {began}");
        assert!(view.iter().all(|(_, deadline)| *deadline > began));
        assert_eq!(view.get(&key), view.get(&key));
    };
    beside_the_clock(&clock, write, read);
}

/// With idle times, a look-up extends the life of a value. But a value that was absent once does
/// not come back without a write.
fn an_expired_idle_value_does_not_come_back<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Store<u64, u64, R> =
        coeval::Cache::builder().time_to_idle(ns(1 << 16)).manual_clock(&clock).reclaimer().build();
    let write = |random: &mut Random| {
        let key = random.below(KEYS);
        match random.below(20) {
            0 => _ = cache.insert(key, 0),
            1 => _ = cache.insert_with_ttl(key, 0, ns(1 << 18)),
            2 => _ = cache.compare_and_set(key, None, 1),
            _ => _ = cache.insert(KEYS + key, 0), // This turns the wheel.
        }
    };
    let read = |random: &mut Random, seen: &mut [Seen]| {
        let key = random.below(KEYS);
        let seen = &mut seen[key as usize];
        match random.below(4) {
            0 => {
                // A use that does not show the version.
                if cache.get(&key).is_none() {
                    seen.note(None);
                }
            }
            1 => {
                if !cache.contains_key(&key) {
                    seen.note(None);
                }
            }
            2 => {
                let view = cache.view();
                seen.note(view.get_versioned(&key).map(|(_, version)| version));
            }
            _ => seen.note(cache.get_versioned(&key).map(|(_, version)| version)),
        }
    };
    beside_the_clock(&clock, write, read);
}

on_every_reclaimer!(no_reader_sees_an_expired_value, an_expired_idle_value_does_not_come_back);
