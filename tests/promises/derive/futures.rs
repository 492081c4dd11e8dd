//! Derivations by futures, on an executor that polls every future that is not ready.

use super::Cache;
use crate::common::{on_every_reclaimer, store};
use coeval::Scope;
use coeval::reclaim::Reclaim;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

type Reads<'s, R> = Scope<'s, u64, u64, coeval::RandomState, R>;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = poll(future.as_mut()) {
            return value;
        }
    }
}

/// Yields once.
async fn give_way() {
    let mut gave = false;
    poll_fn(
        move |_| if std::mem::replace(&mut gave, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}

async fn sum<R: Reclaim>(scope: &mut Reads<'_, R>) -> u64 {
    let first = scope.get(&1).unwrap_or(0);
    give_way().await;
    first + scope.get(&2).unwrap_or(0)
}

async fn double_sum<R: Reclaim>(scope: &mut Reads<'_, R>) -> u64 {
    2 * scope.derive_async(100, async |scope: &mut Reads<'_, R>| sum(scope).await).await
}

fn filled<R: Reclaim>() -> Cache<R> {
    let cache = store::<u64, u64, R>();
    cache.batch().insert(1, 10).insert(2, 20).commit();
    cache
}

fn ends_with_its_inputs<R: Reclaim>() {
    let cache = filled::<R>();
    let want = || {
        finish(cache.derive_async(101, async |scope: &mut Reads<'_, R>| double_sum(scope).await))
    };
    assert_eq!((want(), cache.get(&100), cache.get(&101)), (60, Some(30), Some(60)));
    cache.insert(2, 25);
    assert_eq!((cache.get(&100), cache.get(&101)), (None, None));
    assert_eq!(want(), 70);
    // The input comes out equal, so the value derived from it is valid again.
    cache.batch().insert(1, 15).insert(2, 20).commit();
    assert_eq!(cache.get(&101), None);
    assert_eq!(
        finish(cache.derive_async(100, async |scope: &mut Reads<'_, R>| sum(scope).await)),
        35
    );
    assert_eq!(cache.get(&101), Some(70));
}

/// An input is written between two reads. Both reads return the earlier state, and no other caller
/// sees the result.
fn all_is_as_of_one_version<R: Reclaim>() {
    let (cache, count) = (filled::<R>(), AtomicU64::new(0));
    let want = || {
        cache.derive_async(100, async |scope: &mut Reads<'_, R>| {
            count.fetch_add(1, SeqCst);
            sum(scope).await
        })
    };
    let (mut first, mut second) = (pin!(want()), pin!(want()));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending(), "it waits");
    cache.batch().insert(1, 11).insert(2, 22).commit();
    assert_eq!(poll(first.as_mut()), Poll::Ready(30), "as it was when it was wanted");
    assert_eq!(cache.get(&100), None);
    assert_eq!(finish(second), 33, "a waiting caller derives it again");
    assert_eq!((cache.get(&100), count.load(SeqCst)), (Some(33), 2));
}

fn given_up<R: Reclaim>() {
    let cache = filled::<R>();
    {
        let mut first = Box::pin(
            cache.derive_async(101, async |scope: &mut Reads<'_, R>| double_sum(scope).await),
        );
        let mut second = pin!(cache.derive_async(101, async |_: &mut Reads<'_, R>| 7));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(finish(second), 7);
    }
    assert_eq!((cache.get(&100), cache.get(&101), cache.stats().views), (None, Some(7), 0));
    let cycle = cache.derive_async(102, async |scope: &mut Reads<'_, R>| {
        scope.derive_async(102, async |_: &mut Reads<'_, R>| 0).await
    });
    assert!(catch_unwind(AssertUnwindSafe(|| finish(cycle))).is_err());
    assert_eq!(cache.get(&102), None);
}

/// The future may move to other threads between two polls.
#[test]
fn futures_may_be_sent() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let cache: coeval::Cache<u64, u64> = coeval::Cache::new();
    cache.insert(1, 10);
    let mut future =
        Box::pin(sent(cache.derive_async(100, async |scope: &mut Scope<'_, u64, u64>| {
            let first = scope.get(&1).unwrap_or(0);
            give_way().await;
            first + scope.derive_async(101, async |_: &mut Scope<'_, u64, u64>| 5).await
        })));
    assert!(poll(future.as_mut()).is_pending());
    std::thread::scope(|scope| {
        let other = scope.spawn(move || finish(future));
        assert_eq!(other.join().unwrap(), 15);
    });
    assert_eq!(cache.get(&100), Some(15));
}

on_every_reclaimer!(ends_with_its_inputs, all_is_as_of_one_version, given_up);
