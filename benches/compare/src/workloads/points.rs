//! Single keys, u64 → u64: reads with a guard for each, reads under a held guard, and overwrites.
//!
//! The table is filled with every key in random order. Threads follow streams of 2^20 keys that are
//! prepared in advance, uniform or Zipf 0.99, with the popular keys scattered over the whole range.

use std::{hint::black_box, sync::Arc};

use super::{
    Entrant, Ready, Settings,
    streams::{Cursor, Distribution},
};
use crate::{
    compare::results::{Figure, Unit},
    measure::How,
    random::{Random, shuffled},
    stores::{Family, Key, Reader, Store, Value},
};

/// The distributions of a workload.
pub const UNIFORM: &[Distribution] = &[Distribution::Uniform];
/// See [`UNIFORM`].
pub const ZIPF: &[Distribution] = &[Distribution::Zipf];
/// See [`UNIFORM`].
pub const BOTH: &[Distribution] = &[Distribution::Zipf, Distribution::Uniform];

/// The number of keys that are looked up to check whether a store lost keys while it was filled.
const PROBES: u64 = 1000;

/// A store with the keys below `keys`, inserted in random order, and checked to hold them. (A
/// bounded store may drop a few although it has room; reads of those are misses.)
pub fn filled<S: Store<K, V>, K: Key, V: Value>(settings: &Settings, keys: u64) -> S {
    let store = S::with_capacity(settings.reserve(keys));
    fill_in_random_order(&store, settings, keys);
    let lost = missing(&store, keys);
    assert!(lost <= 0.01, "lost {lost} of the probed keys while it was filled");
    store
}

/// Inserts the keys below `keys`.
pub fn fill_in_random_order<S: Store<K, V>, K: Key, V: Value>(
    store: &S,
    settings: &Settings,
    keys: u64,
) {
    let mut random = Random::new(settings.seed, 0xF111);
    let numbers = shuffled(keys, &mut random).into_iter().map(u64::from);
    store.fill(numbers.map(|number| (K::of(number), V::of(number))));
}

/// The share of a sample of the keys below `keys` that is missing.
pub fn missing<S: Store<K, V>, K: Key, V: Value>(store: &S, keys: u64) -> f64 {
    let mut reader = store.reader();
    let probe = (0..PROBES).map(|i| K::of(i * keys / PROBES));
    probe.filter(|key| reader.get(key).is_none()).count() as f64 / PROBES as f64
}

/// Gets with a guard for each.
pub fn gets<F: Family>(settings: &Arc<Settings>, distributions: &'static [Distribution]) -> Ready {
    Ok(points::<F>(settings, distributions, |store, settings, streams, threads| {
        get_rate::<F>(store, settings, streams, threads)
    }))
}

/// The rate of gets with a guard for each.
pub fn get_rate<F: Family>(
    store: &F::Map<u64, u64>,
    settings: &Settings,
    streams: &[Vec<u32>],
    threads: usize,
) -> f64 {
    let outcome = settings.window(threads, 0, How::Count).run(
        |i| {
            let (mut reader, mut cursor) = (store.reader(), Cursor::new(&streams[i]));
            move || {
                black_box(reader.get(&cursor.next()));
            }
        },
        |_| || (),
    );
    outcome.reads.rate
}

/// Gets with one guard throughout.
pub fn held<F: Family>(settings: &Arc<Settings>, distributions: &'static [Distribution]) -> Ready {
    if F::Map::<u64, u64>::with_capacity(1).held().is_none() {
        return Err("has no guard to hold".to_owned());
    }
    Ok(points::<F>(settings, distributions, |store, settings, streams, threads| {
        let outcome = settings.window(threads, 0, How::Count).run(
            |i| {
                let mut reader = store.held().expect("there was one just now");
                let mut cursor = Cursor::new(&streams[i]);
                move || {
                    black_box(reader.get(&cursor.next()));
                }
            },
            |_| || (),
        );
        outcome.reads.rate
    }))
}

/// Overwrites of present keys.
pub fn overwrites<F: Family>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
) -> Ready {
    Ok(points::<F>(settings, distributions, |store, settings, streams, threads| {
        if threads > 1 && !F::SHARED {
            return f64::NAN;
        }
        let outcome = settings.window(0, threads, How::Count).run(
            |_| || (),
            |i| {
                let mut cursor = Cursor::new(&streams[i]);
                let mut value = i as u64;
                move || {
                    value = value.wrapping_add(1);
                    store.insert(cursor.next(), value);
                }
            },
        );
        outcome.writes.rate
    }))
}

/// One rate for each distribution and number of threads. The store is filled once, or, if it is too
/// large to keep beside the others, for every round.
fn points<F: Family>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
    rate: impl Fn(&F::Map<u64, u64>, &Settings, &[Vec<u32>], usize) -> f64 + 'static,
) -> Entrant {
    let settings = Arc::clone(settings);
    let keys = settings.keys;
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams: Vec<_> = distributions.iter().map(|d| d.streams(&settings, keys, most)).collect();
    let make = move |settings: &Settings| filled::<F::Map<u64, u64>, u64, u64>(settings, keys);
    let mut kept = if settings.refill() { None } else { Some(make(&settings)) };
    Box::new(move || {
        let store = kept.take().unwrap_or_else(|| make(&settings));
        let mut figures = Vec::new();
        for (distribution, streams) in distributions.iter().zip(&streams) {
            for &threads in &settings.threads {
                let rate = rate(&store, &settings, streams, threads);
                let variant = format!("{}, {threads} thr", distribution.name());
                figures.push(Figure::new("operations", &variant, Unit::PerSecond, rate));
            }
        }
        if !settings.refill() {
            kept = Some(store);
        }
        figures.retain(|figure| !figure.value.is_nan());
        figures
    })
}
