//! Promise: the commit that invalidates a tag ends all values that have the tag, and nothing else.
//! Values that are loaded in their place have the same tags, and are refused if they were read
//! before the invalidation.

mod beside_others;
mod loads;
mod memory;
#[cfg(coeval_internals)]
mod steps;

use crate::common::{Store, assert_gone, on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RemovalCause, Tag};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

fn tags<const N: usize>(names: [&str; N]) -> [Tag; N] {
    names.map(Tag::from)
}

fn all_tagged_values_end_and_nothing_else<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let first = cache.insert_tagged(1, 10, &tags(["a", "b"]));
    assert_eq!(cache.get_versioned(&1), Some((10, first)));
    cache.insert_tagged(2, 20, &tags(["b"]));
    cache.insert_tagged(3, 30, &tags(["a"]));
    cache.insert_tagged(4, 40, &[]);
    cache.insert(5, 50);
    let before = cache.version();
    let version = cache.invalidate_tag("b");
    assert!(version > before && version == cache.version());
    assert_gone(&cache, 1);
    assert_gone(&cache, 2);
    assert_eq!(cache.get_many([&3, &4, &5]), [Some(30), Some(40), Some(50)]);
    cache.invalidate_tag("a");
    assert_gone(&cache, 3);
    assert_eq!(cache.get_many([&1, &4, &5]), [None, Some(40), Some(50)]);
    // No entry has these tags.
    assert!(cache.invalidate_tag("c") > version);
    assert_eq!(cache.get_many([&4, &5]), [Some(40), Some(50)]);
}

fn later_writes_are_not_affected<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.invalidate_tag("a");
    cache.insert_tagged(1, 10, &tags(["a", "a"]));
    assert_eq!(cache.get(&1), Some(10));
    for round in 0..100 {
        cache.invalidate_tag("a");
        assert_gone(&cache, 1);
        cache.insert_tagged(1, round, &tags(["a"]));
        assert_eq!((cache.get(&1), cache.len()), (Some(round), 1));
    }
}

/// A write sets the tags of its value.
fn a_write_without_tags_has_none<R: Reclaim>() {
    type Write<R> = fn(&Cache<R>);
    let writes: [Write<R>; 4] = [
        |cache| _ = cache.insert(1, 7),
        |cache| _ = cache.batch().insert(1, 7).insert(2, 7).commit(),
        |cache| _ = cache.insert_tagged(1, 7, &tags(["b"])),
        |cache| {
            let (_, version) = cache.get_versioned(&1).unwrap();
            cache.compare_and_set(1, Some(version), 7).unwrap();
        },
    ];
    for write in writes {
        let cache = store::<u64, u64, R>();
        cache.insert_tagged(1, 10, &tags(["a"]));
        write(&cache);
        cache.invalidate_tag("a");
        assert_eq!(cache.get(&1), Some(7));
    }
}

/// Tests each way to write a key whose value has ended.
fn an_ended_value_is_absent_to_writers<R: Reclaim>() {
    let ended = || {
        let cache = store::<u64, u64, R>();
        cache.insert_tagged(1, 10, &tags(["a"]));
        cache.invalidate_tag("a");
        cache
    };
    assert_eq!(ended().remove(&1), None);
    let cache = ended();
    cache.compare_and_set(1, None, 11).unwrap();
    assert_eq!((cache.get(&1), cache.len()), (Some(11), 1));
    let cache = ended();
    cache.invalidate(&1);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    let cache = ended();
    cache.invalidate_all();
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
}

fn a_view_still_sees_them<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a"]));
    let first = cache.view();
    cache.invalidate_tag("a");
    let second = cache.view();
    cache.insert_tagged(1, 11, &tags(["a"]));
    let third = cache.view();
    cache.invalidate_tag("a");
    cache.invalidate_tag("a");
    let look = |view: &coeval::View<_, _, _, _>| (view.get(&1).copied(), view.iter().count());
    assert_eq!(
        (look(&first), look(&second), look(&third)),
        ((Some(10), 1), (None, 0), (Some(11), 1))
    );
    drop(first);
    cache.invalidate_tag("a");
    assert_eq!((look(&second), look(&third)), ((None, 0), (Some(11), 1)));
    assert_gone(&cache, 1);
}

fn tags_of_a_present_key<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a"]));
    cache.invalidate_tag("b");
    let version = cache.tag(1, &tags(["b", "a"]));
    assert_eq!(cache.get_versioned(&1), Some((10, version)), "unchanged");
    cache.invalidate_tag("b");
    assert_gone(&cache, 1);
    // The entry keeps the tags that it had.
    cache.insert_tagged(1, 10, &tags(["a"]));
    cache.tag(1, &tags(["b"]));
    cache.invalidate_tag("a");
    assert_gone(&cache, 1);
    // The key is absent.
    assert!(cache.tag(1, &tags(["b"])) > version);
    assert!(cache.tag(2, &tags(["b"])) > version);
    assert_gone(&cache, 1);
    assert_gone(&cache, 2);
    cache.insert(2, 20);
    cache.invalidate_tag("b");
    assert_eq!(cache.get(&2), Some(20));
}

