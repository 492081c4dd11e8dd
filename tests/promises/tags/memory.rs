//! The memory of a tag lives as long as an entry has the tag.

use super::Cache;
use crate::common::random::{Random, run_seed};
use crate::common::{on_every_reclaimer, store, stress};
use coeval::Tag;
use coeval::reclaim::Reclaim;
use std::sync::Arc;

/// Each name is an `Arc`. The cache has a clone of it as long as it knows the tag.
fn unused_tags_are_freed<R: Reclaim>() {
    let cache: Cache<R> = store();
    let names: Vec<Arc<str>> = (0..64).map(|name| Arc::from(format!("tag {name}"))).collect();
    let mut random = Random::new(run_seed());
    for _ in 0..stress(20_000, 200_000, 2_000_000) {
        let key = random.below(100);
        let tag = Tag::from(random.pick(&names.iter().collect::<Vec<_>>()).clone());
        match random.below(4) {
            0 => _ = cache.insert_tagged(key, 0, &[tag]),
            1 => _ = cache.tag(key, &[tag]),
            2 => _ = cache.invalidate_tag(tag),
            _ => _ = cache.remove(&key),
        }
    }
    assert!(names.iter().any(|name| Arc::strong_count(name) > 1));
    (0..100).for_each(|key| _ = cache.remove(&key));
    // Each write processes a part of the retired memory. These are writes of other keys, because
    // the tagged keys are done.
    for key in 1_000..20_000 {
        cache.insert(key % 2_000, 0);
    }
    let known = names.iter().filter(|name| Arc::strong_count(name) > 1).count();
    assert_eq!(known, 0, "tags that no entry has");
}

/// Many tags one after the other in one cache. The rest is dropped with the cache.
fn tags_by_the_thousand<R: Reclaim>() {
    let cache: Cache<R> = store();
    let name: Arc<str> = Arc::from("all");
    for number in 0..stress(10_000, 100_000, 1_000_000) {
        cache.insert_tagged(number % 64, number, &[Tag::from(number), Tag::from(name.clone())]);
        cache.invalidate_tag(number.wrapping_sub(10));
    }
    cache.invalidate_tag(name.clone());
    assert!((0..64).all(|key| cache.get(&key).is_none()));
    drop(cache);
    assert_eq!(Arc::strong_count(&name), 1);
}

on_every_reclaimer!(unused_tags_are_freed, tags_by_the_thousand);
