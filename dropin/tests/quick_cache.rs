//! What quick_cache's documentation promises of `quick_cache::sync::Cache`.

use coeval_dropin::quick_cache::sync::Cache;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

#[test]
fn values_are_cloned_out_and_the_capacity_is_kept() {
    let cache = Cache::new(64);
    (0..1_000_u32).for_each(|n| cache.insert(n, n));
    assert_eq!((cache.len(), cache.capacity(), cache.weight()), (64, 64, 64));
    cache.insert(7, 70);
    assert_eq!((cache.get(&7), cache.peek(&7), cache.get(&5_000)), (Some(70), Some(70), None));
    assert_eq!(cache.remove(&7), Some((7, 70)));
    assert_eq!((cache.remove(&7), cache.contains_key(&7)), (None, false));
    cache.clear();
    assert!(cache.is_empty());
    let heavy = Cache::with_weigher(10, |_: &u32, value: &u32| *value);
    heavy.insert(1, 6);
    heavy.insert(2, 7);
    assert!(heavy.weight() <= 10);
}

#[test]
fn one_caller_makes_the_value() {
    let (cache, runs) = (Cache::new(64), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let made = cache.get_or_insert_with(&"key", || {
                    runs.fetch_add(1, SeqCst);
                    Ok::<_, ()>(7)
                });
                assert_eq!(made, Ok(7));
            });
        }
    });
    assert_eq!(runs.into_inner(), 1);
    let failed: Result<u32, _> = cache.get_or_insert_with(&"other", || Err("down"));
    assert_eq!((failed, cache.get("other")), (Err("down"), None));
    let cache: Cache<String, u32> = Cache::new(64);
    assert_eq!(cache.get_or_insert_with("borrowed", || Ok::<_, ()>(1)), Ok(1));
}

#[test]
fn replace_needs_a_present_key() {
    let cache = Cache::new(64);
    assert_eq!(cache.replace("key", 1), Err(("key", 1)));
    cache.insert("key", 1);
    assert_eq!((cache.replace("key", 2), cache.get("key")), (Ok(()), Some(2)));
    cache.insert("other", 3);
    cache.retain(|_, value| *value > 2);
    assert_eq!(cache.iter().collect::<Vec<_>>(), [("other", 3)]);
}
