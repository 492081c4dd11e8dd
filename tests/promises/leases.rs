//! Promise: a value that was read from the source before its key changed is never cached after the
//! change. The fill of a lease is refused if the key was written, removed or cleared since the
//! lease was taken, and only then. A refused fill returns the value. A lease leaves nothing behind.

mod changes;
#[cfg(coeval_internals)]
mod steps;

use crate::common::counted::{ById, Counted, Ledger};
use crate::common::{Store, on_every_reclaimer, store, stress};
use changes::{KEY, changes, done, harmless, holding, states};
use coeval::reclaim::Reclaim;
use coeval::{Lease, LoadError, ManualClock, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The most objects that one thread may have retired and not yet dropped, while no thread holds a
/// guard.
const RETIRED: i64 = 8_192;

type Taken<R> = Lease<u64, u64, RandomState, R>;

#[track_caller]
fn assert_refused<R: Reclaim>(cache: &Store<u64, u64, R>, lease: Taken<R>, what: &str) {
    assert!(lease.is_outdated(), "{what}");
    let (held, refused) = (cache.get_versioned(&KEY), cache.stats().loads_refused);
    assert_eq!(lease.fill(99).expect_err(what).into_value(), 99);
    assert_eq!(cache.get_versioned(&KEY), held, "{what}: a refused fill changed something");
    assert_eq!(cache.stats().loads_refused, refused + 1);
}

#[track_caller]
fn assert_fills<R: Reclaim>(cache: &Store<u64, u64, R>, lease: Taken<R>, what: &str) {
    assert!(!lease.is_outdated(), "{what}");
    let (since, loads) = (lease.version(), cache.stats().loads);
    let version = lease.fill(5).expect(what);
    assert!(version > since);
    assert_eq!(cache.get_versioned(&KEY), Some((5, version)), "{what}");
    assert_eq!(cache.stats().loads, loads + 1);
}

/// Each change, of a key in each state, in a cache with and without relations, and beside a view.
fn every_change_refuses<R: Reclaim>() {
    for (state, prepare) in states::<R>() {
        for (change, apply) in changes::<R>() {
            for (related, viewed) in [(false, false), (true, false), (true, true)] {
                let what = format!("{change} of a key that is {state}, {related}, {viewed}");
                let cache = holding::<R>(related);
                prepare(&cache);
                let view = viewed.then(|| cache.view());
                let lease = cache.lease(&KEY);
                assert!(!lease.is_outdated(), "{what}");
                if change.contains("relation") && !related {
                    continue;
                }
                apply(&cache);
                assert_refused(&cache, lease, &what);
                assert_fills(&cache, cache.lease(&KEY), &what);
                drop(view);
            }
        }
    }
}

/// A change before the lease, a change of another key, and a change that does not happen refuse
/// nothing.
fn nothing_else_refuses<R: Reclaim>() {
    for (state, prepare) in states::<R>() {
        for (change, apply) in harmless::<R>() {
            let what = format!("{change} beside a key that is {state}");
            let cache = holding::<R>(true);
            prepare(&cache);
            let lease = cache.lease(&KEY);
            apply(&cache);
            assert_fills(&cache, lease, &what);
        }
        for (change, apply) in changes::<R>() {
            let cache = holding::<R>(true);
            prepare(&cache);
            apply(&cache);
            assert_fills(&cache, cache.lease(&KEY), change);
        }
    }
}

fn one_of_many_leases_fills<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let mut leases: Vec<_> = (0..1_000).map(|_| cache.lease(&KEY)).collect();
    drop(leases.split_off(700));
    assert!(leases.swap_remove(300).fill(7).is_ok());
    for lease in leases {
        assert_eq!(lease.fill(8).unwrap_err().into_value(), 8);
    }
    assert_eq!(cache.get(&KEY), Some(7));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.loads_refused, stats.entries), (1, 699, 1));
}

