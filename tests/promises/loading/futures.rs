//! Loads by futures, on a small executor.

use super::{Cache, loads};
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{LoadError, RandomState};
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

/// A task of an executor. When it is woken, it puts itself into the queue.
struct Task {
    number: usize,
    queue: mpsc::Sender<usize>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let _ = self.queue.send(self.number);
    }
}

/// Runs futures to their end on this thread, and polls only those that were woken.
pub fn run<'f, T>(
    futures: impl IntoIterator<Item = Pin<Box<dyn Future<Output = T> + 'f>>>,
) -> Vec<T> {
    let (queue, woken) = mpsc::channel();
    let mut tasks: Vec<_> = futures
        .into_iter()
        .enumerate()
        .map(|(number, future)| {
            queue.send(number).unwrap();
            let waker = Waker::from(Arc::new(Task { number, queue: queue.clone() }));
            (Some(future), waker, None)
        })
        .collect();
    let mut left = tasks.len();
    while left > 0 {
        let (future, waker, outcome) = &mut tasks[woken.recv().expect("the queue is ours")];
        let Some(running) = future else { continue };
        if let Poll::Ready(value) = running.as_mut().poll(&mut Context::from_waker(waker)) {
            (*future, *outcome) = (None, Some(value));
            left -= 1;
        }
    }
    tasks.into_iter().map(|(.., outcome)| outcome.expect("every future ends")).collect()
}

/// Runs a future to its end, which takes one poll.
pub fn finish<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is pending"),
    }
}

pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Yields once.
pub async fn give_way() {
    let mut gave = false;
    poll_fn(move |context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut gave, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn one_load_for_ten_thousand<R: Reclaim>() {
    let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
    let load = || async {
        count.fetch_add(1, SeqCst);
        give_way().await;
        5
    };
    let all = run((0..10_000).map(|_| -> Pin<Box<dyn Future<Output = u64>>> {
        Box::pin(cache.get_with_async(7, load()))
    }));
    assert!(all.iter().all(|value| *value == 5));
    assert_eq!((count.into_inner(), loads(&cache)), (1, (1, 0, 0)));
}

/// Every tenth load fails for its own caller. The others get the value of the load that succeeds.
fn failures_are_for_their_callers<R: Reclaim>() {
    let (cache, count) = (super::in_turn::<R>(), AtomicU64::new(0));
    let load = || async {
        give_way().await;
        let n = count.fetch_add(1, SeqCst);
        if n < 10 { Err(n) } else { Ok(n) }
    };
    let all = run((0..1_000).map(|_| -> Pin<Box<dyn Future<Output = _>>> {
        Box::pin(cache.try_get_with_async(7, load()))
    }));
    assert_eq!(all.iter().filter(|loaded| loaded.is_err()).count(), 10);
    assert!(all.iter().flatten().all(|value| *value == 10));
    assert_eq!((count.into_inner(), loads(&cache)), (11, (1, 10, 0)));
}

/// A future that loads is dropped. One of the waiting callers loads in its place, once.
fn a_load_that_is_given_up<R: Reclaim>() {
    let (cache, count) = (store::<u64, u64, R>(), AtomicU64::new(0));
    let load = || async {
        count.fetch_add(1, SeqCst);
        give_way().await;
        5
    };
    let mut first = Box::pin(cache.get_with_async(7, load()));
    assert!(poll(first.as_mut()).is_pending());
    let mut others: Vec<Pin<Box<dyn Future<Output = u64>>>> = Vec::new();
    for _ in 0..100 {
        let mut other = Box::pin(cache.get_with_async(7, load()));
        assert!(poll(other.as_mut()).is_pending());
        others.push(other);
    }
    assert_eq!(count.load(SeqCst), 1);
    drop(first);
    drop(others.split_off(50)); // Waiting futures can be dropped, too.
    assert!(run(others).iter().all(|value| *value == 5));
    assert_eq!((count.into_inner(), loads(&cache)), (2, (1, 0, 0)));
}

/// A thread and a future wait for each other's loads like any two callers.
fn threads_and_futures_share_loads<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let mut first = Box::pin(cache.get_with_async(7, async {
        give_way().await;
        5
    }));
    assert!(poll(first.as_mut()).is_pending());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| cache.get_with(7, || 6));
        super::until_missed(&cache, 2);
        let all: [Pin<Box<dyn Future<Output = u64>>>; 1] = [first];
        assert_eq!(run(all), [5]);
        assert_eq!(thread.join().unwrap(), 5);
    });
}

fn cycles_are_reported<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let outer = cache.load_async(1, async {
        let inner = cache.load_async(1, ready(Ok::<_, ()>(2))).await;
        assert_eq!(inner, Err(LoadError::Cycle));
        Ok::<_, ()>(1)
    });
    let Poll::Ready(outer) = poll(pin!(outer)) else { panic!("nothing to wait for") };
    assert_eq!((outer, cache.get(&1)), (Ok(1), Some(1)));
}

/// The listener hears of an eviction when the load that caused it is over, and removes the loaded
/// value. A caller that asks afterwards loads again, and does not get the value read before the
/// removal.
fn a_listener_removes_the_loaded_value<R: Reclaim>() {
    let cell = Arc::new(Mutex::new(None::<Cache<R>>));
    let seen = Arc::new(Mutex::new(None));
    let (reach, slot) = (cell.clone(), seen.clone());
    let builder = coeval::Cache::builder().max_capacity(1).eviction_listener(move |_, _, _, _| {
        let Some(cache) = reach.lock().unwrap().take() else { return };
        for key in [1, 2] {
            cache.invalidate(&key);
        }
        let mut wanted = Box::pin(cache.get_with_async(2, ready(20)));
        *slot.lock().unwrap() = Some(poll(wanted.as_mut()));
    });
    let cache: Cache<R> = builder.reclaimer::<R>().build();
    cache.insert(1, 1);
    *cell.lock().unwrap() = Some(cache.clone());
    assert_eq!(cache.get_with(2, || 2), 2);
    assert_eq!(*seen.lock().unwrap(), Some(Poll::Ready(20)), "loaded at once");
    assert_eq!(cache.get(&2), Some(20));
}

/// For runtimes that move tasks between threads.
#[test]
fn futures_may_go_to_other_threads() {
    fn is_send(_: &impl Send) {}
    let cache: coeval::Cache<u64, u64, RandomState> = coeval::Cache::new();
    is_send(&cache.get_with_async(1, ready(1)));
    is_send(&cache.try_get_with_async(1, ready(Ok::<_, ()>(1))));
    is_send(&cache.load_async(1, ready(Ok::<_, ()>(1))));
    let spawn = |_: coeval::Task| {};
    is_send(&cache.serving().load_async_on(1, spawn, ready(()), ready(Ok::<_, ()>(1))));
    let pair = ready(Ok::<_, ()>([1, 1]));
    is_send(&cache.serving().load_many_async_on([1, 2], spawn, ready(()), pair));
}

on_every_reclaimer!(
    one_load_for_ten_thousand,
    failures_are_for_their_callers,
    a_load_that_is_given_up,
    threads_and_futures_share_loads,
    cycles_are_reported,
    a_listener_removes_the_loaded_value,
);
