//! A source that fails: no caller waits for a second failure. If the settings say so, values that
//! cannot be reloaded are left unchanged for a while.

use super::{Cache, LIMIT, loads, until_missed};
use crate::common::{on_every_reclaimer, store, together, within};
use coeval::reclaim::Reclaim;
use coeval::{LoadError, ManualClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
#[cfg(feature = "async")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const CALLERS: u64 = 50;

/// The outcome of a load.
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

/// All loads fail, or only the first. Each caller wants one key, or a group.
fn threads_load_beside_each_other<R: Reclaim>() {
    for (end, all_fail, is_group) in [
        (End::Error, true, false),
        (End::Error, false, true),
        (End::Panic, true, true),
        (End::Panic, false, false),
    ] {
        within(LIMIT, "loads beside each other after a failure", move || {
            let cache = store::<u64, u64, R>();
            let (count, failed) = (AtomicU64::new(0), AtomicU64::new(0));
            let load = || {
                let n = count.fetch_add(1, SeqCst);
                if n == 0 {
                    until_missed(&cache, if is_group { 2 * CALLERS } else { CALLERS });
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
            assert_eq!(failed.into_inner(), failures);
            assert_eq!(loads(&cache).1, failures);
            assert_eq!(cache.get(&7).is_some(), !all_fail, "the first loaded value is cached");
        });
    }
}

/// However many callers have waited for a failed load, none waits for another load.
#[cfg(feature = "async")]
fn no_caller_waits_for_a_second_failure<R: Reclaim>() {
    use super::futures::poll;
    use std::pin::Pin;
    use std::task::Poll;
    for end in [End::Error, End::Panic] {
        let (cache, begun, goes_on) =
            (store::<u64, u64, R>(), AtomicU64::new(0), AtomicBool::new(false));
        let load = || {
            let mut n = None;
            let (begun, goes_on) = (&begun, &goes_on);
            std::future::poll_fn(move |_| {
                let n = *n.get_or_insert_with(|| begun.fetch_add(1, SeqCst));
                match goes_on.load(SeqCst) {
                    false => Poll::Pending,
                    true if n == 0 => Poll::Ready(fail(end, n)),
                    true => Poll::Ready(Ok(n)),
                }
            })
        };
        let mut all: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
        for n in 0..CALLERS {
            let mut one: Pin<Box<dyn Future<Output = _>>> = match n % 2 {
                0 => Box::pin(cache.load_async(7, load())),
                _ => {
                    let load = load();
                    let load = async { load.await.map(|n| [n]) };
                    let group = cache.load_many_async([7], load);
                    Box::pin(async { group.await.map(|[n]| n) })
                }
            };
            assert!(poll(one.as_mut()).is_pending());
            all.push(one);
        }
        assert_eq!(begun.load(SeqCst), 1);
        goes_on.store(true, SeqCst);
        let mut first = all.swap_remove(0);
        let failed = catch_unwind(AssertUnwindSafe(|| poll(first.as_mut())));
        assert!(!matches!(failed, Ok(Poll::Ready(Ok(_)))));
        drop(first);
        goes_on.store(false, SeqCst);
        assert!(all.iter_mut().all(|one| poll(one.as_mut()).is_pending()));
        assert_eq!(begun.load(SeqCst), CALLERS, "all of them load");
        goes_on.store(true, SeqCst);
        assert!(all.iter_mut().all(|one| matches!(poll(one.as_mut()), Poll::Ready(Ok(_)))));
        assert_eq!(loads(&cache), (1, 1, CALLERS - 2), "the first loaded value is cached");
    }
}

#[cfg(not(feature = "async"))]
fn no_caller_waits_for_a_second_failure<R: Reclaim>() {}

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
            assert_eq!(got, 1, "unchanged");
        }
        assert_eq!(tries.load(SeqCst), round);
        clock.advance(second);
    }
    assert_eq!(jobs, 2);
    assert_eq!(cache.get_with(1, || 5), 5);
    // Without a pause, each caller tries.
    let cache: Cache<R> =
        coeval::Cache::builder().refresh_after(second).manual_clock(&clock).reclaimer().build();
    cache.insert(1, 1);
    clock.advance(second);
    (0..10).for_each(|_| assert_eq!(cache.try_get_with(1, &fails), Ok(1)));
    assert_eq!(tries.load(SeqCst), 15);
}

/// When the source fails, one caller learns of it for all that waited. Callers with another error
/// type load themselves.
fn an_error_for_all<R: Reclaim>() {
    within(LIMIT, "loads that share errors", || {
        let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
        let load = || {
            until_missed(&cache, 2 * CALLERS);
            count.fetch_add(1, SeqCst)
        };
        together(CALLERS as usize, |n| match n % 2 {
            0 => {
                let loaded = cache.load_many_shared([7, 8], || Err::<[u64; 2], _>(load()));
                assert!(loaded.is_err());
            }
            _ => {
                let loaded = cache.load_many_shared([7, 8], || Err::<[u64; 2], _>((load(), "")));
                assert!(loaded.is_err());
            }
        });
        assert_eq!(loads(&cache), (0, count.into_inner(), 0));
    });
    // An error leaves the old value of a reload unchanged.
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let builder = coeval::Cache::builder().refresh_after(second).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    assert_eq!(cache.load_shared(1, || Ok::<_, ()>(1)), Ok(1));
    clock.advance(second);
    assert_eq!(cache.load_shared(1, || Err(())), Ok(1));
    assert_eq!(cache.load_shared(1, || Ok::<_, ()>(2)), Ok(2));
    let inner = || cache.load_shared(3, || Ok::<_, ()>(1));
    let outer = cache.load_shared(3, || inner().map_err(|error| error == LoadError::Cycle));
    assert_eq!(outer, Err(LoadError::Failed(Arc::new(true))));
}

#[cfg(feature = "async")]
fn an_error_for_all_futures<R: Reclaim>() {
    use super::futures::{give_way, run};
    use std::pin::Pin;
    let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
    let load = || async {
        give_way().await;
        Err::<u64, _>(count.fetch_add(1, SeqCst))
    };
    let all = run((0..1_000).map(|_| -> Pin<Box<dyn Future<Output = _>>> {
        Box::pin(cache.load_shared_async(7, load()))
    }));
    assert!(all.iter().all(|loaded| *loaded == Err(LoadError::Failed(Arc::new(0)))));
    assert_eq!((count.load(SeqCst), loads(&cache)), (1, (0, 1, 0)));
    let load = || async { load().await.map(|n| [n; 2]) };
    let all = run((0..1_000).map(|_| -> Pin<Box<dyn Future<Output = _>>> {
        Box::pin(cache.load_many_shared_async([7, 8], load()))
    }));
    assert!(all.iter().all(|loaded| *loaded == Err(LoadError::Failed(Arc::new(1)))));
    // Without sharing, each caller loads at once.
    let all = run((0..100).map(|_| -> Pin<Box<dyn Future<Output = _>>> {
        Box::pin(cache.try_get_many_with_async([7, 8], load()))
    }));
    assert!(all.iter().all(Result::is_err));
    assert_eq!((count.load(SeqCst), loads(&cache)), (102, (0, 102, 0)));
}

#[cfg(not(feature = "async"))]
fn an_error_for_all_futures<R: Reclaim>() {}

on_every_reclaimer!(
    an_error_for_all,
    an_error_for_all_futures,
    threads_load_beside_each_other,
    no_caller_waits_for_a_second_failure,
    a_refresh_that_fails_is_not_tried_again_at_once,
);
