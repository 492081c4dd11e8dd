//! Batches in both styles: chains and loops.

use coeval::{Batch, Cache, ManualClock, Tag, Terms};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[test]
fn a_loop_fills_a_batch() {
    let cache = Cache::new();
    let mut batch = cache.batch_mut();
    for (k, v) in [(1, "one"), (2, "two"), (1, "uno")] {
        batch.insert(k, v);
    }
    assert_eq!((batch.len(), batch.is_empty(), cache.len()), (3, false, 0));
    let version = batch.commit();
    assert_eq!(cache.get_versioned(&1), Some(("uno", version)));
    assert_eq!(cache.get_versioned(&2), Some(("two", version)));
    // It can be used again.
    assert!(batch.is_empty());
    batch.remove(1).insert(3, "three");
    assert!(batch.commit() > version);
    assert_eq!(cache.get_many([&1, &2, &3]), [None, Some("two"), Some("three")]);
}

#[test]
fn the_chain_stays_as_it_was() {
    fn with_two<'c>(batch: Batch<'c, u64, u64>) -> Batch<'c, u64, u64> {
        batch.insert(2, 2)
    }
    let cache = Cache::new();
    let mut batch = cache.batch().insert(0, 0);
    for n in 3..5 {
        batch = batch.insert(n, n);
    }
    for n in 5..7 {
        batch.by_ref().insert(n, n);
    }
    let version = with_two(batch).remove(0).commit();
    assert_eq!(cache.get_many(0..8).into_iter().flatten().sum::<u64>(), 2 + 3 + 4 + 5 + 6);
    assert_eq!(cache.get_versioned(&6), Some((6, version)));
    assert_eq!(cache.batch_mut().insert(7, 7).remove(6).commit(), cache.version());
    assert_eq!(cache.get_many([&6, &7]), [None, Some(7)]);
}

#[test]
fn a_batch_is_extended() {
    let cache: Cache<u64, u64> = Cache::new();
    let mut batch = cache.batch();
    batch.extend([(1, 1), (2, 2)]);
    batch.extend(std::iter::once((3, 3, Terms::new().tags(["odd"]))));
    batch.commit();
    assert_eq!(cache.get_many(1..4), [Some(1), Some(2), Some(3)]);
    cache.invalidate_tag("odd");
    assert_eq!(cache.get_many(1..4), [Some(1), Some(2), None]);
}

#[test]
fn each_entry_has_its_own_terms() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let builder = Cache::builder().manual_clock(&clock).max_capacity(1000);
    let cache = builder.weigher(|_: &u64, value: &u64| *value as u32).build();
    let mut batch = cache.batch_mut();
    batch.insert_tagged(1, 1, &[Tag::from("a")]);
    batch.insert_with_ttl(2, 2, second);
    batch.insert_with(3, 3, Terms::new().time_to_idle(2 * second));
    batch.insert_with(4, 4, Terms::new().refresh_after(3 * second));
    batch.insert_with(5, 5, Terms::new().weight(50).tags(["b"]));
    batch.insert(6, 6);
    batch.commit();
    assert_eq!(cache.weighted_size(), 1 + 2 + 3 + 4 + 50 + 6);
    clock.advance(second);
    assert_eq!(cache.get_many([&2, &3]), [None, Some(3)]);
    cache.invalidate_tag("a");
    assert_eq!(cache.get_many([&1, &4, &5]), [None, Some(4), Some(5)]);
    clock.advance(2 * second);
    assert_eq!(cache.get(&3), None);
    assert_eq!(cache.get_with(4, || 44), 44, "it is due");
    assert_eq!(cache.get_with(6, || unreachable!("it has no time")), 6);
    // The weight was given, so it stays with the other terms.
    cache.batch().insert_with(5, 7, Terms::as_it_was()).commit();
    cache.collect();
    assert_eq!(
        cache.weighted_size(),
        44 + 6 + 50,
        "a given weight stays; what a tag ended is collected"
    );
    cache.invalidate_tag("b");
    assert_eq!(cache.get(&5), None);
}

#[test]
fn a_weight_without_a_weigher_is_one() {
    let cache = Cache::builder().max_capacity(10).build();
    cache.batch().insert_with(1, 1, Terms::new().weight(1000)).commit();
    assert_eq!((cache.get(&1), cache.weighted_size()), (Some(1), 1));
}

#[test]
fn a_heavy_entry_of_a_batch_is_evicted() {
    let cache = Cache::builder().max_capacity(10).weigher(|_: &u64, _: &u64| 1).build();
    let mut batch = cache.batch_mut();
    batch.insert(1, 1).insert_with(2, 2, Terms::new().weight(11));
    batch.commit();
    assert_eq!(cache.get(&2), None);
    assert!(cache.weighted_size() <= 10);
}

#[test]
fn a_batch_that_is_dropped_or_panics_changes_nothing() {
    let relation = |key: &u64, _: &mut coeval::Related<u64, u64>| assert_ne!(*key, 7);
    let cache = Cache::builder().related(relation).build();
    let mut batch = cache.batch_mut();
    batch.insert(1, 1);
    drop(batch);
    let mut batch = cache.batch_mut();
    batch.insert(1, 1).insert(7, 7);
    assert!(catch_unwind(AssertUnwindSafe(|| batch.commit())).is_err());
    assert_eq!(cache.len(), 0);
    batch.insert(2, 2);
    batch.commit();
    assert_eq!(cache.get_many([&1, &2, &7]), [None, Some(2), None]);
}
