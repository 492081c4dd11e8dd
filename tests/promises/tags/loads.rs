//! Values that are loaded in place of tagged values.

use super::{Cache, tags};
use crate::common::{assert_gone, on_every_reclaimer, store};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::time::Duration;

fn a_loaded_value_keeps_the_tags<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a", "b"]));
    for (round, tag) in ["a", "b", "a", "a", "b"].into_iter().enumerate() {
        cache.invalidate_tag(tag);
        assert_gone(&cache, 1);
        assert_eq!(cache.get_with(1, || round as u64), round as u64);
        assert_eq!(cache.get(&1), Some(round as u64));
    }
    // A removal makes the cache forget the tags.
    cache.remove(&1);
    cache.get_with(1, || 7);
    cache.invalidate_tag("a");
    assert_eq!(cache.get(&1), Some(7));
}

fn a_lease_is_refused_after_it<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a"]));
    let lease = cache.lease(&1);
    assert!(!lease.is_outdated());
    cache.invalidate_tag("a");
    assert!(lease.is_outdated());
    assert_eq!(lease.fill(11).unwrap_err().into_value(), 11);
    assert_gone(&cache, 1);
    // A lease that is taken afterwards is not refused.
    let (late, later) = (cache.lease(&1), cache.lease(&1));
    cache.invalidate_tag("b");
    late.fill(12).unwrap();
    assert_eq!(cache.get(&1), Some(12));
    assert!(later.fill(13).is_err(), "another lease filled it");
    let lease = cache.lease(&1);
    cache.invalidate_tag("a");
    assert!(lease.fill(14).is_err(), "the loaded value has the tag, too");
}

fn a_load_that_is_overtaken_is_not_cached<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a"]));
    cache.invalidate_tag("a");
    let loaded = cache.get_with(1, || {
        cache.invalidate_tag("a");
        11
    });
    assert_eq!(loaded, 11, "read during the call");
    assert_gone(&cache, 1);
    assert_eq!(cache.stats().loads_refused, 1);
    // A derivation that is overtaken is not cached either.
    cache.insert(2, 5);
    let derived = cache.derive(1, |scope| {
        cache.invalidate_tag("a");
        scope.get(&2).unwrap()
    });
    assert_eq!(derived, 5);
    assert_gone(&cache, 1);
}

fn a_refresh_keeps_the_tags<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = coeval::Cache::builder()
        .refresh_after(Duration::from_secs(1))
        .manual_clock(&clock)
        .reclaimer::<R>()
        .build();
    cache.insert_tagged(1, 10, &tags(["a"]));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get_with(1, || 11), 11);
    assert_eq!(cache.get(&1), Some(11));
    cache.invalidate_tag("a");
    assert_gone(&cache, 1);
}

/// Whether the cache has removed the expired value yet or not.
fn past_its_deadline_it_forgets_them<R: Reclaim>() {
    for writes in [0, 100] {
        let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
        let builder = coeval::Cache::builder().time_to_live(second).manual_clock(&clock);
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        cache.insert_tagged(1, 10, &tags(["a"]));
        cache.insert_tagged(2, 20, &tags(["a"]));
        clock.advance(second);
        (0..writes).for_each(|key| _ = cache.insert(1_000 + key, key));
        assert_eq!((cache.get_with(1, || 11), cache.derive(2, |_| 21)), (11, 21));
        cache.invalidate_tag("a");
        assert_eq!(cache.get_many([&1, &2]), [Some(11), Some(21)], "after {writes} writes");
    }
}

on_every_reclaimer!(
    a_loaded_value_keeps_the_tags,
    a_lease_is_refused_after_it,
    a_load_that_is_overtaken_is_not_cached,
    a_refresh_keeps_the_tags,
    past_its_deadline_it_forgets_them,
);
