//! Tests with one thread: the decisions equal those of the model, and give good hit ratios.

use super::model::Model;
use super::support::{PolicyCache, Random, streams};
use crate::policy::{Policy, Residents};

const LENGTH: u64 = 100_000;

#[test]
fn decisions_equal_those_of_the_model() {
    for (name, keys) in streams(LENGTH) {
        for capacity in [1, 2, 7, 75, 500, 3000] {
            let (cache, mut model) =
                (PolicyCache::counting(capacity, 1 << 16), Model::new(capacity));
            for (at, key) in keys.iter().enumerate() {
                let (hit, expected) = (cache.request(*key), model.request(*key));
                assert_eq!(hit, expected, "{name}, capacity {capacity}, request {at}");
            }
            assert!((0..1 << 16).all(|key| cache.is_present(key) == model.is_present(key)));
            assert!(cache.weight() <= capacity);
            cache.check();
        }
    }
}

/// Returns the hit ratio of a cache, in percent.
fn ratio(capacity: u64, keys: &[u64]) -> f64 {
    let cache = PolicyCache::counting(capacity, 1 << 16);
    let hits = keys.iter().filter(|key| cache.request(**key)).count();
    hits as f64 * 100.0 / keys.len() as f64
}

/// Returns the hit ratio of an exact LRU, in percent.
fn lru(capacity: usize, keys: &[u64]) -> f64 {
    let (mut recent, mut hits) = (Vec::new(), 0);
    for key in keys {
        match recent.iter().rposition(|other| other == key) {
            Some(place) => {
                recent.remove(place);
                hits += 1;
            }
            None if recent.len() == capacity => {
                recent.remove(0);
            }
            None => {}
        }
        recent.push(*key);
    }
    hits as f64 * 100.0 / keys.len() as f64
}

#[test]
fn it_matches_lru_on_recency_and_keeps_most_of_a_loop() {
    let streams = streams(LENGTH);
    let of = |name| &streams.iter().find(|stream| stream.0 == name).unwrap().1;
    for (name, least) in [("popular", 5.0), ("scans", 8.0), ("recent", -1.0)] {
        let gain = ratio(300, of(name)) - lru(300, of(name));
        assert!(gain > least, "{name}: {gain:.2} points above LRU");
    }
    // The cache has room for 500 of the 700 keys.
    let looped = ratio(500, of("loop"));
    assert!(looped > 65.0 && lru(500, of("loop")) == 0.0, "{looped}");
}

/// Returns `rounds` rounds of a loop of `length` keys.
fn looped(length: u64, rounds: u64) -> Vec<u64> {
    (0..length * rounds).map(|at| at % length).collect()
}

/// Returns the share of requests that the best choice of kept keys hits, in percent, if each of
/// `length` keys is used once a round.
fn best_of_loop(capacity: u64, length: u64, rounds: u64) -> f64 {
    (rounds - 1) as f64 * capacity as f64 * 100.0 / (length * rounds) as f64
}

#[test]
fn a_loop_has_hits_in_its_second_round() {
    // The last is as long, and as short of rounds, as the recorded code search (lirs_cs).
    for (length, rounds) in [(525, 5), (600, 4), (1000, 4), (1409, 5), (2500, 3)] {
        let (found, best) =
            (ratio(500, &looped(length, rounds)), best_of_loop(500, length, rounds));
        assert!(found > best * 0.88, "a loop of {length}: {found:.1} %, at best {best:.1} %");
    }
}

#[test]
fn a_loop_hardly_longer_than_the_cache_is_kept() {
    let found = ratio(500, &looped(525, 40));
    let best = best_of_loop(500, 525, 40);
    assert!(found > best - 4.0, "{found:.1} %, at best {best:.1} %");
}

#[test]
fn recency_is_learnt_from_a_cold_start() {
    // Each key is used for a while after it is new, and never again. The trace has 12 times as many
    // requests as the cache has entries.
    let mut random = Random(3);
    let keys: Vec<u64> = (0..6000).map(|at| at / 2 + random.below(750)).collect();
    let gain = ratio(500, &keys) - lru(500, &keys);
    assert!(gain > -2.4, "{gain:.2} points above LRU");
}

#[test]
fn popular_keys_are_kept_beside_a_loop() {
    let mut random = Random(4);
    let mut at = 0;
    let mut next = || {
        if random.below(2) == 0 {
            at += 1;
            return 10_000 + at % 750;
        }
        (5001f64.powf(random.unit()) - 1.0) as u64
    };
    let keys: Vec<u64> = (0..50_000).map(|_| next()).collect();
    let found = ratio(500, &keys);
    assert!(found > 49.5, "{found:.2} %");
}

#[test]
fn a_capacity_of_zero_keeps_nothing() {
    let cache = PolicyCache::counting(0, 100);
    for key in 0..100 {
        assert!(!cache.request(key));
    }
    assert_eq!(cache.present(), 0);
    cache.check();
}

#[test]
fn weights_are_bounded_and_the_largest_entry_fits() {
    let weight = |key: u64| if key.is_multiple_of(50) { 900 } else { key as u32 % 20 };
    let cache = PolicyCache::new(Policy::weighing(1000), 5001, |key| {
        if key == 5000 { 1000 } else { weight(key) }
    });
    let mut random = Random(1);
    for _ in 0..50_000 {
        cache.request(random.below(5001));
        assert!(cache.weight() <= 1000);
    }
    cache.remove(5000);
    assert!(!cache.request(5000) && cache.request(5000), "the largest entry does not fit");
    assert!(cache.policy.fits(1000) && !cache.policy.fits(1001));
    cache.check();
}

#[test]
fn handles_without_a_value_do_not_pile_up() {
    // The cache stays far from full, so that no eviction releases the handles.
    let cache = PolicyCache::counting(100_000, 60_000);
    for key in 0..60_000 {
        cache.request(key);
        if key >= 100 {
            assert!(cache.remove(key - 100));
        }
        // Each check visits all entries.
        if key < 1_000 || key % 512 == 0 {
            let (held, present) = (cache.held(), cache.present());
            assert!(held <= (present + 64) * 2, "{held} of {present}");
        }
    }
    cache.check();
}

#[test]
fn a_removed_entry_is_not_counted_as_evicted() {
    let cache = PolicyCache::counting(10, 1000);
    (0..10).for_each(|key| assert!(!cache.request(key)));
    // The policy finds this value gone; that is not an eviction.
    assert!(cache.remove(0));
    (10..1000).for_each(|key| assert!(!cache.request(key)));
    assert_eq!((cache.evictions(), cache.present()), (989, 10));
    cache.check();
}

#[test]
fn memory_stays_small() {
    let cache = PolicyCache::counting(10_000, 1 << 16);
    for key in 0..1 << 16 {
        cache.request(key);
    }
    let bytes = cache.policy.bytes() as f64 / 10_000.0;
    assert!(bytes < 18.0, "{bytes} bytes per entry");
    let empty = PolicyCache::counting(1 << 40, 1);
    empty.request(0);
    assert!(empty.policy.bytes() < 4096, "memory is allocated before it is needed");
}
