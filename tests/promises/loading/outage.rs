//! A source that is slow or down: callers get old values in time, and no older than they take.

use super::*;
use crate::common::within;
use coeval::Served;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const DOWN: &str = "the source is down";

type Cache<R> = Store<u64, u64, R>;

fn cache<R: Reclaim>() -> (ManualClock, Cache<R>) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND * 10).max_age(SECOND * 60);
    let builder = builder.refresh_pause(SECOND).manual_clock(&clock);
    (clock, builder.reclaimer().build())
}

/// The bar: 5,000 requests a second, and a source that is down for 30 seconds. It hangs for some
/// keys, and fails for the others.
fn thirty_seconds_without_a_source<R: Reclaim>() {
    const KEYS: u64 = 200;
    const STEP: Duration = Duration::from_micros(200); // 5,000 requests a second
    let (pause, longest, fresh, most) = (SECOND, SECOND * 4, SECOND * 2, SECOND * 40);
    let soft = Duration::from_millis(2);
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(fresh).max_age(most).soft_timeout(soft);
    let builder = builder.refresh_pause(pause).refresh_pause_up_to(longest);
    // A value is the time at which the source gave it, in nanoseconds.
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer().build();
    let now = |clock: &ManualClock| clock.now().as_nanos() as u64;
    (0..KEYS).for_each(|key| _ = cache.insert(key, 0));

    let (down, up) = (SECOND * 3, SECOND * 33);
    let (is_down, until_up) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(21)));
    let tries: Arc<Mutex<HashMap<u64, Vec<Duration>>>> = Arc::default();
    let (mut jobs, mut slowest, mut random) = (Vec::new(), Duration::ZERO, 1_u64);
    while clock.now() < up + longest * 2 {
        clock.advance(STEP);
        if clock.now() == down {
            is_down.store(true, SeqCst);
        } else if clock.now() == up {
            is_down.store(false, SeqCst);
            until_up.wait();
            jobs.drain(..).for_each(|job: std::thread::JoinHandle<()>| job.join().unwrap());
        }
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let key = (random >> 33) % KEYS;
        let hangs = key < 20;
        let load = {
            let (clock, is_down, until_up) = (clock.clone(), is_down.clone(), until_up.clone());
            let tries = tries.clone();
            move || {
                if !is_down.load(SeqCst) {
                    return Ok(now(&clock));
                }
                tries.lock().unwrap().entry(key).or_default().push(clock.now());
                if hangs {
                    until_up.wait();
                    return Ok(now(&clock));
                }
                Err(DOWN)
            }
        };
        let begun = Instant::now();
        let execute = |job: coeval::Job| match hangs && is_down.load(SeqCst) {
            true => jobs.push(std::thread::spawn(job)),
            false => job(),
        };
        let served = cache.serving().load_on(key, execute, load);
        slowest = slowest.max(begun.elapsed());
        let served = served.expect("no caller gets an error");
        if let Served::Stale { value, age, .. } = served {
            assert_eq!(age, clock.now() - Duration::from_nanos(value));
        }
        let age = clock.now() - Duration::from_nanos(served.into_value());
        let promised = if clock.now() > up + longest { fresh + longest } else { most };
        assert!(age <= promised, "at {:?}, the key {key} is {age:?} old", clock.now());
    }
    // A thread that has hung a whole outage long would have waited for ever.
    assert!(slowest < SECOND * 2, "a caller has waited for {slowest:?}");
    let tries = tries.lock().unwrap();
    assert_eq!(tries.len() as u64, KEYS, "all keys were wanted");
    for (key, times) in &*tries {
        assert!(*key >= 20 || times.len() == 1, "{key} hangs, and was tried again: {times:?}");
        let shortest = times.windows(2).map(|two| two[1] - two[0]).min().unwrap_or(pause);
        assert!(shortest >= pause * 3 / 4, "{key}: {times:?}");
    }
    assert!(tries.values().map(Vec::len).sum::<usize>() as u64 <= KEYS * 12);
}

