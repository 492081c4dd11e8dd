//! Promise: from its deadline on, to the nanosecond of the cache's clock, a value is absent in
//! every kind of look-up, and is not seen again. Its memory is freed without a look-up of its key.

mod concurrent;
mod idle;
mod memory;

use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{BuildError, Builder, Conflict, ManualClock, RandomState};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const HOUR: Duration = Duration::from_secs(3_600);

fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// An empty cache with these settings, and its clock.
fn timed<R: Reclaim>(
    settings: impl FnOnce(Builder<u64, u64>) -> Builder<u64, u64>,
) -> (ManualClock, Cache<R>) {
    let clock = ManualClock::new();
    let builder = settings(coeval::Cache::builder()).manual_clock(&clock);
    (clock, builder.reclaimer::<R>().build())
}

/// Without settings.
fn untimed<R: Reclaim>() -> (ManualClock, Cache<R>) {
    timed(|builder| builder)
}

/// Checks what `key` holds, with every kind of look-up.
#[track_caller]
fn assert_holds<R: Reclaim>(cache: &Cache<R>, key: u64, value: Option<u64>) {
    assert_eq!(cache.contains_key(&key), value.is_some());
    assert_eq!(cache.get(&key), value);
    assert_eq!(cache.get_versioned(&key).map(|(value, _)| value), value);
    let pinned = cache.pin();
    assert_eq!(pinned.get(&key).copied(), value);
    assert_eq!(pinned.get_versioned(&key).map(|(value, _)| *value), value);
    assert_eq!(pinned.contains_key(&key), value.is_some());
    assert_eq!(cache.get_many([&key, &u64::MAX, &key]), [value, None, value]);
    assert_shows(&cache.view(), key, value);
}

#[track_caller]
fn assert_shows<R: Reclaim>(
    view: &coeval::View<u64, u64, RandomState, R>,
    key: u64,
    value: Option<u64>,
) {
    assert_eq!(view.get(&key).copied(), value);
    assert_eq!(view.contains_key(&key), value.is_some());
    let listed = view.iter().find(|(listed, _)| **listed == key).map(|(_, value)| *value);
    assert_eq!(listed, value);
}

/// Short and long, odd and even, and close to the length of the wheel's ticks.
const TIMES: [u64; 9] =
    [1, 2, 3, 1_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 1_000_000_007, 7_200_000_000_001];

fn to_the_nanosecond<R: Reclaim>() {
    for time in TIMES {
        for start in [0, 1, 1 << 20, 123_456_789] {
            let (clock, cache) = timed::<R>(|builder| builder.time_to_live(ns(time)));
            clock.advance(ns(start));
            cache.insert(1, 10);
            cache.batch().insert(2, 20).insert(3, 30).commit();
            clock.advance(ns(time - 1));
            [1, 2, 3].iter().for_each(|&key| assert_holds(&cache, key, Some(key * 10)));
            clock.advance(ns(1));
            [1, 2, 3].iter().for_each(|&key| assert_holds(&cache, key, None));
            [1, 2, 3].iter().for_each(|&key| assert_holds(&cache, key, None));
            clock.advance(HOUR);
            [1, 2, 3].iter().for_each(|&key| assert_holds(&cache, key, None));
        }
    }
}

/// As above, for an entry with its own time, which is shorter than the cache's.
fn an_entrys_own_time<R: Reclaim>() {
    for cache_has_one in [false, true] {
        for time in TIMES {
            let (clock, cache) = timed::<R>(|builder| match cache_has_one {
                true => builder.time_to_live(ns(500)),
                false => builder,
            });
            cache.insert_with_ttl(1, 10, ns(time));
            cache.batch().insert_with_ttl(2, 20, ns(time)).insert(3, 30).commit();
            clock.advance(ns(time - 1));
            let third = Some(30).filter(|_| !cache_has_one || time <= 500);
            for (key, value) in [(1, Some(10)), (2, Some(20)), (3, third)] {
                assert_holds(&cache, key, value);
            }
            clock.advance(ns(1));
            let third = third.filter(|_| !cache_has_one || time < 500);
            for (key, value) in [(1, None), (2, None), (3, third)] {
                assert_holds(&cache, key, value);
            }
        }
    }
}

