//! Tests of the loads under way, without the engine.

mod cycles;
mod endings;
mod futures;
mod leaving;
mod threads;

use super::{Flights, Joined, Leader, Waited, Waiter};
use crate::reclaim::Asymmetric;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Loads<T = u64> = Flights<u64, T, Asymmetric>;
type Led<'f, T = u64> = Leader<'f, u64, T, Asymmetric>;
type Waits<'f, T = u64> = Waiter<'f, u64, T, Asymmetric>;
type Outcome<'f, T = u64> = Waited<'f, u64, T, Asymmetric>;

fn join<T>(loads: &Loads<T>, key: u64) -> Joined<'_, u64, T, Asymmetric> {
    loads.join(key as u32, &key, || key)
}

fn lead<T>(loads: &Loads<T>, key: u64) -> Led<'_, T> {
    match join(loads, key) {
        Joined::Leader(leader) => leader,
        Joined::Waiter(_) => panic!("another caller leads"),
    }
}

fn wait<T>(loads: &Loads<T>, key: u64) -> Waits<'_, T> {
    match join(loads, key) {
        Joined::Leader(_) => panic!("no caller leads"),
        Joined::Waiter(waiter) => waiter,
    }
}

/// The load is part of a cycle, so waiting would not end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CycleFound;

/// Gets `key` as callers of the engine do: by its own load, or by that of another caller.
fn get<T: Clone>(loads: &Loads<T>, key: u64, load: impl FnOnce() -> T) -> Result<T, CycleFound> {
    let mut leader = match join(loads, key) {
        Joined::Leader(leader) => leader,
        Joined::Waiter(waiter) => match waiter.wait() {
            Waited::Done(outcome) => return Ok(outcome),
            Waited::Lead(leader) => leader,
            Waited::Cycle => return Err(CycleFound),
            Waited::Failed | Waited::Moved => panic!("no load fails or moves here"),
        },
    };
    assert_eq!(*leader.key(), key);
    let outcome = leader.during(load);
    Ok(leader.share(outcome))
}

fn poll<'f, T: Clone>(waiter: &mut Waits<'f, T>, waker: &Waker) -> Poll<Outcome<'f, T>> {
    std::pin::Pin::new(waiter).poll(&mut Context::from_waker(waker))
}

fn done<T: Clone>(polled: Poll<Outcome<'_, T>>) -> T {
    match polled {
        Poll::Ready(Waited::Done(outcome)) => outcome,
        _ => panic!("the load is not done"),
    }
}

fn lead_signal<T: Clone>(polled: Poll<Outcome<'_, T>>) -> Option<Led<'_, T>> {
    match polled {
        Poll::Ready(Waited::Lead(leader)) => Some(leader),
        Poll::Ready(_) => panic!("the signal is not to lead"),
        Poll::Pending => None,
    }
}

impl<T> Led<'_, T> {
    /// Blocks until `count` waiters have left a waker. (A caller that has only taken a seat may
    /// still find the load over.)
    fn until_waited_for(&self, count: usize) {
        while self.seats().asleep() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
