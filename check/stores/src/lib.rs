//! What `coeval-check` says of some stores: adapters, and a workload.
//!
//! The stores that are used key by key do not promise transactions, and do not break a promise by
//! the anomalies that show here. What shows is what a caller gets who needs several keys to belong
//! together, and goes to them one by one.

mod ours;
mod peers;

pub use ours::{Mixed, Transact, Views};
pub use peers::{Dash, Locked, Moka};

use coeval_check::simulate::Random;
use coeval_check::{History, Open, Recorder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a key holds: one value of a register, or the elements of a list.
pub type Held = Arc<Vec<u64>>;

/// A part of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Reads a register.
    Read(u64),
    /// Writes a value to a register.
    Write(u64, u64),
    /// Reads a list.
    List(u64),
    /// Appends an element to a list.
    Append(u64, u64),
}

/// A store that runs transactions, or what its users make do with.
pub trait Store: Sync {
    /// Its name, and how it is used.
    fn name(&self) -> &'static str;

    /// Whether it can append, and write what depends on a read.
    fn can_update(&self) -> bool {
        true
    }

    /// Runs the steps as one transaction as well as the store can, and notes what it answered.
    fn run(&self, steps: &[Step], tx: Open<'_, '_>);
}

/// Lets other threads go on, often: else threads meet seldom where there are few processors.
pub(crate) fn pause(random: &mut Random) {
    if random.one_in(2) {
        std::thread::yield_now();
    }
}

/// A source of randomness for the pauses of a transaction.
pub(crate) fn random(steps: &[Step]) -> Random {
    Random::new(steps.iter().fold(0, |seed, step| match step {
        Step::Read(key) | Step::List(key) => seed * 31 + key,
        Step::Write(key, value) | Step::Append(key, value) => seed * 31 + key + value,
    }))
}

/// Notes what a step found or did.
pub(crate) fn note(tx: &mut Open<'_, '_>, step: Step, found: Option<&Held>) {
    match step {
        Step::Read(key) => tx.read(key, found.map(|held| held[0])),
        Step::Write(key, value) => tx.write(key, value),
        Step::List(key) => tx.read_list(key, found.map_or(&[], |held| held)),
        Step::Append(key, element) => tx.append(key, element),
    }
}

/// How much work there is.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// The number of threads.
    pub threads: u64,
    /// The number of transactions of each.
    pub transactions: u64,
    /// The seed of what they do.
    pub seed: u64,
}

/// The keys in use at a time: registers and lists, by turns.
const KEYS: u64 = 6;
/// After so many transactions, other keys take their places.
const TERM: u64 = 150;

/// Runs the workload on an empty store.
pub fn record(store: &dyn Store, work: Work) -> History {
    let (recorder, count) = (Recorder::new(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..work.threads {
            let (mut log, count) = (recorder.log(), &count);
            let mut random = Random::new(work.seed * 1_000 + thread);
            scope.spawn(move || {
                for at in 0..work.transactions {
                    // Relaxed: only how far the threads are matters, about.
                    let term = count.fetch_add(1, Ordering::Relaxed) / TERM;
                    let first = (thread * work.transactions + at) * 8;
                    let steps = steps(store.can_update(), &mut random, term * KEYS, first + 1);
                    store.run(&steps, log.begin());
                }
            });
        }
    });
    recorder.history()
}

/// The steps of one transaction. `value` and the next few are written by no other.
fn steps(can_update: bool, random: &mut Random, keys: u64, value: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let all_writes = random.one_in(2);
    for value in value..value + 2 + random.below(4) {
        let key = keys + random.below(KEYS);
        let writes = if can_update { random.one_in(2) } else { all_writes };
        match (key.is_multiple_of(2) || !can_update, writes) {
            (true, true) if can_update => steps.extend([Step::Read(key), Step::Write(key, value)]),
            (true, true) => {
                // One commit writes a key once.
                let is_other =
                    |step: &Step| !matches!(step, Step::Write(other, _) if *other == key);
                steps.retain(is_other);
                steps.push(Step::Write(key, value));
            }
            (true, false) => steps.push(Step::Read(key)),
            (false, true) => steps.push(Step::Append(key, value)),
            (false, false) => steps.push(Step::List(key)),
        }
    }
    steps
}
