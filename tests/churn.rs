//! Promise: a full cache can be churned for ever. It keeps its bound, memory does not grow, and in
//! the end each key and value has been dropped once.
//!
//! `COEVAL_CHURN_OPS` sets the number of operations; `ci/long.sh churn` runs 200,000,000.

mod common;

use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use common::counted::{ById, Counted, Ledger};
use common::random::{Random, run_seed};
use common::{StopOnDrop, Store, on_every_reclaimer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CAPACITY: u64 = 10_000;
const THREADS: u64 = 4;
/// The number of entries in one batch.
const BATCH: u64 = 8;
/// The most objects that one thread may have retired and not yet dropped, while no thread holds a
/// guard for long.
const RETIRED: i64 = 8_192;

/// Runs one test at a time, because all tests measure the same memory.
static ALONE: Mutex<()> = Mutex::new(());

fn operations() -> u64 {
    let asked = std::env::var("COEVAL_CHURN_OPS");
    asked.map_or(300_000, |asked| asked.parse().expect("COEVAL_CHURN_OPS is a number"))
}

/// The resident bytes of the process. `None` where the system does not report them, or where a
/// sanitizer keeps freed memory.
fn resident() -> Option<u64> {
    if cfg!(coeval_asan) {
        return None;
    }
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

struct Churn<R: Reclaim> {
    cache: Store<Counted, Counted, R>,
    clock: ManualClock,
    keys: Arc<Ledger>,
    values: Arc<Ledger>,
    done: AtomicU64,
    hits: AtomicU64,
}

impl<R: Reclaim> Churn<R> {
    fn new() -> Self {
        let clock = ManualClock::new();
        // With so much capacity, records have homes, which are full all the time.
        let builder = coeval::Cache::builder().initial_capacity(CAPACITY as usize);
        let builder = builder.max_capacity(CAPACITY).manual_clock(&clock);
        let (cache, keys, values) = (builder.reclaimer().build(), Ledger::new(), Ledger::new());
        Self { cache, clock, keys, values, done: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }

    fn entry(&self, id: u64) -> (Counted, Counted) {
        (Counted::new(id, &self.keys), Counted::new(id, &self.values))
    }

    /// Runs some operations of one thread: mostly gets, some of them of popular keys.
    fn operate(&self, random: &mut Random, count: u64) {
        let mut hits = 0;
        for _ in 0..count {
            let most = if random.one_in(2) { CAPACITY / 2 } else { CAPACITY * 16 };
            let id = random.below(most);
            match random.below(100) {
                0..60 => {
                    let pinned = self.cache.pin();
                    let found = pinned.get(&ById(id));
                    hits += u64::from(found.is_some_and(|value| value.read() == id));
                }
                60..80 => {
                    let (key, value) = self.entry(id);
                    self.cache.insert(key, value);
                }
                80..88 => drop(self.cache.remove(&ById(id))),
                88..95 => {
                    let (key, value) = self.entry(id);
                    let time = Duration::from_millis(random.below(2_000));
                    self.cache.insert_with_ttl(key, value, time);
                }
                95..98 => {
                    let mut batch = self.cache.batch();
                    for id in id..id + random.below(BATCH + 1) {
                        let (key, value) = self.entry(id);
                        batch = match random.below(4) {
                            0 => batch.remove(key),
                            1 => batch.insert_with_ttl(key, value, Duration::from_millis(50)),
                            _ => batch.insert(key, value),
                        };
                    }
                    batch.commit();
                }
                98 => drop(self.cache.get_many([&ById(id), &ById(id + 1)])),
                _ if random.one_in(1_000) => drop(self.cache.view()),
                // 1,000 ms correspond to some 100,000 operations.
                _ => self.clock.advance(Duration::from_millis(1)),
            }
        }
        self.done.fetch_add(count, Ordering::Relaxed);
        self.hits.fetch_add(hits, Ordering::Relaxed);
    }

    /// Checks the bound. Each thread may have brought a batch for which it has not yet made room.
    fn watch(&self) {
        let most = CAPACITY + THREADS * BATCH;
        let (len, weight) = (self.cache.len() as u64, self.cache.weighted_size());
        assert!(len <= most && weight <= most, "{len} entries that weigh {weight}");
        let view = self.cache.view();
        let count = view.iter().count() as u64;
        assert!(count <= most, "{count} visible entries");
    }

    fn run(&self, seed: u64, operations: u64) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    self.watch();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let _stop = StopOnDrop(&stop);
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || {
                        let mut random = Random::new(seed ^ thread);
                        for _ in 0..operations / THREADS / 1_000 {
                            self.operate(&mut random, 1_000);
                        }
                    });
                }
            });
        });
    }
}

impl<R: Reclaim> Churn<R> {
    /// Returns the keys and values that are alive, and the bytes of the process. On a machine with
    /// more to do than processors, threads are stopped under guards all the time. What waits for
    /// them is reclaimed first, so that only what is lost remains.
    fn alive(&self) -> (i64, i64, Option<u64>) {
        let most = CAPACITY as i64 * 2 + RETIRED * (THREADS as i64 + 1);
        if self.keys.live() > most || self.values.live() > most {
            println!("much waits to be reclaimed");
            self.cache.collect();
            let (keys, values) = (self.keys.live(), self.values.live());
            assert!(keys <= most && values <= most, "{keys} keys and {values} values are left");
        }
        (self.keys.live(), self.values.live(), resident())
    }
}

/// Warms up with a tenth of the operations, then churns, and checks from time to time that memory
/// has not grown.
fn a_full_cache_is_churned<R: Reclaim>() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (churn, seed, operations) = (Churn::<R>::new(), run_seed(), operations());
    let begin = Instant::now();
    churn.run(seed, (operations / 10).max(100_000));
    let mut peaks = vec![churn.alive()];
    for round in 1..10 {
        churn.run(seed ^ (round * 100), operations / 10);
        peaks.push(churn.alive());
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (done, hits) = (churn.done.load(Ordering::Relaxed), churn.hits.load(Ordering::Relaxed));
    println!(
        "{done} operations in {seconds:.1} s, {hits} hits; {:?}",
        churn.cache.stats().removals
    );
    println!("keys, values, bytes in memory: {peaks:?}");
    if let (Some(first), Some(last)) = (peaks[0].2, peaks[9].2) {
        assert!(last <= first + (32 << 20), "grew from {first} to {last} bytes");
    }
    assert_eq!(churn.cache.len() as u64, churn.cache.weighted_size());
    assert!(churn.cache.weighted_size() <= CAPACITY);
    let Churn { cache, keys, values, .. } = churn;
    drop(cache);
    keys.assert_settled();
    values.assert_settled();
}

on_every_reclaimer!(a_full_cache_is_churned);
