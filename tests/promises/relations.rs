//! Promise: a write changes its declared related entries in the same commit, each key once. What
//! the writer wrote explicitly takes precedence.

use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Related};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Rule = Box<dyn Fn(&str, &mut Related<String, u64>) + Send + Sync>;

/// A cache with a relation, and the given keys, all written by one commit that bypasses the
/// relation.
fn cache(
    keys: &[&str],
    rule: impl Fn(&str, &mut Related<String, u64>) + Send + Sync + 'static,
) -> Cache<String, u64> {
    let rule: Rule = Box::new(rule);
    let armed = Arc::new(AtomicUsize::new(0));
    let when = Arc::clone(&armed);
    let cache = Cache::builder()
        .related(move |key: &String, related: &mut Related<String, u64>| {
            if when.load(Ordering::Relaxed) == 1 {
                rule(key, related);
            }
        })
        .build();
    let batch = keys.iter().fold(cache.batch(), |batch, key| batch.insert((*key).into(), 0));
    batch.commit();
    armed.store(1, Ordering::Relaxed);
    cache
}

/// `key → related` pairs, each an invalidation.
fn invalidates(
    pairs: &'static [(&'static str, &'static str)],
) -> impl Fn(&str, &mut Related<String, u64>) + Send + Sync {
    move |key, related| {
        for (_, to) in pairs.iter().filter(|(from, _)| *from == key) {
            related.invalidate((*to).into());
        }
    }
}

/// The contents, as a sorted line of text.
fn contents(cache: &Cache<String, u64>) -> String {
    let view = cache.view();
    let mut all: Vec<_> = view.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(all.len(), cache.len());
    all.sort();
    all.join(" ")
}

const ABCD: &[&str] = &["a", "b", "c", "d"];

#[test]
fn an_insert_invalidates_related_entries() {
    let cache = cache(ABCD, invalidates(&[("a", "b"), ("a", "c")]));
    let before = cache.view();
    cache.insert("a".into(), 1);
    assert_eq!(contents(&cache), "a=1 d=0");
    assert_eq!(before.len(), 4);
}

#[test]
fn an_invalidation_carries_relations_and_a_removal_does_not() {
    let cache = cache(ABCD, invalidates(&[("a", "b"), ("c", "d")]));
    cache.invalidate("a");
    assert_eq!(contents(&cache), "c=0 d=0");
    assert_eq!(cache.remove("c"), Some(0));
    assert_eq!(contents(&cache), "d=0");
}

/// A profile is derived from its user. The user is therefore invalidated although it is not cached.
fn profile_of_an_uncached_user<R: Reclaim>(
    builder: impl Fn(coeval::Builder<String, u64>) -> coeval::Builder<String, u64>,
    how: impl Fn(&Store<String, u64, R>),
) {
    let related = Cache::builder().related(|key: &String, related| {
        if let Some(user) = key.strip_prefix("user:") {
            related.invalidate(format!("profile:{user}"));
            related.insert(format!("changed:{user}"), 1);
        }
    });
    let cache: Store<String, u64, R> = builder(related).reclaimer::<R>().build();
    how(&cache);
    cache.remove("changed:7");
    cache.insert("profile:7".into(), 7);
    cache.insert("profile:8".into(), 8);
    assert_eq!(cache.get("user:7"), None);
    let version = cache.invalidate("user:7");
    assert_eq!(cache.get_many(["user:7", "profile:7", "profile:8"]), [None, None, Some(8)]);
    assert_eq!(cache.get_versioned("changed:7"), Some((1, version)));
    assert_eq!(version, cache.version());
}

fn an_invalidation_of_an_uncached_key_carries_relations<R: Reclaim>() {
    let user = || "user:7".to_string();
    let as_it_is = |builder| builder;
    profile_of_an_uncached_user::<R>(as_it_is, |_| ());
    profile_of_an_uncached_user::<R>(as_it_is, |cache| {
        cache.insert(user(), 1);
        cache.remove("user:7");
        (0..5_000).for_each(|other| _ = cache.insert(other.to_string(), 1));
    });
    profile_of_an_uncached_user::<R>(as_it_is, |cache| {
        cache.insert(user(), 1);
        cache.invalidate_all();
    });
    profile_of_an_uncached_user::<R>(as_it_is, |cache| {
        cache.insert_tagged(user(), 1, &["seven".into()]);
        cache.invalidate_tag("seven");
    });
    let bounded = |builder: coeval::Builder<String, u64>| builder.max_capacity(100);
    profile_of_an_uncached_user::<R>(bounded, |cache| {
        cache.insert(user(), 1);
        (0..1_000).for_each(|other| _ = cache.insert(other.to_string(), 1));
    });
    let clock = coeval::ManualClock::new();
    let timed = |builder: coeval::Builder<String, u64>| builder.manual_clock(&clock);
    profile_of_an_uncached_user::<R>(timed, |cache| {
        cache.insert_with_ttl(user(), 1, std::time::Duration::from_secs(1));
        clock.advance(std::time::Duration::from_secs(1));
    });
}

