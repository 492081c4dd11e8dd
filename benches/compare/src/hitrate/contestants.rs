//! The bounded caches. All use the same hasher and seed.

use ::quick_cache::{
    UnitWeighter,
    sync::{Cache as Quick, DefaultLifecycle},
};
use coeval::Cache;

use crate::stores::Hasher;

/// moka counts hits and evicts in housekeeping, which runs after a number of operations or some
/// time; between two runs it may exceed its bound by some entries. With `exact`, the housekeeping
/// runs after each insertion, so that the bound is kept.
pub fn moka(keys: &[u64], capacity: usize, exact: bool) -> u64 {
    let builder = ::moka::sync::Cache::builder().max_capacity(capacity as u64);
    let cache = builder.build_with_hasher(Hasher::default());
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.insert(*key, ());
            if exact {
                cache.run_pending_tasks();
            }
        }
    }
    hits
}

/// quick_cache, with the number of shards that it chooses for the processors that it finds.
pub fn quick_cache(keys: &[u64], capacity: usize) -> u64 {
    let (hasher, lifecycle) = (Hasher::default(), DefaultLifecycle::default());
    let cache: Quick<u64, (), UnitWeighter, Hasher, DefaultLifecycle<u64, ()>> =
        Quick::with(capacity, capacity as u64, UnitWeighter, hasher, lifecycle);
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.insert(*key, ());
        }
    }
    hits
}

/// coeval.
pub fn coeval(keys: &[u64], capacity: usize) -> u64 {
    let builder = Cache::builder().max_capacity(capacity as u64);
    let cache = builder.hasher(Hasher::default()).build();
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.insert(*key, ());
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_kept_and_hits_are_counted() {
        let keys: Vec<u64> = (0..10_000).map(|at| at % 120).collect();
        for hits in [coeval(&keys, 120), quick_cache(&keys, 1000), moka(&keys, 1000, true)] {
            assert_eq!(hits, 10_000 - 120);
        }
        assert_eq!(coeval(&keys, 0), 0);
        assert!(coeval(&keys, 60) < 5_000);
    }
}
