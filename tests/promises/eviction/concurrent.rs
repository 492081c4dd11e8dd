//! The bound beside many threads, and what readers see in the meantime.

use super::{Cache, assert_within, bounded, with_weigher};
use crate::common::monotone::Seen;
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, disturb, on_every_reclaimer, stress, together};
use coeval::reclaim::Reclaim;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs `write` in this many threads, and `watch` in two more until the writers are done.
fn watched(
    threads: usize,
    write: impl Fn(u64, &mut Random) + Sync,
    watch: impl Fn(&mut Random) + Sync,
) {
    disturb();
    let seed = run_seed();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (stop, watch) = (&stop, &watch);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ 1_000 ^ number);
                while !stop.load(Ordering::Acquire) {
                    watch(&mut random);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        together(threads, |thread| write(thread as u64, &mut Random::new(seed ^ thread as u64)));
    });
}

/// Each thread may have brought one entry for which it has not yet made room.
fn thirty_two_threads_keep_the_bound<R: Reclaim>() {
    const CAPACITY: u64 = 1_000;
    const THREADS: usize = 32;
    let (cache, rounds) = (bounded::<R>(CAPACITY), stress(1_500, 50_000, 2_000_000));
    let most = AtomicU64::new(0);
    let write = |thread: u64, random: &mut Random| {
        for round in 0..rounds {
            let key = match random.below(4) {
                0 => random.below(2_000),
                _ => (thread + 1) << 40 | round,
            };
            cache.insert(key, round);
            if random.one_in(16) {
                cache.remove(&random.below(2_000));
            }
        }
    };
    watched(THREADS, write, |random| {
        let view = cache.view();
        let count = view.iter().count() as u64;
        most.fetch_max(count, Ordering::Relaxed);
        assert!(count <= CAPACITY + THREADS as u64, "{count} visible entries");
        if random.one_in(2) {
            let count = cache.len() as u64;
            assert!(count <= CAPACITY + THREADS as u64, "{count} entries counted");
        }
    });
    println!("{most:?} entries at most");
    (0..2_000).for_each(|key| _ = cache.insert(1 << 50 | key, 0));
    assert_eq!(assert_within(&cache, CAPACITY, false), CAPACITY);
}

/// Entries of all weights, batches, overwrites and clearings: at rest all accounts agree.
fn accounts_agree_at_rest<R: Reclaim>() {
    const CAPACITY: u64 = 5_000;
    for round in 0..stress(3, 30, 1_000) {
        let cache = with_weigher::<R>(coeval::Cache::builder().max_capacity(CAPACITY));
        let write = |_: u64, random: &mut Random| {
            for _ in 0..2_000 {
                let (key, weight) = (random.below(300), random.below(120));
                match random.below(16) {
                    0 => _ = cache.remove(&key),
                    1 => _ = cache.invalidate(&key),
                    2 => {
                        let batch = cache.batch().insert(key, weight).remove(key + 1);
                        _ = batch.insert(key + 2, weight / 2).insert(key + 3, 1).commit();
                    }
                    3 => {
                        let held = cache.get_versioned(&key).map(|(_, version)| version);
                        drop(cache.compare_and_set(key, held, weight));
                    }
                    4 if random.one_in(100) => _ = cache.invalidate_all(),
                    5 if random.one_in(10) => _ = cache.insert(key, CAPACITY + 1),
                    _ => _ = cache.insert(key, weight),
                }
            }
        };
        watched(4, write, |random| {
            // The most that one batch brings, times the number of threads.
            let weight: u64 = cache.view().iter().map(|(_, weight)| *weight).sum();
            assert!(weight <= CAPACITY + 4 * (CAPACITY + 1), "{weight}");
            cache.get(&random.below(300));
        });
        assert_within(&cache, u64::MAX, true);
        cache.insert(1_000, 1);
        assert_within(&cache, CAPACITY, true);
        println!("round {round}: {} entries", cache.len());
    }
}

const GROUPS: u64 = 64;
const MEMBERS: u64 = 4;

