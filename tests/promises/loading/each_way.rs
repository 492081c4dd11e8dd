//! Each way to load takes part in the loads of all others: it waits for them and takes their values,
//! it loads in place of a caller that has given up, and it is told of a cycle.

use super::futures::{finish, poll};
use super::{Cache, LIMIT, loads, until_missed};
use crate::common::{on_every_reclaimer, within};
use coeval::reclaim::Reclaim;
use coeval::{LoadError, Loaded, ManualClock};
use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

type Getting<'c> = Pin<Box<dyn Future<Output = u64> + 'c>>;

/// A way to load key 1 by a call. The closure gives the value.
type Call<R> = fn(&Cache<R>, &dyn Fn() -> u64) -> u64;

/// A way to load key 1 by a future. The other future gives the value.
type Way<R> = for<'c> fn(&'c Cache<R>, Getting<'c>) -> Getting<'c>;

/// The numbers of the ways that load key 2 beside it, and so do not get by with another load's value.
const CALL_OF_GROUP: [usize; 1] = [1];
const WAYS_OF_GROUP: [usize; 2] = [1, 4];

const SECOND: Duration = Duration::from_secs(1);

/// An old value of key 1 is kept, which those that take no old values load anew.
fn with_an_old_value<R: Reclaim>() -> Cache<R> {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().manual_clock(&clock).refresh_after(SECOND);
    let cache = builder.reclaimer::<R>().build();
    cache.insert(1, 0);
    clock.advance(SECOND);
    cache
}

fn calls<R: Reclaim>() -> [Call<R>; 7] {
    [
        |cache, load| cache.load_shared(1, || Ok::<_, ()>(load())).unwrap(),
        |cache, load| cache.load_many_shared([1, 2], || Ok::<_, ()>([load(), 2])).unwrap()[0],
        |cache, load| cache.get_with_terms(1, || Loaded::new(load())),
        |cache, load| cache.get_with_ref(&1, load),
        |cache, load| cache.get_each_with([&1], |keys| [load()].repeat(keys.len()))[0],
        |cache, load| cache.entry(1).or_insert_with(load).into_value(),
        |cache, load| cache.derive(1, |_| load()),
    ]
}

fn ways<R: Reclaim>() -> [Way<R>; 7] {
    [
        |cache, load| {
            Box::pin(async {
                cache.load_shared_async(1, async { Ok::<_, ()>(load.await) }).await.unwrap()
            })
        },
        |cache, load| {
            let load = async { Ok::<_, ()>([load.await, 2]) };
            Box::pin(async { cache.load_many_shared_async([1, 2], load).await.unwrap()[0] })
        },
        |cache, load| {
            let load = async { Ok::<_, ()>(Loaded::new(load.await)) };
            Box::pin(async { cache.load_with_terms_async(1, load).await.unwrap() })
        },
        |cache, load| Box::pin(cache.get_with_ref_async(&1, load)),
        |cache, load| {
            Box::pin(async {
                cache.get_many_with_async([1, 2], async { [load.await, 2] }).await[0]
            })
        },
        |cache, load| {
            let mut load = Some(load);
            let each = async move |_: &[u64]| [load.take().unwrap().await];
            Box::pin(async { cache.get_each_with_async([&1], each).await[0] })
        },
        |cache, load| {
            Box::pin(
                cache
                    .derive_async(1, async move |_: &mut coeval::Scope<'_, _, _, _, R>| load.await),
            )
        },
    ]
}

/// The rest of a load is anew: its value is older than its caller takes.
fn anew<'c, R: Reclaim>(cache: &'c Cache<R>, value: u64) -> Getting<'c> {
    let load = ready(Ok::<_, Infallible>(value));
    let serving = cache.serving().max_age(Duration::ZERO);
    Box::pin(async move {
        let served = serving.load_async_on(1, |_| (), pending(), load).await;
        served.unwrap().into_value()
    })
}

fn a_future_takes_the_value_of_another_load<R: Reclaim>() {
    for (number, way) in ways::<R>().into_iter().enumerate() {
        let cache = crate::common::store::<u64, u64, R>();
        let (send, receive) = std::sync::mpsc::channel();
        let slow = std::future::poll_fn(|_| receive.try_recv().map_or(Poll::Pending, Poll::Ready));
        let mut first: Getting<'_> = Box::pin(cache.get_with_async(1, slow));
        assert!(poll(first.as_mut()).is_pending());
        let mut other = way(&cache, Box::pin(ready(7)));
        assert!(poll(other.as_mut()).is_pending());
        send.send(5).unwrap();
        assert_eq!(poll(first.as_mut()), Poll::Ready(5));
        let expected = if WAYS_OF_GROUP.contains(&number) { 7 } else { 5 };
        assert_eq!(poll(other.as_mut()), Poll::Ready(expected), "way {number}");
    }
}

fn a_future_loads_for_one_that_was_given_up<R: Reclaim>() {
    for way in ways::<R>() {
        let cache = crate::common::store::<u64, u64, R>();
        let mut first: Getting<'_> = Box::pin(cache.get_with_async(1, pending()));
        assert!(poll(first.as_mut()).is_pending());
        let mut other = way(&cache, Box::pin(ready(7)));
        assert!(poll(other.as_mut()).is_pending());
        drop(first);
        assert_eq!(poll(other.as_mut()), Poll::Ready(7));
        assert_eq!(cache.get(&1), Some(7));
    }
}

