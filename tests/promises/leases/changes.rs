//! Changes of a key while a lease on it is held.

use crate::common::Store;
use coeval::reclaim::Reclaim;
use std::time::Duration;

/// The key of the leases.
pub const KEY: u64 = 7;
/// With relations, a write of this key drops `KEY`, and a write of `SETTER` sets it.
pub const DROPPER: u64 = 100;
pub const SETTER: u64 = 101;
const OTHER: u64 = 200;

type Cache<R> = Store<u64, u64, R>;
/// A name, and an action.
pub type Case<R> = (&'static str, fn(&Cache<R>));

/// An empty cache, with relations or without.
pub fn holding<R: Reclaim>(related: bool) -> Cache<R> {
    let builder = coeval::Cache::builder().reclaimer::<R>();
    if !related {
        return builder.build();
    }
    let builder = builder.related(|key, found| match *key {
        DROPPER => done(found.invalidate(KEY)),
        SETTER => done(found.insert(KEY, 3)),
        _ => {}
    });
    builder.build()
}

/// Discards the value of an expression.
pub fn done<T>(_: T) {}

/// The states of a key when a lease is taken.
pub fn states<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("unknown", |_| ()),
        ("present", |cache| done(cache.insert(KEY, 1))),
        ("present, written often", |cache| (0..9).for_each(|n| done(cache.insert(KEY, n)))),
        ("removed", |cache| {
            cache.insert(KEY, 1);
            assert_eq!(cache.remove(&KEY), Some(1));
        }),
        ("cleared", |cache| {
            cache.insert(KEY, 1);
            cache.invalidate_all();
        }),
        ("absent after a conflict", |cache| {
            let version = cache.insert(OTHER, 1);
            assert!(cache.compare_and_set(KEY, Some(version), 1).is_err());
        }),
        ("known by a lease", |cache| done(cache.lease(&KEY))),
        ("filled", |cache| done(cache.lease(&KEY).fill(1).unwrap())),
    ]
}

/// Changes of `KEY`.
pub fn changes<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("insert", |cache| done(cache.insert(KEY, 2))),
        ("insert_with_ttl", |cache| {
            cache.insert_with_ttl(KEY, 2, Duration::from_secs(60));
        }),
        ("remove", |cache| done(cache.remove(&KEY))),
        ("three removals", |cache| (0..3).for_each(|_| done(cache.remove(&KEY)))),
        ("invalidate", |cache| done(cache.invalidate(&KEY))),
        ("three invalidations", |cache| (0..3).for_each(|_| done(cache.invalidate(&KEY)))),
        ("batch with an insert", |cache| done(cache.batch().insert(KEY, 2).commit())),
        ("batch with a removal", |cache| done(cache.batch().remove(KEY).commit())),
        ("batch with an invalidation", |cache| done(cache.batch().invalidate(KEY).commit())),
        ("large batch", |cache| {
            (0..50).fold(cache.batch(), |batch, key| batch.remove(key)).commit();
        }),
        ("relation that drops", |cache| done(cache.insert(DROPPER, 1))),
        ("relation of an invalidation", |cache| done(cache.batch().invalidate(DROPPER).commit())),
        ("relation that sets", |cache| done(cache.insert(SETTER, 1))),
        ("compare_and_set", |cache| {
            let version = cache.get_versioned(&KEY).map(|(_, version)| version);
            cache.compare_and_set(KEY, version, 2).unwrap();
        }),
        ("relation of a compare_and_set", |cache| {
            cache.compare_and_set(DROPPER, None, 2).unwrap();
        }),
        ("another's fill", |cache| done(cache.lease(&KEY).fill(2).unwrap())),
        ("prewarm or insert", |cache| {
            if cache.prewarm([(KEY, 2)]) == 0 {
                cache.insert(KEY, 2);
            }
        }),
        ("invalidate_all", |cache| done(cache.invalidate_all())),
        ("insert, and removed again", |cache| {
            cache.insert(KEY, 2);
            cache.remove(&KEY);
            (0..2_000).for_each(|n| done(cache.insert(OTHER, n)));
        }),
        ("removal, and many writes", |cache| {
            cache.remove(&KEY);
            (0..2_000).for_each(|n| done(cache.insert(OTHER + n % 50, n)));
        }),
    ]
}

/// Actions that do not change `KEY`.
pub fn harmless<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("nothing", |_| ()),
        ("another key", |cache| {
            cache.insert(OTHER, 1);
            cache.remove(&OTHER);
            cache.invalidate(&OTHER);
            cache.batch().insert(OTHER, 1).remove(OTHER + 1).commit();
        }),
        ("a conflict", |cache| {
            let wrong = cache.insert(OTHER, 1);
            assert!(cache.compare_and_set(KEY, Some(wrong), 2).is_err());
        }),
        ("a batch that is not committed", |cache| done(cache.batch().insert(KEY, 2).remove(KEY))),
        ("an empty batch", |cache| done(cache.batch().commit())),
        ("a removal without relations", |cache| {
            cache.remove(&DROPPER);
            cache.batch().remove(SETTER).commit();
        }),
        ("looks", |cache| {
            cache.get(&KEY);
            cache.get_many([&KEY, &OTHER]);
            done((cache.view(), cache.lease(&KEY)));
        }),
        ("many leases that are dropped", |cache| {
            (0..2_000).for_each(|n| done((cache.lease(&KEY), cache.insert(OTHER + n % 50, n))));
        }),
    ]
}
