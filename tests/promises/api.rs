//! The behaviour of each public operation without concurrency.

use crate::common::{on_every_reclaimer, store};
use coeval::Cache;
use coeval::reclaim::Reclaim;
use std::collections::HashSet;

mod model;
mod views;

fn letters() -> Cache<String, u32> {
    [("a".to_string(), 1), ("b".to_string(), 2)].into_iter().collect()
}

fn an_empty_cache_is_empty<R: Reclaim>() {
    let cache = store::<String, u32, R>();
    assert_eq!(cache.len(), 0);
    assert!(cache.is_empty());
    assert_eq!(cache.get("a"), None);
    assert_eq!(cache.get_versioned("a"), None);
    assert!(!cache.contains_key("a"));
    assert_eq!(cache.pin().get("a"), None);
    assert_eq!(cache.get_many(["a", "b"]), [None, None]);
    assert_eq!(cache.remove("a"), None);
    let view = cache.view();
    assert_eq!((view.len(), view.iter().count()), (0, 0));
    assert_eq!(view.get("a"), None);
    cache.invalidate("a");
    cache.invalidate_all();
    cache.batch().commit();
    assert!(cache.is_empty());
}

fn an_insert_can_be_read_in_every_way<R: Reclaim>() {
    let cache = store::<String, u32, R>();
    let version = cache.insert("a".into(), 1);
    assert_eq!(cache.get("a"), Some(1));
    assert_eq!(cache.get(&"a".to_string()), Some(1));
    assert_eq!(cache.get_versioned("a"), Some((1, version)));
    assert!(cache.contains_key("a"));
    assert_eq!(cache.pin().get("a"), Some(&1));
    assert_eq!(cache.get_many(["a"]), [Some(1)]);
    assert_eq!(cache.version(), version);
    assert_eq!((cache.len(), cache.is_empty()), (1, false));
    let view = cache.view();
    assert_eq!(view.get("a"), Some(&1));
    assert_eq!(view.get_versioned("a"), Some((&1, version)));
    assert!(view.contains_key("a"));
    assert_eq!(view.iter().collect::<Vec<_>>(), [(&"a".to_string(), &1)]);
    assert_eq!((view.len(), view.version()), (1, version));
}

fn an_overwrite_replaces_value_and_version<R: Reclaim>() {
    let cache = store::<&str, u32, R>();
    let first = cache.insert("a", 1);
    let second = cache.insert("a", 2);
    assert!(first < second);
    assert_eq!(cache.get_versioned("a"), Some((2, second)));
    assert_eq!(cache.len(), 1);
}

fn a_removed_key_is_absent_and_can_come_back<R: Reclaim>() {
    let cache = store::<&str, u32, R>();
    cache.insert("a", 1);
    cache.insert("b", 2);
    let before = cache.version();
    assert_eq!(cache.remove("a"), Some(1));
    assert!(cache.version() > before, "a removal is a commit");
    assert_eq!(cache.remove("a"), None);
    assert_eq!((cache.get("a"), cache.contains_key("a"), cache.len()), (None, false, 1));
    let version = cache.insert("a", 3);
    assert_eq!(cache.get_versioned("a"), Some((3, version)));
    let gone = cache.invalidate(&"a");
    assert!(gone > version);
    assert_eq!(cache.version(), gone);
    assert_eq!((cache.get("a"), cache.get("b"), cache.len()), (None, Some(2), 1));
}

fn invalidate_all_leaves_nothing<R: Reclaim>() {
    let cache = store::<u32, u32, R>();
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    let view = cache.view();
    let last = cache.version();
    let version = cache.invalidate_all();
    assert!(version > last);
    assert_eq!((cache.len(), cache.is_empty()), (0, true));
    assert!((0..1_000).all(|key| cache.get(&key).is_none()));
    assert_eq!(cache.view().iter().count(), 0);
    assert!((0..1_000).all(|key| view.get(&key) == Some(&key)));
    cache.insert(5, 5);
    assert_eq!(cache.len(), 1);
}