/// A caller that is loading a related key does not cache a value read before the invalidation.
#[test]
fn an_invalidation_of_an_uncached_key_refuses_leases_of_related_keys() {
    let cache = cache(&[], invalidates(&[("a", "b")]));
    let lease = cache.lease("b");
    cache.invalidate("a");
    assert!(lease.fill(1).is_err());
}

#[test]
fn in_a_batch_too() {
    let with = || cache(ABCD, invalidates(&[("a", "b"), ("c", "d")]));
    let one = with();
    one.batch().invalidate("a".into()).remove("c".into()).commit();
    assert_eq!(contents(&one), "d=0");
    let other = with();
    other.batch().insert("a".into(), 1).insert("c".into(), 2).commit();
    assert_eq!(contents(&other), "a=1 c=2");
}

#[test]
fn relations_insert_values_with_the_version_of_the_commit() {
    let cache = cache(ABCD, |key, related| {
        if key == "a" {
            related.insert("b".into(), 7);
            related.insert("new".into(), 8);
            related.recompute("c".into());
        }
    });
    let version = cache.insert("a".into(), 1);
    assert_eq!(contents(&cache), "a=1 b=7 d=0 new=8");
    for key in ["a", "b", "new"] {
        assert_eq!(cache.get_versioned(key).unwrap().1, version);
    }
    assert_ne!(cache.get_versioned("d").unwrap().1, version);
    assert_eq!(cache.version(), version);
}

#[test]
fn relations_are_transitive() {
    let chain = invalidates(&[("a", "b"), ("b", "c"), ("c", "d")]);
    let cache = cache(&["a", "b", "c", "d", "e"], chain);
    cache.insert("a".into(), 1);
    assert_eq!(contents(&cache), "a=1 e=0");
}

#[test]
fn relations_pass_through_entries_that_are_absent() {
    let cache = cache(&["a", "c"], invalidates(&[("a", "b"), ("b", "c")]));
    cache.insert("a".into(), 1);
    assert_eq!(contents(&cache), "a=1");
}

#[test]
fn a_related_insert_carries_its_own_relations() {
    let cache = cache(ABCD, |key, related| match key {
        "a" => {
            related.insert("b".into(), 5);
        }
        "b" => {
            related.invalidate("c".into());
        }
        _ => {}
    });
    cache.insert("a".into(), 1);
    assert_eq!(contents(&cache), "a=1 b=5 d=0");
}

#[test]
fn a_long_chain_is_one_commit() {
    let cache = Cache::builder()
        .related(|key: &u64, related: &mut Related<u64, u64>| {
            if *key < 10_000 {
                related.insert(key + 1, 7);
            }
        })
        .build();
    let version = cache.insert(0, 7);
    assert_eq!(cache.len(), 10_001);
    assert_eq!(cache.get_versioned(&10_000), Some((7, version)));
    assert_eq!(cache.get_versioned(&5_000), Some((7, version)));
}

#[test]
fn cycles_end() {
    let cycle = &[("a", "b"), ("b", "c"), ("c", "a")];
    for start in ["a", "b", "c"] {
        let cache = cache(ABCD, invalidates(cycle));
        cache.insert(start.into(), 1);
        assert_eq!(contents(&cache), format!("{start}=1 d=0"));
        cache.invalidate(start);
        assert_eq!(contents(&cache), "d=0");
    }
}

#[test]
fn a_key_may_be_related_to_itself() {
    let on_itself = cache(ABCD, invalidates(&[("a", "a"), ("a", "b")]));
    on_itself.insert("a".into(), 1);
    assert_eq!(contents(&on_itself), "a=1 c=0 d=0");
    let inserted = cache(ABCD, |key, related| {
        related.insert(key.into(), 99);
    });
    inserted.insert("a".into(), 1);
    assert_eq!(inserted.get("a"), Some(1), "the explicit write wins");
    inserted.invalidate("b");
    assert_eq!(inserted.get("b"), None);
}

