//! A job that waits in a queue holds up no caller: a caller that needs the value loads it, and the
//! job then has nothing to do.

use super::{Cache, LIMIT, loads};
use crate::common::{on_every_reclaimer, within};
use coeval::reclaim::Reclaim;
use coeval::{Job, ManualClock};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A cache in which keys 1 and 2 are old, and expire in a second.
fn old<R: Reclaim>() -> (Cache<R>, ManualClock) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND).time_to_live(2 * SECOND);
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer::<R>().build();
    cache.insert(1, 10);
    cache.insert(2, 20);
    clock.advance(SECOND);
    (cache, clock)
}

/// A job that was handed out before the values ended.
fn handed_out<R: Reclaim>(is_group: bool) -> (Cache<R>, Job) {
    let (cache, clock) = old::<R>();
    let mut jobs = Vec::new();
    let keep = |job| jobs.push(job);
    let value = match is_group {
        true => cache.load_many_on([1, 2], keep, || Ok::<_, Infallible>([0; 2])).unwrap()[0],
        false => cache.load_on(1, keep, || Ok::<_, Infallible>(0)).unwrap(),
    };
    assert_eq!(value, 10);
    let none = |_: Job| unreachable!("one is handed out");
    assert_eq!(cache.load_on(1, none, || Ok::<_, Infallible>(0)), Ok(10));
    assert_eq!(cache.get_with(1, || unreachable!("a job reloads it")), 10);
    clock.advance(SECOND);
    (cache, jobs.pop().expect("handed out"))
}

fn a_caller_that_needs_it_takes_it_over<R: Reclaim>() {
    within(LIMIT, "a value that a job that never begins was to load", || {
        for is_group in [false, true] {
            for way in 0..4 {
                let (cache, job) = handed_out::<R>(is_group);
                let got = match way {
                    0 => cache.get_with(1, || 11),
                    1 => cache.get_many_with([1, 2], || [11, 21])[0],
                    2 => cache.load_on(1, |_| unreachable!(), || Ok::<_, Infallible>(11)).unwrap(),
                    _ => cache.derive(1, |_| 11),
                };
                assert_eq!(got, 11);
                let before = loads(&cache);
                job();
                assert_eq!((cache.get(&1), loads(&cache)), (Some(11), before));
            }
        }
    });
}

/// The only thread of a pool needs a value that a job behind it in the queue is to load.
fn a_queue_does_not_wait_for_itself<R: Reclaim>() {
    let (cache, clock) = old::<R>();
    within(LIMIT, "a pool of one thread", move || {
        let (pool, jobs) = mpsc::channel::<Job>();
        let behind = pool.clone();
        let execute = move |job| behind.send(job).unwrap();
        assert_eq!(cache.load_on(1, execute, || Ok::<_, Infallible>(11)), Ok(10));
        drop(pool);
        clock.advance(SECOND);
        assert_eq!(cache.get_with(1, || 12), 12);
        jobs.into_iter().for_each(|job| job());
        assert_eq!((cache.get(&1), loads(&cache)), (Some(12), (1, 0, 0)));
    });
}

/// Both run at the same time: one of them loads, or one after the other.
fn one_of_them_loads<R: Reclaim>() {
    within(LIMIT, "a job and a caller that needs the value", || {
        for _ in 0..300 {
            let (cache, clock) = old::<R>();
            let running = std::sync::Arc::new(AtomicU64::new(0));
            let load = |running: &AtomicU64, value| {
                assert_eq!(running.fetch_add(1, SeqCst), 0, "both at the same time");
                std::thread::yield_now();
                running.fetch_sub(1, SeqCst);
                value
            };
            let (mut jobs, shared) = (Vec::new(), running.clone());
            let by_job = move || Ok::<_, Infallible>(load(&shared, 11));
            assert_eq!(cache.load_on(1, |job| jobs.push(job), by_job), Ok(10));
            clock.advance(SECOND);
            std::thread::scope(|scope| {
                scope.spawn(jobs.pop().unwrap());
                for _ in 0..2 {
                    scope.spawn(|| {
                        let got = cache.get_with(1, || load(&running, 12));
                        assert!(got == 11 || got == 12);
                    });
                }
            });
            assert_eq!(loads(&cache).0, 1);
        }
    });
}

/// A job whose load another caller took over and failed, or that is dropped, passes to the next
/// caller.
fn a_job_that_is_left<R: Reclaim>() {
    let (cache, job) = handed_out::<R>(false);
    assert!(cache.try_get_with(1, || Err::<u64, _>("down")).is_err());
    job();
    assert_eq!((cache.get(&1), loads(&cache)), (None, (0, 1, 0)));
    let (cache, job) = handed_out::<R>(true);
    drop(job);
    assert_eq!(cache.get_with(1, || 11), 11);
    // The job may have the last handle.
    let (cache, job) = handed_out::<R>(false);
    assert_eq!(cache.get_with(1, || 11), 11);
    drop(cache);
    job();
}

#[cfg(feature = "async")]
fn by_futures<R: Reclaim>() {
    use super::futures::poll;
    use std::task::Poll;
    let (cache, clock) = old::<R>();
    let mut tasks: Vec<coeval::Task> = Vec::new();
    let load = || async { Ok::<_, Infallible>([0, 0]) };
    let mut one = Box::pin(cache.load_many_async_on([1, 2], |task| tasks.push(task), load()));
    assert_eq!(poll(one.as_mut()), Poll::Ready(Ok([10, 20])));
    drop(one);
    clock.advance(SECOND);
    let mut needs = Box::pin(cache.get_many_with_async([1, 2], async { [11, 21] }));
    assert_eq!(poll(needs.as_mut()), Poll::Ready([11, 21]));
    assert!(poll(tasks[0].as_mut()).is_ready(), "it has nothing to do");
    assert_eq!((cache.get_many([&1, &2]), loads(&cache)), ([Some(11), Some(21)], (2, 0, 0)));
}

#[cfg(not(feature = "async"))]
fn by_futures<R: Reclaim>() {}

on_every_reclaimer!(
    a_caller_that_needs_it_takes_it_over,
    a_queue_does_not_wait_for_itself,
    one_of_them_loads,
    a_job_that_is_left,
    by_futures,
);
