//! The record of a concurrent run: each written value has left once, or is present.

use super::{Left, gone};
use crate::common::random::{Random, run_seed};
use crate::common::{Store, disturb, on_every_reclaimer, stress, together, within};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RemovalCause, Version};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEYS: u64 = 200;
const THREADS: usize = 4;

/// Every value is unique, so a report identifies its value.
struct Record<R: Reclaim> {
    cache: Store<u64, u64, R>,
    clock: ManualClock,
    next: Arc<AtomicU64>,
    left: Arc<Mutex<Vec<Left>>>,
    /// The values that were written, and their commits; `None` for values that relations wrote.
    written: Mutex<HashMap<u64, Option<Version>>>,
}

impl<R: Reclaim> Record<R> {
    fn new() -> Self {
        let (clock, next) = (ManualClock::new(), Arc::new(AtomicU64::new(1)));
        let left = Arc::new(Mutex::new(Vec::new()));
        let (heard, numbers) = (Arc::clone(&left), Arc::clone(&next));
        let cache = coeval::Cache::builder()
            .manual_clock(&clock)
            .max_capacity(KEYS / 2)
            .time_to_live(Duration::from_secs(5))
            .related(move |key, related| {
                if *key < 20 {
                    related.invalidate(key + 20);
                    related.insert(key + 40, numbers.fetch_add(1, Ordering::Relaxed));
                }
            })
            .eviction_listener(move |key: Arc<u64>, value, cause, version| {
                heard.lock().unwrap().push((*key, value, cause, version));
            })
            .reclaimer()
            .build();
        Self { cache, clock, next, left, written: Mutex::default() }
    }

    fn value(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn operate(&self, random: &mut Random, written: &mut Vec<(u64, Version)>) {
        let (cache, key) = (&self.cache, random.below(KEYS));
        match random.below(20) {
            0 => _ = cache.remove(&key),
            1 => _ = cache.invalidate(&key),
            2..5 => {
                let values = [(); 3].map(|()| self.value());
                let batch = cache.batch().insert(key, values[0]).remove((key + 1) % KEYS);
                let batch =
                    batch.insert_with_ttl((key + 2) % KEYS, values[1], Duration::from_millis(20));
                let version = batch.insert((key + 3) % KEYS, values[2]).commit();
                written.extend(values.map(|value| (value, version)));
            }
            5..7 => {
                let held = cache.get_versioned(&key).map(|(_, version)| version);
                let value = self.value();
                if let Ok(version) = cache.compare_and_set(key, held, value) {
                    written.push((value, version));
                }
            }
            7 if random.one_in(200) => _ = cache.invalidate_all(),
            8 => drop(cache.view()),
            9 => self.clock.advance(Duration::from_millis(random.below(100))),
            _ => {
                let value = self.value();
                written.push((value, cache.insert(key, value)));
            }
        }
    }

    /// Writes until all cleared and expired values were swept, as far as the work that other
    /// threads hold, or held when they ended, allows.
    fn sweep(&self) {
        let missing = || {
            let left: HashSet<u64> = self.left.lock().unwrap().iter().map(|left| left.1).collect();
            let there: HashSet<u64> = self.cache.view().iter().map(|(_, value)| *value).collect();
            let written = self.written.lock().unwrap();
            written.keys().filter(|value| !left.contains(value) && !there.contains(value)).count()
        };
        within(Duration::from_secs(120), "reporting swept values", || {
            for round in 0..1_000 {
                if missing() == 0 {
                    return;
                }
                let write = |thread: usize| {
                    for _ in 0..200 {
                        let (value, key) = (self.value(), 1_000 + round * 10 + thread as u64);
                        let version = self.cache.insert(key % 5_000, value);
                        self.written.lock().unwrap().insert(value, Some(version));
                    }
                };
                together(THREADS, write);
                // This thread also holds work, from the views above, which waits for its writes.
                write(THREADS);
            }
            panic!("{} values have left without a report", missing());
        });
    }

    fn check(&self) {
        let (left, written) = (self.left.lock().unwrap(), self.written.lock().unwrap());
        let mut told = HashMap::new();
        for (key, value, cause, version) in left.iter() {
            let twice = told.insert(*value, (*cause, *version));
            assert!(
                twice.is_none(),
                "{value} of {key} left twice: {twice:?}, {cause:?}, {version}"
            );
            let Some(by) = written.get(value) else { continue };
            assert!(by.is_none_or(|by| by < *version), "{value}, {by:?}, left by {version}");
        }
        let view = self.cache.view();
        let there: HashMap<u64, u64> = view.iter().map(|(key, value)| (*value, *key)).collect();
        assert!(
            there.keys().all(|value| !told.contains_key(value)),
            "a present value was reported"
        );
        // A value that left by a commit that wrote another value was replaced by it.
        let count = |cause| told.values().filter(|told| told.0 == cause).count();
        use RemovalCause::{Expired, Explicit, Related, Replaced, Size};
        let counts = [Explicit, Replaced, Expired, Size, Related].map(count);
        println!("{} written, {} there, left: {counts:?}", written.len(), there.len());
        assert!(counts.iter().all(|count| *count > 0));
        assert_eq!(gone(&self.cache), left.len() as u64);
    }
}

fn each_value_leaves_once<R: Reclaim>() {
    disturb();
    let (seed, rounds) = (run_seed(), stress(6_000, 60_000, 500_000));
    let record = Record::<R>::new();
    together(THREADS, |thread| {
        let mut random = Random::new(seed ^ thread as u64);
        let mut written = Vec::new();
        for _ in 0..rounds {
            record.operate(&mut random, &mut written);
        }
        let written = written.into_iter().map(|(value, version)| (value, Some(version)));
        record.written.lock().unwrap().extend(written);
    });
    record.sweep();
    record.check();
}

on_every_reclaimer!(each_value_leaves_once);
