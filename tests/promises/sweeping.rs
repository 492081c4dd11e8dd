//! Promise: later writes sweep and report the entries that `invalidate_all` cleared, whatever other
//! threads are doing during the sweep.
//!
//! One thread does everything: in the middle of one of its operations it clears the cache, and
//! writes until the sweep has finished. Needs `RUSTFLAGS="--cfg coeval_internals"`.
#![cfg(coeval_internals)]

use crate::common::steps::{self, in_turn};
use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Builder, Cache, ManualClock};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The key under test. The numbers of other keys are above `OTHERS`.
const KEY: u64 = 7;
const OTHERS: u64 = 1 << 20;

struct Stage<R: Reclaim> {
    cache: Store<u64, u64, R>,
    told: Arc<Mutex<Vec<u64>>>,
}

impl<R: Reclaim> Stage<R> {
    fn new() -> Self {
        Self::with(Cache::builder())
    }

    fn with(builder: Builder<u64, u64>) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let builder = builder.eviction_listener(move |key: Arc<u64>, value, _, _| {
            if *key < OTHERS {
                heard.lock().unwrap().push(value);
            }
        });
        Self { cache: builder.reclaimer().build(), told }
    }

    /// Does as many writes as walk over a small index, and hardly more, so that swept entries are
    /// not yet reclaimed.
    fn walk(&self) -> Box<dyn FnOnce()> {
        let cache = self.cache.clone();
        Box::new(move || write(&cache, 300))
    }

    fn clear(&self) -> Box<dyn FnOnce()> {
        let cache = self.cache.clone();
        Box::new(move || _ = cache.invalidate_all())
    }

    fn clear_and_walk(&self) -> Box<dyn FnOnce()> {
        let (clear, walk) = (self.clear(), self.walk());
        Box::new(move || {
            clear();
            walk();
        })
    }

    /// The values that were reported by the time that everything was swept and reclaimed.
    fn told(&self) -> Vec<u64> {
        assert_eq!(steps::left(), 0, "a step was not reached");
        write(&self.cache, 30_000);
        let mut told = self.told.lock().unwrap().clone();
        told.sort_unstable();
        told
    }
}

fn write<R: Reclaim>(cache: &Store<u64, u64, R>, writes: u64) {
    (0..writes).for_each(|at| _ = cache.insert(OTHERS + at % 8, at));
}

/// A write has taken a number, but its version does not have it yet. The write comes after the
/// clearing, or is swept.
fn a_write_that_is_not_stamped<R: Reclaim>() {
    let stage = Stage::<R>::new();
    in_turn([("commit.ticked", stage.clear_and_walk())]);
    stage.cache.insert(KEY, 1);
    let told = stage.told();
    assert_eq!(told.is_empty(), stage.cache.contains_key(&KEY), "{told:?}");
}

/// As above, with a commit of several writes.
fn a_batch_that_is_not_stamped<R: Reclaim>() {
    let stage = Stage::<R>::new();
    in_turn([("commit.ticked", stage.clear_and_walk())]);
    stage.cache.batch().insert(KEY, 1).insert(KEY + 1, 2).commit();
    let told = stage.told();
    assert_eq!(told.is_empty(), stage.cache.contains_key(&KEY), "{told:?}");
    assert_eq!(told.is_empty(), stage.cache.contains_key(&(KEY + 1)), "{told:?}");
}

/// A value below an aborted version, perhaps in a record that does not end.
fn a_value_below_an_aborted_version<R: Reclaim>() {
    for is_held in [false, true] {
        let stage = Stage::<R>::new();
        let expected = stage.cache.insert(KEY, 1);
        let cache = stage.cache.clone();
        in_turn([("install.before_head", Box::new(move || _ = cache.insert(KEY, 2)))]);
        assert!(stage.cache.compare_and_set(KEY, Some(expected), 3).is_err());
        let lease = is_held.then(|| stage.cache.lease(&KEY));
        stage.clear_and_walk()();
        assert_eq!(stage.told(), [1, 2], "held: {is_held}");
        drop(lease);
    }
}

/// The record is condemned and then held, because its writer has yet to process its deadline.
fn a_record_that_is_held_again<R: Reclaim>() {
    let clock = ManualClock::new();
    let stage = Stage::<R>::with(Cache::builder().manual_clock(&clock));
    in_turn([("settle.begin", stage.clear_and_walk())]);
    stage.cache.insert_with_ttl(KEY, 1, Duration::from_secs(1));
    assert_eq!(stage.told(), [1]);
}

/// The superseded version is still to be disposed of.
fn a_version_with_others_below<R: Reclaim>() {
    let stage = Stage::<R>::new();
    stage.cache.insert(KEY, 1);
    in_turn([("settle.begin", stage.clear_and_walk())]);
    stage.cache.insert(KEY, 2);
    assert_eq!(stage.told(), [1, 2]);
}

/// Everything is cleared just before a view announces itself. The view has no version yet when the
/// walk begins. The walking thread gives it a version, which is not older than the clearing.
fn beside_a_view_that_opens<R: Reclaim>() {
    let stage = Stage::<R>::new();
    (0..500).for_each(|key| _ = stage.cache.insert(key, key));
    in_turn([("view.before_announced", stage.clear()), ("view.announced", stage.walk())]);
    drop(stage.cache.view());
    assert!(stage.told().into_iter().eq(0..500));
}

/// A thread begins the walk and stops; others walk in the meantime. (The entries that they find are
/// held, so each is reported at once.)
fn beside_a_thread_that_begins_to_walk<R: Reclaim>() {
    let stage = Stage::<R>::new();
    let held: Vec<_> = (0..50)
        .map(|key| {
            stage.cache.insert(key, key);
            stage.cache.lease(&key)
        })
        .collect();
    let (walk, told) = (stage.walk(), Arc::clone(&stage.told));
    in_turn([(
        "sweep.begins",
        Box::new(move || {
            walk();
            assert_eq!(told.lock().unwrap().len(), 50, "no other thread begins the walk");
        }),
    )]);
    stage.cache.invalidate_all();
    assert_eq!(stage.told().len(), 50);
    drop(held);
}

/// The walk before divided the index into more parts, and a thread takes one of these.
fn a_part_of_the_walk_before<R: Reclaim>() {
    let stage = Stage::<R>::new();
    (0..5_000).for_each(|key| _ = stage.cache.insert(key, key));
    stage.cache.invalidate_all();
    write(&stage.cache, 100_000);
    assert_eq!(stage.told().len(), 5_000, "the walk before");
    // The index has shrunk by now.
    (0..500).for_each(|key| _ = stage.cache.insert(key, key));
    let other = stage.cache.clone();
    in_turn([("sweep.begins", Box::new(move || write(&other, 3)))]);
    stage.cache.invalidate_all();
    assert_eq!(stage.told().len(), 5_500);
}

on_every_reclaimer!(
    a_part_of_the_walk_before,
    a_write_that_is_not_stamped,
    a_batch_that_is_not_stamped,
    a_value_below_an_aborted_version,
    a_record_that_is_held_again,
    a_version_with_others_below,
    beside_a_view_that_opens,
    beside_a_thread_that_begins_to_walk,
);
