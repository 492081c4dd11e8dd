//! Old values beside newer ones: groups, leases and tags hold for values that are served although
//! they are old. And times of their own, for errors and for what is not there.

use super::*;
use coeval::{Served, Terms};
use std::sync::atomic::AtomicBool;

const SECOND: Duration = Duration::from_secs(1);
const DOWN: &str = "the source is down";

fn builder(clock: &ManualClock) -> coeval::Builder<u64, u64> {
    coeval::Cache::builder().refresh_after(SECOND * 10).manual_clock(clock)
}

/// The values of a group are always of one commit, although the source is down, and others write.
fn old_values_never_stand_beside_newer_ones<R: Reclaim>() {
    within(LIMIT, "old values of groups", || {
        let clock = ManualClock::new();
        // A write of an even key ends the odd key above it, by the same commit.
        let builder = builder(&clock).related(|key: &u64, related| {
            if key.is_multiple_of(2) {
                related.invalidate(key + 1);
            }
        });
        let cache: Cache<R> = builder.reclaimer().build();
        // The key 2 with what belongs to it: the old value of 3 ends with a write of 2.
        cache.batch().insert(2, 1).insert(3, 1).commit();
        clock.advance(SECOND * 10);
        let fails = |key| cache.serve_with(key, || Err::<u64, _>(DOWN));
        assert!(fails(2).unwrap().is_stale() && fails(3).unwrap().is_stale());
        cache.insert(2, 2);
        assert_eq!((fails(2), fails(3)), (Ok(Served::Fresh(2)), Err(LoadError::Failed(DOWN))));
        // The same while its loader runs.
        cache.insert(3, 2);
        clock.advance(SECOND * 10);
        let served = cache.serve_with(3, || (cache.insert(2, 3), Err::<u64, _>(DOWN)).1);
        assert_eq!(served, Err(LoadError::Failed(DOWN)));

        // A group of two keys, which a writer sets by one commit again and again.
        cache.batch().insert(10, 0).insert(12, 0).commit();
        let (stop, old) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..stress(200, 2_000, 100_000) {
                    clock.advance(SECOND * 11);
                    std::thread::yield_now();
                    cache.batch().insert(10, round).insert(12, round).commit();
                }
                stop.store(true, SeqCst);
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(SeqCst) {
                        let served =
                            cache.serving().load_many([10, 12], || Err::<[u64; 2], _>(DOWN));
                        let served = served.expect("there is always a group");
                        old.fetch_add(u64::from(served.is_stale()), SeqCst);
                        let [first, second] = served.into_value();
                        assert_eq!(first, second);
                    }
                });
            }
        });
        clock.advance(SECOND * 11);
        assert!(old.into_inner() > 0 || cache.serve_with(10, || Err(DOWN)).unwrap().is_stale());
    });
}

/// A fill under a lease counts as newer than what a failed load leaves.
fn leases_go_before_old_values<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = builder(&clock).reclaimer().build();
    cache.insert(1, 1);
    clock.advance(SECOND * 10);
    let lease = cache.lease(&1);
    assert!(cache.serve_with(1, || Err::<u64, _>(DOWN)).unwrap().is_stale());
    let served = cache.serve_with(1, || (lease.fill(2).unwrap(), Err::<u64, _>(DOWN)).1);
    assert_eq!(served, Ok(Served::Fresh(2)));
    // A load that succeeds ends the leases from before it.
    clock.advance(SECOND * 10);
    let lease = cache.lease(&1);
    assert_eq!(cache.serve_with(1, || Ok::<_, &str>(3)), Ok(Served::Loaded(3)));
    assert!(lease.fill(4).is_err());
    assert_eq!(cache.get(&1), Some(3));
}

/// A tag ends an old value at once, and while its loader runs. A newer value keeps the tags.
fn tags_end_old_values<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = builder(&clock).reclaimer().build();
    let failed = Err(LoadError::Failed(DOWN));
    let insert = |value| {
        let terms = Terms::new().tags(["tenant"]);
        cache.batch().insert_with(1, value, terms).commit();
        clock.advance(SECOND * 10);
    };
    let fails = || cache.serve_with(1, || Err::<u64, _>(DOWN));
    insert(1);
    assert!(fails().unwrap().is_stale());
    cache.invalidate_tag("tenant");
    assert_eq!(fails(), failed);
    insert(2);
    let served = cache.serve_with(1, || (cache.invalidate_tag("tenant"), Err::<u64, _>(DOWN)).1);
    assert_eq!(served, failed);
    insert(3);
    assert_eq!(cache.serve_with(1, || Ok::<_, &str>(4)), Ok(Served::Loaded(4)));
    cache.invalidate_tag("tenant");
    assert_eq!((cache.get(&1), fails()), (None, failed));
}

