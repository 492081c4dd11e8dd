//! Promise: whatever threads do at once, one order in real time explains all that they saw.
//!
//! The judge is `coeval-check`, which knows nothing of coeval. Two kinds of runs feed it: `whole`
//! keeps every entry, so that absences tell something; in `lossy`, entries are evicted, expire and
//! are cleared at any time. In a third kind, `sourced`, entries are loaded from a source that
//! changes, and in a fourth, `kept`, all keys and values are counted; there the test itself is the
//! judge.
//!
//! Threads give way and stall in the middle of operations, which only the build for tests makes
//! possible, and signals stop them at any instruction (`checked/crew.rs`). In most of the histories
//! that are judged, one thread runs at a time (`common/turns.rs`). These are short. The others have
//! most of the operations.
//!
//! `COEVAL_CHECKED_OPS` sets the number of operations of each test (default 12,000);
//! `ci/checked.sh` runs many millions. `COEVAL_CHECKED_THREADS` sets the number of threads.

#![cfg(all(target_os = "linux", coeval_internals))]

#[path = "common/mod.rs"]
mod common;
#[path = "checked/crew.rs"]
mod crew;
#[path = "checked/kept.rs"]
mod kept;
#[path = "checked/lossy.rs"]
mod lossy;
#[path = "checked/sourced.rs"]
mod sourced;
#[path = "checked/whole.rs"]
mod whole;

use coeval_check::{Checker, History};
use common::random::{Random, run_seed};
use common::turns::{in_turns, visit};
use common::{alone, on_every_reclaimer, within};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// About so many operations make one history. Then comes another, on a new cache.
const HISTORY: u64 = 30_000;
/// About so many are made at a time where there is no history.
const PART: u64 = 3_000;

/// So many threads run in turns. More would mostly wake each other.
const THREADS_IN_TURNS: usize = 3;
/// So many operations of a thread make a history if one thread runs at a time.
const TURNS: u64 = 300;

/// Whether the threads of the run with this seed run in turns.
fn is_in_turns(seed: u64) -> bool {
    !seed.is_multiple_of(8)
}

/// Runs the threads of a history.
fn run(seed: u64, threads: usize, body: impl Fn(usize) + Sync) {
    match is_in_turns(seed) {
        true => in_turns(Random::new(seed), threads, body),
        false => crew::crew(threads, seed, body),
    }
}

/// A number from the environment.
fn asked(name: &str, default: u64) -> u64 {
    let asked = std::env::var(name);
    asked.map_or(default, |asked| asked.parse().expect("the variable is a number"))
}

/// Calls `run` with seeds, numbers of threads and numbers of operations for each of them, until it
/// has made enough operations.
fn repeat(what: &str, most: u64, run: impl Fn(u64, usize, u64) -> u64) {
    let _alone = alone();
    common::steps::stall();
    let goal = asked("COEVAL_CHECKED_OPS", 12_000);
    let threads = asked("COEVAL_CHECKED_THREADS", 0);
    let (mut random, mut done) = (Random::new(run_seed()), 0);
    while done < goal {
        let threads = if threads == 0 { random.pick(&[2, 3, 4, 8]) } else { threads };
        let operations = (goal - done).min(most) / threads + 1;
        // A run takes seconds. A defect that has threads wait for ever is to show soon.
        let has_defect = std::env::var("COEVAL_DEFECT").is_ok();
        let limit = Duration::from_secs(if has_defect { 25 } else { 600 });
        done += within(limit, what, || run(random.next(), threads as usize, operations));
    }
    println!("{what}: {done} operations, {} stops", crew::STOPPED.load(Ordering::Relaxed));
}

/// Has `record` make histories, and requires that each is clean.
fn check(checker: &Checker, what: &str, record: impl Fn(u64, usize, u64) -> History) {
    let done = AtomicU64::new(0);
    repeat(what, HISTORY, |seed, threads, operations| {
        let (threads, operations) = match is_in_turns(seed) {
            true => (threads.min(THREADS_IN_TURNS), operations.min(TURNS)),
            false => (threads, operations),
        };
        let history = record(seed, threads, operations / 3 + 1);
        let report = checker.check(&history).expect("the history is well-formed");
        let checked = history.micro_operations() as u64;
        let before = done.fetch_add(checked, Ordering::Relaxed);
        assert!(report.is_clean(), "{what}, within {} operations: {report}", before + checked);
        checked
    });
}

/// Numbers that are written once: each thread takes its own.
struct Values {
    next: u64,
}

impl Values {
    fn of(thread: usize) -> Self {
        Self { next: (thread as u64 + 1) << 40 }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What a transaction does: keys of the block that begins at `first`, whether it writes each,
    /// and a number for that.
    fn plan(&mut self, random: &mut Random, first: u64) -> Vec<(u64, bool, u64)> {
        let count = 2 + random.below(3);
        let step = |_| (first + random.below(KEYS), random.one_in(2), self.next());
        (0..count).map(step).collect()
    }
}

/// The keys in use: a block of a few, which moves on as the threads get ahead.
struct Block(AtomicU64);

/// The keys of a block.
const KEYS: u64 = 5;
/// How many transactions use a block.
const TERM: u64 = 200;

impl Block {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The first key of the block for the next transaction.
    fn first(&self) -> u64 {
        // Relaxed: how far the threads are matters only about.
        self.0.fetch_add(1, Ordering::Relaxed) / TERM * KEYS
    }
}

/// Gives way now and then, because threads seldom meet otherwise where there are few processors.
fn pause(random: &mut Random) {
    if random.one_in(3) {
        give_way();
    }
}

fn give_way() {
    if !visit() {
        std::thread::yield_now();
    }
}

on_every_reclaimer!(whole, lossy, sourced, kept);

fn whole<R: coeval::reclaim::Reclaim>() {
    check(&Checker::new(), "whole", whole::record::<R>);
}

fn lossy<R: coeval::reclaim::Reclaim>() {
    check(&Checker::new().absences_tell_nothing(), "lossy", lossy::record::<R>);
}

fn sourced<R: coeval::reclaim::Reclaim>() {
    repeat("sourced", PART, sourced::run::<R>);
}

fn kept<R: coeval::reclaim::Reclaim>() {
    repeat("kept", PART, kept::run::<R>);
}