fn a_batch_is_one_commit<R: Reclaim>() {
    let cache = store::<String, u32, R>();
    cache.insert("old".into(), 1);
    let batch = cache.batch().insert("a".into(), 1).insert("b".into(), 2).remove("old".into());
    assert_eq!(cache.get_many(["a", "b", "old"]), [None, None, Some(1)], "not yet committed");
    let version = batch.commit();
    assert_eq!(cache.get_many(["a", "b", "old"]), [Some(1), Some(2), None]);
    assert_eq!(cache.get_versioned("a").unwrap().1, version);
    assert_eq!(cache.get_versioned("b").unwrap().1, version);
    assert_eq!((cache.version(), cache.len()), (version, 2));
}

fn the_last_write_of_a_key_in_a_batch_wins<R: Reclaim>() {
    let cache = store::<&str, u32, R>();
    let version = cache
        .batch()
        .insert("a", 1)
        .insert("b", 1)
        .insert("a", 2)
        .remove("b")
        .remove("c")
        .insert("c", 3)
        .insert("d", 4)
        .invalidate("d")
        .commit();
    assert_eq!(cache.get_versioned("a"), Some((2, version)));
    assert_eq!(cache.get_many([&"b", &"c", &"d"]), [None, Some(3), None]);
    assert_eq!(cache.len(), 2);
}

fn a_dropped_batch_changes_nothing<R: Reclaim>() {
    let cache = store::<&str, u32, R>();
    let version = cache.insert("a", 1);
    drop(cache.batch().insert("a", 2).insert("b", 2).remove("a"));
    assert_eq!(cache.get_versioned("a"), Some((1, version)));
    assert_eq!((cache.len(), cache.version()), (1, version));
}

fn compare_and_set_sets_only_over_the_expected_version<R: Reclaim>() {
    let cache = store::<&str, String, R>();
    let conflict = cache.compare_and_set("a", Some(cache.insert("b", "x".into())), "1".into());
    let conflict = conflict.expect_err("it is absent");
    assert_eq!(conflict.found(), None);
    assert!(!conflict.to_string().is_empty());
    assert_eq!(conflict.into_value::<String>(), Some("1".to_string()));
    assert!(!cache.contains_key("a"));

    let first = cache.compare_and_set("a", None, "1".into()).expect("only if absent, and it is");
    assert_eq!(cache.get_versioned("a"), Some(("1".to_string(), first)));
    let conflict = cache.compare_and_set("a", None, "2".into()).expect_err("it is present");
    assert_eq!(conflict.found(), Some(first));
    let error: Box<dyn std::error::Error> = Box::new(conflict);
    assert!(!error.to_string().is_empty());

    let second = cache.compare_and_set("a", Some(first), "2".into()).expect("it holds `first`");
    assert!(second > first);
    let conflict =
        cache.compare_and_set("a", Some(first), "3".into()).expect_err("no longer at that version");
    assert_eq!(conflict.found(), Some(second));
    assert_eq!(conflict.into_value::<u8>(), None, "a type that is not the cache's");
    assert_eq!(cache.get("a").as_deref(), Some("2"));

    cache.remove("a");
    let conflict = cache.compare_and_set("a", Some(second), "4".into()).expect_err("removed");
    assert_eq!(conflict.found(), None);
    cache.compare_and_set("a", None, "5".into()).expect("absent again");
    assert_eq!((cache.get("a").as_deref(), cache.len()), (Some("5"), 2));
}

fn get_many_answers_in_order_with_repetitions<R: Reclaim>() {
    let cache = store::<String, u32, R>();
    cache.batch().insert("a".into(), 1).insert("b".into(), 2).commit();
    assert_eq!(cache.get_many(["b", "a", "x", "b"]), [Some(2), Some(1), None, Some(2)]);
    let none: [&str; 0] = [];
    assert_eq!(cache.get_many(none), []);
    let many: [u64; 100] = std::array::from_fn(|at| at as u64);
    let numbers = store::<u64, u64, R>();
    for key in many {
        numbers.insert(key, key + 1);
    }
    assert_eq!(numbers.get_many(many.each_ref()), many.map(|key| Some(key + 1)));
}