/// An overwrite sets its own deadline, which may be earlier, later, or none.
fn an_overwrite_has_its_own_time<R: Reclaim>() {
    for (first, second) in [(100, 40), (40, 100), (100, 100), (1 << 30, 3), (3, 1 << 30)] {
        let (clock, cache) = untimed::<R>();
        cache.insert_with_ttl(1, 1, ns(first));
        clock.advance(ns(2));
        cache.insert_with_ttl(1, 2, ns(second));
        clock.advance(ns(second - 1));
        cache.insert(9, 9);
        assert_holds(&cache, 1, Some(2));
        clock.advance(ns(1));
        assert_holds(&cache, 1, None);
        cache.insert(1, 3);
        clock.advance(HOUR);
        cache.insert(9, 9);
        assert_holds(&cache, 1, Some(3));
        assert_eq!(cache.len(), 2);
    }
}

fn members_of_one_commit_end_together<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder()
        .related(|key: &u64, related| {
            if *key < 10 {
                related.insert(key + 10, 7);
            }
        })
        .time_to_live(ns(77))
        .manual_clock(&clock)
        .reclaimer::<R>()
        .build();
    let keys = [1, 2, 3, 4, 11, 12, 13, 14];
    (1..5).fold(cache.batch(), |batch, key| batch.insert(key, 7)).commit();
    for _ in 0..100 {
        let found = cache.get_many(keys.each_ref());
        let is_over = clock.now() >= ns(77);
        assert_eq!(found, [(!is_over).then_some(7); 8], "at {:?}", clock.now());
        clock.advance(ns(1));
    }
}

/// An entry whose deadline has passed is also absent to writes.
fn an_expired_value_is_absent_to_writes<R: Reclaim>() {
    let over = || {
        let (clock, cache) = untimed::<R>();
        let version = cache.insert_with_ttl(1, 1, ns(9));
        clock.advance(ns(9));
        (clock, cache, version)
    };
    let (_, cache, _) = over();
    assert_eq!(cache.remove(&1), None);
    assert_eq!((cache.len(), cache.get(&1)), (0, None));

    let (_, cache, version) = over();
    assert!(cache.invalidate(&1) > version);
    assert_eq!((cache.len(), cache.get(&1)), (0, None));

    let (_, cache, version) = over();
    let conflict = cache.compare_and_set(1, Some(version), 2).unwrap_err();
    assert!(matches!(conflict, Conflict::Absent { .. }));
    assert_eq!((conflict.found(), conflict.into_value::<u64>()), (None, Some(2)));
    assert_eq!(cache.get(&1), None);
    let set = cache.compare_and_set(1, None, 2).unwrap();
    assert_eq!(cache.get_versioned(&1), Some((2, set)));
    assert_eq!(cache.len(), 1);

    let (clock, cache) = untimed::<R>();
    let version = cache.insert_with_ttl(1, 1, ns(9));
    clock.advance(ns(8));
    assert_eq!(cache.compare_and_set(1, None, 2).unwrap_err().found(), Some(version));
    assert!(cache.compare_and_set(1, Some(version), 3).is_ok());
    clock.advance(HOUR);
    assert_eq!(cache.get(&1), Some(3), "the value that was set has no deadline");
}

/// A view shows what was present when it was opened, however late it is read.
fn views_stay_as_they_were<R: Reclaim>() {
    let (clock, cache) = untimed::<R>();
    for key in 0..100 {
        cache.insert_with_ttl(key, key, ns(key + 1));
    }
    let views = [0, 1, 49, 50, 10_000].map(|time| {
        clock.advance(ns(time) - clock.now());
        (time, cache.view())
    });
    for round in 0..300 {
        for (time, view) in &views {
            assert_eq!(view.len() as u64, 100_u64.saturating_sub(*time), "opened at {time}");
            assert_shows(view, 49, (*time < 50).then_some(49));
            assert_shows(&view.clone(), 99, (*time < 100).then_some(99));
        }
        clock.advance(ns(1 << 20));
        cache.insert(round % 120, 1_000);
        cache.remove(&(round % 7));
    }
    assert_eq!(views[0].1.age(), clock.now());
}

