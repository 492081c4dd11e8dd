//! Memory, measured from outside the allocator as the resident pages of a process that does nothing
//! else.
//!
//! `coeval` maps memory itself, so a counting allocator would not see it. Every round has its own
//! process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Ready, Settings};
use crate::{
    compare::results::{Figure, Unit},
    random::{Random, mix},
    stores::{Family, Reader, Store},
};

/// Keys that are overwritten while the old contents are held.
const HOT: u64 = 1_000;
const OVERWRITES: u64 = 10_000_000;
/// Fresh keys. Each is inserted once, and removed after [`HOT`] later ones.
const CHURN: u64 = 100_000_000;
/// The part of the churn that is warm-up.
const WARM_UP: u64 = 1_000_000;

/// Bytes per entry, u64 → u64: how much the process grew while the store was filled.
pub fn per_entry<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    Ok(Box::new(move || {
        let before = resident();
        let store = F::Map::<u64, u64>::with_capacity(settings.reserve(settings.keys));
        // `mix` is a permutation, so the keys are distinct and in no order, without an array of
        // them.
        store.fill((0..settings.keys).map(|i| (mix(i), i)));
        let bytes = (resident() - before) / settings.keys as f64;
        let last = settings.keys - 1;
        assert_eq!(store.reader().get(&mix(last)), Some(last), "the last key is missing");
        let variant = if settings.grown { "from empty" } else { "with room reserved" };
        vec![Figure::new("memory an entry", variant, Unit::Bytes, bytes)]
    }))
}

/// Overwrites 1,000 keys ten million times while their old contents are held. Then inserts a
/// hundred million fresh keys, and removes each after a thousand later ones. Measures how much the
/// process grew. Each phase ends after `--cap` seconds, even if it is incomplete.
pub fn overwrite<F: Family>(settings: &Arc<Settings>) -> Ready {
    let cap = Duration::from_secs(settings.cap);
    Ok(Box::new(move || {
        let store = F::Map::<u64, u64>::with_capacity(0);
        store.fill((0..HOT).map(|key| (key, key)));
        let mut random = Random::new(1, 1);
        repeat(OVERWRITES / 10, cap / 10, |i| store.insert(random.below(HOT), i));
        let (_, contents) = store.hold_contents();
        let before = resident();
        let overwrites = repeat(OVERWRITES, cap, |i| store.insert(random.below(HOT), i));
        let growth = resident() - before;
        drop(contents);

        let churn = |i: u64| {
            store.insert(HOT + i, i);
            if i >= HOT {
                store.remove(&i);
            }
        };
        let warm = repeat(WARM_UP, cap / 10, churn);
        let after_warm_up = resident();
        let churned = warm + repeat(CHURN - WARM_UP, cap, |i| churn(warm + i));
        let bytes = |metric, value| Figure::new(metric, "", Unit::Bytes, value);
        let count = |metric, value: u64| Figure::new(metric, "", Unit::Count, value as f64);
        vec![
            bytes("growth while held", growth),
            count("overwrites", overwrites),
            bytes("growth in the churn", resident() - after_warm_up),
            count("keys churned", churned),
            bytes("resident at the end", resident()),
        ]
    }))
}

/// Calls `each` up to `times` times, but not for longer than `cap`. Returns the number of calls.
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

/// The resident bytes of this process.
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
