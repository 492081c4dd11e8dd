//! Tests of loads that are handed out, that fail while others wait, and that are abandoned.

use super::*;
use crate::loading::LoadRules;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn try_lead(loads: &Loads, key: u64, takes: bool) -> Option<Led<'_>> {
    loads.try_lead(key as u32, &key, || key, takes)
}

fn poll_idly(waiter: &mut Waits<'_>, times: usize) {
    for _ in 0..times {
        assert!(poll(waiter, Waker::noop()).is_pending());
    }
}

fn is_moved(polled: Poll<Outcome<'_>>) -> bool {
    matches!(polled, Poll::Ready(Waited::Moved))
}

#[test]
fn a_load_that_is_handed_out_is_taken_over() {
    let loads = Loads::new();
    let handed = lead(&loads, 1).hand_out().expect("there is no waiter");
    assert!(try_lead(&loads, 1, false).is_none(), "led a load that is handed out");
    let leader = lead(&loads, 1);
    assert!(handed.begin().is_none());
    let mut waiter = wait(&loads, 1);
    leader.finish(5);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 5);
}

#[test]
fn a_load_that_is_handed_out_begins_later_or_never() {
    let loads = Loads::new();
    let handed = lead(&loads, 1).hand_out().expect("there is no waiter");
    let leader = handed.begin().expect("no caller has taken it over");
    let mut waiter = wait(&loads, 1);
    leader.finish(5);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 5);
    drop(lead(&loads, 1).hand_out());
    assert!(try_lead(&loads, 1, false).is_some());
}

#[test]
fn handing_out_lets_a_waiter_lead() {
    let loads: Loads = Loads::new();
    let leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    assert!(poll(&mut waiter, Waker::noop()).is_pending());
    assert!(leader.hand_out().is_none());
    assert!(lead_signal(poll(&mut waiter, Waker::noop())).is_some());
}

#[test]
fn a_load_that_is_handed_out_runs_on_one_thread() {
    let loads = Loads::new();
    for round in 0..2_000 {
        let handed = lead(&loads, 1).hand_out().expect("there is no waiter");
        let (barrier, begun) = (Barrier::new(3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                if let Some(leader) = handed.begin() {
                    begun.fetch_add(1, SeqCst);
                    leader.finish(round);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    let load = || begun.fetch_add(1, SeqCst) as u64;
                    assert!(get(&loads, 1, load).is_ok());
                });
            }
        });
        // They may load one after the other. That no two load at the same time, the models check.
        assert!((1..=3).contains(&begun.into_inner()));
    }
}

#[test]
fn all_waiters_are_told_of_a_failure() {
    let loads = Loads::with(LoadRules { tells_failures: true, ..LoadRules::default() });
    let mut leader = lead(&loads, 1);
    let mut waiters: Vec<_> = (0..100).map(|_| wait(&loads, 1)).collect();
    for waiter in &mut waiters {
        poll_idly(waiter, 1);
    }
    leader.during(|| ());
    leader.fail();
    for mut waiter in waiters {
        assert!(matches!(poll(&mut waiter, Waker::noop()), Poll::Ready(Waited::Failed)));
    }
    // A dropped load has not failed: one of the waiters leads.
    let mut leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    leader.during(|| ());
    drop(leader);
    let leader = lead_signal(poll(&mut waiter, Waker::noop())).expect("the waiter leads");
    // A panic is a failure.
    let mut waiter = wait(&loads, 1);
    let mut leader = leader;
    let load = std::panic::AssertUnwindSafe(move || {
        leader.during(|| std::panic::resume_unwind(Box::new("a loader")));
    });
    assert!(std::panic::catch_unwind(load).is_err());
    assert!(matches!(poll(&mut waiter, Waker::noop()), Poll::Ready(Waited::Failed)));
}

#[test]
fn an_idle_load_is_ousted_by_a_waiter_that_is_polled_idly() {
    let loads = Loads::new();
    let mut leader = lead(&loads, 1);
    let (mut first, mut second) = (wait(&loads, 1), wait(&loads, 1));
    poll_idly(&mut second, 1);
    poll_idly(&mut first, 10_000); // A thread still works on the load.
    leader.during(|| ());
    poll_idly(&mut first, 1_000);
    leader.during(|| ());
    poll_idly(&mut first, 1_000); // There was work on the load meanwhile.
    assert!(is_moved(poll(&mut first, Waker::noop())));
    assert!(is_moved(poll(&mut second, Waker::noop())), "a waiter has no signal");
    let other = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    leader.finish(5); // No caller waits for it.
    poll_idly(&mut waiter, 1);
    other.finish(6);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 6);
    drop(lead(&loads, 1));
}

#[test]
fn no_caller_waits_longer_than_the_limit() {
    let loads =
        Loads::with(LoadRules { limit: Some(Duration::from_millis(5)), ..LoadRules::default() });
    let leader = lead(&loads, 1);
    let mut first = wait(&loads, 1);
    poll_idly(&mut first, 1);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| matches!(wait(&loads, 1).wait(), Waited::Moved));
        assert!(thread.join().unwrap(), "the thread got another result");
    });
    assert!(is_moved(poll(&mut first, Waker::noop())));
    let other = lead(&loads, 1);
    std::thread::sleep(Duration::from_millis(6));
    assert!(try_lead(&loads, 1, false).is_some(), "an overdue load keeps its key");
    drop((leader, other));
}

#[test]
fn a_flight_that_ends_while_it_is_ousted_signals_all() {
    let loads = Loads::new();
    for round in 0..2_000 {
        let leader = lead(&loads, 1);
        let (ousts, waits) = (wait(&loads, 1), wait(&loads, 1));
        std::thread::scope(|scope| {
            scope.spawn(|| match round % 3 {
                0 => drop(leader),
                _ => leader.finish(round),
            });
            scope.spawn(|| ousts.oust());
            scope.spawn(|| match waits.wait() {
                Waited::Done(outcome) => assert_eq!(outcome, round),
                Waited::Moved | Waited::Lead(_) => {}
                Waited::Failed | Waited::Cycle => panic!("no load fails or waits in a cycle here"),
            });
            scope.spawn(|| while !matches!(join(&loads, 1), Joined::Leader(_)) {});
        });
    }
    drop(lead(&loads, 1));
}
