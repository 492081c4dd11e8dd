//! What moka's documentation promises of `moka::sync::Cache`.

use coeval_dropin::moka::sync::{Cache, RemovalCause};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

#[test]
fn a_clone_is_the_same_cache_and_get_returns_a_clone() {
    let cache: Cache<String, Arc<str>> = Cache::new(10_000);
    let other = cache.clone();
    other.insert("key".to_string(), "value".into());
    assert_eq!(cache.get("key").as_deref(), Some("value"));
    assert!(cache.contains_key("key") && !cache.contains_key("none"));
    cache.invalidate("key");
    assert_eq!((other.get("key"), other.remove("key")), (None, None));
}

#[test]
fn the_capacity_is_kept() {
    let cache = Cache::new(100);
    (0..1_000_u32).for_each(|n| cache.insert(n, n));
    cache.run_pending_tasks();
    assert_eq!((cache.entry_count(), cache.weighted_size()), (100, 100));
    assert_eq!(cache.policy().max_capacity(), Some(100));

    let weigh = |_: &u32, value: &String| value.len() as u32;
    let cache = Cache::builder().name("names").weigher(weigh).max_capacity(32).build();
    (0..100).for_each(|n| cache.insert(n, format!("number {n}")));
    cache.run_pending_tasks();
    assert!(cache.weighted_size() <= 32 && cache.entry_count() >= 2);
    assert_eq!(cache.name(), Some("names"));
}

#[test]
fn concurrent_callers_of_get_with_run_one_closure() {
    let cache: Cache<&str, u32> = Cache::new(100);
    let (runs, start) = (AtomicU32::new(0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let value = cache.get_with("key", || {
                    std::thread::sleep(Duration::from_millis(20));
                    runs.fetch_add(1, SeqCst) + 7
                });
                assert_eq!(value, 7);
            });
        }
    });
    assert_eq!(runs.into_inner(), 1);
    assert_eq!(cache.get_with_by_ref(&"key", || unreachable!("it is cached")), 7);
}

#[test]
fn failed_initialisations_insert_nothing() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let error = cache.try_get_with(1, || Err::<u32, _>("down")).unwrap_err();
    assert_eq!((*error, cache.get(&1)), ("down", None));
    assert_eq!(cache.try_get_with(1, || Ok::<_, &str>(10)), Ok(10));
    assert_eq!(cache.optionally_get_with(2, || None), None);
    assert_eq!(cache.optionally_get_with(2, || Some(20)), Some(20));
    assert_eq!(cache.optionally_get_with(2, || unreachable!("it is cached")), Some(20));
}

#[test]
fn entries_tell_whether_they_are_fresh() {
    let cache: Cache<&str, u32> = Cache::new(100);
    let entry = cache.entry("a").or_insert(1);
    assert!(entry.is_fresh() && *entry.key() == "a");
    let entry = cache.entry("a").or_insert_with(|| 2);
    assert!(!entry.is_fresh() && entry.into_value() == 1);
    let entry = cache.entry("a").and_upsert_with(|old| old.map_or(0, |old| old.into_value() + 10));
    assert!(entry.is_fresh() && entry.is_old_value_replaced() && *entry.value() == 11);
}

#[test]
fn an_entry_expires_and_the_listener_is_told() {
    let gone = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&gone);
    let cache = Cache::builder()
        .time_to_live(Duration::from_millis(60))
        .eviction_listener(move |key, value, cause| log.lock().unwrap().push((*key, value, cause)))
        .build();
    cache.insert(1, "one");
    cache.insert(2, "two");
    cache.insert(2, "zwei");
    cache.invalidate(&2);
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(cache.get(&1), None);
    cache.run_pending_tasks();
    let mut gone = std::mem::take(&mut *gone.lock().unwrap());
    gone.sort_by_key(|(key, value, _)| (*key, *value));
    let expected = [
        (1, "one", RemovalCause::Expired),
        (2, "two", RemovalCause::Replaced),
        (2, "zwei", RemovalCause::Explicit),
    ];
    assert_eq!(gone, expected);
}

#[test]
fn all_or_some_entries_are_invalidated() {
    let cache = Cache::builder().max_capacity(100).support_invalidation_closures().build();
    (0..10_u32).for_each(|n| cache.insert(n, n));
    cache.invalidate_entries_if(|key, _| key % 2 == 0);
    let mut keys: Vec<_> = cache.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    assert_eq!(keys, [1, 3, 5, 7, 9]);
    cache.invalidate_all();
    assert_eq!((cache.get(&1), cache.iter().count()), (None, 0));
    cache.insert(1, 11);
    assert_eq!(cache.get(&1), Some(11));
}
