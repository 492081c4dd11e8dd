//! The mixes of conc-map-bench: read heavy, exchange and rapid grow.
//!
//! As in conc-map-bench, each thread has its own keys, which are random numbers, and repeats a
//! shuffled pattern of a hundred operations. It reads and updates present keys, inserts fresh ones
//! and removes its oldest. Read heavy and exchange begin with a table that is three quarters full,
//! and keep it so. Rapid grow begins with an empty table, with room reserved unless `--grown` is
//! given. It ends after as many operations as three quarters of the number of keys. A store that is
//! too slow for that ends after four windows, with a smaller table than the others.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Ready, Settings};
use crate::{
    compare::results::{Figure, Unit},
    measure::How,
    random::{Random, mix},
    stores::{Family, Reader, Store},
};

/// The percentage of each operation.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    read: usize,
    insert: usize,
    remove: usize,
    update: usize,
}

/// As in conc-map-bench.
pub const READ_HEAVY: Mix = Mix { read: 98, insert: 1, remove: 1, update: 0 };
/// As in conc-map-bench.
pub const EXCHANGE: Mix = Mix { read: 10, insert: 40, remove: 40, update: 10 };
/// As in conc-map-bench.
pub const RAPID_GROW: Mix = Mix { read: 5, insert: 80, remove: 5, update: 10 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Insert,
    Remove,
    Update,
}

impl Mix {
    fn pattern(self, random: &mut Random) -> Vec<Operation> {
        let times = |operation, times| std::iter::repeat_n(operation, times);
        let mut pattern: Vec<Operation> = times(Operation::Read, self.read)
            .chain(times(Operation::Insert, self.insert))
            .chain(times(Operation::Remove, self.remove))
            .chain(times(Operation::Update, self.update))
            .collect();
        for i in (1..pattern.len()).rev() {
            pattern.swap(i, random.below(i as u64 + 1) as usize);
        }
        pattern
    }
}

/// The keys of one thread, of which `oldest..next` are present, and its position in the pattern.
#[derive(Debug)]
struct Worker {
    thread: u64,
    oldest: u64,
    next: u64,
    random: Random,
    pattern: Vec<Operation>,
    at: usize,
}

impl Worker {
    fn new(settings: &Settings, mix: Mix, thread: usize, there: u64) -> Self {
        let mut random = Random::new(settings.seed, 0x313 + thread as u64);
        let pattern = mix.pattern(&mut random);
        Self { thread: (thread as u64) << 40, oldest: 0, next: there, random, pattern, at: 0 }
    }

    #[inline]
    fn key(&self, number: u64) -> u64 {
        mix(self.thread | number)
    }

    #[inline]
    fn a_present_entry(&mut self) -> u64 {
        let number = self.oldest + self.random.below((self.next - self.oldest).max(1));
        self.key(number)
    }

    fn keys(&self) -> impl Iterator<Item = (u64, u64)> {
        (self.oldest..self.next).map(|number| (self.key(number), number))
    }

    #[inline]
    fn step<S: Store<u64, u64>>(&mut self, store: &S, reader: &mut S::Reader<'_>) {
        let operation = self.pattern[self.at];
        self.at = if self.at + 1 < self.pattern.len() { self.at + 1 } else { 0 };
        match operation {
            Operation::Read => {
                black_box(reader.get(&self.a_present_entry()));
            }
            Operation::Insert => {
                store.insert(self.key(self.next), self.next);
                self.next += 1;
            }
            Operation::Remove => {
                store.remove(&self.key(self.oldest));
                self.oldest = (self.oldest + 1).min(self.next);
            }
            Operation::Update => {
                let key = self.a_present_entry();
                store.insert(key, self.next);
            }
        }
    }
}

fn workers(settings: &Settings, mix: Mix, threads: usize, there: u64) -> Vec<Mutex<Worker>> {
    let each = there / threads as u64;
    (0..threads).map(|thread| Mutex::new(Worker::new(settings, mix, thread, each))).collect()
}

fn rate<S: Store<u64, u64>>(
    settings: &Settings,
    store: &S,
    workers: &[Mutex<Worker>],
    how: How,
    length: Duration,
) -> f64 {
    let mut window = settings.window(0, workers.len(), how);
    window.length = length;
    if how != How::Count {
        window.warm_up = Duration::ZERO;
    }
    let outcome = window.run(
        |_| || (),
        |i| {
            let mut worker = workers[i].lock().expect("no worker panicked");
            let mut reader = store.reader();
            move || worker.step(store, &mut reader)
        },
    );
    outcome.writes.rate
}

/// A mix that keeps the size of the table. There is one store for each number of threads, filled
/// once.
pub fn steady<F: Family>(settings: &Arc<Settings>, mix: Mix) -> Ready {
    let settings = Arc::clone(settings);
    let make = |threads| {
        let store = F::Map::<u64, u64>::with_capacity(settings.reserve(settings.keys));
        let workers = workers(&settings, mix, threads, settings.keys / 4 * 3);
        for worker in &workers {
            store.fill(worker.lock().expect("no worker panicked").keys());
        }
        (threads, store, workers)
    };
    let tables: Vec<_> = settings.writing_threads::<F>().map(make).collect();
    Ok(Box::new(move || {
        let figure = |(threads, store, workers): &(usize, F::Map<u64, u64>, Vec<Mutex<Worker>>)| {
            let rate = rate(&settings, store, workers, How::Count, settings.length);
            Figure::new("operations", &format!("{threads} thr"), Unit::PerSecond, rate)
        };
        tables.iter().map(figure).collect()
    }))
}

/// A mix that fills an empty table, which is made anew every time.
pub fn growing<F: Family>(settings: &Arc<Settings>, mix: Mix) -> Ready {
    let settings = Arc::clone(settings);
    Ok(Box::new(move || {
        let figure = |threads| {
            let store = F::Map::<u64, u64>::with_capacity(settings.reserve(settings.keys));
            let workers = workers(&settings, mix, threads, 0);
            let operations = How::UpTo(settings.keys / 4 * 3 / threads as u64);
            let rate = rate(&settings, &store, &workers, operations, settings.length * 4);
            Figure::new("operations", &format!("{threads} thr"), Unit::PerSecond, rate)
        };
        settings.writing_threads::<F>().map(figure).collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_hundred_operations_in_their_shares() {
        for mix in [READ_HEAVY, EXCHANGE, RAPID_GROW] {
            let pattern = mix.pattern(&mut Random::new(1, 1));
            assert_eq!(pattern.len(), 100);
            let inserts = pattern.iter().filter(|o| **o == Operation::Insert).count();
            assert_eq!(inserts, mix.insert);
        }
    }
}
