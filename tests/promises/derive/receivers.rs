//! What a generic function derives in: a cache, a pointer to one, or the scope of another derivation.

use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{Deriver, RandomState};
use std::sync::Arc;

fn doubled<R: Reclaim>(place: impl Deriver<u64, u64, RandomState, R>, key: u64) -> u64 {
    place.derive(key + 100, |scope| 2 * scope.get(&key).unwrap_or(0))
}

#[cfg(feature = "async")]
fn doubled_later<R: Reclaim>(place: impl Deriver<u64, u64, RandomState, R>, key: u64) -> u64 {
    let double = async |scope: &mut coeval::Scope<'_, _, _, _, R>| 2 * scope.get(&key).unwrap_or(0);
    let mut future = std::pin::pin!(place.derive_async(key + 100, double));
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits for nothing"),
    }
}

#[cfg(not(feature = "async"))]
fn doubled_later<R: Reclaim>(place: impl Deriver<u64, u64, RandomState, R>, key: u64) -> u64 {
    doubled(place, key)
}

fn each_of_them<R: Reclaim>() {
    let cache = Arc::new(store::<u64, u64, R>());
    (1..7).for_each(|key| _ = cache.insert(key, key));
    assert_eq!((doubled(&*cache, 1), doubled_later(&*cache, 2)), (2, 4));
    assert_eq!((doubled(&cache, 3), doubled_later(&cache, 4)), (6, 8));
    let sum = || cache.derive(200, |scope| doubled(&mut *scope, 5) + doubled_later(scope, 6));
    assert_eq!(sum(), 22);
    assert!((101..107).all(|key| cache.get(&key) == Some(2 * (key - 100))));
    // Each belongs to its input, and the sum to both.
    cache.insert(6, 7);
    assert_eq!((cache.get(&106), cache.get(&200), cache.get(&105)), (None, None, Some(10)));
    assert_eq!(sum(), 24);
}

on_every_reclaimer!(each_of_them);
