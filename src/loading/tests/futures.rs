//! Tests of loads by futures.

use super::{Led, Loads, Waits, done, join, lead, lead_signal, poll, wait};
use crate::loading::{Joined, Waited};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// Counts its wake-ups.
#[derive(Default)]
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Returns a waker and its count.
fn counted() -> (Waker, Arc<WakeCount>) {
    let woken = Arc::new(WakeCount::default());
    (woken.clone().into(), woken)
}

fn count(woken: &WakeCount) -> usize {
    woken.0.load(SeqCst)
}

#[test]
fn ten_thousand_wait_for_one_load() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let (waker, woken) = counted();
    let mut waiters: Vec<_> = (0..10_000).map(|_| wait(&loads, 1)).collect();
    assert!(waiters.iter_mut().all(|waiter| poll(waiter, &waker).is_pending()));
    assert_eq!((leader.seats().len(), count(&woken)), (10_000, 0));
    leader.finish(5);
    assert_eq!(count(&woken), 10_000);
    assert!(waiters.iter_mut().all(|waiter| done(poll(waiter, &waker)) == 5));
    drop(waiters);
    assert_eq!(Arc::strong_count(&woken), 2, "a waker is kept");
}

#[test]
fn each_of_ten_thousand_leads_if_all_before_it_are_dropped() {
    let loads = Loads::new();
    let mut leader = Some(lead(&loads, 1));
    let wakers: Vec<_> = (0..10_000).map(|_| counted()).collect();
    let mut waiters: Vec<_> = wakers.iter().map(|_| wait(&loads, 1)).collect();
    for (waiter, (waker, _)) in waiters.iter_mut().zip(&wakers) {
        assert!(poll(waiter, waker).is_pending());
    }
    for (number, (waiter, (waker, woken))) in waiters.iter_mut().zip(&wakers).enumerate() {
        drop(leader.take());
        assert_eq!(count(woken), 1);
        assert!(
            wakers[number + 1..].iter().all(|(_, woken)| count(woken) == 0) || number % 500 > 0
        );
        leader = lead_signal(poll(waiter, waker));
    }
    leader.unwrap().finish(5);
    drop(lead(&loads, 1));
}

#[test]
fn the_next_caller_after_a_failure_leads() {
    let loads = Loads::new();
    drop(lead(&loads, 1));
    let leader = lead(&loads, 1);
    drop(wait(&loads, 1));
    drop(leader); // The only waiter is gone.
    lead(&loads, 1).finish(1);
}

#[test]
fn a_waiter_that_leaves_passes_the_lead_on() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let (waker, woken) = counted();
    let mut waiters: Vec<_> = (0..5).map(|_| wait(&loads, 1)).collect();
    // One has its waker set, one was never polled, one is gone, and one stays.
    assert!(poll(&mut waiters[0], &waker).is_pending());
    drop(waiters.remove(2));
    assert!(poll(&mut waiters[3], &waker).is_pending());
    drop(leader);
    drop(waiters.remove(0));
    assert_eq!(count(&woken), 1);
    drop(waiters.remove(0));
    let mut last = waiters.pop().unwrap();
    assert!(lead_signal(poll(&mut waiters[0], &waker)).is_some()); // drops the leader
    lead_signal(poll(&mut last, &waker)).unwrap().finish(1);
    lead(&loads, 1).finish(1);
}

#[test]
fn a_task_may_change_its_waker() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    let ((old, old_woken), (new, new_woken)) = (counted(), counted());
    assert!(poll(&mut waiter, &old).is_pending());
    assert!(poll(&mut waiter, &old).is_pending());
    assert!(poll(&mut waiter, &new).is_pending());
    leader.finish(2);
    assert_eq!((count(&old_woken), count(&new_woken)), (0, 1));
    assert_eq!(done(poll(&mut waiter, &old)), 2);
}

#[test]
fn seats_of_waiters_that_left_are_reused() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let (waker, _) = counted();
    let mut waiters: Vec<_> = (0..100).map(|_| wait(&loads, 1)).collect();
    for turn in 0..20_000 {
        let place = turn * 7 % waiters.len();
        drop(waiters.swap_remove(place));
        waiters.push(wait(&loads, 1));
        assert!(poll(waiters.last_mut().unwrap(), &waker).is_pending());
    }
    assert!(leader.seats().len() < 200, "{} seats for 100 waiters", leader.seats().len());
    leader.finish(3);
    assert!(waiters.iter_mut().all(|waiter| done(poll(waiter, &waker)) == 3));
}