/// Within their time, errors are given again, unless something has changed.
fn errors_are_remembered<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = builder(&clock).errors_for(SECOND * 5).reclaimer().build();
    let loads = AtomicU64::new(0);
    let load = |result: Result<u64, u64>| {
        cache.load_shared(1, || {
            loads.fetch_add(1, SeqCst);
            result
        })
    };
    let failed = |error| Err(LoadError::Failed(Arc::new(error)));
    assert_eq!((load(Err(1)), load(Err(2)), load(Ok(3))), (failed(1), failed(1), failed(1)));
    assert_eq!(loads.load(SeqCst), 1);
    // Another type, another key, another method.
    assert_eq!(
        cache.load_shared(1, || Err::<u64, _>("down")),
        Err(LoadError::Failed("down".into()))
    );
    assert_eq!(cache.load_shared(2, || Ok::<_, u64>(2)), Ok(2));
    assert_eq!(cache.load(3, || Err::<u64, _>(3)), Err(LoadError::Failed(3)));
    assert_eq!(cache.load_shared(3, || Ok::<_, u64>(3)), Ok(3));
    // Time, a value, a removal of it, and clearing end it.
    assert_eq!((load(Err(4)), load(Err(5))), (failed(4), failed(4)));
    clock.advance(SECOND * 5);
    assert_eq!(load(Err(6)), failed(6));
    cache.insert(1, 7);
    assert_eq!(load(Err(8)), Ok(7));
    cache.invalidate_all();
    assert_eq!((load(Err(9)), load(Err(10))), (failed(9), failed(9)));
    cache.invalidate_all();
    assert_eq!(load(Ok(11)), Ok(11));
    // An old value is served; its failed load is not remembered.
    clock.advance(SECOND * 10);
    assert_eq!(load(Err(12)), Ok(11));
    // A group is known by its first key.
    let group = |result: Result<[u64; 2], u64>| cache.load_many_shared([20, 21], || result);
    let failed = Err(LoadError::Failed(Arc::new(1)));
    assert_eq!((group(Err(1)), group(Ok([2, 2]))), (failed.clone(), failed));
    #[cfg(feature = "async")]
    {
        let load = |result: Result<u64, u64>| {
            super::futures::finish(cache.load_shared_async(30, async move { result }))
        };
        let failed = Err(LoadError::Failed(Arc::new(1)));
        assert_eq!((load(Err(1)), load(Ok(2))), (failed.clone(), failed));
    }
}

/// Commits have times of their own, and what one commit writes ends together.
fn times_are_spread_by_commits<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().time_to_live(SECOND * 100).refresh_after(SECOND * 50);
    let builder = builder.jitter(0.5).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    let left = |key| cache.time_to_live_left(&key).unwrap();
    let mut all = Vec::new();
    for key in 0..200 {
        clock.advance(Duration::from_nanos(1));
        cache.batch().insert(key, 1).insert(1_000 + key, 1).commit();
        assert_eq!(left(key), left(1_000 + key), "one commit");
        assert_eq!(cache.get_many_with([2_000 + key, 3_000 + key], || [1, 1]), [1, 1]);
        assert_eq!(left(2_000 + key), left(3_000 + key), "one load");
        all.push(left(key));
    }
    assert!(all.iter().all(|left| (SECOND * 50..=SECOND * 100).contains(left)), "{all:?}");
    let mean = all.iter().sum::<Duration>() / 200;
    assert!(mean > SECOND * 65 && mean < SECOND * 85, "{mean:?}");
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 190);
    clock.advance(SECOND * 24);
    let due = (0..200).filter(|key| cache.explain(key).refresh_in == Some(Duration::ZERO)).count();
    assert_eq!(due, 0, "half of the 50 seconds are left at least");
    clock.advance(SECOND * 14);
    let due = (0..200).filter(|key| cache.explain(key).refresh_in == Some(Duration::ZERO)).count();
    assert!((60..140).contains(&due), "{due}");
    cache.insert_with_ttl(1, 1, SECOND * 100);
    assert_eq!(left(1), SECOND * 100, "a caller's own time");
}

on_every_reclaimer!(
    old_values_never_stand_beside_newer_ones,
    leases_go_before_old_values,
    tags_end_old_values,
    errors_are_remembered,
    times_are_spread_by_commits,
);
