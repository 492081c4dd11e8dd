//! The memory that a derived value holds is freed with it.

use crate::common::{Store, on_every_reclaimer, store, stress};
use coeval::reclaim::Reclaim;

/// The memory of records, versions and bonds is freed, in whatever way the values end.
fn its_memory_is_freed_with_it<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let mut settled = 0;
    let rounds = stress(40, 400, 4_000);
    for round in 0..rounds {
        for id in 0..500 {
            let (input, absent, key) =
                (id, 10_000 + round * 500 + id, 1_000_000 + round * 500 + id);
            cache.insert(input, round);
            cache.derive(key, |scope| {
                scope.get(&absent);
                scope.get(&input).unwrap()
                    + scope.derive(5_000 + id, |scope| scope.get(&input).unwrap())
            });
            match id % 3 {
                0 => drop(cache.remove(&key)),
                1 => {
                    cache.insert(key, 1);
                }
                _ => {
                    cache.insert(input, round);
                }
            }
            cache.remove(&key);
        }
        if round == rounds / 2 {
            settled = cache.stats().memory;
        }
    }
    let memory = cache.stats().memory;
    println!("{settled} bytes half way, {memory} at the end");
    assert!(memory < settled + settled / 4, "{settled} bytes half way, {memory} at the end");
    assert_eq!(cache.len(), 1_000);
}

on_every_reclaimer!(its_memory_is_freed_with_it);
