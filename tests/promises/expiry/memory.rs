//! The memory of expired entries.

use super::{HOUR, ns};
use crate::common::counted::{ById, Counted, Ledger};
use crate::common::{Store, disturb, on_every_reclaimer, stress, together};
use coeval::reclaim::Reclaim;
use coeval::{Builder, ManualClock};
use std::sync::Arc;
use std::time::Duration;

/// The most objects that one thread may have retired and not yet dropped, while no thread holds a
/// guard.
const RETIRED: i64 = 8_192;

/// The most bytes of the pools and the wheel, when few entries exist at any time.
const MEMORY: u64 = 4 << 20;

struct Made {
    keys: Arc<Ledger>,
    values: Arc<Ledger>,
    clock: ManualClock,
}

type Cache<R> = Store<Counted, Counted, R>;

impl Made {
    fn with<R: Reclaim>(
        settings: impl FnOnce(Builder<Counted, Counted>) -> Builder<Counted, Counted>,
    ) -> (Self, Cache<R>) {
        let made = Self { keys: Ledger::new(), values: Ledger::new(), clock: ManualClock::new() };
        let builder = settings(coeval::Cache::builder()).manual_clock(&made.clock);
        (made, builder.reclaimer::<R>().build())
    }

    fn entry(&self, id: u64) -> (Counted, Counted) {
        (Counted::new(id, &self.keys), Counted::new(id, &self.values))
    }

    fn insert<R: Reclaim>(&self, cache: &Cache<R>, id: u64) {
        let (key, value) = self.entry(id);
        cache.insert(key, value);
    }

    #[track_caller]
    fn assert_few(&self, what: &str) {
        let (keys, values) = (self.keys.live(), self.values.live());
        assert!(keys <= RETIRED && values <= RETIRED, "{what}: {keys} keys, {values} values live");
    }

    #[track_caller]
    fn settle<R: Reclaim>(&self, cache: Cache<R>) {
        drop(cache);
        self.keys.assert_settled();
        self.values.assert_settled();
    }
}

/// No thread looks up any of them again; other keys are written.
fn comes_back_by_later_writes<R: Reclaim>() {
    type Way = fn(Builder<Counted, Counted>) -> Builder<Counted, Counted>;
    let ways: [Way; 4] = [
        |builder| builder.time_to_live(HOUR),
        |builder| builder.time_to_idle(HOUR),
        |builder| builder.time_to_live(HOUR).max_capacity(1 << 20),
        |builder| builder,
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (made, cache) = Made::with::<R>(way);
        for id in 0..30_000 {
            let (key, value) = made.entry(id);
            match number {
                3 => cache.insert_with_ttl(key, value, HOUR),
                _ => cache.insert(key, value),
            };
        }
        assert_eq!(cache.len(), 30_000);
        made.clock.advance(HOUR + Duration::from_millis(2));
        (0..30_000).for_each(|id| made.insert(&cache, 1_000_000 + id % 10));
        assert_eq!(cache.len(), 10, "way {number}");
        let values = made.values.live();
        assert!(values <= RETIRED, "way {number}: {values} values live");
        if number != 2 {
            made.assert_few("expired"); // The policy keeps some keys for a while.
        }
        made.settle(cache);
    }
}

/// Removals and batches turn the wheel, as inserts do.
fn by_any_write<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(ns(1_000)));
    for id in 0..1_000 {
        made.insert(&cache, id);
    }
    for id in 0..300 {
        let (key, value) = made.entry(id);
        cache.insert_with_ttl(key, value, HOUR);
    }
    made.clock.advance(Duration::from_millis(5));
    for id in 0..100 {
        assert!(cache.remove(&ById(id)).is_some());
        cache.batch().remove(Counted::new(100 + id, &made.keys)).commit();
        cache.invalidate(&ById(200 + id));
    }
    assert_eq!(cache.len(), 0);
    made.settle(cache);
}

/// A view keeps what it shows. When it closes, that is freed.
fn a_view_keeps_what_it_shows<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(HOUR));
    for id in 0..20_000 {
        made.insert(&cache, id);
    }
    let view = cache.view();
    made.clock.advance(HOUR * 2);
    (0..20_000).for_each(|id| made.insert(&cache, 1_000_000 + id % 10));
    assert_eq!((cache.len(), view.len()), (10, 20_000));
    assert!((0..20_000).all(|id| view.get(&ById(id)).is_some_and(|value| value.read() == id)));
    drop(view);
    (0..20_000).for_each(|id| made.insert(&cache, 1_000_000 + id % 10));
    made.assert_few("after the view");
    made.settle(cache);
}

/// Entries whose deadlines are extended by overwrites and by uses do not pile up.
fn deadlines_that_are_put_off<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_idle(HOUR));
    for round in 0..stress(60_000, 1_000_000, 10_000_000) {
        made.insert(&cache, round % 50);
        cache.get(&ById(round % 50));
        made.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(cache.len(), 50);
    made.assert_few("put off");
    made.settle(cache);
}

