//! The memory of evicted entries.

use crate::common::counted::{ById, Counted, Ledger};
use crate::common::{Store, on_every_reclaimer, stress, together};
use coeval::reclaim::Reclaim;
use std::sync::Arc;

/// The most objects that one thread may have retired and not yet dropped, while no thread holds a
/// guard.
const RETIRED: i64 = 8_192;

type Cache<R> = Store<Counted, Counted, R>;

struct Made {
    keys: Arc<Ledger>,
    values: Arc<Ledger>,
}

impl Made {
    fn bounded<R: Reclaim>(capacity: u64) -> (Self, Cache<R>) {
        let cache = coeval::Cache::builder().max_capacity(capacity).reclaimer().build();
        (Self { keys: Ledger::new(), values: Ledger::new() }, cache)
    }

    fn insert<R: Reclaim>(&self, cache: &Cache<R>, id: u64) {
        cache.insert(Counted::new(id, &self.keys), Counted::new(id, &self.values));
    }

    #[track_caller]
    fn assert_at_most(&self, count: i64, what: &str) {
        let (keys, values) = (self.keys.live(), self.values.live());
        assert!(keys <= count && values <= count, "{what}: {keys} keys, {values} values live");
    }

    #[track_caller]
    fn settle<R: Reclaim>(&self, cache: Cache<R>) {
        drop(cache);
        self.keys.assert_settled();
        self.values.assert_settled();
    }
}

fn fresh_keys_for_ever<R: Reclaim>() {
    for capacity in [0, 1, 100, 5_000] {
        let (made, cache) = Made::bounded::<R>(capacity);
        for id in 0..stress(60_000, 2_000_000, 50_000_000) {
            made.insert(&cache, id);
            if id % 1_000 == 0 {
                made.assert_at_most(RETIRED + capacity as i64 * 2, "evicted");
            }
        }
        assert_eq!(cache.len() as u64, capacity);
        made.settle(cache);
    }
}

/// Removed and cleared entries are freed although the policy holds their handles.
fn entries_that_the_policy_holds<R: Reclaim>() {
    const CAPACITY: u64 = 40_000;
    let (made, cache) = Made::bounded::<R>(CAPACITY);
    for round in 0..3 {
        (0..CAPACITY).for_each(|id| made.insert(&cache, id));
        assert_eq!(cache.len() as u64, CAPACITY);
        match round {
            0 => (0..CAPACITY).for_each(|id| drop(cache.remove(&ById(id)))),
            _ => _ = cache.invalidate_all(),
        }
        assert!(cache.is_empty());
        (0..CAPACITY).for_each(|id| made.insert(&cache, 1_000_000 + id % 8));
        let values = made.values.live();
        assert!(values <= RETIRED, "round {round}: {values} values live");
    }
    // Insertions of other entries search for handles without a value.
    (0..2_000).for_each(|id| made.insert(&cache, 2_000_000 + id));
    (0..2_000).for_each(|id| drop(cache.remove(&ById(2_000_000 + id))));
    (0..60_000).for_each(|id| {
        made.insert(&cache, 3_000_000 + id);
        drop(cache.remove(&ById(3_000_000 + id)));
    });
    made.assert_at_most(RETIRED, "removed");
    made.settle(cache);
}

/// An older view keeps what it shows, and no more. When it closes, that is freed.
fn a_view_of_evicted_entries<R: Reclaim>() {
    const CAPACITY: u64 = 20_000;
    let (made, cache) = Made::bounded::<R>(CAPACITY);
    (0..CAPACITY).for_each(|id| made.insert(&cache, id));
    let view = cache.view();
    (0..CAPACITY * 4).for_each(|id| made.insert(&cache, 1_000_000 + id));
    assert_eq!((cache.len() as u64, view.len() as u64), (CAPACITY, CAPACITY));
    made.assert_at_most(CAPACITY as i64 * 2 + RETIRED * 2, "beside a view");
    assert!((0..CAPACITY).all(|id| view.get(&ById(id)).is_some_and(|value| value.read() == id)));
    drop(view);
    (0..CAPACITY * 2).for_each(|id| made.insert(&cache, 2_000_000 + id));
    made.assert_at_most(CAPACITY as i64 + RETIRED * 2, "after a view");
    made.settle(cache);
}

fn many_threads<R: Reclaim>() {
    let (made, cache) = Made::bounded::<R>(500);
    let rounds = stress(10_000, 200_000, 5_000_000);
    together(4, |thread| {
        for round in 0..rounds {
            made.insert(&cache, (thread as u64) << 32 | round);
            match round % 64 {
                0 => drop(cache.remove(&ById((thread as u64) << 32 | (round - round % 7)))),
                1 => drop(cache.view().get(&ById(round)).map(Counted::read)),
                _ => {}
            }
        }
    });
    made.assert_at_most(500 + RETIRED * 5, "of several threads");
    made.settle(cache);
}

on_every_reclaimer!(
    fresh_keys_for_ever,
    entries_that_the_policy_holds,
    a_view_of_evicted_entries,
    many_threads,
);
