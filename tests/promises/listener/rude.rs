//! Listeners that panic, are slow, or use the cache; and a `Clone` that panics.

use super::{Cache, gone};
use crate::common::{StopOnDrop, Store, on_every_reclaimer, together};
use coeval::reclaim::Reclaim;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Panics without a message.
fn burn() -> ! {
    std::panic::resume_unwind(Box::new("burnt"))
}

fn a_listener_that_panics<R: Reclaim>() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let cache: Cache<R> = coeval::Cache::builder()
        .max_capacity(100)
        .eviction_listener(move |_, _, _, _| {
            if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                burn();
            }
        })
        .reclaimer()
        .build();
    let batch = || (0..50).fold(cache.batch(), |batch, key| batch.insert(key, key)).commit();
    (0..200).for_each(|key| _ = cache.insert(key, key));
    batch();
    batch();
    assert!(cache.remove(&7).is_some());
    assert_eq!(cache.get(&8), Some(8));
    assert_eq!(cache.len() as u64, cache.weighted_size());
    let (calls, stats) = (calls.load(Ordering::Relaxed), cache.stats());
    assert!(calls >= 151, "after a panic, later values are still reported: {calls}");
    assert_eq!((stats.listener_panics, gone(&cache)), (calls.div_ceil(2), calls));
}

/// While a listener is slow, other threads make progress, even with the same key.
fn a_listener_that_is_slow<R: Reclaim>() {
    let (inside, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&inside), Arc::clone(&done));
    let cache: Cache<R> = coeval::Cache::builder()
        .max_capacity(50)
        .eviction_listener(move |key: Arc<u64>, _, _, _| {
            if *key == 1_000_000 {
                flags.0.store(true, Ordering::Release);
                while !flags.1.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
        })
        .reclaimer()
        .build();
    cache.insert(1_000_000, 1);
    std::thread::scope(|scope| {
        let _done = StopOnDrop(&done);
        scope.spawn(|| cache.remove(&1_000_000));
        while !inside.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        for key in 0..5_000 {
            cache.insert(key, key);
            cache.insert(2_000, key);
        }
        assert_eq!((cache.get(&1_000_000), cache.len()), (None, 50));
    });
}

/// A listener that writes the values that it hears of to the same cache, and so hears of more.
fn a_listener_that_writes<R: Reclaim>() {
    let slot: Arc<Mutex<Weak<Cache<R>>>> = Arc::default();
    let (inside, calls) = (Arc::clone(&slot), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let cache: Cache<R> = coeval::Cache::builder()
        .max_capacity(100)
        .eviction_listener(move |key: Arc<u64>, value, _, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            let Some(cache) = inside.lock().unwrap().upgrade() else { return };
            if *key < 1_000 && value < 3 {
                cache.insert(*key, value + 1);
                cache.batch().insert(*key + 1, value + 1).remove(*key + 2).commit();
                cache.view().get(&*key);
                cache.remove(&(*key + 3));
            }
        })
        .reclaimer()
        .build();
    let cache = Arc::new(cache);
    *slot.lock().unwrap() = Arc::downgrade(&cache);
    together(4, |thread| {
        for key in 0..1_000 {
            cache.insert((key + thread as u64 * 13) % 1_000, 0);
        }
    });
    (0..200).for_each(|key| _ = cache.insert(5_000 + key, 9));
    // The listener may have removed some entries after the last insertion.
    let len = cache.len();
    assert!((90..=100).contains(&len), "{len}");
    assert_eq!((cache.weighted_size(), cache.view().len()), (len as u64, len));
    assert!(calls.load(Ordering::Relaxed) > 1_000);
}

/// A value whose `Clone` panics on demand.
struct Fragile(u64, Arc<AtomicBool>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        if self.1.load(Ordering::Relaxed) {
            burn();
        }
        Self(self.0, Arc::clone(&self.1))
    }
}

/// The write is done, but the listener does not hear of it.
fn a_clone_that_panics<R: Reclaim>() {
    let (burns, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let cache: Store<u64, Fragile, R> = coeval::Cache::builder()
        .max_capacity(10)
        .eviction_listener(move |_, _, _, _| _ = counted.fetch_add(1, Ordering::Relaxed))
        .reclaimer()
        .build();
    let value = |number| Fragile(number, Arc::clone(&burns));
    (0..10).for_each(|key| _ = cache.insert(key, value(key)));
    burns.store(true, Ordering::Relaxed);
    cache.insert(1, value(11));
    cache.invalidate(&2);
    cache.batch().insert(3, value(13)).remove(4).commit();
    (20..40).for_each(|key| _ = cache.insert(key, value(key)));
    let stats = cache.stats();
    assert_eq!((calls.load(Ordering::Relaxed), cache.len()), (0, 10));
    assert_eq!(stats.listener_panics, gone(&cache));
    burns.store(false, Ordering::Relaxed);
    let before = gone(&cache);
    (40..60).for_each(|key| _ = cache.insert(key, value(key)));
    assert_eq!(calls.load(Ordering::Relaxed), gone(&cache) - before);
}

on_every_reclaimer!(
    a_listener_that_panics,
    a_listener_that_is_slow,
    a_listener_that_writes,
    a_clone_that_panics
);
