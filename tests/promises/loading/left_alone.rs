//! The future of a load that is neither polled nor dropped does not hold up others for good.

use super::futures::poll;
use super::{Cache, LIMIT, loads};
use crate::common::{on_every_reclaimer, store, within};
use coeval::reclaim::Reclaim;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

/// After so many polls in vain, a future stops waiting.
const IDLY: usize = 1_000;

type Getting<'c> = Pin<Box<dyn Future<Output = u64> + 'c>>;

fn poll_idly(future: &mut Getting<'_>, times: usize) {
    for _ in 0..times {
        assert!(poll(future.as_mut()).is_pending());
    }
}

/// Ways to begin a load of key 1, each with a loader that never ends.
fn ways<'c, R: Reclaim>(cache: &'c Cache<R>) -> Vec<Getting<'c>> {
    vec![
        Box::pin(cache.get_with_async(1, pending())),
        Box::pin(async { cache.get_many_with_async([1, 2], pending()).await[0] }),
        Box::pin(
            cache.derive_async(1, async |_: &mut coeval::Scope<'_, _, _, _, R>| pending().await),
        ),
    ]
}

fn a_waiting_caller_loads_beside_it<R: Reclaim>() {
    for way in 0..3 {
        let cache = store::<u64, u64, R>();
        let mut slow = ways(&cache).swap_remove(way);
        assert!(poll(slow.as_mut()).is_pending());
        let mut quick: Getting<'_> = Box::pin(cache.get_with_async(1, async { 2 }));
        poll_idly(&mut quick, IDLY);
        assert_eq!(poll(quick.as_mut()), Poll::Ready(2));
        assert_eq!(cache.get(&1), Some(2));
        drop(slow);
        assert_eq!(cache.get_with(1, || unreachable!("it is cached")), 2);
    }
}

/// However many callers wait, threads among them, one of them loads.
fn one_caller_loads_for_all_that_waited<R: Reclaim>() {
    within(LIMIT, "callers that wait for an abandoned load", || {
        let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
        let mut slow: Getting<'_> = Box::pin(cache.get_with_async(1, pending()));
        assert!(poll(slow.as_mut()).is_pending());
        let load = || async { count.fetch_add(1, SeqCst) };
        let mut others: Vec<Getting<'_>> = Vec::new();
        for _ in 0..100 {
            let mut other: Getting<'_> = Box::pin(cache.get_with_async(1, load()));
            poll_idly(&mut other, IDLY / 2);
            others.push(other);
        }
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| cache.get_with(1, || count.fetch_add(1, SeqCst)));
            super::until_missed(&cache, 102);
            let mut first = others.pop().expect("of a hundred");
            poll_idly(&mut first, IDLY / 2);
            // The thread may have come first, and lead.
            let first = loop {
                match poll(first.as_mut()) {
                    Poll::Ready(value) => break value,
                    Poll::Pending => std::thread::yield_now(),
                }
            };
            assert_eq!((first, thread.join().unwrap()), (0, 0));
        });
        assert!(others.iter_mut().all(|other| poll(other.as_mut()) == Poll::Ready(0)));
        assert_eq!((count.load(SeqCst), loads(&cache)), (1, (1, 0, 0)));
    });
}

/// As long as a load is polled now and then, others wait for it, however often they are polled.
fn a_load_that_makes_progress_is_waited_for<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let mut polls = 0;
    let mut slow: Getting<'_> = Box::pin(cache.get_with_async(
        1,
        std::future::poll_fn(|_| {
            polls += 1;
            if polls == 50 { Poll::Ready(1) } else { Poll::Pending }
        }),
    ));
    assert!(poll(slow.as_mut()).is_pending());
    let mut other: Getting<'_> =
        Box::pin(cache.get_with_async(1, async { unreachable!("another loads") }));
    for _ in 0..48 {
        poll_idly(&mut other, IDLY);
        assert!(poll(slow.as_mut()).is_pending());
    }
    assert_eq!(poll(slow.as_mut()), Poll::Ready(1));
    assert_eq!(poll(other.as_mut()), Poll::Ready(1));
}

/// A value that it loads after all goes to its own caller only.
fn a_late_value_is_refused<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let (send, receive) = std::sync::mpsc::channel();
    let late = std::future::poll_fn(move |_| receive.try_recv().map_or(Poll::Pending, Poll::Ready));
    let mut slow: Getting<'_> = Box::pin(cache.get_with_async(1, late));
    assert!(poll(slow.as_mut()).is_pending());
    let mut quick: Getting<'_> = Box::pin(cache.get_with_async(1, async { 2 }));
    poll_idly(&mut quick, IDLY);
    assert_eq!(poll(quick.as_mut()), Poll::Ready(2));
    send.send(1).unwrap();
    assert_eq!(poll(slow.as_mut()), Poll::Ready(1));
    assert_eq!((cache.get(&1), loads(&cache)), (Some(2), (1, 0, 1)));
}

/// A thread waits no longer than its limit, for a future or for a thread.
fn a_time_to_wait<R: Reclaim>() {
    within(LIMIT, "a load that takes too long", || {
        let builder = coeval::Cache::builder().load_timeout(Duration::from_millis(1));
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        let mut slow: Getting<'_> = Box::pin(cache.get_with_async(1, pending()));
        assert!(poll(slow.as_mut()).is_pending());
        assert_eq!(cache.get_with(1, || 2), 2);
        let (end, ended) = std::sync::mpsc::channel();
        let (cache, begun, ended) =
            (&cache, &std::sync::Barrier::new(2), std::sync::Mutex::new(ended));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let load = || {
                    begun.wait();
                    ended.lock().unwrap().recv().unwrap()
                };
                assert_eq!(cache.get_with(3, load), 30);
            });
            begun.wait();
            assert_eq!(cache.get_with(3, || 31), 31);
            end.send(30).unwrap();
        });
        assert_eq!(cache.get(&3), Some(31));
        let none = coeval::Cache::<u64, u64>::builder().load_timeout(Duration::ZERO).try_build();
        assert_eq!(none.err(), Some(coeval::BuildError::LoadTimeout));
    });
}

on_every_reclaimer!(
    a_waiting_caller_loads_beside_it,
    one_caller_loads_for_all_that_waited,
    a_load_that_makes_progress_is_waited_for,
    a_late_value_is_refused,
    a_time_to_wait,
);
