//! Async functions.

use super::Count;
use coeval::{Cache, Scope, cached, derived};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls a future until it is done.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// Is pending once.
async fn pause() {
    let mut was_polled = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn async_functions_run_once() {
    static RUNS: Count = Count::new();
    #[cached]
    async fn name(id: u64, prefix: &str) -> String {
        RUNS.up();
        pause().await;
        format!("{prefix} {id}")
    }
    #[cached(max_capacity = 10)]
    async fn parsed(text: &str) -> Result<u32, std::num::ParseIntError> {
        pause().await;
        Ok(text.parse::<u32>()? + 1)
    }
    #[cached(tags = ["user:{id}"])]
    async fn tagged(id: u64) -> Result<u64, String> {
        pause().await;
        if id == 0 { Err("zero".into()) } else { Ok(id) }
    }
    let twice = async { (name(7, "user").await, name(7, "user").await) };
    assert_eq!(finish(twice), ("user 7".into(), "user 7".into()));
    assert_eq!(RUNS.get(), 1);
    assert_eq!((finish(parsed("7")), PARSED.get("7")), (Ok(8), Some(8)));
    assert!(finish(parsed("seven")).is_err() && !PARSED.contains_key("seven"));
    assert_eq!((finish(tagged(1)), finish(tagged(0))), (Ok(1), Err("zero".into())));
    TAGGED.invalidate_tag("user:1");
    assert_eq!((TAGGED.get(&1), finish(tagged(1))), (None, Ok(1)));
}

#[derived(key = ("with tax"))]
async fn with_tax(scope: &mut Scope<&'static str, u64>) -> u64 {
    pause().await;
    scope.get(&"price").unwrap_or(0) * 119 / 100
}

#[derived(key = ("total"))]
async fn total(scope: &mut Scope<&'static str, u64>) -> u64 {
    with_tax(scope).await + with_tax(scope).await
}

#[test]
fn async_functions_derive() {
    let cache = Cache::new();
    cache.insert("price", 100);
    assert_eq!(finish(total(&cache)), 238);
    assert_eq!(cache.get("with tax"), Some(119));
    cache.insert("price", 200);
    assert_eq!((cache.get("total"), finish(total(&cache))), (None, 476));
}

#[test]
fn the_futures_can_be_sent() {
    #[cached]
    async fn name(id: u64) -> Result<String, String> {
        pause().await;
        Ok(id.to_string())
    }
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    assert_eq!(finish(is_send(name(7))), Ok("7".into()));
    #[derived]
    async fn half(scope: &mut Scope<(u64, u64), u64>, of: u64, by: u64) -> u64 {
        pause().await;
        let double = half_of_that(scope, by, of).await + half_of_that(scope, by, of).await;
        double / 2 + scope.get(&(0, 0)).unwrap_or(0)
    }
    #[derived]
    async fn half_of_that(scope: &mut Scope<(u64, u64), u64>, of: u64, by: u64) -> u64 {
        of * by + scope.get(&(0, 0)).unwrap_or(0)
    }
    let cache = Cache::new();
    cache.insert((0, 0), 1);
    assert_eq!(finish(is_send(half(&cache, 2, 3))), 8);
}
