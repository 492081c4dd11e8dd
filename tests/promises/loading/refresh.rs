//! Refreshing elsewhere: an old value is served at once, and one job reloads it.

use super::{Cache, LIMIT, loads};
use crate::common::{on_every_reclaimer, together, within};
use coeval::reclaim::Reclaim;
use coeval::{Job, ManualClock};
use std::convert::Infallible;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A cache in which key 1 is 10, and old.
fn old<R: Reclaim>() -> (Cache<R>, ManualClock) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND).manual_clock(&clock);
    let cache = builder.reclaimer::<R>().build();
    let absent = cache.load_on(1, |_| unreachable!("nothing is old"), || Ok::<_, Infallible>(10));
    assert_eq!(absent, Ok(10), "a caller that finds nothing loads");
    clock.advance(SECOND);
    (cache, clock)
}

fn none(_: Job) {
    unreachable!("another caller refreshes it, or it is not old")
}

fn one_job_at_a_time<R: Reclaim>() {
    const THREADS: usize = 16;
    within(LIMIT, "a refresh by another thread", || {
        let (cache, clock) = old::<R>();
        let jobs = Mutex::new(Vec::new());
        together(THREADS, |_| {
            let keep = |job| jobs.lock().unwrap().push(job);
            assert_eq!(cache.load_on(1, keep, || Ok::<_, Infallible>(11)), Ok(10));
        });
        let mut jobs = jobs.into_inner().unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(cache.get_with(1, || unreachable!("a job reloads it")), 10);
        std::thread::spawn(jobs.pop().unwrap()).join().unwrap();
        assert_eq!(cache.load_on(1, none, || Ok::<_, Infallible>(0)), Ok(11));
        assert_eq!(loads(&cache), (2, 0, 0));
        // The possible ends of other jobs.
        clock.advance(SECOND);
        let endings: [fn(Job); 3] = [
            drop,
            |job| drop(std::thread::spawn(job).join()),
            |job| assert!(std::thread::spawn(job).join().is_err()),
        ];
        let outcomes: [fn() -> Result<u64, ()>; 3] =
            [|| Ok(12), || Err(()), || std::panic::resume_unwind(Box::new("a loader"))];
        for (end, outcome) in endings.into_iter().zip(outcomes) {
            assert_eq!(cache.load_on(1, end, outcome), Ok(11), "unchanged");
        }
        assert_eq!(loads(&cache), (2, 2, 0));
        let write_first = |job: Job| {
            cache.insert(1, 13);
            job();
        };
        assert_eq!(cache.load_on(1, write_first, || Ok::<_, Infallible>(12)), Ok(11));
        assert_eq!((cache.get(&1), loads(&cache)), (Some(13), (2, 2, 1)));
    });
}

/// The job has the last handle.
fn a_job_outlives_the_cache<R: Reclaim>() {
    for runs in [true, false] {
        let (cache, _clock) = old::<R>();
        let (send, receive) = mpsc::channel();
        let keep = |job: Job| send.send(job).unwrap();
        assert_eq!(cache.load_on(1, keep, || Ok::<_, Infallible>(11)), Ok(10));
        drop(cache);
        let job = receive.recv().unwrap();
        if runs {
            job();
        }
    }
}

fn a_group_by_one_job<R: Reclaim>() {
    let (cache, clock) = old::<R>();
    let keys = [1, 2];
    let loaded = cache.load_many_on(keys, none, || Ok::<_, Infallible>([11, 21]));
    assert_eq!(loaded, Ok([11, 21]), "one was absent");
    clock.advance(SECOND);
    let mut jobs = Vec::new();
    let mut want = || {
        let keep = |job| jobs.push(job);
        cache.load_many_on(keys, keep, || Ok::<_, Infallible>([12, 22]))
    };
    assert_eq!((want(), want()), (Ok([11, 21]), Ok([11, 21])));
    assert_eq!(jobs.len(), 1);
    jobs.pop().unwrap()();
    assert_eq!(cache.load_many_on(keys, none, || Ok::<_, Infallible>([0, 0])), Ok([12, 22]));
    let versions = keys.map(|key| cache.get_versioned(&key).unwrap().1);
    assert_eq!(versions[0], versions[1]);
}

#[cfg(feature = "async")]
fn by_futures<R: Reclaim>() {
    use super::futures::{give_way, poll, run};
    use coeval::Task;
    use std::pin::Pin;
    /// Runs one future to its end.
    fn finish<'f, T: 'f>(future: impl Future<Output = T> + 'f) -> T {
        let all: [Pin<Box<dyn Future<Output = T> + 'f>>; 1] = [Box::pin(future)];
        run(all).pop().expect("one")
    }
    let (cache, clock) = old::<R>();
    let mut tasks: Vec<Task> = Vec::new();
    let load = || async {
        give_way().await;
        Ok::<_, Infallible>([11, 21])
    };
    let absent = cache.load_many_async_on([1, 2], |_| unreachable!("one is absent"), load());
    assert_eq!(finish(absent), Ok([11, 21]));
    clock.advance(SECOND);
    for _ in 0..3 {
        let one =
            cache.load_async_on(1, |task| tasks.push(task), async { Ok::<_, Infallible>(12) });
        let mut one = std::pin::pin!(one);
        assert_eq!(
            poll(one.as_mut()),
            std::task::Poll::Ready(Ok(11)),
            "it has nothing to wait for"
        );
    }
    assert_eq!(tasks.len(), 1);
    // If the job is dropped, the next caller gets the job; if it runs, it is done.
    tasks.clear();
    let again = cache.load_async_on(1, |task| tasks.push(task), async { Ok::<_, Infallible>(13) });
    assert_eq!(finish(again), Ok(11));
    tasks.into_iter().for_each(finish);
    assert_eq!(cache.get(&1), Some(13));
}

#[cfg(not(feature = "async"))]
fn by_futures<R: Reclaim>() {}

on_every_reclaimer!(one_job_at_a_time, a_job_outlives_the_cache, a_group_by_one_job, by_futures);
