//! Lists and registers, of which none goes: transactions, batches, groups and views.

use crate::common::random::Random;
use crate::common::{Store, store};
use crate::{Block, KEYS, Values, give_way, pause, run};
use coeval::reclaim::Reclaim;
use coeval_check::{History, Log, Recorder};
use std::sync::Arc;

type Held = Arc<Vec<u64>>;
type Cache<R> = Store<u64, Held, R>;

/// Entries that are derived from a key have the key plus this.
const DERIVED: u64 = 1 << 32;

/// Runs the threads, and returns what they saw. Even keys are registers, odd keys lists.
pub fn record<R: Reclaim>(seed: u64, threads: usize, transactions: u64) -> History {
    let cache: Cache<R> = store();
    let (recorder, block) = (Recorder::new(), Block::new());
    run(seed, threads, |thread| {
        let random = Random::new(seed ^ (thread as u64) << 32);
        let mut worker =
            Worker { cache: &cache, random, values: Values::of(thread), log: recorder.log() };
        (0..transactions).for_each(|_| worker.act(block.first()));
    });
    recorder.history()
}

struct Worker<'a, R: Reclaim> {
    cache: &'a Cache<R>,
    random: Random,
    values: Values,
    log: Log<'a>,
}

/// The even keys of a block, which are registers.
fn register(random: &mut Random, first: u64) -> u64 {
    let key = first + random.below(KEYS);
    if key.is_multiple_of(2) { key } else { key - key % 2 + 2 * (random.below(2)) }
}

impl<R: Reclaim> Worker<'_, R> {
    fn act(&mut self, first: u64) {
        match self.random.below(12) {
            0..4 => self.transact(first),
            4..6 => self.batch(first),
            6 => self.get_many(first),
            7 => self.view(first),
            8 => self.compare_and_set(first),
            9..11 => self.insert(first),
            _ if self.random.one_in(2) => self.get(first),
            _ => self.derive(first),
        }
    }

    /// Reads a key through a value that is derived from it.
    fn derive(&mut self, first: u64) {
        let Self { cache, random, log, .. } = self;
        let key = first + random.below(KEYS);
        let mut tx = log.begin();
        let found = cache.derive(DERIVED + key, |scope| {
            let found = scope.get(&key).unwrap_or_default();
            give_way();
            found
        });
        note(&mut tx, key, (!found.is_empty()).then_some(&found));
        tx.commit();
    }

    fn transact(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let plan = values.plan(random, first);
        let mut tx = log.begin();
        let outcome = cache.transact(|inner| {
            tx.restart();
            for &(key, writes, value) in &plan {
                pause(random);
                let found = inner.get(&key);
                if key.is_multiple_of(2) {
                    tx.read(key, found.map(|held| held[0]));
                    if writes {
                        inner.insert(key, Arc::new(vec![value]));
                        tx.write(key, value);
                    }
                } else {
                    let mut held = found.unwrap_or_default();
                    tx.read_list(key, &held);
                    if writes {
                        Arc::make_mut(&mut held).push(value);
                        inner.insert(key, held);
                        tx.append(key, value);
                    }
                }
            }
            Ok::<_, ()>(())
        });
        if outcome.is_ok() { tx.commit() } else { tx.abort() }
    }

    fn insert(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let (key, value) = (register(random, first), values.next());
        let mut tx = log.begin();
        cache.insert(key, Arc::new(vec![value]));
        tx.write(key, value);
        tx.commit();
    }

    fn batch(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let mut keys: Vec<_> = (0..3).map(|_| register(random, first)).collect();
        keys.sort_unstable();
        keys.dedup();
        // Not always in the order of their addresses.
        if random.one_in(2) {
            keys.reverse();
        }
        let mut tx = log.begin();
        let mut batch = cache.batch();
        for key in keys {
            let value = values.next();
            batch = batch.insert(key, Arc::new(vec![value]));
            tx.write(key, value);
        }
        batch.commit();
        tx.commit();
    }

    fn get_many(&mut self, first: u64) {
        let mut tx = self.log.begin();
        let keys = [first, first + 1, first + 2, first + 3];
        for (key, found) in keys.into_iter().zip(self.cache.get_many(keys.each_ref())) {
            note(&mut tx, key, found.as_ref());
        }
        tx.commit();
    }

    fn view(&mut self, first: u64) {
        let Self { cache, random, log, .. } = self;
        let mut tx = log.begin();
        if random.below(2) == 0 {
            let keys = [(); 4].map(|()| first + random.below(KEYS));
            let found = cache.view_briefly(|view| {
                let mut found = [const { None }; 4];
                for (found, key) in found.iter_mut().zip(&keys) {
                    pause(random);
                    *found = view.get(key)?.cloned();
                }
                Ok(found)
            });
            for (key, found) in keys.into_iter().zip(&found) {
                note(&mut tx, key, found.as_ref());
            }
            return tx.commit();
        }
        let view = cache.view();
        for _ in 0..4 {
            pause(random);
            let key = first + random.below(KEYS);
            note(&mut tx, key, view.get(&key));
        }
        tx.commit();
    }

    fn compare_and_set(&mut self, first: u64) {
        let Self { cache, random, values, log } = self;
        let (key, value) = (register(random, first), values.next());
        let mut tx = log.begin();
        let found = cache.get_versioned(&key);
        pause(random);
        let version = found.as_ref().map(|(_, version)| *version);
        match cache.compare_and_set(key, version, Arc::new(vec![value])) {
            Ok(_) => {
                tx.compare_and_set(key, found.map(|(held, _)| held[0]), value);
                tx.commit();
            }
            Err(_) => tx.abort(),
        }
    }

    fn get(&mut self, first: u64) {
        let key = first + self.random.below(KEYS);
        let mut tx = self.log.begin();
        note(&mut tx, key, self.cache.get(&key).as_ref());
        tx.commit();
    }
}

fn note(tx: &mut coeval_check::Open<'_, '_>, key: u64, found: Option<&Held>) {
    match key.is_multiple_of(2) {
        true => tx.read(key, found.map(|held| held[0])),
        false => tx.read_list(key, found.map_or(&[], |held| held)),
    }
}