fn versions_are_unique_ordered_and_printed<R: Reclaim>() {
    let cache = store::<u32, u32, R>();
    let mut all = vec![cache.insert(1, 1), cache.batch().insert(1, 2).insert(2, 2).commit()];
    all.push(cache.invalidate(&1));
    all.push(cache.invalidate_all());
    all.push(cache.compare_and_set(1, None, 3).expect("absent"));
    (0..2_000).for_each(|key| all.push(cache.insert(key, key)));
    assert!(all.is_sorted_by(|a, b| a < b), "later commits have larger versions");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    for version in all {
        assert_eq!(version.to_string(), format!("v{}", version.get()));
        assert!(format!("{version:?}").contains(&version.get().to_string()));
    }
}

fn clones_share_one_cache<R: Reclaim>() {
    let cache = store::<u32, u32, R>();
    let clone = cache.clone();
    let version = cache.insert(1, 1);
    assert_eq!(clone.get_versioned(&1), Some((1, version)));
    drop(cache);
    clone.insert(2, 2);
    assert_eq!(clone.len(), 2);
}

fn two_caches_share_nothing<R: Reclaim>() {
    let (one, two) = (store::<u32, u32, R>(), store::<u32, u32, R>());
    let view = one.view();
    one.insert(1, 1);
    two.insert(2, 2);
    assert_eq!((one.len(), two.len(), view.len()), (1, 1, 0));
    assert_eq!((one.get(&2), two.get(&1)), (None, None));
}

fn many_keys<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    for key in 0..50_000 {
        cache.insert(key, key * 2);
        assert_eq!(cache.len() as u64, key + 1);
    }
    assert!((0..50_000).all(|key| cache.get(&key) == Some(key * 2)));
    assert_eq!(cache.get(&50_000), None);
    let view = cache.view();
    let all: HashSet<u64> = view.iter().map(|(key, _)| *key).collect();
    assert_eq!((all.len(), view.iter().count()), (50_000, 50_000), "each key once");
    (0..50_000).step_by(2).for_each(|key| assert_eq!(cache.remove(&key), Some(key * 2)));
    assert_eq!((cache.len(), view.len()), (25_000, 50_000));
    assert!((0..50_000).all(|key| cache.contains_key(&key) == (key % 2 == 1)));
    assert!((0..50_000).all(|key| view.get(&key) == Some(&(key * 2))));
}

/// All keys have one hash, so tags and homes do not help.
fn keys_that_collide<R: Reclaim>() {
    #[derive(Clone, Default)]
    struct Same;
    impl std::hash::BuildHasher for Same {
        type Hasher = Same;
        fn build_hasher(&self) -> Same {
            Same
        }
    }
    impl std::hash::Hasher for Same {
        fn finish(&self) -> u64 {
            0x5555
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let cache = Cache::builder().hasher(Same).reclaimer::<R>().build();
    for key in 0..300u32 {
        cache.insert(key, key);
    }
    assert_eq!(cache.len(), 300);
    assert!((0..300).all(|key| cache.get(&key) == Some(key)));
    let batch = (0..300).rev().fold(cache.batch(), |batch, key| batch.insert(key, key + 1));
    let version = batch.commit();
    assert!((0..300).all(|key| cache.get_versioned(&key) == Some((key + 1, version))));
    assert!((0..300).step_by(3).all(|key| cache.remove(&key) == Some(key + 1)));
    assert!((0..300).all(|key| cache.contains_key(&key) == (key % 3 != 0)));
}

/// Values and keys of unusual sizes.
fn sizes<R: Reclaim>() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(64))]
    struct Wide([u8; 192]);
    let wide = store::<u8, Wide, R>();
    let nothing = store::<(), (), R>();
    let set = store::<String, (), R>();
    for round in 0..100u8 {
        wide.insert(round % 5, Wide([round; 192]));
        nothing.insert((), ());
        set.insert(round.to_string(), ());
    }
    let pinned = wide.pin();
    let value = pinned.get(&4).expect("inserted");
    assert_eq!((value, std::ptr::from_ref(value) as usize % 64), (&Wide([99; 192]), 0));
    assert_eq!((nothing.len(), nothing.get(&()), nothing.remove(&())), (1, Some(()), Some(())));
    assert!(nothing.is_empty());
    assert_eq!((set.len(), set.contains_key("7")), (100, true));
}

