//! Operations on a cache that is at its capacity, and whose entries expire.

use crate::common::counted::{Counted, Ledger};
use crate::operations::{Case, Stage, value};
use coeval::Terms;
use coeval::reclaim::Reclaim;
use std::sync::Arc;
use std::time::Duration;

pub const CAPACITY: u64 = 100;
/// Longer than all other deadlines.
const TIME: Duration = Duration::from_secs(60);

/// Keys that are present at first.
const OLD: std::ops::Range<u64> = 500..500 + CAPACITY;

/// Brings a cache to its capacity: some entries have a deadline, some popularity.
pub fn fill<R: Reclaim>(cache: &Stage<R>, ledger: &Arc<Ledger>) {
    for key in OLD {
        match key % 3 {
            0 => _ = cache.insert(key, value(key, ledger)),
            _ => insert_soon(cache, key, key, ledger),
        }
        cache.get(&(key - key % 5));
    }
}

/// Inserts an entry that expires within some ticks of the wheel.
fn insert_soon<R: Reclaim>(cache: &Stage<R>, key: u64, ticks: u64, ledger: &Arc<Ledger>) {
    cache.insert_with_ttl(key, value(key, ledger), Duration::from_millis(1 + ticks % 40));
}

pub fn cases<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("eviction", |cache, made| {
            for key in 4_000..4_010 {
                cache.insert(key, value(key, made));
                cache.get(&(key - 2));
            }
        }),
        ("eviction by a batch", |cache, made| {
            let batch =
                (4_100..4_110).fold(cache.batch(), |b, key| b.insert(key, value(key, made)));
            batch.remove(OLD.start).commit();
        }),
        ("evicted keys come back", |cache, made| {
            for key in (4_200..4_240).chain(4_200..4_240) {
                cache.insert(key, value(key, made));
                cache.get(&key);
            }
        }),
        ("handles without a value", |cache, made| {
            for key in 4_300..4_420 {
                cache.insert(key, value(key, made));
                drop(cache.remove(&key));
            }
            cache.insert(4_300, value(1, made));
        }),
        ("deadlines come", |cache, made| {
            for key in 4_500..4_520 {
                insert_soon(cache, key, key * 7, made);
            }
            for _ in 0..4 {
                cache.clock.advance(Duration::from_millis(9));
                cache.insert(4_500, value(1, made));
                assert!(cache.get(&4_519).is_none_or(|value| value.read() == 4_519));
            }
        }),
        ("a longer time", |cache, made| {
            insert_soon(cache, 4_600, 1, made);
            insert_soon(cache, 4_600, 30, made);
            cache.clock.advance(Duration::from_millis(5));
            cache.insert_with_ttl(4_600, value(1, made), TIME * 10);
            cache.clock.advance(TIME);
            for key in 4_700..4_704 {
                cache.insert(key, value(key, made));
            }
        }),
        ("ends before deadlines", |cache, made| {
            for key in 4_900..4_960 {
                cache.insert_with_ttl(key, value(key, made), TIME);
                match key % 3 {
                    0 => drop(cache.remove(&key)),
                    1 => insert_soon(cache, key, 30, made),
                    _ => _ = cache.insert(key, value(key, made)),
                }
            }
        }),
        ("kept as long as used", |cache, made| {
            let terms = Terms::new().time_to_idle(TIME);
            cache.batch().insert_with(4_650, value(1, made), terms).commit();
            cache.clock.advance(Duration::from_millis(100));
            drop(cache.get(&4_650));
        }),
        ("clearing", |cache, made| {
            cache.invalidate_all();
            for key in 4_800..4_840 {
                cache.insert(key, value(key, made));
            }
        }),
    ]
}

/// Checks at rest, after some more writes, that the bound is kept and expired values are gone.
pub fn settle<R: Reclaim>(cache: &Stage<R>, ledger: &Arc<Ledger>) {
    cache.clock.advance(TIME * 60);
    for _ in 0..400 {
        cache.insert(1, Counted::new(1_000, ledger));
    }
    // The loop has written key 1 alone, so it must not be present as a member of the group.
    cache.invalidate(&1);
    assert!(cache.weighted_size() <= CAPACITY, "{} entries", cache.weighted_size());
    assert_eq!(cache.len() as u64, cache.weighted_size());
}