#[test]
fn relations_may_overlap() {
    let cache =
        cache(ABCD, invalidates(&[("a", "c"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")]));
    let version = cache.batch().insert("a".into(), 1).insert("b".into(), 2).commit();
    assert_eq!(contents(&cache), "a=1 b=2");
    assert_eq!(cache.version(), version);
}

#[test]
fn the_explicit_write_wins() {
    let rule = invalidates(&[("a", "b"), ("b", "c")]);
    let first = cache(ABCD, rule);
    first.batch().insert("b".into(), 5).insert("a".into(), 1).commit();
    assert_eq!(contents(&first), "a=1 b=5 d=0");
    let rule = |key: &str, related: &mut Related<String, u64>| {
        if key == "a" {
            related.insert("b".into(), 9);
        }
    };
    for order in [["a", "b"], ["b", "a"]] {
        let removed = cache(ABCD, rule);
        let batch = order.iter().fold(removed.batch(), |batch, key| match *key {
            "a" => batch.insert("a".into(), 1),
            _ => batch.remove("b".into()),
        });
        batch.commit();
        assert_eq!(contents(&removed), "a=1 c=0 d=0");
    }
}

/// Two writes of a batch have relations that contradict each other. The earlier write decides, in
/// either order, and also if one key is written twice.
#[test]
fn an_earlier_relation_wins() {
    for others in [0, 30] {
        for (first, second) in [("a", "b"), ("b", "a")] {
            for is_twice in [false, true] {
                let cache = cache(ABCD, |key, related| {
                    if let "a" | "b" = key {
                        related.insert("c".into(), if key == "a" { 1 } else { 2 });
                    }
                });
                let mut batch = cache.batch();
                if is_twice {
                    batch = batch.insert(second.into(), 8);
                }
                batch = batch.insert(first.into(), 9).insert(second.into(), 9);
                for other in 0..others {
                    batch = batch.insert(format!("other {other}"), 0);
                }
                batch.commit();
                let expected = if first == "a" { 1 } else { 2 };
                assert_eq!(cache.get("c"), Some(expected), "{first} before {second}, {others}");
            }
        }
    }
}

#[test]
fn compare_and_set_carries_relations_only_if_it_succeeds() {
    let cache = cache(ABCD, invalidates(&[("a", "b"), ("e", "c")]));
    let conflict = cache.compare_and_set("a".into(), None, 1).unwrap_err();
    assert_eq!(conflict.into_value(), Some(1u64));
    assert_eq!(contents(&cache), "a=0 b=0 c=0 d=0");
    let (_, version) = cache.get_versioned("a").unwrap();
    cache.compare_and_set("a".into(), Some(version), 1).unwrap();
    assert_eq!(contents(&cache), "a=1 c=0 d=0");
    cache.compare_and_set("e".into(), None, 1).unwrap();
    assert_eq!(contents(&cache), "a=1 d=0 e=1");
}

#[test]
fn an_uncommitted_batch_changes_nothing_related() {
    let cache = cache(ABCD, invalidates(&[("a", "b")]));
    drop(cache.batch().insert("a".into(), 1));
    assert_eq!(contents(&cache), "a=0 b=0 c=0 d=0");
}

#[test]
fn the_rule_may_read_the_cache() {
    // A relation that reads its own cache through another handle must not deadlock.
    let slot = Arc::new(std::sync::Mutex::new(None::<Cache<u64, u64>>));
    let inside = Arc::clone(&slot);
    let cache = Cache::builder()
        .related(move |key: &u64, related: &mut Related<u64, u64>| {
            let cache = inside.lock().unwrap().clone().expect("set below");
            if *key == 1 {
                let sum = cache.get(&2).unwrap_or(0) + cache.view().len() as u64;
                related.insert(3, sum);
            }
        })
        .build();
    *slot.lock().unwrap() = Some(cache.clone());
    cache.insert(2, 40);
    cache.insert(1, 0);
    assert_eq!(cache.get(&3), Some(41));
    // The cache owns the relation, which owns a handle of the cache.
    slot.lock().unwrap().take();
}

#[test]
fn random_relations_agree_with_a_model() {
    let mut seeds = crate::common::random::Random::new(crate::common::random::run_seed());
    for _ in 0..crate::common::stress(200, 5_000, 200_000) {
        let seed = seeds.next();
        let mut random = crate::common::random::Random::new(seed);
        let edges: HashMap<u64, Vec<u64>> = (0..8)
            .map(|key| (key, (0..random.below(3)).map(|_| random.below(8)).collect()))
            .collect();
        let rule = edges.clone();
        let cache = Cache::builder()
            .related(move |key: &u64, related: &mut Related<u64, u64>| {
                for to in &rule[key] {
                    related.invalidate(*to);
                }
            })
            .build();
        let mut model: HashMap<u64, u64> = HashMap::new();
        for step in 0..30 {
            let (keys, remove) = ([random.below(8), random.below(8)], random.one_in(4));
            let batch = cache.batch().insert(keys[0], step);
            let batch = match remove {
                true => batch.invalidate(keys[1]),
                false => batch.insert(keys[1], step + 100),
            };
            batch.commit();
            let mut written = keys.to_vec();
            let mut next = 0;
            while next < written.len() {
                let more = edges[&written[next]].iter().filter(|to| !written.contains(to)).copied();
                let more: Vec<_> = more.collect();
                written.extend(more);
                next += 1;
            }
            model.retain(|key, _| !written.contains(key));
            model.insert(keys[0], step);
            match remove {
                true => model.remove(&keys[1]),
                false => model.insert(keys[1], step + 100),
            };
            let found: HashMap<u64, u64> = cache.view().iter().map(|(k, v)| (*k, *v)).collect();
            assert_eq!(found, model, "seed {seed}, step {step}, relations {edges:?}");
        }
    }
}

on_every_reclaimer!(an_invalidation_of_an_uncached_key_carries_relations);
