//! An old value is served if the source fails, its caller is told, and the source is asked at most
//! once a pause.

use super::*;
use coeval::{LoadError, Loaded, Served};
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: Duration = Duration::from_secs(1);
const DOWN: &str = "the source is down";

fn cache<R: Reclaim>() -> (ManualClock, Store<u64, u64, R>) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND * 10).time_to_live(SECOND * 1_000);
    let builder = builder.refresh_pause(SECOND).refresh_pause_up_to(SECOND * 32);
    (clock.clone(), builder.manual_clock(&clock).reclaimer().build())
}

fn old_values_are_served_and_told<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let fails = || cache.serve_with(1, || Err::<u64, _>(DOWN));
    assert_eq!(fails(), Err(LoadError::Failed(DOWN)));
    assert_eq!(cache.serve_with(1, || Ok::<_, &str>(1)), Ok(Served::Loaded(1)));
    assert_eq!(fails(), Ok(Served::Fresh(1)));
    clock.advance(SECOND * 10);
    let stale = |value, seconds, failures, cause| {
        Ok(Served::Stale { value, age: SECOND * seconds, failures, cause })
    };
    assert_eq!(fails(), stale(1, 10, 1, Some(DOWN)));
    assert_eq!(fails(), stale(1, 10, 1, None));
    clock.advance(SECOND);
    assert_eq!(fails(), stale(1, 11, 2, Some(DOWN)));
    // A write ends the old value, and with it the count of failures.
    cache.insert(1, 2);
    assert_eq!(fails(), Ok(Served::Fresh(2)));
    clock.advance(SECOND * 10);
    assert_eq!(fails(), stale(2, 10, 1, Some(DOWN)));
    // An invalidation, too: there is nothing to serve then.
    cache.remove(&1);
    assert!(fails().is_err());
    cache.insert(1, 3);
    clock.advance(SECOND * 1_000);
    assert!(fails().is_err(), "no value is served after its time to live");
}

/// What ends while its loader runs is not served: the loader itself may have learned that there is
/// no such thing any more.
fn what_ended_meanwhile_is_not_served<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let serve_while = |act: &dyn Fn()| {
        cache.insert(1, 1);
        clock.advance(SECOND * 10);
        cache.serve_with(1, || {
            act();
            Err::<u64, _>(DOWN)
        })
    };
    let failed = Err(LoadError::Failed(DOWN));
    assert_eq!(serve_while(&|| _ = cache.remove(&1)), failed);
    assert_eq!(serve_while(&|| clock.advance(SECOND * 1_000)), failed);
    assert_eq!(serve_while(&|| _ = cache.invalidate_all()), failed);
    assert_eq!(serve_while(&|| _ = cache.insert(1, 2)), Ok(Served::Fresh(2)));
    let stale = |age| Ok(Served::Stale { value: 1, age, failures: 1, cause: Some(DOWN) });
    assert_eq!(serve_while(&|| ()), stale(SECOND * 10));
    assert_eq!(serve_while(&|| clock.advance(SECOND)), stale(SECOND * 11));
    let no_pause: Store<u64, u64, R> =
        coeval::Cache::builder().refresh_after(SECOND).manual_clock(&clock).reclaimer().build();
    no_pause.insert(1, 1);
    clock.advance(SECOND);
    assert_eq!(no_pause.serve_with(1, || Err(DOWN)), stale(SECOND));
}

/// None of the methods that load gives a value that ended while its reload failed. The caller gets
/// what the key holds by then, or the error.
fn no_method_gives_what_ended<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    type Load<R> = fn(&Store<u64, u64, R>, &dyn Fn()) -> Result<u64, &'static str>;
    fn fails(act: &dyn Fn()) -> Result<u64, &'static str> {
        act();
        Err(DOWN)
    }
    #[allow(unused_mut)] // It gets more with futures.
    let mut ways: Vec<(&str, Load<R>)> = vec![
        ("load", |cache, act| cache.load(1, || fails(act)).map_err(|_| DOWN)),
        ("load_many", |cache, act| {
            cache.load_many([1], || fails(act).map(|n| [n])).map_err(|_| DOWN).map(|[value]| value)
        }),
        ("load_ref", |cache, act| cache.load_ref(&1, || fails(act)).map_err(|_| DOWN)),
        ("load_shared", |cache, act| cache.load_shared(1, || fails(act)).map_err(|_| DOWN)),
        ("try_get_with", |cache, act| cache.try_get_with(1, || fails(act)).map_err(|_| DOWN)),
        ("load_with_terms", |cache, act| {
            cache.load_with_terms(1, || fails(act).map(Loaded::new)).map_err(|_| DOWN)
        }),
    ];
    #[cfg(feature = "async")]
    {
        use super::futures::finish;
        ways.push(("load_async", |cache, act| {
            finish(cache.load_async(1, async { fails(act) })).map_err(|_| DOWN)
        }));
        ways.push(("load_shared_async", |cache, act| {
            finish(cache.load_shared_async(1, async { fails(act) })).map_err(|_| DOWN)
        }));
        ways.push(("load_with_terms_async", |cache, act| {
            let load = async { fails(act).map(Loaded::new) };
            finish(cache.load_with_terms_async(1, load)).map_err(|_| DOWN)
        }));
    }
    for (name, load) in ways {
        let load_while = |act: &dyn Fn()| {
            cache.insert(1, 1);
            clock.advance(SECOND * 10);
            load(&cache, act)
        };
        assert_eq!(load_while(&|| ()), Ok(1), "{name}: it is old, and there");
        assert_eq!(load_while(&|| _ = cache.remove(&1)), Err(DOWN), "{name}");
        assert_eq!(load_while(&|| _ = cache.invalidate_all()), Err(DOWN), "{name}");
        assert_eq!(load_while(&|| clock.advance(SECOND * 1_000)), Err(DOWN), "{name}");
        assert_eq!(load_while(&|| _ = cache.insert(1, 2)), Ok(2), "{name}: a newer one");
    }
}

