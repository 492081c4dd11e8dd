//! No reader sees the new input beside the old derived value, while others derive, write and read.

use super::Cache;
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, disturb, on_every_reclaimer, store, stress, within};
use coeval::reclaim::Reclaim;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const INPUTS: u64 = 3;
const SUM: u64 = 100;
const HALVED: u64 = 101;
const TOP: u64 = 102;

/// Derives the sum of the inputs, half of the sum, or four times that half. Each of the upper
/// values comes out equal about half of the time.
fn derive<R: Reclaim>(cache: &Cache<R>, key: u64) -> u64 {
    match key {
        SUM => cache.derive(SUM, |scope| (0..INPUTS).map(|at| scope.get(&at).unwrap()).sum()),
        HALVED => cache.derive(HALVED, |scope| {
            let sum =
                scope.derive(SUM, |scope| (0..INPUTS).map(|at| scope.get(&at).unwrap()).sum());
            sum / 2
        }),
        _ => cache.derive(TOP, |scope| {
            let sum = |scope: &mut super::Scoped<'_, R>| {
                scope.derive(SUM, |scope| (0..INPUTS).map(|at| scope.get(&at).unwrap()).sum())
            };
            4 * scope.derive(HALVED, |scope| sum(scope) / 2)
        }),
    }
}

fn check(inputs: [Option<u64>; 3], [sum, halved, top]: [Option<u64>; 3]) {
    let now: u64 = inputs.iter().map(|input| input.expect("never absent")).sum();
    assert!(sum.is_none_or(|sum| sum == now), "{sum:?} beside {inputs:?}");
    assert!(halved.is_none_or(|halved| halved == now / 2), "{halved:?} beside {inputs:?}");
    assert!(top.is_none_or(|top| top == now / 2 * 4), "{top:?} beside {inputs:?}");
}

fn read<R: Reclaim>(cache: &Cache<R>, written: &AtomicU64, random: &mut Random) {
    match random.below(4) {
        0 => {
            let [a, b, c, sum, halved, top] = cache.get_many([&0, &1, &2, &SUM, &HALVED, &TOP]);
            check([a, b, c], [sum, halved, top]);
        }
        1 => {
            let view = cache.view();
            let get = |key: u64| view.get(&key).copied();
            let upper = [get(TOP), get(HALVED), get(SUM)];
            check([get(0), get(1), get(2)], [upper[2], upper[1], upper[0]]);
        }
        2 => {
            // Inputs only grow, so a value that is found after them was derived from these inputs
            // or newer ones.
            let before: u64 = (0..INPUTS).map(|at| cache.get(&at).unwrap()).sum();
            let key = random.pick(&[SUM, HALVED, TOP]);
            if let Some(found) = cache.get(&key) {
                let least = match key {
                    SUM => before,
                    HALVED => before / 2,
                    _ => before / 2 * 4,
                };
                assert!(found >= least, "{found} of {key} after {before} had been read");
            }
        }
        _ => {
            let before = written.load(Ordering::SeqCst);
            let derived = derive(cache, HALVED);
            assert!(derived >= before / 2, "{derived} after {before} had been written");
        }
    }
}

fn write<R: Reclaim>(cache: &Cache<R>, written: &AtomicU64, random: &mut Random) {
    // There is one writer, so the sum grows by one at a time.
    let at = random.below(INPUTS);
    let value = cache.get(&at).unwrap() + 1;
    if random.one_in(2) {
        cache.insert(at, value);
    } else {
        cache.batch().insert(at, value).insert(50, value).commit();
    }
    written.fetch_add(1, Ordering::SeqCst);
}

fn derived_values_are_of_the_age_of_their_inputs<R: Reclaim>() {
    disturb();
    let (seed, writes) = (run_seed(), stress(1_000, 50_000, 1_000_000));
    within(Duration::from_secs(60 + writes / 100), "derivations beside writers", || {
        let (cache, written) = (store::<u64, u64, R>(), AtomicU64::new(0));
        cache.batch().insert(0, 0).insert(1, 0).insert(2, 0).commit();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, written, done) = (&cache, &written, &done);
                scope.spawn(move || {
                    let mut random = Random::new(seed ^ thread);
                    while !done.load(Ordering::Relaxed) {
                        match thread {
                            0 | 1 => read(cache, written, &mut random),
                            _ => drop(derive(cache, random.pick(&[SUM, HALVED, TOP]))),
                        }
                    }
                });
            }
            let _done = StopOnDrop(&done);
            let mut random = Random::new(seed ^ 10);
            for _ in 0..writes {
                write(&cache, &written, &mut random);
                if random.one_in(3) {
                    std::thread::yield_now();
                }
            }
        });
        let sum: u64 = (0..INPUTS).map(|at| cache.get(&at).unwrap()).sum();
        assert_eq!((derive(&cache, SUM), derive(&cache, TOP)), (sum, sum / 2 * 4));
        println!("{:?}", cache.stats());
    });
}

on_every_reclaimer!(derived_values_are_of_the_age_of_their_inputs);
