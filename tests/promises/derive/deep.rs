//! A chain of a hundred thousand levels (fewer where each step is slow). No code recurses, and the
//! time to build the levels one on top of the other is at most linear.

use super::{Cache, Scoped};
use crate::common::{IS_SLOW, on_a_small_stack, on_every_reclaimer, store, stress};
use coeval::reclaim::Reclaim;

const DEPTH: u64 = if IS_SLOW { 20_000 } else { 100_000 };

fn over<R: Reclaim>(scope: &mut Scoped<'_, R>, key: u64) -> u64 {
    1 + scope.get(&(key - 1)).expect("derived just now")
}

/// Key `n` is `n` more than key 0, for all up to [`DEPTH`].
fn build<R: Reclaim>(cache: &Cache<R>) {
    (1..=DEPTH).for_each(|key| _ = cache.derive(key, |scope| over(scope, key)));
}

fn looked_up_and_ended<R: Reclaim>() {
    on_a_small_stack(|| {
        let cache = store::<u64, u64, R>();
        cache.insert(0, 7);
        build(&cache);
        let top = Some(7 + DEPTH);
        let view = cache.view();
        assert_eq!((cache.get(&DEPTH), view.get(&DEPTH).copied()), (top, top));
        assert_eq!(cache.get_many([&DEPTH, &0]), [top, Some(7)]);
        let lease = cache.lease(&DEPTH);
        assert!(!lease.is_outdated());
        cache.insert(0, 8);
        assert!(lease.is_outdated());
        assert_eq!(
            (cache.get(&DEPTH), cache.get(&1), view.get(&DEPTH).copied()),
            (None, None, top)
        );
        build(&cache);
        assert_eq!(cache.get(&DEPTH), Some(8 + DEPTH));
    });
}

fn in_a_transaction<R: Reclaim>() {
    on_a_small_stack(|| {
        let cache = store::<u64, u64, R>();
        cache.insert(0, 7);
        build(&cache);
        let moved = cache.transact(|tx| {
            let top = tx.get(&DEPTH);
            tx.insert(DEPTH + 1, top.unwrap());
            Ok::<_, ()>(top)
        });
        assert_eq!(moved.unwrap().value, Some(7 + DEPTH));
        assert_eq!(cache.get(&(DEPTH + 1)), Some(7 + DEPTH));
        let (_, version) = cache.get_versioned(&DEPTH).unwrap();
        cache.compare_and_set(DEPTH, Some(version), 1).unwrap();
    });
}

/// Ends the levels from the bottom, a few from the top, key by key, or all at once. Memory is
/// reclaimed during that, or with the cache.
fn taken_down<R: Reclaim>() {
    type TakeDown<R> = fn(&Cache<R>);
    let ways: [TakeDown<R>; 5] = [
        |_| {},
        |cache| (0..=DEPTH).for_each(|key| _ = cache.remove(&key)),
        |cache| (DEPTH - 9..=DEPTH).rev().for_each(|key| _ = cache.remove(&key)),
        |cache| _ = cache.invalidate_all(),
        |cache| (0..=DEPTH).for_each(|key| _ = cache.insert(key, 0)),
    ];
    for take_down in ways {
        on_a_small_stack(move || {
            let cache = store::<u64, u64, R>();
            cache.insert(0, 7);
            build(&cache);
            take_down(&cache);
            for _ in 0..4 {
                cache.collect();
            }
        });
    }
}

/// A bound that holds a part of the chain, so that levels in the middle are evicted.
fn evicted<R: Reclaim>() {
    on_a_small_stack(|| {
        let builder = coeval::Cache::builder().max_capacity(1_000);
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        cache.insert(0, 7);
        for key in 1..=stress(2_000, 10_000, 100_000) {
            cache.derive(key, |scope| 1 + scope.get(&(key - 1)).unwrap_or(0));
        }
        assert!(cache.len() <= 1_000);
    });
}

on_every_reclaimer!(looked_up_and_ended, in_a_transaction, taken_down, evicted);