/// Leases that are dropped, filled and refused, on keys that the cache does not know, release their
/// memory.
fn leases_leave_nothing_behind<R: Reclaim>() {
    let (keys, values) = (Ledger::new(), Ledger::new());
    let cache = store::<Counted, Counted, R>();
    for id in 0..stress(40_000, 500_000, 5_000_000) {
        let lease = cache.lease(&Counted::new(id, &keys));
        match id % 4 {
            0 => drop(lease),
            1 => {
                cache.invalidate(&ById(id));
                drop(lease.fill(Counted::new(id, &values)).unwrap_err());
            }
            2 => {
                drop(cache.remove(&ById(id)));
                drop(lease);
            }
            _ => {
                lease.fill(Counted::new(id, &values)).unwrap();
                assert_eq!(cache.remove(&ById(id)).map(|value| value.read()), Some(id));
            }
        }
        // An opportunity to reclaim.
        cache.insert(Counted::new(u64::MAX, &keys), Counted::new(0, &values));
        let live = (keys.live(), values.live());
        assert!(live.0 <= RETIRED && live.1 <= RETIRED, "{live:?} keys and values live");
    }
    assert_eq!((cache.len(), cache.stats().entries), (1, 1));
    drop(cache);
    keys.assert_settled();
    values.assert_settled();
}

/// A lease remembers changes as long as it is held, whatever happens beside it.
fn a_lease_outlives_many_writes<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let (kept, mut removed) = (cache.lease(&KEY), Vec::new());
    for key in 1_000..1_100 {
        let lease = cache.lease(&key);
        cache.invalidate(&key);
        removed.push(lease);
    }
    for round in 0..stress(60_000, 1_000_000, 10_000_000) {
        let key = 10_000 + round % 5_000;
        match round % 5 {
            0 => drop(cache.remove(&key)),
            1 => done(cache.batch().insert(key, round).remove(key + 1).commit()),
            _ => done(cache.insert(key, round)),
        }
        if round % 1_000 == 0 {
            drop(cache.view());
        }
    }
    assert!(removed.iter().all(Lease::is_outdated));
    assert!(removed.into_iter().all(|lease| lease.fill(0).is_err()));
    assert_fills(&cache, kept, "after many writes of other keys");
}

/// The cache does not know any more what happened to an entry before its eviction.
fn an_eviction_refuses<R: Reclaim>() {
    let cache = coeval::Cache::builder().max_capacity(10).reclaimer::<R>().build();
    // The policy keeps the entries that fill the cache.
    for key in 0..10 {
        cache.insert(20_000 + key, 0);
    }
    cache.insert(KEY, 1);
    let (present, absent) = (cache.lease(&KEY), cache.lease(&1_000));
    for key in 0..500 {
        cache.insert(10_000 + key, 0);
    }
    assert_eq!(cache.get(&KEY), None, "evicted");
    assert!(present.is_outdated() && present.fill(2).is_err());
    assert!(!absent.is_outdated() && absent.fill(2).is_ok());
    assert!(cache.len() <= 10);
}

fn an_expiration_refuses<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    let fresh = |ends: &dyn Fn()| {
        cache.insert_with_ttl(KEY, 1, Duration::from_secs(1));
        let lease = cache.lease(&KEY);
        clock.advance(Duration::from_secs(2));
        ends();
        lease
    };
    assert_refused(&cache, fresh(&|| assert_eq!(cache.remove(&KEY), None)), "removed, expired");
    assert_refused(&cache, fresh(&|| done(cache.invalidate(&KEY))), "invalidated, expired");
    let swept = fresh(&|| {
        // Writes process what is due.
        for other in 0..100 {
            cache.insert(10_000 + other, 0);
            clock.advance(Duration::from_secs(1));
        }
    });
    assert_refused(&cache, swept, "swept");
    // No commit has yet ended a value that has only just expired.
    assert_fills(&cache, fresh(&|| ()), "expired");
    let lease = fresh(&|| ());
    assert_fills(&cache, lease, "expired, while another lease is held");
}

/// A key whose clone panics on demand.
#[derive(PartialEq, Eq, Hash)]
struct Touchy(u64);
static PANICS: AtomicBool = AtomicBool::new(false);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!PANICS.load(Ordering::Relaxed), "a key's clone");
        Self(self.0)
    }
}

