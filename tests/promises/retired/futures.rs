//! The same promise, for futures.

use super::{bounded, empty, ignore, quietly};
use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;
use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn loads<R: Reclaim>() {
    let cache = empty::<R>();
    bounded("an error", &cache, |cache, key| {
        let load = pin!(cache.try_get_with_async(key, ready(Err::<u64, ()>(()))));
        assert!(poll(load).is_ready());
    });
    bounded("cancelled", &cache, |cache, key| {
        assert!(poll(pin!(cache.get_with_async(key, pending()))).is_pending());
    });
    bounded("a group that is cancelled", &cache, |cache, key| {
        let keys = [2 * key, 2 * key + 1];
        assert!(poll(pin!(cache.get_many_with_async(keys, pending()))).is_pending());
    });
    bounded("a waiting caller is cancelled, too", &cache, |cache, key| {
        let mut leader = Box::pin(cache.get_with_async(key, pending()));
        let mut waiter = Box::pin(cache.get_with_async(key, pending()));
        assert!(poll(leader.as_mut()).is_pending() && poll(waiter.as_mut()).is_pending());
        if key.is_multiple_of(2) {
            drop((leader, waiter));
        } else {
            drop((waiter, leader));
        }
    });
    bounded("a panic", &cache, |cache, key| {
        quietly(|| ignore(poll(pin!(cache.get_with_async(key, async { panic!("not found") })))));
    });
    bounded("a derivation that is cancelled", &cache, |cache, key| {
        let derive = cache.derive_async(key, async |scope: &mut coeval::Scope<'_, _, _, _, R>| {
            scope.get(&(key + 1));
            pending().await
        });
        assert!(poll(pin!(derive)).is_pending());
    });
    assert_eq!(cache.len(), 0);
}

on_every_reclaimer!(loads);
