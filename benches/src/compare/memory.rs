//! Memory, measured from outside the allocator: resident pages of a child process per store.
//!
//! `coeval` maps memory itself, so an allocator that counts would not see it.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Entrant, Settings,
    results::{Figure, Unit},
};
use crate::{
    random::{Random, mix},
    stores::{Reader, Store, Visit, visit},
};

/// What a child measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Fill with many entries, grown from empty.
    Grown,
    /// Fill with many entries, room reserved.
    Reserved,
    /// Overwrite a few keys while the old contents are held, then churn through fresh keys.
    Overwrite,
}

/// What a child prints.
#[derive(Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Measured {
    pub bytes_per_entry: f64,
    pub held: String,
    pub overwrites: u64,
    pub growth_while_held: f64,
    pub churned: u64,
    pub after_warm_up: f64,
    pub at_the_end: f64,
}

/// Keys that are overwritten while the old contents are held.
const HOT: u64 = 1_000;
const OVERWRITES: u64 = 10_000_000;
/// Fresh keys, each inserted once and removed when [`HOT`] later ones have come.
const CHURN: u64 = 100_000_000;
/// Part of the churn that is warm-up.
const WARM_UP: u64 = 1_000_000;

/// Bytes an entry.
pub fn per_entry(store: &str, settings: &Arc<Settings>) -> Entrant {
    let (store, settings) = (store.to_owned(), Arc::clone(settings));
    Box::new(move || {
        let tasks = [(Task::Grown, "grown"), (Task::Reserved, "reserved")];
        let figure = |(task, variant): (Task, &str)| {
            let bytes = child(&store, task, &settings)?.bytes_per_entry;
            Some(Figure::new("memory an entry", variant, Unit::Bytes, bytes))
        };
        tasks.into_iter().filter_map(figure).collect()
    })
}

/// Growth under a held view and under churn.
pub fn overwrite(store: &str, settings: &Arc<Settings>) -> Entrant {
    let (store, settings) = (store.to_owned(), Arc::clone(settings));
    Box::new(move || {
        let Some(measured) = child(&store, Task::Overwrite, &settings) else { return Vec::new() };
        let bytes = |metric, value| Figure::new(metric, "", Unit::Bytes, value);
        let count = |metric, value: u64| Figure::new(metric, "", Unit::Count, value as f64);
        vec![
            bytes("growth while held", measured.growth_while_held),
            bytes("resident after warm-up", measured.after_warm_up),
            bytes("resident after the churn", measured.at_the_end),
            count("overwrites", measured.overwrites),
            count("keys churned", measured.churned),
        ]
    })
}

fn child(store: &str, task: Task, settings: &Settings) -> Option<Measured> {
    use clap::ValueEnum;
    let program = std::env::current_exe().ok()?;
    let task = task.to_possible_value()?;
    let mut command = Command::new(program);
    command.args(["child", "--store", store, "--task", task.get_name()]);
    command.args(["--keys", &settings.keys.to_string(), "--cap", &settings.cap.to_string()]);
    let output = command.output().ok()?;
    match serde_json::from_slice(&output.stdout) {
        Ok(measured) if output.status.success() => Some(measured),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("{store}: the memory child failed ({}): {why}", output.status);
            None
        }
    }
}

/// The child's side. None for a store that does not exist.
pub fn measure(store: &str, task: Task, keys: u64, cap: Duration) -> Option<Measured> {
    struct Child(Task, u64, Duration);
    impl Visit for Child {
        type Output = Measured;
        fn visit<S: Store>(self) -> Measured {
            match self.0 {
                Task::Grown => entries::<S>(0, self.1),
                Task::Reserved => entries::<S>(self.1 as usize, self.1),
                Task::Overwrite => overwritten::<S>(self.2),
            }
        }
    }
    visit(store, Child(task, keys, cap))
}

fn entries<S: Store>(reserve: usize, keys: u64) -> Measured {
    let before = resident();
    let store = S::with_capacity(reserve);
    // `mix` is a permutation: distinct keys in no order, without an array of them.
    store.fill((0..keys).map(mix));
    let after = resident();
    assert_eq!(store.reader().get(mix(keys - 1)), Some(mix(keys - 1)), "the last key is missing");
    Measured { bytes_per_entry: (after - before) / keys as f64, ..Measured::default() }
}

fn overwritten<S: Store>(cap: Duration) -> Measured {
    let store = S::with_capacity(0);
    store.fill(0..HOT);
    let mut random = Random::new(1, 1);
    repeat(OVERWRITES / 10, cap / 10, |i| store.insert(random.below(HOT), i));
    let mut measured = Measured::default();
    let (held, contents) = store.hold_contents();
    let before = resident();
    measured.overwrites = repeat(OVERWRITES, cap, |i| store.insert(random.below(HOT), i));
    measured.growth_while_held = resident() - before;
    measured.held = held.to_owned();
    drop(contents);

    let churn = |i: u64| {
        store.insert(HOT + i, i);
        if i >= HOT {
            store.remove(i);
        }
    };
    let warm = repeat(WARM_UP, cap / 10, churn);
    measured.after_warm_up = resident();
    measured.churned = warm + repeat(CHURN - WARM_UP, cap, |i| churn(warm + i));
    measured.at_the_end = resident();
    measured
}

/// Calls `each` up to `times` times, but not for longer than `cap`; how often it did.
fn repeat(times: u64, cap: Duration, mut each: impl FnMut(u64)) -> u64 {
    let began = Instant::now();
    for i in 0..times {
        if i % 1024 == 0 && began.elapsed() > cap {
            return i;
        }
        each(i);
    }
    times
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this needs Linux's /proc");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("the second field of statm is a number") * page_size()
}

#[cfg(target_os = "linux")]
fn page_size() -> f64 {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as f64 }
}

#[cfg(not(target_os = "linux"))]
fn page_size() -> f64 {
    4096.0
}