fn a_future_is_told_of_a_cycle<R: Reclaim>() {
    for (number, way) in ways::<R>().into_iter().enumerate() {
        let cache = crate::common::store::<u64, u64, R>();
        let outer = cache.load_shared_async(1, async {
            let told = std::panic::AssertUnwindSafe(|| finish(way(&cache, Box::pin(ready(9)))));
            let is_told = std::panic::catch_unwind(told).is_err();
            Ok::<_, ()>(u64::from(is_told))
        });
        assert_eq!((finish(outer), loads(&cache)), (Ok(1), (1, 0, 0)), "way {number}");
    }
    let cache = crate::common::store::<u64, u64, R>();
    let inner = async {
        let shared = cache.load_shared_async(1, async { Ok::<_, ()>(1) }).await;
        let with_terms = cache.load_with_terms_async(1, async { Ok::<_, ()>(Loaded::new(1)) });
        Ok::<_, ()>(u64::from(
            shared == Err(LoadError::Cycle) && with_terms.await == Err(LoadError::Cycle),
        ))
    };
    assert_eq!(finish(cache.load_async(1, inner)), Ok(1));
}

/// The same for calls, which wait for the future of another load.
fn a_call_waits_for_a_future<R: Reclaim>() {
    within(LIMIT, "calls that wait for futures", || {
        let all = calls::<R>();
        let all = all.iter().enumerate().flat_map(|way| [(way, false), (way, true)]);
        for ((number, way), is_given_up) in all {
            let cache = crate::common::store::<u64, u64, R>();
            let (send, receive) = std::sync::mpsc::channel();
            let slow =
                std::future::poll_fn(|_| receive.try_recv().map_or(Poll::Pending, Poll::Ready));
            let mut first: Getting<'_> = Box::pin(cache.get_with_async(1, slow));
            assert!(poll(first.as_mut()).is_pending());
            let before = cache.stats().misses;
            let found = std::thread::scope(|scope| {
                let call = scope.spawn(|| way(&cache, &|| 7));
                until_missed(&cache, before + 1);
                if !is_given_up {
                    send.send(5).unwrap();
                    assert_eq!(poll(first.as_mut()), Poll::Ready(5));
                }
                drop(first);
                call.join().unwrap()
            });
            let is_own = is_given_up || CALL_OF_GROUP.contains(&number);
            assert_eq!(found, if is_own { 7 } else { 5 }, "way {number}");
            assert_eq!(cache.get(&1), Some(found));
        }
    });
}

fn a_call_is_told_of_a_cycle<R: Reclaim>() {
    for (number, call) in calls::<R>().into_iter().enumerate() {
        let cache = crate::common::store::<u64, u64, R>();
        let told = std::panic::AssertUnwindSafe(|| call(&cache, &|| 9));
        let loaded = cache.load_with_terms(1, || {
            let is_told = std::panic::catch_unwind(told).is_err();
            Ok::<_, ()>(Loaded::new(u64::from(is_told)))
        });
        assert_eq!((loaded, loads(&cache)), (Ok(1), (1, 0, 0)), "way {number}");
    }
}

/// A caller that takes no value as old as the one that is there.
fn values_that_are_too_old<R: Reclaim>() {
    let cache = with_an_old_value::<R>();
    let mut inner = Ok(coeval::Served::Fresh(0));
    let young = || cache.serving().max_age(Duration::ZERO);
    let outer = young().load(1, || {
        inner = young().load(1, || Ok::<_, ()>(1));
        let finished = finish(young().load_async_on(1, |_| (), pending(), ready(Ok::<_, ()>(1))));
        assert_eq!(finished, Err(LoadError::Cycle));
        Ok::<_, ()>(2)
    });
    assert_eq!(outer.map(coeval::Served::into_value), Ok(2));
    assert_eq!(inner, Err(LoadError::Cycle));

    for end in [Some(Ok(5)), Some(Err(())), None] {
        let cache = with_an_old_value::<R>();
        let young = || cache.serving().max_age(Duration::ZERO);
        let (send, receive) = std::sync::mpsc::channel();
        let slow =
            std::future::poll_fn(move |_| receive.try_recv().map_or(Poll::Pending, Poll::Ready));
        let mut first = Box::pin(young().load_async_on(1, |_| (), pending(), slow));
        assert!(poll(first.as_mut()).is_pending());
        let mut other = anew(&cache, 7);
        assert!(poll(other.as_mut()).is_pending());
        let Some(loaded) = end else {
            drop(first);
            assert_eq!(poll(other.as_mut()), Poll::Ready(7));
            continue;
        };
        send.send(loaded).unwrap();
        let Poll::Ready(served) = poll(first.as_mut()) else { panic!("it is done") };
        assert_eq!(served.is_ok(), loaded.is_ok());
        assert_eq!(poll(other.as_mut()), Poll::Ready(loaded.unwrap_or(7)));
    }
}

/// A future that has given its value has no other.
fn a_future_gives_one_value<R: Reclaim>() {
    for way in ways::<R>() {
        let cache = crate::common::store::<u64, u64, R>();
        let mut future = way(&cache, Box::pin(ready(1)));
        assert_eq!(poll(future.as_mut()), Poll::Ready(1));
        let again = std::panic::AssertUnwindSafe(|| poll(future.as_mut()));
        assert!(std::panic::catch_unwind(again).is_err());
        drop(future);
        assert_eq!((cache.get(&1), loads(&cache).1), (Some(1), 0));
    }
}

on_every_reclaimer!(
    a_future_takes_the_value_of_another_load,
    a_future_loads_for_one_that_was_given_up,
    a_future_is_told_of_a_cycle,
    a_call_waits_for_a_future,
    a_call_is_told_of_a_cycle,
    values_that_are_too_old,
    a_future_gives_one_value,
);
