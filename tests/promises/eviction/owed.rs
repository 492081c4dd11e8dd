//! A thread that brings weight makes room for it, whatever the weight and the entries are. Other
//! threads finish the work that one leaves.

use crate::common::{Store, on_every_reclaimer};
use crate::eviction::{Cache, assert_within, with_weigher};
use coeval::Tag;
use coeval::reclaim::Reclaim;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A cache that this many light entries fill.
fn full<R: Reclaim>(light: u64) -> Cache<R> {
    let cache = with_weigher(coeval::Cache::builder().max_capacity(light));
    (0..light).for_each(|key| _ = cache.insert(key, 1));
    assert_eq!(cache.weighted_size(), light);
    cache
}

/// After each single write of something heavy, the bound holds and the heavy entry is present.
fn each_heavy_entry_makes_its_own_room<R: Reclaim>() {
    for light in [1, 2, 10, 513, 2_000, 50_000] {
        let cache = full::<R>(light);
        for (n, part) in [2, 2, 2, 2, 1, 1, 3, 4, 1, 2, 8, 1].into_iter().enumerate() {
            let (key, weight) = (light + n as u64, (light / part).max(1));
            cache.insert(key, weight);
            assert!(cache.weighted_size() <= light, "{} of {light}", cache.weighted_size());
            assert_eq!(cache.get(&key), Some(weight), "{light}, entry {n}");
        }
        assert_within(&cache, light, true);
    }
}

fn many_light_entries<R: Reclaim>() {
    const LIGHT: u64 = 200_000;
    let cache = full::<R>(LIGHT);
    cache.insert(LIGHT, LIGHT / 2);
    assert!(cache.weighted_size() <= LIGHT);
    cache.insert(LIGHT + 1, LIGHT);
    assert_eq!((cache.len(), cache.weighted_size()), (1, LIGHT));
    assert_eq!(cache.get(&(LIGHT + 1)), Some(LIGHT));
}

/// Uses every operation that can bring weight.
fn every_way_to_bring_a_weight<R: Reclaim>() {
    const LIGHT: u64 = 4_000;
    let heavy = LIGHT / 2;
    let ways: &[fn(&Cache<R>, u64)] = &[
        |cache, heavy| _ = cache.insert(LIGHT, heavy),
        |cache, heavy| {
            _ = cache.insert(cache.view().iter().map(|(key, _)| *key).max().unwrap(), heavy)
        },
        |cache, heavy| _ = cache.insert_with_ttl(LIGHT, heavy, Duration::from_secs(3_600)),
        |cache, heavy| _ = cache.insert_tagged(LIGHT, heavy, &[Tag::from("tag")]),
        |cache, heavy| _ = cache.compare_and_set(LIGHT, None, heavy).unwrap(),
        |cache, heavy| {
            _ = cache.batch().insert(LIGHT, heavy / 2).insert(LIGHT + 1, heavy / 2).commit()
        },
        |cache, heavy| _ = cache.lease(&LIGHT).fill(heavy).unwrap(),
        |cache, heavy| assert_eq!(cache.get_with(LIGHT, || heavy), heavy),
        |cache, heavy| _ = cache.get_many_with([LIGHT, LIGHT + 1], || [heavy, 7]),
        |cache, heavy| {
            let write = cache.transact::<_, ()>(|tx| {
                tx.insert(LIGHT, heavy);
                Ok(())
            });
            assert!(write.is_ok());
        },
        |cache, heavy| assert_eq!(cache.derive(LIGHT, |_| heavy), heavy),
        // Through a relation of the key.
        |cache, _| _ = cache.insert(9_000_000, 1),
        // An entry that is already heavy gets a tag.
        |cache, heavy| {
            cache.insert(LIGHT, heavy);
            cache.tag(LIGHT, &[Tag::from("tag")]);
        },
    ];
    for (n, way) in ways.iter().enumerate() {
        let cache = with_weigher::<R>(coeval::Cache::builder().max_capacity(LIGHT).related(
            |key, related| {
                if *key == 9_000_000 {
                    related.insert(LIGHT, LIGHT / 2);
                }
            },
        ));
        (0..LIGHT).for_each(|key| _ = cache.insert(key, 1));
        for round in 0..3 {
            cache.remove(&LIGHT);
            way(&cache, heavy);
            let weight = cache.weighted_size();
            assert!(
                weight <= LIGHT && weight >= heavy,
                "way {n}, round {round}: {weight} of {LIGHT}"
            );
            assert_within(&cache, LIGHT, true);
        }
        assert!(cache.len() as u64 >= LIGHT / 4, "way {n} took too much: {}", cache.len());
    }
}

/// Many threads bring heavy entries at once.
fn many_heavy_at_once<R: Reclaim>() {
    for light in [4, 100, 20_000] {
        let cache = full::<R>(light);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..40 {
                        let key = light + thread * 1_000 + n;
                        cache.insert(key, (light / (1 + (n + thread) % 4)).max(1));
                        if n % 3 == 0 {
                            (0..50).for_each(|n| _ = cache.insert(n, 1));
                        }
                    }
                });
            }
        });
        assert_within(&cache, light, true);
    }
}

/// The listener hears of every evicted entry, and may write in the meantime.
fn every_eviction_is_reported<R: Reclaim>() {
    const LIGHT: u64 = 5_000;
    let told = Arc::new(AtomicU64::new(0));
    let telling = Arc::clone(&told);
    let builder = coeval::Cache::builder().max_capacity(LIGHT);
    let cache: Store<u64, u64, R> = builder
        .weigher(|_, value| *value as u32)
        .eviction_listener(move |_, _, _, _| _ = telling.fetch_add(1, Ordering::Relaxed))
        .reclaimer()
        .build();
    (0..LIGHT).for_each(|key| _ = cache.insert(key, 1));
    cache.insert(LIGHT, LIGHT);
    assert_eq!((cache.len(), told.load(Ordering::Relaxed)), (1, LIGHT));
}

on_every_reclaimer!(
    each_heavy_entry_makes_its_own_room,
    every_way_to_bring_a_weight,
    many_heavy_at_once,
    every_eviction_is_reported,
);

#[test]
fn many_light_entries_make_room_for_one() {
    many_light_entries::<coeval::reclaim::Asymmetric>();
}
