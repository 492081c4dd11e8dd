//! Caches with room for next to nothing.

use crate::common::random::{Random, run_seed};
use crate::common::turns::in_turns;
use crate::common::{on_every_reclaimer, stress};
use crate::operations::Fixed;
use coeval::reclaim::Reclaim;
use std::convert::Infallible;

type Cache<R> = coeval::Cache<u64, u64, Fixed, R>;

/// One operation by chance. A value is its own weight.
fn act<R: Reclaim>(cache: &Cache<R>, random: &mut Random, capacity: u64) {
    let (key, weight) = (random.below(8), 1 + random.below(capacity));
    match random.below(12) {
        0..4 => _ = cache.insert(key, weight),
        4 => _ = cache.remove(&key),
        5 => _ = cache.get(&key),
        6 => _ = cache.batch().insert(key, weight).insert(key + 1, weight).commit(),
        7 => _ = cache.lease(&key).fill(weight),
        8 => {
            let done = cache.transact(|tx| {
                let read = tx.get(&key);
                tx.insert(key + 2, read.unwrap_or(weight));
                Ok::<_, Infallible>(())
            });
            drop(done);
        }
        9 => {
            let view = cache.view();
            cache.insert(key, weight);
            drop(view);
        }
        10 => _ = cache.upsert(key, |_| weight),
        _ => _ = cache.invalidate_all(),
    }
}

fn tight_caches_in_turns<R: Reclaim>() {
    let mut seeds = Random::new(run_seed());
    for _ in 0..stress(3_000, 100_000, 10_000_000) {
        let seed = seeds.next();
        let mut random = Random::new(seed);
        let capacity = 1 + random.below(6);
        let is_weighed = random.one_in(2);
        let mut builder = coeval::Cache::<u64, u64>::builder().max_capacity(capacity);
        if is_weighed {
            builder = builder.weigher(|_, value| *value as u32);
        }
        let cache: Cache<R> = builder.hasher(Fixed::default()).reclaimer::<R>().build();
        for _ in 0..capacity {
            act(&cache, &mut random, capacity);
        }
        in_turns(Random::new(seed), 2 + random.below(2) as usize, |own| {
            let mut random = Random::new(seed ^ (own as u64 + 1) << 32);
            (0..1 + random.below(3)).for_each(|_| act(&cache, &mut random, capacity));
        });
        let view = cache.view();
        let weight: u64 = view.iter().map(|(_, value)| if is_weighed { *value } else { 1 }).sum();
        let (len, sum) = (cache.len(), cache.weighted_size());
        assert_eq!((len, sum), (view.iter().count(), weight), "seed {seed}");
        assert!(weight <= capacity, "{weight} of {capacity} at rest, seed {seed}");
    }
}

on_every_reclaimer!(tight_caches_in_turns);
