//! A removal, and another thread's action in the middle of it.

use super::changes::{KEY, done};
use crate::common::steps::at;
use crate::common::{Store, on_every_reclaimer, store};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::time::Duration;

/// The steps at which a removal is about to install its tombstone.
const TOMBSTONE: &[&str] = &["write.before_install", "install.before_head"];

/// A removal finds an expired value. Before the removal ends it, a lease is filled with a value
/// that was read earlier.
fn a_fill_while_an_expired_value_is_removed<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    cache.insert_with_ttl(KEY, 1, Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    let lease = cache.lease(&KEY);
    at(&["evict.before_write"], move || done(lease.fill(1).unwrap()));
    assert_eq!(cache.remove(&KEY), Some(1), "filled before the removal");
    assert_eq!(cache.get(&KEY), None, "a value read before a removal is cached after it");
}

/// A removal finds only a lease. Before it leaves its mark, another thread sets the key.
fn an_insert_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let lease = cache.lease(&KEY);
    let other = cache.clone();
    at(TOMBSTONE, move || done(other.insert(KEY, 2)));
    let removed = cache.remove(&KEY);
    assert_eq!((removed, cache.get(&KEY)), (Some(2), None), "a removal says what it removed");
    assert!(lease.fill(1).is_err());
}

/// A removal finds only a lease. Before it leaves its mark, the lease is filled.
fn a_fill_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let (lease, late) = (cache.lease(&KEY), cache.lease(&KEY));
    at(TOMBSTONE, move || done(lease.fill(1).unwrap()));
    assert_eq!((cache.remove(&KEY), cache.get(&KEY)), (Some(1), None));
    assert!(late.fill(1).is_err());
}

/// As above, but the fill gives the lease back, so nothing holds the key any more.
fn a_fill_that_ends_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let lease = cache.lease(&KEY);
    at(&["remove.nothing"], move || done(lease.fill(1).unwrap()));
    assert_eq!((cache.remove(&KEY), cache.get(&KEY)), (Some(1), None));
}

/// An invalidation finds nothing. Before it takes its number, another thread takes a lease, and
/// fills it afterwards.
fn a_fill_that_ends_while_nothing_is_invalidated<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let other = cache.clone();
    at(&["invalidate.nothing"], move || {
        let lease = other.lease(&KEY);
        at(&["invalidate.absent"], move || done(lease.fill(1).unwrap()));
    });
    let version = cache.invalidate(&KEY);
    assert_eq!(
        cache.get_versioned(&KEY),
        None,
        "read before the invalidation, which is {version:?}"
    );
}

on_every_reclaimer!(
    a_fill_while_an_expired_value_is_removed,
    an_insert_while_nothing_is_removed,
    a_fill_while_nothing_is_removed,
    a_fill_that_ends_while_nothing_is_removed,
    a_fill_that_ends_while_nothing_is_invalidated,
);
