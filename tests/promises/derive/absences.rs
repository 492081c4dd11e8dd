//! Derivations from the absence of values that have ended, through many levels.

use super::Cache;
use crate::common::random::{Random, run_seed};
use crate::common::{on_every_reclaimer, store, stress, within};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::time::Duration;

const LEVELS: u64 = 64;
const SIDES: u64 = 2;

/// Each side of a level is derived from the absence of all sides of the level below, and from one
/// value, which is derived from an input.
struct Levels<R: Reclaim>(Cache<R>);

fn input(level: u64) -> u64 {
    10_000 + level
}

fn made(level: u64) -> u64 {
    20_000 + level
}

fn side(level: u64, side: u64) -> u64 {
    level * SIDES + side
}

impl<R: Reclaim> Levels<R> {
    fn make(&self, level: u64) {
        let value = self.0.derive(made(level), |scope| scope.get(&input(level)).unwrap() / 10);
        assert_eq!(value, self.0.get(&input(level)).unwrap() / 10);
    }

    fn build() -> Self {
        let it = Self(store());
        for level in 0..LEVELS {
            it.0.insert(input(level), 0);
            it.make(level);
            for at in 0..SIDES {
                it.0.derive(side(level, at), |scope| {
                    if let Some(below) = level.checked_sub(1) {
                        let absent = |at| assert_eq!(scope.get(&side(below, at)), None);
                        (0..SIDES).for_each(absent);
                    }
                    scope.get(&made(level)).unwrap()
                });
            }
            if level + 1 < LEVELS {
                it.0.insert(input(level), 1); // Now it has ended.
            }
        }
        it
    }
}

/// Each side may become valid again. That ends the level above, which in turn makes the level above
/// that valid again.
fn each_is_judged_once<R: Reclaim>() {
    let seed = run_seed();
    within(Duration::from_secs(100), "looking at absences of absences", move || {
        let (it, mut random) = (Levels::<R>::build(), Random::new(seed));
        let mut whole = vec![false; LEVELS as usize];
        *whole.last_mut().unwrap() = true;
        for _ in 0..stress(40, 100, 1_000) {
            let mut is_there = false;
            for level in 0..LEVELS {
                is_there = whole[level as usize] && !is_there;
                let expected = is_there.then_some(0);
                for at in 0..SIDES {
                    let key = side(level, at);
                    assert_eq!(it.0.get(&key), expected, "level {level}");
                    assert_eq!(it.0.view().get(&key).copied(), expected, "level {level}");
                }
            }
            let level = random.below(LEVELS);
            let is_whole = &mut whole[level as usize];
            *is_whole = !*is_whole;
            it.0.insert(input(level), random.below(10));
            if *is_whole {
                it.make(level);
            }
        }
    });
}

/// Two values, each of which is valid only if the other is absent. Neither is valid, and both can
/// be derived.
fn a_cycle_of_absences<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let make = |key: u64| cache.derive(key, |scope| scope.get(&(key - 100)).unwrap() / 10);
    cache.batch().insert(1, 0).insert(2, 0).commit();
    cache.derive(10, |scope| scope.get(&1).unwrap());
    cache.insert(1, 1);
    make(102);
    cache.derive(20, |scope| {
        assert_eq!(scope.get(&10), None);
        scope.get(&102).unwrap()
    });
    cache.insert(2, 1);
    cache.derive(10, |scope| {
        assert_eq!(scope.get(&20), None);
        0
    });
    assert_eq!(cache.get_many([&10, &20]), [Some(0), None]);
    make(102);
    let found = cache.get_many([&10, &20]);
    assert!(found.contains(&None), "each is valid only if the other is absent: {found:?}");
    assert_eq!(found, [cache.get(&10), cache.get(&20)]);
    let view = cache.view();
    assert_eq!(found, [view.get(&10).copied(), view.get(&20).copied()]);
    assert_eq!(cache.derive(10, |scope| scope.get(&1).unwrap()), 1);
    assert_eq!(cache.get(&10), Some(1));
}

/// A value that is valid since an entry's time is up can be compared and set. The entry, which is
/// over but still in the cache, is not required to be in time.
fn the_absence_of_an_expired_entry_does_not_refuse_a_set<R: Reclaim>() {
    within(Duration::from_secs(20), "a compare-and-set upon an absence", || {
        let clock = ManualClock::new();
        let cache: Cache<R> = coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
        cache.insert_with_ttl(1, 1, Duration::from_nanos(2));
        clock.advance(Duration::from_nanos(2));
        assert_eq!(cache.derive(2, |scope| scope.get(&1).unwrap_or(7)), 7);
        let (value, version) = cache.get_versioned(&2).expect("just derived");
        assert_eq!(value, 7);
        assert!(cache.compare_and_set(2, Some(version), 8).is_ok());
        assert_eq!(cache.get(&2), Some(8));
    });
}

on_every_reclaimer!(
    each_is_judged_once,
    a_cycle_of_absences,
    the_absence_of_an_expired_entry_does_not_refuse_a_set
);