/// One writer writes the members of a group, always together and each time with a larger value. The
/// bound evicts some of them. But no reader sees a member older than before, or one that was gone,
/// or two values at once.
fn groups_only_move_forward<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder()
        .max_capacity(GROUPS * MEMBERS / 2)
        .related(|key, related| {
            // A root determines its members; the number is the writer's.
            let (group, number) = (key % 1_000, key / 1_000_000);
            if key / 1_000 % 1_000 == 999 {
                for member in 0..MEMBERS {
                    related.insert(group + member * 1_000, number);
                }
            }
        })
        .reclaimer()
        .build();
    let rounds = stress(4_000, 100_000, 5_000_000);
    // Each writer has its own groups, so a later number is a later commit.
    let write = |thread: u64, random: &mut Random| {
        for number in 1..=rounds {
            let group = random.below(GROUPS / 4) * 4 + thread;
            if random.one_in(20) {
                (0..MEMBERS).fold(cache.batch(), |b, m| b.remove(group + m * 1_000)).commit();
            } else if random.one_in(2) {
                let batch =
                    (0..MEMBERS).fold(cache.batch(), |b, m| b.insert(group + m * 1_000, number));
                batch.commit();
            } else {
                let root = group + 999_000 + number * 1_000_000;
                cache.batch().invalidate(root).commit();
            }
        }
    };
    std::thread_local! {
        static SEEN: std::cell::RefCell<Vec<Seen>> =
            std::cell::RefCell::new(vec![Seen::default(); (GROUPS * MEMBERS) as usize]);
    }
    watched(4, write, |random| {
        let group = random.below(GROUPS);
        let keys: [u64; MEMBERS as usize] = std::array::from_fn(|m| group + m as u64 * 1_000);
        let found = match random.one_in(4) {
            true => {
                let view = cache.view();
                keys.map(|key| view.get(&key).copied())
            }
            false => cache.get_many(keys.each_ref()),
        };
        let mut present = found.iter().flatten();
        let first = present.next();
        assert!(present.all(|number| Some(number) == first), "torn: {found:?}");
        SEEN.with_borrow_mut(|seen| {
            for (member, number) in found.into_iter().enumerate() {
                let seen = &mut seen[group as usize * MEMBERS as usize + member];
                seen.note(number.map(coeval::Version::from_u64));
            }
        });
    });
    assert_within(&cache, GROUPS * MEMBERS / 2, false);
}

/// Checks the versions of single keys, beside every operation that ends an entry.
fn single_keys_only_move_forward<R: Reclaim>() {
    const KEYS: u64 = 60;
    let cache = bounded::<R>(KEYS / 2);
    let rounds = stress(8_000, 200_000, 10_000_000);
    let write = |_: u64, random: &mut Random| {
        for round in 0..rounds {
            let key = random.below(KEYS);
            match random.below(12) {
                0 => _ = cache.remove(&key),
                1 if random.one_in(50) => _ = cache.invalidate_all(),
                2 => drop(cache.compare_and_set(key, None, round)),
                3 => _ = cache.batch().insert(key, round).insert((key + 1) % KEYS, round).commit(),
                _ => _ = cache.insert(key, round),
            }
        }
    };
    std::thread_local! {
        static SEEN: std::cell::RefCell<Vec<Seen>> =
            std::cell::RefCell::new(vec![Seen::default(); KEYS as usize]);
    }
    watched(3, write, |random| {
        let key = random.below(KEYS);
        let found = match random.below(3) {
            0 => cache.get_versioned(&key).map(|(_, version)| version),
            1 => cache.pin().get_versioned(&key).map(|(_, version)| version),
            _ => cache.view().get_versioned(&key).map(|(_, version)| version),
        };
        SEEN.with_borrow_mut(|seen| seen[key as usize].note(found));
    });
    assert_within(&cache, KEYS / 2, false);
}

on_every_reclaimer!(
    thirty_two_threads_keep_the_bound,
    accounts_agree_at_rest,
    groups_only_move_forward,
    single_keys_only_move_forward,
);