/// Tagging an entry changes nothing else about it.
fn a_tagged_entry_is_the_same<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().weigher(|_: &u64, value: &u64| *value as u32);
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer::<R>().build();
    cache.insert_with_ttl(1, 10, Duration::from_secs(5));
    assert_eq!(cache.derive(2, |scope| scope.get(&1).unwrap() + 1), 11);
    clock.advance(Duration::from_secs(4));
    cache.tag(1, &tags(["a"]));
    cache.tag(2, &tags(["b"]));
    assert_eq!((cache.get_many([&1, &2]), cache.weighted_size()), ([Some(10), Some(11)], 21));
    let lease = cache.lease(&2);
    cache.insert(3, 1);
    clock.advance(Duration::from_secs(1));
    assert_gone(&cache, 1);
    assert_gone(&cache, 2);
    drop(lease);
}

/// A value derived from a tagged value ends with it, and is valid again if the tagged value comes
/// out equal.
fn derived_values_end_too<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert_tagged(1, 10, &tags(["a"]));
    let double = || cache.derive(2, |scope| scope.get(&1).unwrap_or(0) * 2);
    assert_eq!(double(), 20);
    cache.invalidate_tag("a");
    assert_gone(&cache, 2);
    assert_eq!(double(), 0);
    cache.insert_tagged(1, 7, &tags(["a"]));
    assert_gone(&cache, 2);
    assert_eq!(double(), 14);
    // A tag of the derived value, which keeps the tag when it is derived again.
    cache.tag(2, &tags(["b"]));
    cache.invalidate_tag("b");
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(7), None));
    assert_eq!((double(), cache.get(&2)), (14, Some(14)));
    cache.invalidate_tag("b");
    assert_gone(&cache, 2);
    cache.derive(3, |scope| scope.derive(2, |scope| scope.get(&1).unwrap()) + 1);
    cache.invalidate_tag("b");
    assert_gone(&cache, 3);
}

fn relations_and_the_listener<R: Reclaim>() {
    let left = Arc::new(Mutex::new(Vec::new()));
    let told = left.clone();
    let builder = coeval::Cache::builder()
        .related(|key: &u64, related| _ = (*key == 1).then(|| related.insert(2, 7)))
        .eviction_listener(move |key: Arc<u64>, value: u64, cause, version| {
            told.lock().unwrap().push((*key, value, cause, version));
        });
    let cache: Cache<R> = builder.reclaimer::<R>().build();
    let first = cache.insert_tagged(1, 10, &tags(["a"]));
    assert_eq!(cache.get_versioned(&2), Some((7, first)), "by the same commit");
    cache.invalidate_tag("a");
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(7)));
    assert!(left.lock().unwrap().is_empty(), "it has not left yet");
    let version = cache.batch().remove(1).commit();
    assert_eq!(*left.lock().unwrap(), [(1, 10, RemovalCause::Related, version)]);
}

fn it_is_evicted_like_others<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().max_capacity(50).reclaimer::<R>().build();
    for key in 0..5_000 {
        cache.insert_tagged(key, key, &tags(["a", "b"]));
        assert!(cache.len() <= 50);
    }
    cache.invalidate_tag("a");
    assert!((0..5_000).all(|key| cache.get(&key).is_none()));
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

fn a_clone_that_panics_changes_nothing<R: Reclaim>() {
    struct Brittle(bool);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            assert!(!self.0, "brittle");
            Self(self.0)
        }
    }
    let cache = store::<u64, Brittle, R>();
    cache.insert_tagged(1, Brittle(true), &tags(["a"]));
    let version = cache.version();
    let tagged = catch_unwind(AssertUnwindSafe(|| cache.tag(1, &tags(["b"]))));
    assert!(tagged.is_err() && cache.contains_key(&1) && cache.version() == version);
    cache.invalidate_tag("b");
    assert!(cache.contains_key(&1));
    cache.invalidate_tag("a");
    assert!(!cache.contains_key(&1));
}

fn a_million_entries_at_once<R: Reclaim>() {
    let entries = crate::common::stress(20_000, 1_000_000, 1_000_000);
    let cache = store::<u64, u64, R>();
    let tag = Tag::from(7);
    for key in 0..entries {
        cache.insert_tagged(key, key, std::slice::from_ref(&tag));
    }
    assert!((0..entries).all(|key| cache.get(&key) == Some(key)));
    cache.invalidate_tag(&tag);
    assert!((0..entries).all(|key| cache.get(&key).is_none()));
}

on_every_reclaimer!(
    all_tagged_values_end_and_nothing_else,
    later_writes_are_not_affected,
    a_write_without_tags_has_none,
    an_ended_value_is_absent_to_writers,
    a_view_still_sees_them,
    tags_of_a_present_key,
    a_tagged_entry_is_the_same,
    derived_values_end_too,
    relations_and_the_listener,
    it_is_evicted_like_others,
    a_clone_that_panics_changes_nothing,
    a_million_entries_at_once,
);