fn a_panic_in_the_clone_of_a_key<R: Reclaim>() {
    let cache = store::<Touchy, u64, R>();
    cache.insert(Touchy(1), 1);
    PANICS.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.lease(&Touchy(2)))).is_err());
    // A key that the cache knows is not cloned.
    assert!(cache.lease(&Touchy(1)).fill(2).is_ok());
    assert_eq!((cache.get(&Touchy(1)), cache.get(&Touchy(2)), cache.len()), (Some(2), None, 1));
    assert_eq!(cache.remove(&Touchy(2)), None);
}

/// Taking a lease on a cleared entry removes the entry, and the listener hears of it at once.
fn cleared_entries_are_reported<R: Reclaim>() {
    let left = Arc::new(AtomicU64::new(0));
    let told = left.clone();
    let builder = coeval::Cache::builder().eviction_listener(move |key: Arc<u64>, _: u64, _, _| {
        told.fetch_add(*key, Ordering::Relaxed);
    });
    let cache: Store<u64, u64, R> = builder.reclaimer::<R>().build();
    let view = (cache.insert(KEY, 1), cache.insert(KEY + 1, 1), cache.view());
    cache.invalidate_all(); // Nothing is swept as long as an older view is open.
    let lease = cache.lease(&KEY);
    assert_eq!(left.load(Ordering::Relaxed), KEY);
    assert_eq!(cache.load(KEY + 1, || Err(())), Err(LoadError::Failed(())));
    assert_eq!(left.load(Ordering::Relaxed), KEY + KEY + 1);
    drop((lease, view));
}

/// A refused fill leaves a version above the value. A clearing sweeps the value nevertheless.
fn a_cleared_value_below_a_refused_fill<R: Reclaim>() {
    let left = Arc::new(AtomicU64::new(0));
    let told = left.clone();
    let builder = coeval::Cache::builder().eviction_listener(move |key: Arc<u64>, _: u64, _, _| {
        told.fetch_add(u64::from(*key == KEY), Ordering::Relaxed);
    });
    let cache: Store<u64, u64, R> = builder.reclaimer::<R>().build();
    let (lease, late) = (cache.lease(&KEY), cache.lease(&KEY));
    cache.insert(KEY, 1);
    assert!(late.fill(2).is_err());
    cache.invalidate_all();
    (1..1_000).for_each(|at| _ = cache.insert(1_000, at));
    assert_eq!(left.load(Ordering::Relaxed), 1);
    drop(lease);
}

/// A lease keeps the cache, can move to another thread, and implements `Debug`.
fn a_lease_is_a_handle<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let lease = cache.lease(&KEY);
    assert_eq!(format!("{lease:?}"), "Lease { .. }");
    assert_eq!(lease.version(), cache.version());
    let version = std::thread::spawn(|| lease.fill(1)).join().unwrap().unwrap();
    assert_eq!(cache.get_versioned(&KEY), Some((1, version)));
    let lease = cache.lease(&KEY);
    drop(cache);
    assert!(lease.fill(2).is_ok());
}

on_every_reclaimer!(
    every_change_refuses,
    nothing_else_refuses,
    one_of_many_leases_fills,
    leases_leave_nothing_behind,
    a_lease_outlives_many_writes,
    an_eviction_refuses,
    an_expiration_refuses,
    cleared_entries_are_reported,
    a_cleared_value_below_a_refused_fill,
    a_lease_is_a_handle,
);

mod panics {
    use super::*;

    /// The reclaimers run one after the other, because they share a switch.
    #[test]
    fn a_panic_in_the_clone_of_a_key() {
        super::a_panic_in_the_clone_of_a_key::<coeval::reclaim::Asymmetric>();
        PANICS.store(false, Ordering::Relaxed);
        #[cfg(feature = "crossbeam-epoch")]
        super::a_panic_in_the_clone_of_a_key::<coeval::reclaim::CrossbeamEpoch>();
        PANICS.store(false, Ordering::Relaxed);
        #[cfg(feature = "seize")]
        super::a_panic_in_the_clone_of_a_key::<coeval::reclaim::Seize>();
    }
}