on_every_reclaimer!(
    an_empty_cache_is_empty,
    an_insert_can_be_read_in_every_way,
    an_overwrite_replaces_value_and_version,
    a_removed_key_is_absent_and_can_come_back,
    invalidate_all_leaves_nothing,
    a_batch_is_one_commit,
    the_last_write_of_a_key_in_a_batch_wins,
    a_dropped_batch_changes_nothing,
    compare_and_set_sets_only_over_the_expected_version,
    get_many_answers_in_order_with_repetitions,
    versions_are_unique_ordered_and_printed,
    clones_share_one_cache,
    two_caches_share_nothing,
    many_keys,
    keys_that_collide,
    sizes,
);

#[test]
fn builders_and_conversions() {
    let built: Cache<String, u32> = Cache::builder().initial_capacity(1_000).build();
    assert!(built.is_empty());
    let tried: Cache<String, u32> = Cache::builder().initial_capacity(0).try_build().unwrap();
    tried.insert("a".into(), 1);
    assert_eq!(tried.get("a"), Some(1));
    let default: Cache<u8, u8> = Cache::default();
    assert!(default.is_empty());
    let hasher = std::collections::hash_map::RandomState::new();
    let other = Cache::builder().hasher(hasher).build();
    other.insert("key", 1);
    assert_eq!(other.get("key"), Some(1));

    let mut letters = letters();
    letters.extend([("b".to_string(), 20), ("c".to_string(), 30)]);
    assert_eq!(letters.get_many(["a", "b", "c"]), [Some(1), Some(20), Some(30)]);
}

#[test]
fn a_nonsensical_capacity_is_refused() {
    let tried = Cache::<u8, u8>::builder().initial_capacity(usize::MAX).try_build();
    let error: Box<dyn std::error::Error> = Box::new(tried.expect_err("no machine has that"));
    assert!(error.to_string().contains("initial_capacity"), "{error}");
    let built = std::panic::catch_unwind(|| {
        Cache::<u8, u8>::builder().initial_capacity(usize::MAX).build()
    });
    let message = built.expect_err("`build` panics");
    let message = message.downcast_ref::<String>().expect("with a message");
    assert!(message.contains("initial_capacity"), "{message}");
}

#[test]
fn everything_can_be_printed() {
    let cache = letters();
    for text in [
        format!("{cache:?}"),
        format!("{:?}", cache.view()),
        format!("{:?}", cache.pin()),
        format!("{:?}", cache.batch().insert("z".into(), 26)),
        format!("{:?}", Cache::<u8, u8>::builder()),
        format!("{:?}", cache.compare_and_set("a".into(), None, 0)),
    ] {
        assert!(!text.is_empty());
    }
    // Values need not implement `Debug`.
    struct Opaque;
    let opaque = Cache::new();
    opaque.insert(1, Opaque);
    assert!(!format!("{opaque:?}").is_empty());
}

#[test]
fn handles_and_views_cross_threads() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let cache = letters();
    let view = cache.view();
    send(&cache);
    sync(&cache);
    send(&view);
    sync(&view);
    let version = cache.version();
    send(&version);
    sync(&version);
}

#[test]
fn values_need_not_be_cloned_to_be_stored_or_looked_at() {
    #[derive(PartialEq, Debug)]
    struct Unique(u32);
    let cache = Cache::new();
    let version = cache.insert("a", Unique(1));
    cache.batch().insert("b", Unique(2)).remove("c").commit();
    assert_eq!(cache.pin().get("a"), Some(&Unique(1)));
    assert_eq!(cache.view().get_versioned("a"), Some((&Unique(1), version)));
    assert!(cache.contains_key("b"));
    let conflict = cache.compare_and_set("a", None, Unique(3)).unwrap_err();
    assert_eq!(conflict.into_value(), Some(Unique(3)));
    cache.invalidate(&"a");
    cache.invalidate_all();
    assert_eq!(cache.len(), 0);
}
