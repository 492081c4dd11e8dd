//! Loads that are handed out, that fail before those who wait, and that are left alone.

use super::*;
use crate::loading::Rules;
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

fn moved(polled: Poll<Outcome<'_>>) -> bool {
    matches!(polled, Poll::Ready(Waited::Moved))
}

#[test]
fn what_was_handed_out_is_taken_over_by_who_wants_it() {
    let loads = Loads::new();
    let handed = lead(&loads, 1).hand_out().expect("nobody waits");
    assert!(try_lead(&loads, 1, false).is_none(), "it is about to be loaded");
    let leader = lead(&loads, 1);
    assert!(handed.begin().is_none());
    let mut waiter = wait(&loads, 1);
    leader.finish(5);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 5);
}

#[test]
fn what_was_handed_out_begins_later_or_never() {
    let loads = Loads::new();
    let handed = lead(&loads, 1).hand_out().expect("nobody waits");
    let leader = handed.begin().expect("nobody wanted it");
    let mut waiter = wait(&loads, 1);
    leader.finish(5);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 5);
    drop(lead(&loads, 1).hand_out());
    assert!(try_lead(&loads, 1, false).is_some());
}

#[test]
fn who_waits_already_is_not_kept_waiting_by_handing_out() {
    let loads: Loads = Loads::new();
    let leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    assert!(poll(&mut waiter, Waker::noop()).is_pending());
    assert!(leader.hand_out().is_none());
    assert!(told_to_lead(poll(&mut waiter, Waker::noop())).is_some());
}

#[test]
fn one_alone_loads_what_was_handed_out() {
    let loads = Loads::new();
    for round in 0..2_000 {
        let handed = lead(&loads, 1).hand_out().expect("nobody waits");
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
        // One after the other they may each load; at the same time they do not, as the models say.
        assert!((1..=3).contains(&begun.into_inner()));
    }
}

#[test]
fn all_are_told_of_a_failure() {
    let loads = Loads::with(Rules { tells_failures: true, ..Rules::default() });
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
    // One that is given up has not failed: one of those who wait leads.
    let mut leader = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    leader.during(|| ());
    drop(leader);
    let leader = told_to_lead(poll(&mut waiter, Waker::noop())).expect("it leads");
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
fn a_load_that_is_let_be_is_ousted_by_who_is_asked_idly() {
    let loads = Loads::new();
    let mut leader = lead(&loads, 1);
    let (mut first, mut second) = (wait(&loads, 1), wait(&loads, 1));
    poll_idly(&mut second, 1);
    poll_idly(&mut first, 10_000); // The load has not been let be yet.
    leader.during(|| ());
    poll_idly(&mut first, 1_000);
    leader.during(|| ());
    poll_idly(&mut first, 1_000); // It was gone on with meanwhile.
    assert!(moved(poll(&mut first, Waker::noop())));
    assert!(moved(poll(&mut second, Waker::noop())), "all who wait are told");
    let other = lead(&loads, 1);
    let mut waiter = wait(&loads, 1);
    leader.finish(5); // To nobody.
    poll_idly(&mut waiter, 1);
    other.finish(6);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 6);
    drop(lead(&loads, 1));
}

#[test]
fn nobody_waits_longer_than_the_limit() {
    let loads = Loads::with(Rules { limit: Some(Duration::from_millis(5)), ..Rules::default() });
    let leader = lead(&loads, 1);
    let mut first = wait(&loads, 1);
    poll_idly(&mut first, 1);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| matches!(wait(&loads, 1).wait(), Waited::Moved));
        assert!(thread.join().unwrap(), "nobody wakes it");
    });
    assert!(moved(poll(&mut first, Waker::noop())));
    let other = lead(&loads, 1);
    std::thread::sleep(Duration::from_millis(6));
    assert!(try_lead(&loads, 1, false).is_some(), "nor does who loads anew");
    drop((leader, other));
}

#[test]
fn ousted_and_ended_at_the_same_time_all_are_told() {
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
                Waited::Failed | Waited::Cycle => panic!("nobody says so"),
            });
            scope.spawn(|| while !matches!(join(&loads, 1), Joined::Leader(_)) {});
        });
    }
    drop(lead(&loads, 1));
}
