//! Tests with many threads.

use super::super::table::Table;
use super::support::*;
use crate::reclaim::Reclaim;
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

#[test]
fn one_of_many_inserters_of_a_key_wins() {
    const THREADS: usize = 6;
    for hash_bits in [32, 3] {
        let keys = if hash_bits == 32 { 20_000 } else { 600 };
        let map = TestMap::with_hash_bits(0, hash_bits);
        let (wins, start) = (AtomicU64::new(0), Barrier::new(THREADS));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (map, wins, start) = (&map, &wins, &start);
                scope.spawn(move || {
                    start.wait();
                    for key in 0..keys {
                        let guard = map.scheme.pin();
                        wins.fetch_add(map.insert(&guard, key).into(), Ordering::Relaxed);
                        assert!(map.find(&guard, key).is_some(), "thread {thread}, key {key}");
                    }
                });
            }
        });
        assert_eq!(wins.load(Ordering::Relaxed), keys);
        let mut all = map.iterate(&map.scheme.pin());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..keys));
    }
}

/// A table grows from the smallest size to a million entries. Readers never miss an announced key.
#[test]
fn readers_miss_nothing_while_tables_grow() {
    const KEYS: u64 = 1 << 20;
    const WRITERS: u64 = 2;
    let map = TestMap::with_capacity(0);
    let done: [AtomicU64; WRITERS as usize] = [const { AtomicU64::new(0) }; WRITERS as usize];
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (map, done) = (&map, &done[writer as usize]);
                scope.spawn(move || {
                    for number in 0..KEYS / WRITERS {
                        let guard = map.scheme.pin();
                        assert!(map.insert(&guard, number * WRITERS + writer));
                        done.store(number + 1, Ordering::Release);
                        drop(guard);
                        if number % 1024 == 0 {
                            map.scheme.collect();
                        }
                    }
                })
            })
            .collect();
        for reader in 0..2 {
            let (map, done, finished) = (&map, &done, &finished);
            scope.spawn(move || {
                let mut random = Random(reader);
                while !finished.load(Ordering::Relaxed) {
                    let guard = map.scheme.pin();
                    for _ in 0..100 {
                        let writer = random.below(WRITERS);
                        let present = done[writer as usize].load(Ordering::Acquire);
                        if present > 0 {
                            let key = random.below(present) * WRITERS + writer;
                            assert_eq!(map.find(&guard, key).expect("present").key, key);
                        }
                    }
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        finished.store(true, Ordering::Relaxed);
    });
    let guard = map.scheme.pin();
    while map.index.assist(&map.scheme, &guard) {}
    assert!(map.index.bytes(&guard) < 64 << 20);
    assert!((0..KEYS).all(|key| map.find(&guard, key).is_some()));
}

/// Several threads insert and remove keys again and again, on few homes so that sequences are long.
/// Each thread owns its keys and knows which are present.
#[test]
fn churn_by_many_threads() {
    for hash_bits in [32, 5] {
        let map = TestMap::with_hash_bits(0, hash_bits);
        let rounds = if hash_bits == 32 { 60_000 } else { 30_000 };
        let largest = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let (map, largest) = (&map, &largest);
                scope.spawn(move || {
                    let mut random = Random(thread);
                    let mut present = HashSet::new();
                    for _ in 0..rounds {
                        let guard = map.scheme.pin();
                        let key = random.below(60) * 4 + thread;
                        if present.contains(&key) {
                            let item = map.find(&guard, key).expect("present");
                            if random.below(2) == 0 && item.condemn() {
                                map.remove_later(&guard, item);
                                present.remove(&key);
                            }
                        } else if random.below(2) == 0 {
                            // Inserts a fresh entry, or revives the condemned one.
                            map.insert(&guard, key);
                            assert!(map.find(&guard, key).is_some());
                            present.insert(key);
                        }
                        let bytes = map.index.bytes(&guard) as u64;
                        largest.fetch_max(bytes, Ordering::Relaxed);
                        drop(guard);
                        map.scheme.collect();
                    }
                });
            }
        });
        let guard = map.scheme.pin();
        let mut all = map.iterate(&guard);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "the index has a key twice");
        let largest = largest.load(Ordering::Relaxed);
        assert!(largest < 1 << 20, "{largest} bytes for 240 keys");
    }
}

/// An iteration during growth returns each entry that is present throughout exactly once.
#[test]
fn iteration_during_growth_and_removal() {
    const STABLE: u64 = 2000;
    let map = TestMap::with_capacity(0);
    for key in 0..STABLE {
        assert!(map.insert(&map.scheme.pin(), key));
    }
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let (map, finished) = (&map, &finished);
        let iterators: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..60 {
                        let guard = map.scheme.pin();
                        let mut all = map.iterate(&guard);
                        all.retain(|&key| key < STABLE);
                        all.sort_unstable();
                        assert!(all.into_iter().eq(0..STABLE));
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            // Inserts up to ten times as many fresh keys as stable ones, and removes them.
            let mut fresh = STABLE;
            while !finished.load(Ordering::Relaxed) {
                for key in fresh..fresh + 10 * STABLE {
                    assert!(map.insert(&map.scheme.pin(), key));
                }
                map.index.shrink(&map.scheme.pin());
                (fresh..fresh + 10 * STABLE).for_each(|key| map.remove(key));
                map.index.shrink(&map.scheme.pin());
                fresh += 10 * STABLE;
            }
        });
        for iterator in iterators {
            iterator.join().unwrap();
        }
        finished.store(true, Ordering::Relaxed);
    });
}

/// The next table has room for a fraction of the entries. It is exhausted during the move into it,
/// and the entries move on to another one.
#[test]
fn a_table_exhausted_during_the_move_into_it() {
    const KEYS: u64 = 3000;
    for round in 0..20 {
        let map = TestMap::with_capacity(KEYS as usize);
        for key in 0..KEYS {
            assert!(map.insert(&map.scheme.pin(), key));
        }
        map.index.root(&map.scheme.pin()).set_next(Table::new(8 << (round % 3)));
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for thread in 0..3u64 {
                let (map, start) = (&map, &start);
                scope.spawn(move || {
                    start.wait();
                    for key in 0..KEYS {
                        let guard = map.scheme.pin();
                        assert!(!map.insert(&guard, (key * 7 + thread * 1000) % KEYS));
                        assert!(map.insert(&guard, KEYS * (thread + 1) + key));
                        assert!(map.find(&guard, key).is_some());
                        drop(guard);
                        map.scheme.collect();
                    }
                });
            }
        });
        let guard = map.scheme.pin();
        let mut all = map.iterate(&guard);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..4 * KEYS));
    }
}