/// While the source is down, each key is tried seldom, and the keys at different times.
fn pauses_grow_and_differ<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    (0..50).for_each(|key| _ = cache.insert(key, key));
    clock.advance(SECOND * 10);
    let mut tries = vec![Vec::new(); 50];
    for second in 0..400 {
        for key in 0..50 {
            let served = cache.serve_with(key, || {
                tries[key as usize].push(second);
                Err::<u64, _>(DOWN)
            });
            assert_eq!(served.unwrap().into_value(), key);
        }
        clock.advance(SECOND);
    }
    for times in &tries {
        let pauses: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert!((12..25).contains(&times.len()), "{times:?}");
        assert!(pauses.iter().all(|pause| *pause <= 32) && pauses[0] <= 2, "{pauses:?}");
        assert!(pauses.iter().skip(6).all(|pause| *pause >= 24), "{pauses:?}");
    }
    let mut last: Vec<u64> = tries.iter().map(|times| *times.last().unwrap()).collect();
    last.sort_unstable();
    last.dedup();
    assert!(last.len() > 5, "all keys are tried together: {last:?}");
}

/// Beside many callers, the source sees one try a pause, and nobody gets an error.
fn one_try_a_pause<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.insert(1, 7);
    clock.advance(SECOND * 10);
    let tries = AtomicU64::new(0);
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let served = cache.serve_with(1, || {
                            tries.fetch_add(1, Ordering::Relaxed);
                            Err::<u64, _>(DOWN)
                        });
                        let served = served.unwrap();
                        assert!(served.is_stale() && served.into_value() == 7);
                    }
                });
            }
        });
        assert_eq!(tries.load(Ordering::Relaxed), round);
        clock.advance(SECOND * 32);
    }
    assert_eq!(cache.serve_with(1, || Ok::<_, &str>(8)), Ok(Served::Loaded(8)));
}

/// A group is loaded by an executor, too; and a caller that would load early does not wait for one
/// that does.
fn groups_and_early_loads<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let slow = |value| {
        clock.advance(SECOND);
        Ok::<_, &str>([value, value])
    };
    assert_eq!(cache.serving().load_many([1, 2], || slow(1)), Ok(Served::Loaded([1, 1])));
    let mut jobs: Vec<coeval::Job> = Vec::new();
    let early = || cache.serving().refresh_early(1e9);
    let on = early().load_many_on([1, 2], |job| jobs.push(job), || Ok::<_, &str>([2, 2]));
    assert_eq!((on, jobs.len()), (Ok(Served::Fresh([1, 1])), 1));
    let second = early().load_many_on([1, 2], |_| unreachable!(), || Ok::<_, &str>([3, 3]));
    assert_eq!(second, Ok(Served::Fresh([1, 1])), "another caller loads early");
    jobs.into_iter().for_each(|job| job());
    assert_eq!(cache.get_many([1, 2].each_ref()), [Some(2), Some(2)]);
    // With time to wait, the caller gets the new values.
    clock.advance(SECOND * 10);
    let patient = cache.serving().soft_timeout(LIMIT);
    let on = patient.load_many_on([1, 2], |job| job(), || Ok::<_, &str>([4, 4]));
    assert_eq!(on, Ok(Served::Loaded([4, 4])));
    let shown = format!("{patient:?}");
    assert!(shown.starts_with("Serving { rules: ") && shown.ends_with(", .. }"), "{shown}");
}

on_every_reclaimer!(
    groups_and_early_loads,
    old_values_are_served_and_told,
    what_ended_meanwhile_is_not_served,
    no_method_gives_what_ended,
    pauses_grow_and_differ,
    one_try_a_pause,
);