/// Later writes free cleared entries, even if their deadlines are far away.
fn cleared_before_its_time<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(HOUR));
    for round in 0..4 {
        for id in 0..20_000 {
            made.insert(&cache, id);
        }
        cache.invalidate_all();
        (0..20_000).for_each(|id| made.insert(&cache, 1_000_000 + id % 10));
        assert_eq!(cache.len(), 10);
        let values = made.values.live();
        assert!(values <= RETIRED, "round {round}: {values} values live");
    }
    made.settle(cache);
}

/// Fresh keys whose values end in each way, long before their deadlines.
fn gone_before_their_time<R: Reclaim>() {
    type Way<R> = fn(&Made, &Cache<R>, u64);
    let ways: [(&str, Way<R>); 4] = [
        ("removed", |_, cache, id| assert!(cache.remove(&ById(id)).is_some())),
        ("invalidated", |_, cache, id| {
            cache.invalidate(&ById(id));
        }),
        ("removed by a batch", |made, cache, id| {
            cache.batch().remove(Counted::new(id, &made.keys)).commit();
        }),
        ("kept as briefly as can be, then gone", |made, cache, id| {
            let (key, value) = made.entry(id);
            cache.insert_with_ttl(key, value, ns(1));
            made.clock.advance(ns(1));
            assert!(cache.remove(&ById(id)).is_none());
        }),
    ];
    for (what, end) in ways {
        let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(HOUR));
        (0..1_000).for_each(|id| made.insert(&cache, id));
        for id in 1_000..stress(60_000, 1_000_000, 10_000_000) {
            made.insert(&cache, id);
            end(&made, &cache, id);
        }
        assert_eq!(cache.len(), 1_000);
        made.assert_few(what);
        let memory = cache.stats().memory;
        assert!(memory < MEMORY, "{what}: {memory} bytes");
        made.clock.advance(HOUR);
        (0..2_000).for_each(|id| made.insert(&cache, (1 << 40) + id % 10));
        assert_eq!(cache.len(), 10, "{what}");
        made.settle(cache);
    }
}

/// Fresh keys of which the bound evicts most, long before their deadlines.
fn evicted_before_their_time<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(HOUR).max_capacity(100));
    for id in 0..stress(60_000, 1_000_000, 10_000_000) {
        made.insert(&cache, id);
    }
    assert_eq!(cache.len(), 100);
    made.assert_few("evicted");
    let memory = cache.stats().memory;
    assert!(memory < MEMORY, "{memory} bytes");
    made.settle(cache);
}

/// A deadline that is moved forward to an earlier time again and again, while no time passes.
fn deadlines_that_are_brought_forward<R: Reclaim>() {
    let (made, cache) = Made::with::<R>(|builder| builder);
    for round in 0..stress(60_000, 1_000_000, 10_000_000) {
        for time in [HOUR, HOUR / 60] {
            let (key, value) = made.entry(round % 3);
            cache.insert_with_ttl(key, value, time);
        }
        let (key, value) = made.entry(3);
        match round % 2 {
            0 => cache.insert_with_ttl(key, value, HOUR),
            _ => cache.insert(key, value), // Without a deadline.
        };
    }
    let memory = cache.stats().memory;
    assert!(memory < MEMORY, "{memory} bytes");
    made.clock.advance(HOUR / 60);
    (0..1_000).for_each(|_| made.insert(&cache, 3));
    assert_eq!(cache.len(), 1);
    made.settle(cache);
}

/// Several threads write and remove, with long and short deadlines, while time passes; then others
/// do.
fn gone_before_their_time_beside_others<R: Reclaim>() {
    const THREADS: u64 = 4;
    let (made, cache) = Made::with::<R>(|builder| builder.time_to_live(HOUR));
    disturb();
    together(THREADS as usize, |thread| {
        for round in 0..stress(6_000, 200_000, 3_000_000) {
            let id = round * THREADS + thread as u64;
            made.insert(&cache, id);
            let (key, value) = made.entry(id);
            match round % 4 {
                0 => made.clock.advance(Duration::from_micros(300)),
                1 => _ = cache.insert_with_ttl(key, value, Duration::from_millis(round % 50)),
                _ => {}
            }
            cache.remove(&ById(id));
        }
    });
    assert_eq!(cache.len(), 0);
    // Work that threads had in hand when they ended waits for writes. While a thread of another
    // test has the same number, it waits for writes of that thread.
    for _ in 0..100 {
        for id in 0..4_000 {
            made.insert(&cache, id);
            assert!(cache.remove(&ById(id)).is_some());
        }
        if made.keys.live() <= RETIRED && made.values.live() <= RETIRED {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    made.assert_few("removed beside others");
    made.settle(cache);
}

on_every_reclaimer!(
    comes_back_by_later_writes,
    by_any_write,
    a_view_keeps_what_it_shows,
    deadlines_that_are_put_off,
    cleared_before_its_time,
    gone_before_their_time,
    gone_before_their_time_beside_others,
    evicted_before_their_time,
    deadlines_that_are_brought_forward,
);
