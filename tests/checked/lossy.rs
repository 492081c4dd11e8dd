//! Registers that may go at any time: they are evicted, expire, are cleared, lose their tag, and
//! others are derived from them. What is there must still belong together.

use crate::common::random::Random;
use crate::common::{StopOnDrop, Store};
use crate::{Block, KEYS, Values, give_way, pause, run};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Terms};
use coeval_check::{History, Log, Recorder};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

/// Entries that are derived from a register have the key of the register plus this.
const DERIVED: u64 = 1 << 32;
/// Entries that nobody records. They make others leave.
const OTHERS: u64 = 1 << 33;
const TAG: u64 = 7;

/// Runs the threads, with one more that makes entries go, and returns what they saw.
pub fn record<R: Reclaim>(seed: u64, threads: usize, transactions: u64) -> History {
    let clock = ManualClock::new();
    let bounded = coeval::Cache::builder().max_capacity(24).time_to_live(Duration::from_secs(60));
    let cache: Cache<R> = bounded.manual_clock(&clock).reclaimer().build();
    let (recorder, block) = (Recorder::new(), Block::new());
    let (stop, left) = (AtomicBool::new(false), AtomicUsize::new(threads));
    run(seed, threads + 1, |thread| {
        let mut random = Random::new(seed ^ (thread as u64) << 32);
        if thread == threads {
            return make_go(&cache, &clock, &mut random, &stop);
        }
        let stop_all = StopOnDrop(&stop);
        let mut worker =
            Worker { cache: &cache, random, values: Values::of(thread), log: recorder.log() };
        (0..transactions).for_each(|_| worker.act(block.first()));
        // The last one stops the thread that makes entries go; so does one that fails.
        if left.fetch_sub(1, Ordering::AcqRel) > 1 {
            std::mem::forget(stop_all);
        }
    });
    recorder.history()
}

/// Makes entries go, in each of the ways there are, until it is told to stop.
fn make_go<R: Reclaim>(
    cache: &Cache<R>,
    clock: &ManualClock,
    random: &mut Random,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        match random.below(40) {
            0 => _ = cache.invalidate_all(),
            1..4 => clock.advance(Duration::from_secs(random.below(40))),
            4..8 => _ = cache.invalidate_tag(TAG),
            8 => _ = cache.collect(),
            _ => _ = cache.insert(OTHERS + random.below(64), 0),
        }
        if random.one_in(2) {
            std::thread::yield_now();
        }
    }
}

struct Worker<'a, R: Reclaim> {
    cache: &'a Cache<R>,
    random: Random,
    values: Values,
    log: Log<'a>,
}

impl<R: Reclaim> Worker<'_, R> {
    fn act(&mut self, first: u64) {
        match self.random.below(14) {
            0..4 => self.transact(first),
            4 => self.batch(first),
            5 => self.get_many(first),
            6 => self.view(first),
            7..9 => self.compare_and_set(first),
            9 => self.get(first),
            10..12 => self.insert(first),
            _ => self.derive(first),
        }
    }

    /// Terms of every kind.
    fn terms(random: &mut Random) -> Terms {
        match random.below(4) {
            0 => Terms::new().tags([TAG]),
            1 => Terms::new().time_to_live(Duration::from_secs(1 + random.below(30))),
            2 => Terms::new().time_to_idle(Duration::from_secs(1 + random.below(30))),
            _ => Terms::new(),
        }
    }

    fn transact(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let plan = values.plan(random, first);
        let mut tx = log.begin();
        let outcome = cache.transact(|inner| {
            tx.restart();
            for &(key, writes, value) in &plan {
                pause(random);
                tx.read(key, inner.get(&key));
                if writes {
                    inner.insert_with(key, value, Self::terms(random));
                    tx.write(key, value);
                }
            }
            Ok::<_, ()>(())
        });
        if outcome.is_ok() { tx.commit() } else { tx.abort() }
    }

    fn insert(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let (key, value) = (first + random.below(KEYS), values.next());
        let mut tx = log.begin();
        match random.below(3) {
            0 => _ = cache.insert_tagged(key, value, &[TAG.into()]),
            1 => _ = cache.insert_with_ttl(key, value, Duration::from_secs(1 + random.below(30))),
            _ => _ = cache.insert(key, value),
        }
        tx.write(key, value);
        tx.commit();
    }

    fn batch(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let from = random.below(KEYS);
        let mut tx = log.begin();
        let mut batch = cache.batch();
        for at in 0..3 {
            let (key, value) = (first + (from + at) % KEYS, values.next());
            batch = batch.insert_with(key, value, Self::terms(random));
            tx.write(key, value);
        }
        batch.commit();
        tx.commit();
    }

    fn get_many(&mut self, first: u64) {
        let mut tx = self.log.begin();
        let keys = [first, first + 1, first + 2, first + 3, first + 4];
        for (key, found) in keys.into_iter().zip(self.cache.get_many(keys.each_ref())) {
            tx.read(key, found);
        }
        tx.commit();
    }

    fn view(&mut self, first: u64) {
        let Self { cache, random, log, .. } = self;
        let mut tx = log.begin();
        if random.below(2) == 0 {
            let keys = [(); 4].map(|()| first + random.below(KEYS));
            let found = cache.view_briefly(|view| {
                let mut found = [None; 4];
                for (found, key) in found.iter_mut().zip(&keys) {
                    pause(random);
                    *found = view.get(key)?.copied();
                }
                Ok(found)
            });
            keys.into_iter().zip(found).for_each(|(key, found)| tx.read(key, found));
            return tx.commit();
        }
        let view = cache.view();
        for _ in 0..4 {
            pause(random);
            let key = first + random.below(KEYS);
            tx.read(key, view.get(&key).copied());
        }
        tx.commit();
    }

    fn compare_and_set(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let (key, value) = (first + random.below(KEYS), values.next());
        let mut tx = log.begin();
        let found = cache.get_versioned(&key);
        pause(random);
        match cache.compare_and_set(key, found.map(|(_, version)| version), value) {
            Ok(_) => {
                tx.compare_and_set(key, found.map(|(held, _)| held), value);
                tx.commit();
            }
            Err(_) => tx.abort(),
        }
    }

    fn get(&mut self, first: u64) {
        let key = first + self.random.below(KEYS);
        let mut tx = self.log.begin();
        tx.read(key, self.cache.get(&key));
        tx.commit();
    }

    /// Reads a register, and perhaps a second one, through a value that is derived from both.
    fn derive(&mut self, first: u64) {
        let Self { cache, random, log, .. } = self;
        let key = first + random.below(KEYS);
        let mut tx = log.begin();
        let found = cache.derive(DERIVED + key, |scope| {
            let found = scope.get(&key);
            give_way();
            found.unwrap_or(0)
        });
        tx.read(key, (found != 0).then_some(found));
        tx.commit();
        let mut tx = log.begin();
        let keys = [DERIVED + key, key, DERIVED + first, first];
        for (key, found) in keys.into_iter().zip(cache.get_many(keys.each_ref())) {
            // That a derived value is absent, or that its input was, says nothing.
            if let Some(found) = found.filter(|found| *found != 0) {
                tx.read(key % DERIVED, Some(found));
            }
        }
        tx.commit();
    }
}
