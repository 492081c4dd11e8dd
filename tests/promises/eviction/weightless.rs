//! Entries that weigh nothing: none of them goes to make room, and they are in nobody's way.

use crate::common::{IS_SLOW, on_every_reclaimer};
use crate::eviction::{Cache, assert_within, weighed};
use coeval::reclaim::Reclaim;

fn none_goes<R: Reclaim>() {
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
        // They go as others do when they are taken away.
        (0..2_500).for_each(|key| assert_eq!(cache.remove(&key), Some(0)));
        cache.invalidate_all();
        assert_eq!(assert_within(&cache, capacity, true), 0);
    }
}

/// An entry may come to weigh something, and nothing again.
fn weight_comes_and_goes<R: Reclaim>() {
    const CAPACITY: u64 = 50;
    let cache = weighed::<R>(CAPACITY);
    for round in 0..40 {
        (0..100).for_each(|key| _ = cache.insert(key, (key + round) % 2));
        assert!((0..100).filter(|key| (key + round) % 2 == 0).all(|key| cache.contains_key(&key)));
        // By others, that weigh something, of those only what weighs something goes.
        (1_000..1_200).for_each(|key| _ = cache.insert(key + round * 1_000, 1));
        let is_there = |key: &u64| cache.contains_key(key);
        assert!((0..100).filter(|key| (key + round) % 2 == 0).all(|key| is_there(&key)));
        assert!((0..100).filter(|key| (key + round) % 2 == 1).any(|key| !is_there(&key)));
        assert_within(&cache, CAPACITY, true);
    }
    (0..100).for_each(|key| _ = cache.insert(key, 1));
    assert_eq!(assert_within(&cache, CAPACITY, true), CAPACITY);
}

/// What many of them cost the search for one that is to go: nothing. The commits tell how many were evicted.
fn in_nobodys_way<R: Reclaim>() {
    let cache: Cache<R> = weighed(100);
    (0..100_000).for_each(|key| _ = cache.insert(key, 0));
    (0..100).for_each(|key| _ = cache.insert(1_000_000 + key, 1));
    for key in 0..20_000 {
        let before = cache.version().get();
        cache.insert(2_000_000 + key, 1);
        assert_eq!(cache.version().get() - before, 2, "it and one that goes");
    }
    // Nor do entries that come and go beside them leave anything behind but in proportion.
    for key in 0..if IS_SLOW { 50_000 } else { 300_000 } {
        cache.insert(3_000_000 + key, 1);
        cache.remove(&(3_000_000 + key));
    }
    assert_eq!(cache.len() as u64 - cache.weighted_size(), 100_000);
}

on_every_reclaimer!(none_goes, weight_comes_and_goes, in_nobodys_way);