/// A caller that takes only younger values loads, pause or not, and gets the error.
fn no_value_is_older_than_its_caller_takes<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let failed = Err(LoadError::Failed(DOWN));
    let fails = || cache.serve_with(1, || Err::<u64, _>(DOWN));
    cache.insert(1, 1);
    clock.advance(SECOND * 60);
    assert!(fails().is_ok_and(|served| served.is_stale()));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(fails(), failed, "within a pause, too");
    let older = cache.serving().max_age(SECOND * 61).load(1, || Err::<u64, _>(DOWN));
    assert!(older.is_ok_and(|served| served.is_stale()), "each load has its own limit");
    assert_eq!(cache.get(&1), Some(1), "other methods know no limit");
    // It grows too old while the loader runs.
    cache.insert(1, 2);
    clock.advance(SECOND * 50);
    let late = cache.serve_with(1, || {
        clock.advance(SECOND * 20);
        Err::<u64, _>(DOWN)
    });
    assert_eq!(late, failed);
    // Another caller has loaded it meanwhile.
    assert_eq!(cache.serve_with(1, || (cache.insert(1, 3), Err(DOWN)).1), Ok(Served::Fresh(3)));
    clock.advance(SECOND * 70);
    assert_eq!(cache.serve_with(1, || Ok::<_, &str>(4)), Ok(Served::Loaded(4)));
    // A group is as old as its oldest member.
    cache.insert(2, 4);
    clock.advance(SECOND * 30);
    cache.insert(1, 5);
    clock.advance(SECOND * 31);
    let group = |load: Result<[u64; 2], &'static str>| cache.serving().load_many([1, 2], || load);
    assert_eq!(group(Err(DOWN)), failed.map(|served: Served<u64, _>| served.map(|n| [n; 2])));
    assert_eq!(group(Ok([6, 6])), Ok(Served::Loaded([6, 6])));
}

/// A value that is not due is not served either if it is older than the caller takes.
fn a_value_that_is_not_due_may_be_too_old<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.insert(1, 1);
    clock.advance(SECOND * 5);
    let served = cache.serving().max_age(SECOND * 5).load(1, || Err(DOWN));
    assert!(matches!(served, Ok(Served::Fresh(1))), "{served:?}");
    let served = cache.serving().max_age(SECOND * 4).load(1, || Err(DOWN));
    assert_eq!(served.unwrap_err(), LoadError::Failed(DOWN));
    assert_eq!(cache.get(&1), Some(1));
    let served = cache.serving().max_age(SECOND * 4).load(1, || Ok::<_, &str>(2));
    assert_eq!(served.unwrap().into_value(), 2);
}

/// A value that has a weight and no time counts as new, however long the cache has been up.
fn a_weight_gives_no_age<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().max_capacity(9).weigher(|_, _| 1).max_age(SECOND);
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer().build();
    clock.advance(SECOND * 60);
    cache.insert(1, 1);
    clock.advance(SECOND * 60);
    let served = cache.serve_with(1, || Err(DOWN));
    assert!(matches!(served, Ok(Served::Fresh(1))), "{served:?}");
}

/// The longest times can be shortened, and grow no further.
fn the_longest_times<R: Reclaim>() {
    let (clock, most) = (ManualClock::new(), Duration::MAX);
    let builder = coeval::Cache::builder().refresh_after(most).time_to_live(most).jitter(1.0);
    let builder = builder.refresh_pause(most / 2).refresh_pause_up_to(most);
    let cache: Cache<R> = builder.manual_clock(&clock).reclaimer().build();
    for _ in 0..100 {
        cache.batch().insert(1, 1).insert(2, 2).commit();
        assert_eq!(cache.get_many([&1, &2]), [Some(1), Some(2)]);
        clock.advance(SECOND);
    }
    let builder = coeval::Cache::builder().refresh_after(SECOND).refresh_pause(most / 2);
    let builder = builder.refresh_pause_up_to(most).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    (0..100).for_each(|key| _ = cache.insert(key, key));
    clock.advance(SECOND);
    for key in 0..100 {
        assert!(cache.serve_with(key, || Err(DOWN)).unwrap().is_stale());
    }
}

