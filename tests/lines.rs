//! Promise: how many cache lines an operation moves between cores, counted without any timing. A
//! build records each access to shared memory; a model of the cores' caches replays the record.
//!
//! The threads take turns, one operation each, so a run is the same each time. Operations do not
//! overlap, so what they would repeat under contention is not counted.
#![cfg(all(coeval_internals, coeval_lines))]

#[path = "lines/cores.rs"]
mod cores;
#[path = "lines/operations.rs"]
mod operations;

use coeval::internals::lines::record;
use cores::{CORES, Cores};
use operations::{OPERATIONS, Operation};
use std::sync::{Condvar, Mutex};

/// Each thread does this many operations before the count begins, and as many that count.
const ROUNDS: usize = 192;

/// The threads take turns. Each waits on its own condition, so that a turn wakes one thread.
struct Turns {
    next: Mutex<usize>,
    is_next: Vec<Condvar>,
}

impl Turns {
    fn new(threads: usize) -> Self {
        Self { next: Mutex::new(0), is_next: (0..threads).map(|_| Condvar::new()).collect() }
    }

    /// Runs `act` when all earlier turns have been taken. The turns go round the threads.
    fn take(&self, turn: usize, act: impl FnOnce()) {
        let waits = &self.is_next[turn % self.is_next.len()];
        let mut next = waits.wait_while(self.next.lock().unwrap(), |next| *next != turn).unwrap();
        act();
        *next += 1;
        self.is_next[*next % self.is_next.len()].notify_one();
    }
}

/// Returns the moves per operation: of all lines, and of the line that moves most.
fn moves(operation: &Operation, threads: usize) -> (f64, f64) {
    let turns = Turns::new(threads);
    let cores = Mutex::new(Cores::default());
    let prepared = (operation.prepare)(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (turns, cores, prepared) = (&turns, &cores, &prepared);
            scope.spawn(move || {
                for round in 0..2 * ROUNDS {
                    turns.take(round * threads + thread, || {
                        let ((), accesses) = record(|| prepared(thread, round));
                        cores.lock().unwrap().replay(thread, &accesses, round >= ROUNDS);
                    });
                }
            });
        }
    });
    let (cores, count) = (cores.into_inner().unwrap(), (threads * ROUNDS) as f64);
    let (all, most) = cores.moves();
    // COEVAL_LINES=8: what moves lines at eight cores.
    if std::env::var("COEVAL_LINES").is_ok_and(|asked| asked.parse() == Ok(threads)) {
        for (by, moves) in cores.causes().into_iter().take(30) {
            println!("{:8.2}  {by}", moves as f64 / count);
        }
    }
    (all as f64 / count, most as f64 / count)
}

/// Prints what docs/benchmarks.md shows; run with `--nocapture`.
#[test]
fn each_operation_moves_no_more_lines_than_stated() {
    let mut over = Vec::new();
    println!("| operation | 2 cores | 8 | 32 | {CORES} | the line that moves most, at {CORES} |");
    println!("|---|---|---|---|---|---|");
    for operation in OPERATIONS {
        let each = [2, 8, 32, CORES].map(|threads| moves(operation, threads));
        let shown: Vec<_> = each.iter().map(|(all, _)| format!("{all:.2}")).collect();
        println!("| {} | {} | {:.2} |", operation.name, shown.join(" | "), each[3].1);
        for (all, _) in each {
            if all > operation.at_most {
                over.push(format!("{}: {all:.2} > {}", operation.name, operation.at_most));
            }
        }
    }
    assert!(over.is_empty(), "more lines move than stated: {over:#?}");
}
