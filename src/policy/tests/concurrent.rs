//! Tests of the policy with many threads.

use super::support::{PolicyCache, Random};
use crate::policy::{Policy, Residents};
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: u64 = 6;

fn hammer(cache: &PolicyCache, keys: u64, removals: bool) -> u64 {
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let most = &most;
            scope.spawn(move || {
                let mut random = Random(thread << 32);
                for _ in 0..30_000 {
                    let key = random.below(keys).min(random.below(keys));
                    if removals && random.below(4) == 0 {
                        cache.remove(key);
                    } else {
                        cache.request(key);
                    }
                    most.fetch_max(cache.weight(), Ordering::Relaxed);
                }
            });
        }
    });
    most.into_inner()
}

#[test]
fn the_bound_holds_with_many_threads() {
    let cache = PolicyCache::counting(300, 2000);
    let most = hammer(&cache, 2000, false);
    assert!(most <= 300 + THREADS, "{most}");
    assert!(cache.weight() <= 300);
    cache.check();
}

#[test]
fn entries_that_are_removed_and_inserted_are_held_once() {
    let cache = PolicyCache::counting(300, 2000);
    let most = hammer(&cache, 2000, true);
    assert!(most <= 300 + THREADS, "{most}");
    cache.check();
}

/// The queues are so deep that threads draw tickets in lots.
#[test]
fn tickets_in_lots_lose_no_entry() {
    for removes in [false, true] {
        let cache = PolicyCache::counting(10_000, 40_000);
        let most = hammer(&cache, 40_000, removes);
        assert!(most <= 10_000 + THREADS, "{most}");
        assert!(cache.weight() <= 10_000);
        assert!(cache.policy.share().is_some(), "the queues were never deep");
        cache.check();
    }
}

#[test]
fn weights_add_up_with_many_threads() {
    let cache = PolicyCache::new(Policy::weighing(5000), 2000, |key| key as u32 % 40);
    let most = hammer(&cache, 2000, true);
    assert!(most <= 5000 + THREADS * 40, "{most}");
    assert!(cache.weight() <= 5000);
    cache.check();
}
