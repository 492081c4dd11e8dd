//! The room's promises, without the engine.

mod circles;
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
        Joined::Waiter(_) => panic!("another leads"),
    }
}

fn wait<T>(loads: &Loads<T>, key: u64) -> Waits<'_, T> {
    match join(loads, key) {
        Joined::Leader(_) => panic!("nobody leads"),
        Joined::Waiter(waiter) => waiter,
    }
}

/// What would have waited for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Circle;

/// Gets `key` as the engine's callers do: by its own load, or by another's.
fn get<T: Clone>(loads: &Loads<T>, key: u64, load: impl FnOnce() -> T) -> Result<T, Circle> {
    let mut leader = match join(loads, key) {
        Joined::Leader(leader) => leader,
        Joined::Waiter(waiter) => match waiter.wait() {
            Waited::Done(outcome) => return Ok(outcome),
            Waited::Lead(leader) => leader,
            Waited::Cycle => return Err(Circle),
            Waited::Failed | Waited::Moved => panic!("nobody says so"),
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
        _ => panic!("not done"),
    }
}

fn told_to_lead<T: Clone>(polled: Poll<Outcome<'_, T>>) -> Option<Led<'_, T>> {
    match polled {
        Poll::Ready(Waited::Lead(leader)) => Some(leader),
        Poll::Ready(_) => panic!("told something else"),
        Poll::Pending => None,
    }
}

impl<T> Led<'_, T> {
    /// Until so many wait. (Who has only sat down may find, yet, that the load is over.)
    fn until_waited_for(&self, by: usize) {
        while self.seats().asleep() < by {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
