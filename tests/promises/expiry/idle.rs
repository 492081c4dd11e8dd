//! Idle times.

use super::{HOUR, assert_shows, ns, timed};
use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;
use coeval::{Builder, ManualClock};

/// An even number, as are the deadlines of values that uses may extend.
const IDLE: u64 = 1_000_000;

fn idle(builder: Builder<u64, u64>) -> Builder<u64, u64> {
    builder.time_to_idle(ns(IDLE))
}

fn unused_until_the_end<R: Reclaim>() {
    for time in [2, 4, 1_000, 1 << 20, 7_200_000_000_000] {
        let (clock, cache) = timed::<R>(|builder| builder.time_to_idle(ns(time)));
        cache.insert(1, 1);
        cache.batch().insert(2, 2).insert(3, 3).commit();
        let early = cache.view();
        clock.advance(ns(time - 1));
        // These are not uses.
        (1..4).for_each(|key| assert!(cache.contains_key(&key)));
        (1..4).for_each(|key| assert_shows(&cache.view(), key, Some(key)));
        assert!(cache.compare_and_set(1, None, 9).is_err());
        clock.advance(ns(1));
        for _ in 0..3 {
            (1..4).for_each(|key| assert!(!cache.contains_key(&key), "at its deadline"));
            assert_eq!(cache.get_many([&1, &2, &3]), [None; 3]);
            (1..4).for_each(|key| assert_eq!(cache.get(&key), None));
            assert_eq!(cache.view().len(), 0);
            assert_eq!(early.len(), 3);
            clock.advance(ns(1));
        }
    }
}

/// At the exact deadline, with look-ups in every order: once gone, a value stays gone.
fn an_expired_value_stays_away<R: Reclaim>() {
    type Look<R> = fn(&super::Cache<R>) -> bool;
    let looks: [Look<R>; 6] = [
        |cache| cache.get(&1).is_some(),
        |cache| cache.get_versioned(&1).is_some(),
        |cache| cache.contains_key(&1),
        |cache| cache.pin().get(&1).is_some(),
        |cache| cache.get_many([&1])[0].is_some(),
        |cache| cache.view().contains_key(&1),
    ];
    for first in looks {
        for second in looks {
            let (clock, cache) = timed::<R>(idle);
            cache.insert(1, 1);
            clock.advance(ns(IDLE));
            assert!(!first(&cache));
            assert!(!second(&cache), "it came back");
            clock.advance(ns(1));
            assert!(!second(&cache) && !first(&cache), "it came back");
        }
    }
}

/// Each kind of use extends the life of an entry, and so does a write.
fn uses_extend_it<R: Reclaim>() {
    type Use<R> = fn(&super::Cache<R>);
    let uses: [(&str, Use<R>); 7] = [
        ("get", |cache| _ = cache.get(&1)),
        ("get_versioned", |cache| _ = cache.get_versioned(&1)),
        ("pin", |cache| assert!(cache.pin().get(&1).is_some())),
        ("pin, versioned", |cache| assert!(cache.pin().get_versioned(&1).is_some())),
        ("get_many", |cache| _ = cache.get_many([&2, &1])),
        ("insert", |cache| _ = cache.insert(1, 1)),
        ("batch", |cache| _ = cache.batch().insert(1, 1).commit()),
    ];
    for (name, touch) in uses {
        let (clock, cache) = timed::<R>(idle);
        cache.insert(1, 1);
        for round in 0..50 {
            clock.advance(ns(IDLE / 2 + round * 1_000));
            cache.insert(9, 9); // This turns the wheel.
            assert!(cache.contains_key(&1), "{name}, round {round}");
            touch(&cache);
        }
        // A use counts, though not to the nanosecond.
        clock.advance(ns(IDLE - IDLE / 1_000));
        assert!(cache.contains_key(&1), "{name}");
        clock.advance(ns(IDLE / 1_000));
        assert!(!cache.contains_key(&1), "{name}");
        cache.insert(9, 9);
        clock.advance(ns(1 << 21));
        (0..100).for_each(|_| _ = cache.insert(9, 9));
        assert_eq!(cache.len(), 1, "{name}");
    }
}

/// Uses do not extend an entry beyond its time to live.
fn idle_and_old<R: Reclaim>() {
    for (live, idle) in [(1_000, 200), (1_001, 200), (200, 1_000), (1_000_000_000, 10)] {
        let (clock, cache) =
            timed::<R>(|builder| builder.time_to_live(ns(live)).time_to_idle(ns(idle)));
        cache.insert(1, 1);
        cache.insert_with_ttl(2, 2, ns(live * 2));
        let step = (idle / 2).min(live / 4);
        for _ in 0..10_000.min(live / step) + 5 {
            let now = clock.now().as_nanos() as u64;
            // A value that uses may extend ends at an even nanosecond.
            let first = (now < live / 2 * 2).then_some(1);
            let second = (now < live * 2).then_some(2);
            assert_eq!(cache.get_many([&1, &2]), [first, second], "at {now} of {live}, {idle}");
            clock.advance(ns(step));
        }
        clock.advance(ns(idle));
        assert_eq!(cache.get_many([&1, &2]), [None; 2]);
    }
}

/// A view that was opened while an entry was present still shows it, but does not keep the entry in
/// the cache.
fn views_of_idle_entries<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().time_to_idle(ns(IDLE)).manual_clock(&clock);
    let cache = builder.reclaimer::<R>().build();
    cache.insert(1, 1);
    let view = cache.view();
    for _ in 0..10 {
        clock.advance(ns(IDLE / 5));
        assert_shows(&view, 1, Some(1));
        assert_shows(&cache.view(), 1, (clock.now() < ns(IDLE)).then_some(1));
    }
    assert!(!cache.contains_key(&1));
    clock.advance(HOUR);
    (0..100).for_each(|_| _ = cache.insert(2, 2));
    assert_shows(&view, 1, Some(1));
    assert_eq!((cache.len(), view.len()), (1, 1));
}

on_every_reclaimer!(
    unused_until_the_end,
    an_expired_value_stays_away,
    uses_extend_it,
    idle_and_old,
    views_of_idle_entries,
);
