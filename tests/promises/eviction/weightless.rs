//! Entries without weight: none of them is evicted to make room, and they do not get in the way.

use crate::common::{IS_SLOW, on_every_reclaimer};
use crate::eviction::{Cache, assert_within, weighed};
use coeval::reclaim::Reclaim;

fn none_is_evicted<R: Reclaim>() {
    for capacity in [0, 1, 5, 1_000] {
        let cache = weighed::<R>(capacity);
        for key in 0..5_000 {
            cache.insert(key, 0);
            cache.insert(10_000 + key, 1);
            cache.insert(100_000, capacity);
        }
        assert!((0..5_000).all(|key| cache.get(&key) == Some(0)));
        let count = assert_within(&cache, capacity, true);
        assert!(count >= 5_000 && cache.weighted_size() == capacity, "{count} entries");
        // They go like other entries when they are removed.
        (0..2_500).for_each(|key| assert_eq!(cache.remove(&key), Some(0)));
        cache.invalidate_all();
        assert_eq!(assert_within(&cache, capacity, true), 0);
    }
}

/// An entry may gain weight, and lose it again.
fn weight_comes_and_goes<R: Reclaim>() {
    const CAPACITY: u64 = 50;
    let cache = weighed::<R>(CAPACITY);
    for round in 0..40 {
        (0..100).for_each(|key| _ = cache.insert(key, (key + round) % 2));
        assert!((0..100).filter(|key| (key + round) % 2 == 0).all(|key| cache.contains_key(&key)));
        // Insertions of entries with weight displace only entries with weight.
        (1_000..1_200).for_each(|key| _ = cache.insert(key + round * 1_000, 1));
        let is_there = |key: &u64| cache.contains_key(key);
        assert!((0..100).filter(|key| (key + round) % 2 == 0).all(|key| is_there(&key)));
        assert!((0..100).filter(|key| (key + round) % 2 == 1).any(|key| !is_there(&key)));
        assert_within(&cache, CAPACITY, true);
    }
    (0..100).for_each(|key| _ = cache.insert(key, 1));
    assert_eq!(assert_within(&cache, CAPACITY, true), CAPACITY);
}

/// Many of them add nothing to the cost of an eviction. The number of commits tells how many
/// entries were evicted.
fn not_in_the_way<R: Reclaim>() {
    let cache: Cache<R> = weighed(100);
    (0..100_000).for_each(|key| _ = cache.insert(key, 0));
    (0..100).for_each(|key| _ = cache.insert(1_000_000 + key, 1));
    for key in 0..20_000 {
        let before = cache.version().get();
        cache.insert(2_000_000 + key, 1);
        assert_eq!(cache.version().get() - before, 2, "it and one that goes");
    }
    // Weightless entries that come and go beside them leave only a proportional amount behind.
    for key in 0..if IS_SLOW { 50_000 } else { 300_000 } {
        cache.insert(3_000_000 + key, 1);
        cache.remove(&(3_000_000 + key));
    }
    assert_eq!(cache.len() as u64 - cache.weighted_size(), 100_000);
}

on_every_reclaimer!(none_is_evicted, weight_comes_and_goes, not_in_the_way);
