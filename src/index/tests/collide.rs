//! Iteration where hashes collide: each entry is returned once, at a cost proportional to the
//! entries.

use super::super::table::Table;
use super::support::*;
use crate::reclaim::Reclaim;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

type Mix = (&'static str, fn(u64) -> u32);

/// Hash functions that collide in different ways.
const MIXES: [Mix; 7] = [
    ("one hash", |_| 0x0700_0007),
    ("the last home, so that the sequence wraps around", |_| u32::MAX),
    ("groups at successive homes", |key| (key as u32 / 70) | 0x0900_0000),
    ("groups far apart", |key| spread(key % 9)),
    ("groups whose homes coincide in small tables", |key| (key as u32 % 8) << 9),
    ("every other key", |key| if key % 2 == 0 { 5 } else { spread(key) }),
    ("none", spread),
];

fn spread(key: u64) -> u32 {
    (key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u32
}

/// Iterates, checks the result, and returns how often the iteration inspected an entry.
fn inspections_of_an_iteration(map: &TestMap, keys: &[u64]) -> u64 {
    let before = inspections();
    let guard = map.scheme.pin();
    let all = map.index.all_entries(&guard);
    let inspections = inspections() - before;
    let mut all: Vec<u64> = all.into_iter().map(|item| item.key).collect();
    all.sort_unstable();
    assert_eq!(all, keys);
    inspections
}

#[test]
fn iteration_inspects_each_entry_a_few_times() {
    for (mix, hash) in MIXES {
        for keys in [300, 1200, 2400] {
            let map = TestMap::hashing(0, hash);
            for key in 0..keys {
                assert!(map.insert(&map.scheme.pin(), key));
            }
            let mut all: Vec<u64> = (0..keys).collect();
            let guard = map.scheme.pin();
            while map.index.assist(&map.scheme, &guard) {}
            let inspections = inspections_of_an_iteration(&map, &all);
            assert!(inspections <= 3 * keys, "{mix}: {inspections} inspections of {keys} entries");

            // Also during a move to a table of any size: an entry may be in both tables.
            for buckets in [8, map.index.homes(&guard), 4 * map.index.homes(&guard)] {
                map.index.root(&guard).set_next(Table::new(buckets));
                for _ in 0..map.index.homes(&guard) / 16 {
                    map.index.assist(&map.scheme, &guard);
                }
                let inspections = inspections_of_an_iteration(&map, &all);
                // If the next table is too small, it fills up, and so may the table after it.
                let most = if buckets == 8 { 50 } else { 10 };
                assert!(
                    inspections <= most * keys,
                    "{mix}: {inspections} inspections of {keys} entries that move"
                );
                while map.index.assist(&map.scheme, &guard) {}
            }

            drop(guard);
            all.retain(|key| !(keys / 4..keys / 2).contains(key));
            (keys / 4..keys / 2).for_each(|key| map.remove(key));
            let inspections = inspections_of_an_iteration(&map, &all);
            assert!(
                inspections <= 3 * keys,
                "{mix}: {inspections} inspections of {keys} entries, some removed"
            );
        }
    }
}

/// Entries are inserted and removed, and tables grow, between the calls of an iteration.
#[test]
fn entries_that_stay_are_returned_once_whatever_happens_between_calls() {
    const STABLE: u64 = 400;
    for (mix, hash) in MIXES {
        let map = TestMap::hashing(0, hash);
        for key in 0..STABLE {
            assert!(map.insert(&map.scheme.pin(), key));
        }
        let (mut random, mut fresh) = (Random(1), STABLE);
        for round in 0..8 {
            let homes = map.index.homes(&map.scheme.pin());
            let (mut next, mut shown) = (0, HashSet::new());
            while next < homes {
                let guard = map.scheme.pin();
                let mut some = Vec::new();
                // To the end, or over a shorter range.
                let end = homes.min(next + 1 + random.below(homes as u64) as usize);
                let parts = next..if round % 2 == 0 { homes } else { end };
                next = map.index.entries_of(&guard, homes, parts, &mut some);
                for key in some.into_iter().map(|item| item.key).filter(|key| *key < STABLE) {
                    assert!(shown.insert(key), "{mix}: {key} was returned twice");
                }
                drop(guard);
                for _ in 0..random.below(20) {
                    assert!(map.insert(&map.scheme.pin(), fresh));
                    fresh += 1;
                }
                if random.below(8) == 0 && map.index.root(&map.scheme.pin()).next().is_none() {
                    let buckets = 8 << random.below(8);
                    map.index.root(&map.scheme.pin()).set_next(Table::new(buckets));
                }
                if fresh > STABLE + 600 {
                    (STABLE..fresh).for_each(|key| map.remove(key));
                    fresh = STABLE;
                }
            }
            assert_eq!(shown.len() as u64, STABLE, "{mix}");
        }
    }
}

#[test]
fn iteration_during_growth_where_hashes_collide() {
    const STABLE: u64 = 300;
    for (_, hash) in MIXES {
        let map = TestMap::hashing(0, hash);
        for key in 0..STABLE {
            assert!(map.insert(&map.scheme.pin(), key));
        }
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            let (map, finished) = (&map, &finished);
            scope.spawn(move || {
                // Fresh keys each time: a key that is removed under another guard may still be
                // there.
                let mut fresh = STABLE;
                while !finished.load(Ordering::Relaxed) {
                    let keys = fresh..fresh + 2 * STABLE;
                    for key in keys.clone() {
                        assert!(map.insert(&map.scheme.pin(), key));
                    }
                    map.index.shrink(&map.scheme.pin());
                    keys.clone().for_each(|key| map.remove(key));
                    map.index.shrink(&map.scheme.pin());
                    fresh = keys.end;
                }
            });
            let iterator = scope.spawn(move || {
                for _ in 0..40 {
                    let mut all = map.iterate(&map.scheme.pin());
                    all.retain(|&key| key < STABLE);
                    all.sort_unstable();
                    assert!(all.into_iter().eq(0..STABLE));
                }
            });
            let iterated = iterator.join();
            finished.store(true, Ordering::Relaxed);
            iterated.unwrap();
        });
    }
}
