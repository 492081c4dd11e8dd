//! Tests of loads that ask for each other.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

#[test]
fn a_load_that_asks_for_itself_is_a_cycle() {
    let loads = Loads::new();
    let asks = || get(&loads, 1, || unreachable!());
    assert_eq!(get(&loads, 1, || u64::from(asks() == Err(CycleFound))), Ok(1));
    // The same through loads of other keys, on the same thread.
    let through =
        || get(&loads, 2, || get(&loads, 3, || u64::from(asks() == Err(CycleFound))).unwrap());
    assert_eq!(get(&loads, 1, || through().unwrap()), Ok(1));
}

#[test]
fn a_load_may_ask_for_other_keys() {
    let loads = Loads::new();
    fn sum(loads: &Loads, to: u64) -> u64 {
        let below = || if to == 0 { 0 } else { to + sum(loads, to - 1) };
        get(loads, to, below).unwrap()
    }
    assert_eq!(sum(&loads, 100), 5050);
    // On many threads, each waits for the leaders of the keys below.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(sum(&loads, 30), 465)));
        }
    });
}

/// Each of `of` threads loads a key, and within its load asks for the next thread's key. The keys
/// are spread over `caches`.
fn run_cycle(of: usize, caches: &[Loads]) {
    let cache = |number: usize| &caches[number % of % caches.len()];
    let (all_lead, found) = (Barrier::new(of), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..of {
            let (all_lead, found) = (&all_lead, &found);
            scope.spawn(move || {
                let load = || {
                    all_lead.wait();
                    let next = ((number + 1) % of) as u64;
                    let asked = get(cache(number + 1), next, || unreachable!());
                    found.fetch_add(u64::from(asked.is_err()), SeqCst);
                    asked.unwrap_or(100)
                };
                assert_eq!(get(cache(number), number as u64, load), Ok(100));
            });
        }
    });
    let found = found.into_inner();
    assert!((1..=of as u64).contains(&found), "{found} found the cycle of {of}");
}

#[test]
fn cycles_of_threads_are_found() {
    for _ in 0..200 {
        (2..=3).for_each(|of| run_cycle(of, &[Loads::new()]));
        run_cycle(8, &[Loads::new()]);
    }
}

#[test]
fn cycles_through_several_caches_are_found() {
    for _ in 0..200 {
        run_cycle(2, &[Loads::new(), Loads::new()]);
        run_cycle(3, &[Loads::new(), Loads::new(), Loads::new()]);
    }
}

/// The loads wait for each other in one direction only.
#[test]
fn a_chain_is_no_cycle() {
    let loads = Loads::new();
    for round in 0..200 {
        let all_lead = Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4_u64 {
                let (loads, all_lead) = (&loads, &all_lead);
                scope.spawn(move || {
                    let load = || {
                        all_lead.wait();
                        match number {
                            0 => round,
                            _ => get(loads, number - 1, || round).unwrap(),
                        }
                    };
                    assert_eq!(get(loads, number, load), Ok(round));
                });
            }
        });
    }
}

/// A future that was polled within a load, and is then polled elsewhere, is no longer part of that
/// load.
#[test]
fn a_future_that_moved_elsewhere_closes_no_cycle() {
    let loads = Loads::new();
    let (mut first, mut second) = (lead(&loads, 1), lead(&loads, 2));
    let mut waiter = wait(&loads, 2);
    first.during(|| assert!(poll(&mut waiter, Waker::noop()).is_pending()));
    assert!(poll(&mut waiter, Waker::noop()).is_pending());
    let mut back = wait(&loads, 1);
    second.during(|| assert!(poll(&mut back, Waker::noop()).is_pending()));
    drop(back);
    // The same with a load that was begun within another.
    let mut inner = lead(&loads, 3);
    first.during(|| inner.during(|| ()));
    let mut back = wait(&loads, 1);
    inner.during(|| assert!(poll(&mut back, Waker::noop()).is_pending()));
    // While it is part of the load, the cycle is found.
    let mut back = wait(&loads, 1);
    let polled = first.during(|| inner.during(|| poll(&mut back, Waker::noop())));
    assert!(matches!(polled, Poll::Ready(Waited::Cycle)));
    second.finish(6);
    assert_eq!(done(poll(&mut waiter, Waker::noop())), 6);
}