/// The load fails again and again, with a new waiter each time.
#[test]
fn seats_of_waiters_that_led_are_reused() {
    let loads = Loads::new();
    let mut leader = lead(&loads, 1);
    let (waker, _) = counted();
    for turn in 0..10_000 {
        let mut waiter = wait(&loads, 1);
        if turn % 2 == 0 {
            assert!(poll(&mut waiter, &waker).is_pending());
        }
        drop(leader);
        leader = lead_signal(poll(&mut waiter, &waker)).unwrap();
    }
    assert!(leader.seats().len() < 20, "{} seats for one waiter", leader.seats().len());
    leader.finish(3);
}

/// Gets `key` by a future, as the engine does: `load` is polled on behalf of the flight.
async fn get<F: Future<Output = u64>>(loads: &Loads, key: u64, load: F) -> Option<u64> {
    let mut leader = match join(loads, key) {
        Joined::Leader(leader) => leader,
        Joined::Waiter(waiter) => match waiter.await {
            Waited::Done(outcome) => return Some(outcome),
            Waited::Lead(leader) => leader,
            Waited::Cycle => return None,
            Waited::Failed | Waited::Moved => panic!("no load fails or moves here"),
        },
    };
    let mut load = pin!(load);
    let during = |context: &mut Context<'_>| leader.during(|| load.as_mut().poll(context));
    let outcome = std::future::poll_fn(during).await;
    Some(leader.share(outcome))
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>, waker: &Waker) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(waker))
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_cancelled_load_hands_the_lead_over() {
    let loads = Loads::new();
    let (waker, woken) = counted();
    let mut first = Box::pin(is_send(get(&loads, 1, std::future::pending())));
    let mut second = Box::pin(get(&loads, 1, async { 6 }));
    let mut third = Box::pin(get(&loads, 1, async { 7 }));
    assert!(poll_once(&mut first, &waker).is_pending());
    assert!(poll_once(&mut second, &waker).is_pending());
    assert!(poll_once(&mut third, &waker).is_pending());
    drop(first);
    assert_eq!(count(&woken), 1);
    assert!(poll_once(&mut third, &waker).is_pending());
    assert_eq!(poll_once(&mut second, &waker), Poll::Ready(Some(6)));
    assert_eq!(poll_once(&mut third, &waker), Poll::Ready(Some(6)));
}

#[test]
fn a_task_that_asks_for_its_own_load_is_a_cycle() {
    let loads = Loads::new();
    let (waker, _) = counted();
    let asks = || async { get(&loads, 1, async { 6 }).await.map_or(100, |_| 0) };
    let mut direct = Box::pin(get(&loads, 1, asks()));
    assert_eq!(poll_once(&mut direct, &waker), Poll::Ready(Some(100)));
    let through = async { get(&loads, 2, asks()).await.unwrap() };
    let mut through = Box::pin(get(&loads, 1, through));
    assert_eq!(poll_once(&mut through, &waker), Poll::Ready(Some(100)));
}

#[test]
fn two_tasks_that_wait_for_each_other_are_a_cycle() {
    let loads = Loads::new();
    let (waker, woken) = counted();
    // Each is pending once, so that both lead before either asks.
    let load = |of: u64| {
        let mut asked_before = false;
        let turn =
            std::future::poll_fn(move |_| match std::mem::replace(&mut asked_before, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
        let loads = &loads;
        async move {
            turn.await;
            get(loads, of, async { 1 }).await.unwrap_or(100)
        }
    };
    let mut one = Box::pin(get(&loads, 1, load(2)));
    let mut two = Box::pin(get(&loads, 2, load(1)));
    assert!(poll_once(&mut one, &waker).is_pending());
    assert!(poll_once(&mut two, &waker).is_pending());
    assert!(poll_once(&mut one, &waker).is_pending());
    assert_eq!(poll_once(&mut two, &waker), Poll::Ready(Some(100)));
    assert_eq!(count(&woken), 1);
    assert_eq!(poll_once(&mut one, &waker), Poll::Ready(Some(100)));
}

#[test]
fn handles_may_change_threads() {
    fn moves<T: Send + Sync>() {}
    moves::<Loads>();
    moves::<Led<'_>>();
    moves::<Waits<'_>>();
}
