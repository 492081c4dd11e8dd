//! A source that is down: nobody waits for a second failure, and values that cannot be loaded anew are left as they are
//! for a while, if that is asked for.

use super::{Cache, LIMIT, loads, until_missed};
use crate::common::{on_every_reclaimer, store, together, within};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const CALLERS: u64 = 50;

/// What the first of the loads ends with; the others go on only when they all run at the same time.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Error,
    Panic,
}

fn fail(end: End, n: u64) -> Result<u64, u64> {
    match end {
        End::Error => Err(n),
        End::Panic => std::panic::resume_unwind(Box::new("a loader")),
    }
}

/// All fail, or only the first. The keys of each caller: one, or a group.
fn nobody_waits_for_a_second_failure<R: Reclaim>() {
    for (end, all_fail, is_group) in [
        (End::Error, true, false),
        (End::Error, false, true),
        (End::Panic, true, true),
        (End::Panic, false, false),
    ] {
        within(LIMIT, "loads beside each other after a failure", move || {
            let cache = store::<u64, u64, R>();
            let (count, failed, together_again) =
                (AtomicU64::new(0), AtomicU64::new(0), Barrier::new(CALLERS as usize - 1));
            let load = || {
                let n = count.fetch_add(1, SeqCst);
                if n == 0 {
                    until_missed(&cache, if is_group { 2 * CALLERS } else { CALLERS });
                    std::thread::sleep(Duration::from_millis(20)); // They sit down.
                } else {
                    // If one of them waited for another they would be here for ever.
                    together_again.wait();
                }
                if n == 0 || all_fail { fail(end, n) } else { Ok(n) }
            };
            together(CALLERS as usize, |_| {
                let call = || match is_group {
                    true => cache.load_many([7, 8], || load().map(|n| [n; 2])).map(|[n, _]| n),
                    false => cache.load(7, load),
                };
                if !matches!(catch_unwind(AssertUnwindSafe(call)), Ok(Ok(_))) {
                    failed.fetch_add(1, SeqCst);
                }
            });
            let failures = if all_fail { CALLERS } else { 1 };
            assert_eq!((count.into_inner(), failed.into_inner()), (CALLERS, failures));
            assert_eq!(loads(&cache).1, failures);
            assert_eq!(cache.get(&7).is_some(), !all_fail, "the first that is brought is cached");
        });
    }
}

fn a_refresh_that_fails_is_not_tried_again_at_once<R: Reclaim>() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let builder = coeval::Cache::builder().refresh_after(10 * second).refresh_pause(second);
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer::<R>().build();
    let tries = Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    let fails = move || {
        counted.fetch_add(1, SeqCst);
        Err::<u64, _>("down")
    };
    let mut jobs = 0;
    let mut execute = |job: coeval::Job| {
        jobs += 1;
        let _ = catch_unwind(AssertUnwindSafe(job));
    };
    cache.insert(1, 1);
    cache.insert(2, 2);
    clock.advance(10 * second);
    for round in 1..=5 {
        for _ in 0..100 {
            let fails = fails.clone();
            let (one, all) = (fails.clone(), move || fails().map(|n| [n; 2]));
            let got = match round {
                1 => cache.try_get_with(1, one).unwrap(),
                2 => cache.load_on(1, &mut execute, one).unwrap(),
                3 => cache.try_get_many_with([1, 2], all).unwrap()[0],
                4 => cache.load_many_on([1, 2], &mut execute, all).unwrap()[0],
                _ => {
                    let panics = || {
                        let _ = one();
                        std::panic::resume_unwind(Box::new("a loader"))
                    };
                    catch_unwind(AssertUnwindSafe(|| cache.get_with(1, panics))).unwrap_or(1)
                }
            };
            assert_eq!(got, 1, "as it was");
        }
        assert_eq!(tries.load(SeqCst), round);
        clock.advance(second);
    }
    assert_eq!(jobs, 2);
    assert_eq!(cache.get_with(1, || 5), 5);
    // Without a pause each caller tries.
    let cache: Cache<R> =
        coeval::Cache::builder().refresh_after(second).manual_clock(&clock).reclaimer().build();
    cache.insert(1, 1);
    clock.advance(second);
    (0..10).for_each(|_| assert_eq!(cache.try_get_with(1, &fails), Ok(1)));
    assert_eq!(tries.load(SeqCst), 15);
}

on_every_reclaimer!(
    nobody_waits_for_a_second_failure,
    a_refresh_that_fails_is_not_tried_again_at_once,
);
