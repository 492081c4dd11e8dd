//! Promise: settings and calls at the edge of the sensible do what their documentation says.

use crate::common::{Store, assert_gone, on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RemovalCause};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A capacity of zero: no entry stays, by whatever operation it comes.
fn without_room<R: Reclaim>() {
    let cache: Store<u64, u64, R> = coeval::Cache::builder().max_capacity(0).reclaimer().build();
    for key in 0..50 {
        let version = cache.insert(key, 1);
        assert_gone(&cache, key);
        assert_eq!(cache.version().get(), version.get() + 1, "its eviction is a commit");
        cache.batch().insert(key, 1).insert(key + 1, 2).commit();
        assert_eq!(cache.get_with(key, || 3), 3);
        assert_gone(&cache, key);
        assert_eq!((cache.len(), cache.weighted_size()), (0, 0));
    }
}

/// A weigher that returns zero for every entry sets no bound.
fn all_entries_weigh_nothing<R: Reclaim>() {
    for capacity in [0, 10] {
        let builder = coeval::Cache::builder().max_capacity(capacity).weigher(|_, _| 0);
        let cache: Store<u64, u64, R> = builder.reclaimer().build();
        (0..10_000).for_each(|key| _ = cache.insert(key, key));
        assert_eq!((cache.len(), cache.weighted_size()), (10_000, 0));
        assert!((0..10_000).all(|key| cache.get(&key) == Some(key)));
    }
}

/// A time to live of zero: a write that removes the old value, and a value that no look-up returns.
fn no_time_to_live<R: Reclaim>() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (telling, clock) = (Arc::clone(&told), ManualClock::new());
    let cache: Store<u64, u64, R> = coeval::Cache::builder()
        .manual_clock(&clock)
        .eviction_listener(move |key: Arc<u64>, value, cause, _| {
            telling.lock().unwrap().push((*key, value, cause));
        })
        .reclaimer()
        .build();
    let before = cache.insert(1, 1);
    let version = cache.insert_with_ttl(1, 2, Duration::ZERO);
    assert!(version > before);
    assert_gone(&cache, 1);
    let batch = cache.batch().insert_with_ttl(2, 3, Duration::ZERO).insert(3, 4);
    batch.commit();
    assert_gone(&cache, 2);
    assert_eq!(cache.get(&3), Some(4));
    clock.advance(SECOND);
    (10..40).for_each(|key| _ = cache.insert(key, 0));
    assert_eq!(cache.len(), 31);
    let mut told = told.lock().unwrap().clone();
    told.sort_by_key(|(key, value, _)| (*key, *value));
    let expired = RemovalCause::Expired;
    assert_eq!(told, [(1, 1, RemovalCause::Replaced), (1, 2, expired), (2, 3, expired)]);
}

/// A refresh that is due only after the value has ended never happens.
fn refresh_after_the_end<R: Reclaim>() {
    for refresh in [SECOND, SECOND * 2] {
        let clock = ManualClock::new();
        let builder = coeval::Cache::builder().time_to_live(SECOND).refresh_after(refresh);
        let cache: Store<u64, u64, R> = builder.manual_clock(&clock).reclaimer().build();
        assert_eq!(cache.get_with(1, || 1), 1);
        clock.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(cache.get_with(1, || 2), 1);
        clock.advance(Duration::from_nanos(1));
        assert_gone(&cache, 1);
        assert_eq!(cache.get_with(1, || 3), 3, "loaded, like an absent key");
        // A value that is kept longer than the cache's default time is refreshed.
        cache.insert_with_ttl(2, 1, SECOND * 5);
        clock.advance(SECOND * 3);
        assert_eq!((cache.get(&2), cache.get_with(2, || 9)), (Some(1), 9));
    }
}

/// An empty batch is a commit like any other, of no keys.
fn an_empty_commit<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let first = cache.insert(1, 1);
    let (view, empty) = (cache.view(), cache.batch().commit());
    assert!(empty > first);
    assert_eq!((cache.version(), cache.stats().commits), (empty, 2));
    assert_eq!(cache.get_versioned(&1), Some((1, first)));
    assert_eq!((view.version(), cache.view().version()), (first, empty));
    assert!(cache.insert(1, 2) > empty);
    // A transaction that writes nothing makes no commit.
    let version = cache.version();
    let read = cache.transact::<_, ()>(|tx| Ok(tx.get(&1))).unwrap();
    assert_eq!((read.value, read.version, cache.version()), (Some(2), version, version));
}

/// A key that identifies its object.
#[derive(Clone, Debug)]
#[allow(clippy::redundant_allocation)] // The allocation identifies the object.
struct Key(u64, Arc<&'static str>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

/// When an equal key is written, the cache keeps its own key and drops the new one at once. This
/// ends when the cache has released its key, some time after the entry has left.
fn the_first_of_equal_keys<R: Reclaim>() {
    let cache = store::<Key, u64, R>();
    let [first, second, third] = ["first", "second", "third"].map(Arc::new);
    #[allow(clippy::redundant_allocation)] // As above.
    let key = |object: &Arc<&'static str>| Key(1, Arc::clone(object));
    let has = || *cache.view().iter().next().expect("an entry").0.1;
    cache.insert(key(&first), 1);
    cache.insert(key(&second), 2);
    assert_eq!((cache.get(&key(&third)), has()), (Some(2), "first"));
    cache.batch().insert(key(&second), 3).insert(key(&third), 4).commit();
    cache
        .compare_and_set(key(&second), cache.get_versioned(&key(&third)).map(|had| had.1), 5)
        .unwrap();
    assert_eq!((cache.get(&key(&third)), has()), (Some(5), "first"));
    assert_eq!((Arc::strong_count(&second), Arc::strong_count(&third)), (1, 1));
    // The key was removed just now, so the cache still knows it.
    cache.remove(&key(&third));
    cache.insert(key(&second), 6);
    assert_eq!((cache.get(&key(&third)), has()), (Some(6), "first"));
    // The key was removed long ago.
    cache.remove(&key(&third));
    for other in 2..200_000 {
        cache.insert(Key(other, Arc::clone(&third)), 0);
        cache.remove(&Key(other, Arc::clone(&third)));
    }
    assert_eq!(Arc::strong_count(&first), 1, "the cache has released it");
    cache.insert(key(&second), 7);
    assert_eq!((cache.get(&key(&third)), has()), (Some(7), "second"));
}

on_every_reclaimer!(
    without_room,
    all_entries_weigh_nothing,
    no_time_to_live,
    refresh_after_the_end,
    an_empty_commit,
    the_first_of_equal_keys,
);
