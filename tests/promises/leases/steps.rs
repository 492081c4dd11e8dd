//! A removal, and what somebody else does in the middle of it.

use super::changes::{KEY, done};
use crate::common::steps::at;
use crate::common::{Store, on_every_reclaimer, store};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::time::Duration;

/// Where a removal is about to put its tombstone.
const TOMBSTONE: &[&str] = &["write.before_install", "install.before_head"];

/// A removal finds a value that is over, and before it ends that, a lease is filled with what was read
/// before.
fn a_fill_while_what_is_over_is_removed<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    cache.insert_with_ttl(KEY, 1, Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    let lease = cache.lease(&KEY);
    at(&["evict.before_write"], move || done(lease.fill(1).unwrap()));
    assert_eq!(cache.remove(&KEY), Some(1), "filled before the removal");
    assert_eq!(cache.get(&KEY), None, "what was read before a removal is cached after it");
}

/// A removal finds nothing, but a lease; before it leaves its mark, somebody sets the key.
fn an_insert_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let lease = cache.lease(&KEY);
    let other = cache.clone();
    at(TOMBSTONE, move || done(other.insert(KEY, 2)));
    let removed = cache.remove(&KEY);
    assert_eq!((removed, cache.get(&KEY)), (Some(2), None), "a removal says what it removed");
    assert!(lease.fill(1).is_err());
}

/// A removal finds nothing, but a lease, and before it leaves its mark, the lease is filled.
fn a_fill_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let (lease, late) = (cache.lease(&KEY), cache.lease(&KEY));
    at(TOMBSTONE, move || done(lease.fill(1).unwrap()));
    assert_eq!((cache.remove(&KEY), cache.get(&KEY)), (Some(1), None));
    assert!(late.fill(1).is_err());
}

/// The same, of a lease that is given back by that: nobody holds the key any more.
fn a_fill_that_ends_while_nothing_is_removed<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let lease = cache.lease(&KEY);
    at(&["remove.nothing"], move || done(lease.fill(1).unwrap()));
    assert_eq!((cache.remove(&KEY), cache.get(&KEY)), (Some(1), None));
}

/// An invalidation finds nothing. Before it takes its number somebody takes a lease, and fills it after that.
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
    a_fill_while_what_is_over_is_removed,
    an_insert_while_nothing_is_removed,
    a_fill_while_nothing_is_removed,
    a_fill_that_ends_while_nothing_is_removed,
    a_fill_that_ends_while_nothing_is_invalidated,
);
