//! Tests of loads by threads.

use super::{CycleFound, Loads, get, join, lead};
use crate::loading::{Joined, Waited};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};

const THREADS: usize = 64;

#[test]
fn one_caller_loads_for_all() {
    let loads = Loads::new();
    for round in 0..20 {
        let count = AtomicU64::new(0);
        let leader = lead(&loads, round);
        let load = || count.fetch_add(1, SeqCst);
        std::thread::scope(|scope| {
            let (loads, load) = (&loads, &load);
            let get = move || assert_eq!(get(loads, round, load), Ok(7));
            (1..THREADS).for_each(|_| drop(scope.spawn(get)));
            leader.until_waited_for(THREADS - 1);
            leader.finish(7);
        });
        assert_eq!(count.load(SeqCst), 0);
    }
    drop(lead(&loads, 0)); // The load is over, so the next caller leads.
}

#[test]
fn a_key_has_one_load_at_a_time() {
    let loads = Loads::new();
    let (running, loaded, got) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..200 {
                    let load = || {
                        assert_eq!(running.fetch_add(1, SeqCst), 0, "two loads of a key");
                        std::thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                        loaded.fetch_add(1, SeqCst)
                    };
                    get(&loads, 1, load).unwrap();
                    got.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(got.load(SeqCst), THREADS as u64 * 200);
    assert!(loaded.load(SeqCst) <= got.load(SeqCst));
}

/// Leaders fail and waiters leave at random. Each caller ends, and a key has one leader at a time.
#[test]
fn no_caller_is_lost_when_many_fail_and_leave() {
    let loads = Loads::new();
    let running: [AtomicU64; 3] = Default::default();
    std::thread::scope(|scope| {
        for thread in 0..16_u64 {
            let (loads, running) = (&loads, &running);
            scope.spawn(move || {
                for turn in 0..2_000 {
                    let (key, way) = (turn % 3, (turn * 7 + thread * 5) % 11);
                    let mut leader = match join(loads, key) {
                        Joined::Leader(leader) => leader,
                        Joined::Waiter(waiter) if way < 3 => {
                            drop(waiter);
                            continue;
                        }
                        Joined::Waiter(waiter) => match waiter.wait() {
                            Waited::Done(outcome) => {
                                assert_eq!(outcome % 3, key);
                                continue;
                            }
                            Waited::Lead(leader) => leader,
                            _ => panic!("there is no cycle here, and no waiter gives up"),
                        },
                    };
                    let running = &running[key as usize];
                    leader.during(|| {
                        assert_eq!(running.fetch_add(1, SeqCst), 0, "two leaders");
                        std::thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                    });
                    match way % 2 {
                        0 => drop(leader),
                        _ => leader.finish(turn),
                    }
                }
            });
        }
    });
    (0..3).for_each(|key| drop(lead(&loads, key)));
}

#[test]
fn a_panic_hands_the_lead_over() {
    let loads = Loads::new();
    let leader = lead(&loads, 1);
    let tries = AtomicU64::new(0);
    let load = || match tries.fetch_add(1, SeqCst) {
        0..5 => panic!("this load fails"),
        done => done,
    };
    std::thread::scope(|scope| {
        let get = || catch_unwind(AssertUnwindSafe(|| get(&loads, 1, load)));
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(get)).collect();
        leader.until_waited_for(10);
        let mut leader = leader;
        let failed = catch_unwind(AssertUnwindSafe(move || {
            leader.during(|| panic!("this load fails, too"))
        }));
        assert!(failed.is_err());
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let of = |kind: fn(&Result<u64, CycleFound>) -> bool| {
            outcomes.iter().filter(|o| o.as_ref().is_ok_and(kind)).count()
        };
        // Five panicked in turn. The load of the sixth served all others.
        assert_eq!(of(|outcome| *outcome == Ok(5)), 5);
        assert_eq!(of(Result::is_err), 0);
    });
    assert_eq!(tries.load(SeqCst), 6);
}

#[test]
fn another_key_is_not_delayed() {
    // This includes keys in the same list of the registry.
    let loads = Loads::new();
    let (go_on, until) = mpsc::channel::<()>();
    let first = lead(&loads, 1);
    std::thread::scope(|scope| {
        let loads = &loads;
        scope.spawn(|| get(loads, 1, || unreachable!()).unwrap());
        first.until_waited_for(1);
        scope.spawn(move || {
            let mut first = first;
            first.during(|| until.recv().unwrap());
            first.finish(0);
        });
        for key in [2, 257, 513, 2] {
            assert_eq!(get(loads, key, || key * 10), Ok(key * 10));
            let other = move || get(loads, key, || key);
            assert_eq!(scope.spawn(other).join().unwrap(), Ok(key));
        }
        go_on.send(()).unwrap();
    });
}
