//! Promise: used by one thread alone, a cache is a map whose values end by time, by changes of
//! their inputs, and by their tags. Every operation, in any order and with any settings, does what
//! a simple model says. The listener hears once of each value that has left, with the cause.
//!
//! With a bound, an entry may be evicted at any time, but then stays absent until it is written. A
//! program that fails is printed with its seed, after all steps that the failure does not need were
//! removed.

mod compare;
mod loads;
mod model;
mod pair;
mod program;
mod state;
mod ties;
mod transact;

use crate::common::random::{Random, run_seed};
use crate::common::{on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use pair::Pair;
use program::{Settings, Step};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of steps in a program.
const STEPS: u64 = 80;

/// Runs a program. Returns the error, if it fails.
fn run<R: Reclaim>(settings: &Settings, steps: &[Step]) -> Result<(), String> {
    let all = || {
        let mut pair = Pair::<R>::new(settings);
        steps.iter().for_each(|step| pair.step(step));
    };
    catch_unwind(AssertUnwindSafe(all)).map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    panic.downcast_ref::<String>().cloned().or(text).unwrap_or("a panic".into())
}

/// Removes steps as long as the program still fails.
fn shrink<R: Reclaim>(settings: &Settings, mut steps: Vec<Step>) -> Vec<Step> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..steps.len().min(at + size));
            if run::<R>(settings, &fewer).is_err() {
                steps = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    steps
}

/// Ends the process if one program takes longer than `HANG`, because a hang cannot be unwound. Says
/// which one.
struct Watchdog {
    seed: Arc<AtomicU64>,
}

/// A program takes some milliseconds, and less than a second under a sanitizer.
const HANG: Duration = Duration::from_secs(120);

impl Watchdog {
    fn new() -> Self {
        let seed = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&seed);
        std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            while let Some(seed) = watched.upgrade() {
                let now = seed.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > HANG {
                    eprintln!("hang: the program of seed {now} took longer than {HANG:?}");
                    std::process::abort();
                }
                drop(seed);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { seed }
    }

    fn begin(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
    }
}

fn every_program_agrees_with_the_model<R: Reclaim>() {
    let (mut seeds, watchdog) = (Random::new(run_seed()), Watchdog::new());
    for _ in 0..stress(600, 20_000, 500_000) {
        let seed = seeds.next();
        watchdog.begin(seed);
        let mut random = Random::new(seed);
        let settings = Settings::random(&mut random);
        let steps: Vec<_> = (0..STEPS).map(|_| Step::random(&mut random, &settings)).collect();
        if run::<R>(&settings, &steps).is_err() {
            let steps = shrink::<R>(&settings, steps);
            let what = run::<R>(&settings, &steps).err().unwrap_or("not always".into());
            let steps: Vec<_> = steps.iter().map(|step| format!("{step:?}")).collect();
            panic!("seed {seed}: {what}\n{settings:?}\n{}", steps.join("\n"));
        }
    }
}

on_every_reclaimer!(every_program_agrees_with_the_model);