/// Of many callers that take only younger values, one loads; after its failure each gets an error.
fn one_load_for_all_that_take_no_older<R: Reclaim>() {
    within(LIMIT, "loads of values that are too old", || {
        for succeeds in [true, false] {
            let (clock, cache) = cache::<R>();
            cache.insert(1, 1);
            clock.advance(SECOND * 61);
            let (loads, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
            together(8, |_| {
                waiting.fetch_add(1, SeqCst);
                let served = cache.serve_with(1, || {
                    if loads.fetch_add(1, SeqCst) == 0 {
                        while waiting.load(SeqCst) < 8 {
                            std::thread::yield_now();
                        }
                        std::thread::sleep(Duration::from_millis(20)); // They come to wait.
                    }
                    if succeeds { Ok(2) } else { Err(DOWN) }
                });
                match succeeds {
                    true => assert_eq!(served.unwrap().into_value(), 2),
                    false => assert_eq!(served, Err(LoadError::Failed(DOWN))),
                }
            });
            assert_eq!(loads.into_inner(), if succeeds { 1 } else { 8 });
        }
    });
}

/// A load goes on after the soft time-out, and its value is there for later callers.
fn a_load_goes_on_after_the_soft_timeout<R: Reclaim>() {
    within(LIMIT, "loads that are slow", || {
        let (clock, cache) = cache::<R>();
        cache.insert(1, 1);
        clock.advance(SECOND * 10);
        let (answer, answers) = mpsc::channel::<Result<u64, &str>>();
        let slow = move || answers.recv().expect("an answer");
        let serving = cache.serving().soft_timeout(Duration::from_millis(5));
        let mut thread = None;
        let execute = |job| thread = Some(std::thread::spawn(job));
        let served = serving.load_on(1, execute, slow).unwrap();
        assert_eq!(served, Served::Stale { value: 1, age: SECOND * 10, failures: 0, cause: None });
        let again = || cache.serve_with(1, || unreachable!("the load is under way"));
        let still: Result<Served<u64, &str>, _> = again();
        assert!(still.unwrap().is_stale());
        answer.send(Ok(2)).unwrap();
        thread.expect("it was begun").join().unwrap();
        assert_eq!(again(), Ok(Served::Fresh(2)));
        // What comes in time is for the caller, the error as well.
        clock.advance(SECOND * 10);
        let serving = cache.serving().soft_timeout(SECOND * 60);
        let served = serving.load_on(1, std::thread::spawn, || Err::<u64, _>(DOWN)).unwrap();
        let cause = Some(DOWN);
        assert_eq!(served, Served::Stale { value: 2, age: SECOND * 10, failures: 1, cause });
        clock.advance(SECOND);
        let served = serving.load_on(1, std::thread::spawn, || Ok::<_, &str>(3));
        assert_eq!(served, Ok(Served::Loaded(3)));
        // An executor that never begins, and a loader that panics, are failures.
        clock.advance(SECOND * 10);
        let served = serving.load_on(1, drop, || Ok::<_, &str>(4)).unwrap();
        assert!(served.is_stale() && served.into_value() == 3);
        let served = serving.load_on(1, std::thread::spawn, || {
            std::panic::resume_unwind(Box::new("a loader"));
            #[allow(unreachable_code)]
            Ok::<_, &str>(5)
        });
        assert!(served.unwrap().is_stale());
        assert_eq!(cache.get(&1), Some(3));
        // What is absent, or too old, is loaded by its caller.
        let served = cache.serving().load_on(2, |_| unreachable!(), || Ok::<_, &str>(1));
        assert_eq!(served, Ok(Served::Loaded(1)));
        clock.advance(SECOND * 61);
        let served = cache.serving().load_on(2, |_| unreachable!(), || Ok::<_, &str>(2));
        assert_eq!(served, Ok(Served::Loaded(2)));
    });
}

#[cfg(feature = "async")]
fn the_same_for_futures<R: Reclaim>() {
    use super::futures::{finish, poll};
    use std::future::{pending, ready};
    use std::pin::pin;
    let (clock, cache) = cache::<R>();
    let load = |result: Result<u64, &'static str>| async move { result };
    let serve = |key, result| {
        let wait = pending::<()>();
        finish(cache.serving().load_async_on(key, |_| unreachable!(), wait, load(result)))
    };
    assert_eq!(serve(1, Err(DOWN)), Err(LoadError::Failed(DOWN)));
    assert_eq!(serve(1, Ok(1)), Ok(Served::Loaded(1)));
    assert_eq!(serve(1, Err(DOWN)), Ok(Served::Fresh(1)));
    clock.advance(SECOND * 10);
    let stale = |age, failures, cause| Ok(Served::Stale { value: 1, age, failures, cause });
    assert_eq!(serve(1, Err(DOWN)), stale(SECOND * 10, 1, Some(DOWN)));
    assert_eq!(serve(1, Ok(2)), stale(SECOND * 10, 1, None));
    clock.advance(SECOND);
    // The time is up at the first poll. The executor goes on.
    let (answer, is_there) = (Arc::new(AtomicBool::new(false)), Duration::from_secs(11));
    let (mut task, answered) = (None, answer.clone());
    let slow = std::future::poll_fn(move |_| match answered.load(SeqCst) {
        true => std::task::Poll::Ready(Ok::<u64, &str>(3)),
        false => std::task::Poll::Pending,
    });
    let served = cache.serving().load_async_on(1, |work| task = Some(work), ready(()), slow);
    assert_eq!(finish(served), stale(is_there, 1, None));
    let mut task = task.expect("the executor has it");
    assert!(poll(task.as_mut()).is_pending() && cache.get(&1) == Some(1));
    answer.store(true, SeqCst);
    assert!(poll(task.as_mut()).is_ready());
    assert_eq!(serve(1, Err(DOWN)), Ok(Served::Fresh(3)));
    // A caller that gives up takes its load with it, and the next one loads.
    clock.advance(SECOND * 10);
    {
        let never = pending::<Result<u64, &str>>();
        let served = cache.serving().load_async_on(1, |_| unreachable!(), pending(), never);
        assert!(poll(pin!(served)).is_pending());
    }
    assert_eq!(serve(1, Ok(4)), Ok(Served::Loaded(4)));
    clock.advance(SECOND * 61);
    assert_eq!(serve(1, Err(DOWN)), Err(LoadError::Failed(DOWN)), "it is too old");
    assert_eq!(serve(1, Ok(5)), Ok(Served::Loaded(5)));
}

#[cfg(feature = "async")]
fn groups_by_futures_are_of_one_age<R: Reclaim>() {
    use super::futures::{finish, poll};
    use std::future::{pending, ready};
    type Pair = Result<[u64; 2], &'static str>;
    let (clock, cache) = cache::<R>();
    let serve = |pair: Pair| {
        let (execute, never) = (|_| unreachable!(), pending());
        finish(cache.serving().load_many_async_on([1, 2], execute, never, ready(pair)))
    };
    assert_eq!(serve(Err(DOWN)), Err(LoadError::Failed(DOWN)));
    assert_eq!(serve(Ok([1, 1])), Ok(Served::Loaded([1, 1])));
    assert_eq!(serve(Err(DOWN)), Ok(Served::Fresh([1, 1])));
    let version = |key| cache.get_versioned(&key).map(|(_, version)| version);
    assert_eq!(version(1), version(2));
    // One member is newer. The age is that of the oldest one.
    clock.advance(SECOND * 6);
    cache.insert(1, 2);
    clock.advance(SECOND * 4);
    let (value, age, failures, cause) = ([2, 1], SECOND * 10, 1, Some(DOWN));
    assert_eq!(serve(Err(DOWN)), Ok(Served::Stale { value, age, failures, cause }));
    clock.advance(SECOND);
    assert_eq!(serve(Ok([3, 3])), Ok(Served::Loaded([3, 3])));
    assert_eq!(version(1), version(2));
    // The time is up. The executor goes on, and sets both by one commit.
    clock.advance(SECOND * 10);
    let (mut task, answer) = (None, Arc::new(AtomicBool::new(false)));
    let answered = answer.clone();
    let slow = std::future::poll_fn(move |_| match answered.load(SeqCst) {
        true => std::task::Poll::Ready(Pair::Ok([4, 4])),
        false => std::task::Poll::Pending,
    });
    let execute = |work| task = Some(work);
    let served = cache.serving().load_many_async_on([1, 2], execute, ready(()), slow);
    assert!(finish(served).is_ok_and(|it| it.is_stale() && it.into_value() == [3, 3]));
    let mut task = task.expect("the executor has it");
    assert!(poll(task.as_mut()).is_pending() && cache.get(&1) == Some(3));
    answer.store(true, SeqCst);
    assert!(poll(task.as_mut()).is_ready());
    assert_eq!(serve(Err(DOWN)), Ok(Served::Fresh([4, 4])));
    assert_eq!(version(1), version(2));
    // Too old: the caller loads, and gets the error if that fails.
    clock.advance(SECOND * 61);
    assert_eq!(serve(Err(DOWN)), Err(LoadError::Failed(DOWN)));
    assert_eq!(serve(Ok([5, 5])), Ok(Served::Loaded([5, 5])));
}

/// The share of callers that load early is that of the paper: exp(-left / (factor * load time)).
fn values_are_loaded_early<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().refresh_after(SECOND * 100).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    let loaded = cache.serve_with(1, || {
        clock.advance(SECOND * 10);
        Ok::<_, ()>(1)
    });
    assert_eq!(loaded, Ok(Served::Loaded(1)));
    cache.insert(2, 2); // No load tells how long one takes.
    let share = |key, factor| {
        let mut loads = 0;
        for _ in 0..2_000 {
            let fails = || {
                loads += 1;
                Err::<u64, _>(())
            };
            let served = cache.serving().refresh_early(factor).load(key, fails);
            assert_eq!(served, Ok(Served::Fresh(key)), "it is not old");
        }
        f64::from(loads) / 2_000.0
    };
    // The time of a load is kept in steps of a quarter of a power of two.
    let near = |share: f64, expected: f64| (share - expected).abs() < 0.1;
    clock.advance(SECOND * 80);
    assert!(near(share(1, 1.0), 0.135) && near(share(1, 2.0), 0.368));
    assert_eq!((share(1, 0.0), share(2, 1.0)), (0.0, 0.0));
    clock.advance(SECOND * 10);
    assert!(near(share(1, 1.0), 0.368));
    clock.advance(SECOND * 9);
    assert!(near(share(1, 1.0), 0.905));
    let early = (0..1_000).map(|_| cache.serving().refresh_early(1.0).load(1, || Ok::<_, ()>(3)));
    assert_eq!(early.filter(|served| *served == Ok(Served::Loaded(3))).count(), 1, "the first");
    assert_eq!(cache.get(&1), Some(3));
}

/// After an early load has failed, the pause decides.
fn early_loads_pause<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.serve_with(1, || Ok::<_, ()>((clock.advance(SECOND * 5), 1).1)).unwrap();
    clock.advance(Duration::from_millis(9_999));
    let mut tries = 0;
    for _ in 0..1_000 {
        let fails = || {
            tries += 1;
            Err::<u64, _>(DOWN)
        };
        cache.serving().refresh_early(10.0).load(1, fails).unwrap();
    }
    assert_eq!(tries, 1);
}

#[cfg(feature = "async")]
mod for_futures {
    use super::{groups_by_futures_are_of_one_age, the_same_for_futures};
    use crate::common::on_every_reclaimer;

    on_every_reclaimer!(the_same_for_futures, groups_by_futures_are_of_one_age);
}

on_every_reclaimer!(
    thirty_seconds_without_a_source,
    no_value_is_older_than_its_caller_takes,
    a_value_that_is_not_due_may_be_too_old,
    a_weight_gives_no_age,
    the_longest_times,
    one_load_for_all_that_take_no_older,
    a_load_goes_on_after_the_soft_timeout,
    values_are_loaded_early,
    early_loads_pause,
);