fn nothing_without_a_deadline_goes<R: Reclaim>() {
    let (clock, cache) = untimed::<R>();
    let version = cache.insert(1, 1);
    cache.insert_with_ttl(2, 2, Duration::MAX);
    cache.batch().insert_with_ttl(3, 3, Duration::MAX).insert(4, 4).commit();
    let newest = cache.version();
    for time in [ns(1), HOUR, HOUR * 24 * 365 * 100, Duration::MAX] {
        clock.advance(time);
        (1..5).for_each(|key| assert_holds(&cache, key, Some(key)));
    }
    assert_eq!((cache.len(), cache.version()), (4, newest));
    assert_eq!(cache.get_versioned(&1), Some((1, version)));
    let (clock, cache) =
        timed::<R>(|builder| builder.time_to_live(Duration::MAX).time_to_idle(Duration::MAX));
    cache.insert(1, 1);
    clock.advance(HOUR * 24 * 365 * 500);
    cache.insert(2, 2);
    assert_holds(&cache, 1, Some(1));
}

fn no_time_at_all<R: Reclaim>() {
    let (_, cache) = untimed::<R>();
    cache.insert(1, 1);
    let version = cache.insert_with_ttl(1, 2, Duration::ZERO);
    assert_eq!(cache.version(), version);
    assert_holds(&cache, 1, None);
    cache.batch().insert_with_ttl(2, 2, Duration::ZERO).insert(3, 3).commit();
    assert_eq!(cache.get_many([&1, &2, &3]), [None, None, Some(3)]);
    assert!(cache.compare_and_set(2, None, 4).is_ok());
    assert_holds(&cache, 2, Some(4));
}

/// Random deadlines, in any order, against a model.
fn many_deadlines<R: Reclaim>() {
    let mut random = crate::common::random::Random::new(crate::common::random::run_seed());
    for _ in 0..crate::common::stress(5, 100, 5_000) {
        let (clock, cache) = untimed::<R>();
        let mut deadlines = [0; 200];
        for _ in 0..600 {
            let key = random.below(200);
            let time = random.spread(35);
            cache.insert_with_ttl(key, key, ns(time));
            let now = clock.now().as_nanos() as u64;
            deadlines[key as usize] = now + time;
            if random.one_in(2) {
                clock.advance(ns(random.spread(32)));
            }
            let now = clock.now().as_nanos() as u64;
            for key in 0..200 {
                let is_there = deadlines[key as usize] > now;
                assert_eq!(cache.get(&key), is_there.then_some(key));
            }
        }
        clock.advance(HOUR);
        // Each write takes out at least this many entries.
        (0..600).for_each(|_| _ = cache.insert(1_000, 0));
        assert_eq!(cache.len(), 1, "left in the cache");
    }
}

on_every_reclaimer!(
    to_the_nanosecond,
    an_entrys_own_time,
    an_overwrite_has_its_own_time,
    members_of_one_commit_end_together,
    an_expired_value_is_absent_to_writes,
    views_stay_as_they_were,
    nothing_without_a_deadline_goes,
    no_time_at_all,
    many_deadlines,
);

#[test]
fn a_nonsensical_time_is_refused() {
    let builder = || coeval::Cache::<u64, u64>::builder();
    let refused = builder().time_to_live(Duration::ZERO).try_build().unwrap_err();
    assert_eq!(refused, BuildError::TimeToLive);
    assert!(refused.to_string().contains("time_to_live"));
    let refused = builder().time_to_idle(Duration::ZERO).try_build().unwrap_err();
    assert_eq!(refused, BuildError::TimeToIdle);
    assert!(refused.to_string().contains("time_to_idle"));
    assert!(builder().time_to_live(ns(1)).time_to_idle(ns(1)).try_build().is_ok());
}

/// With the system's clock, what must have expired has, and what cannot have expired has not.
#[test]
fn with_the_systems_clock() {
    let cache = coeval::Cache::builder().time_to_live(ns(1)).build();
    cache.insert(1, 1);
    cache.insert_with_ttl(2, 2, HOUR * 24);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
    for key in 10..1_000 {
        cache.insert_with_ttl(key, key, Duration::from_micros(key));
    }
    std::thread::sleep(Duration::from_millis(5));
    assert!((10..1_000).all(|key| cache.get(&key).is_none()));
    (0..1_000).for_each(|_| _ = cache.insert_with_ttl(3, 3, HOUR));
    assert_eq!(cache.len(), 2);
}
