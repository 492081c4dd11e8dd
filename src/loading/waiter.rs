//! The waiter: a caller that waits for another caller's load.

use super::flight::Flight;
use super::seat::Signal;
use super::waits::{self, Edge};
use super::{Flights, Leader};
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use crate::sync::park;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The number of polls without a signal, while no thread works on the load, after which a waiter
/// stops waiting. An executor that goes by wakers does not poll so often.
const IDLE_POLLS: u32 = 1_000;

/// A caller that waits for another caller's load of the same key, on its thread
/// ([`wait`](Self::wait)) or as a future. Dropping it ends the wait. A waiter that was signaled to
/// lead passes the lead on when it is dropped.
#[must_use = "dropping it ends the wait"]
pub struct Waiter<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    flight: Arc<Flight<T>>,
    /// `None` once the waiter has left its seat.
    seat: Option<usize>,
    /// The edge to this flight from the load within which the waiter waits.
    edge: Option<Edge>,
    idle: IdlePolls,
}

/// The polls of a waiter while no thread works on the load.
#[derive(Default)]
struct IdlePolls {
    /// The work on the load so far, as of the last idle poll.
    work: u32,
    /// The number of idle polls since that work.
    count: u32,
}

/// The result of waiting.
pub enum Waited<'f, K, T, R: Reclaim> {
    /// The load ended with this outcome.
    Done(T),
    /// The load failed, and no other caller loads.
    Failed,
    /// The load took too long. The waiter or another thread has ousted it: a caller that joins now
    /// joins another load.
    Moved,
    /// The leader is gone, and the waiter leads now.
    Lead(Leader<'f, K, T, R>),
    /// The load waits, perhaps through others, for the load within which this wait is. None of them
    /// would ever end, so the waiter has stopped waiting.
    Cycle,
}

impl<'f, K, T, R: Reclaim> Waiter<'f, K, T, R> {
    pub(super) fn new(flights: &'f Flights<K, T, R>, flight: Arc<Flight<T>>, seat: usize) -> Self {
        Self { flights, flight, seat: Some(seat), edge: None, idle: IdlePolls::default() }
    }

    /// Waits on the calling thread.
    pub fn wait(self) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        park::block_on(self, |waiter| waiter.flights.time_left(&waiter.flight))
    }

    /// Ousts the flight. Returns false if the waiter had a signal before.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn oust(mut self) -> bool
    where
        T: Clone,
    {
        let seat = self.seat.expect("the waiter has a seat");
        matches!(self.leave(seat, Waited::Moved), Waited::Moved)
    }

    /// Notes a poll. Returns whether the waiter stops waiting: the load has reached its time limit,
    /// or the waiter was polled too often while no thread worked on the load.
    fn gives_up(&mut self) -> bool {
        if cfg!(coeval_loom) {
            return false; // Models oust flights explicitly.
        }
        if self.flights.is_overdue(&self.flight) {
            return true;
        }
        let Some(work) = self.flight.idle_work() else {
            self.idle.count = 0;
            return false;
        };
        let count = if self.idle.work == work { self.idle.count } else { 0 };
        self.idle = IdlePolls { work, count: count + 1 };
        count == IDLE_POLLS
    }

    /// Leaves the seat with the result `instead`, unless the waiter has a signal.
    fn leave(&mut self, seat: usize, instead: Waited<'f, K, T, R>) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        match self.flight.leave(seat) {
            Ok(()) => {
                (self.seat, self.edge) = (None, None);
                if matches!(instead, Waited::Moved) {
                    self.flights.oust(&self.flight);
                }
                instead
            }
            Err(signal) => self.receive(signal),
        }
    }

    /// Sets the edge of the load within which the waiter waits, if there is one. Returns whether
    /// that closes a cycle.
    fn closes_cycle(&mut self) -> bool {
        let Some(from) = waits::innermost() else {
            self.edge = None; // The waiter was polled within a load before, but is elsewhere now.
            return false;
        };
        Edge::wait(&mut self.edge, from, self.flight.vertex.id())
    }

    fn receive(&mut self, signal: Signal) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        self.edge = None;
        match signal {
            Signal::Done => {
                self.seat = None;
                // SAFETY: the waiter was signaled `Done`.
                unsafe { self.flight.outcome() }.map_or(Waited::Failed, Waited::Done)
            }
            Signal::Move => {
                self.seat = None;
                Waited::Moved
            }
            Signal::Lead => Waited::Lead(self.lead()),
        }
    }

    /// Leads, after the signal to lead.
    fn lead(&mut self) -> Leader<'f, K, T, R> {
        let seat = self.seat.take().expect("a waiter is signaled to lead once");
        self.flight.leave_to_lead(seat);
        // SAFETY: the last leader has signaled this waiter to lead.
        unsafe { Leader::new(self.flights, self.flight.clone()) }
    }
}

impl<'f, K, T: Clone, R: Reclaim> Future for Waiter<'f, K, T, R> {
    type Output = Waited<'f, K, T, R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let seat = this.seat.expect("not polled after it was ready");
        if let Err(signal) = this.flight.register(seat, context.waker()) {
            return Poll::Ready(this.receive(signal));
        }
        if this.closes_cycle() {
            return Poll::Ready(this.leave(seat, Waited::Cycle));
        }
        if this.gives_up() {
            return Poll::Ready(this.leave(seat, Waited::Moved));
        }
        Poll::Pending
    }
}

impl<K, T, R: Reclaim> Drop for Waiter<'_, K, T, R> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        self.edge = None;
        if self.flight.leave(seat) == Err(Signal::Lead) && !mutant("flights.leaves_with_the_lead") {
            drop(self.lead()); // Passes the lead on.
        }
    }
}
