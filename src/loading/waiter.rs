//! One who waits.

use super::flight::Flight;
use super::seat::Verdict;
use super::waits::{self, Edge};
use super::{Flights, Leader};
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use crate::sync::park;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// So often a waiter is asked for nothing, while nobody is at work on the load, before it waits no longer. Whoever asks
/// so often is no executor that goes by wakers.
const PATIENCE: u32 = 1_000;

/// A caller that waits for another's load of the same key, on its thread ([`wait`](Self::wait)) or as a
/// future. Dropped, it waits no more; if it had been told to lead, it passes that on.
#[must_use = "it waits for nothing when it is dropped"]
pub struct Waiter<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    flight: Arc<Flight<T>>,
    /// Taken when it has left.
    seat: Option<usize>,
    /// That the load within which it waits waits for this flight.
    edge: Option<Edge>,
    /// How often the load had been gone on with when it was let be, and how often this was asked since then.
    asked: (u32, u32),
}

/// What came of waiting.
pub enum Waited<'f, K, T, R: Reclaim> {
    /// The load's outcome.
    Done(T),
    /// The load has failed, and there is nobody else who loads.
    Failed,
    /// It has taken too long. The caller, or another, has ousted it: who joins now joins another.
    Moved,
    /// Who led is gone, and the caller leads now.
    Lead(Leader<'f, K, T, R>),
    /// The load that is waited for itself waits, perhaps through others, for the load within which
    /// this wait is: none of them would ever end. The caller waits no more.
    Cycle,
}

impl<'f, K, T, R: Reclaim> Waiter<'f, K, T, R> {
    pub(super) fn new(flights: &'f Flights<K, T, R>, flight: Arc<Flight<T>>, seat: usize) -> Self {
        Self { flights, flight, seat: Some(seat), edge: None, asked: (0, 0) }
    }

    /// Waits on the calling thread.
    pub fn wait(self) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        park::block_on(self, |waiter| waiter.flights.rest(&waiter.flight))
    }

    /// Waits no longer, and has nobody else do so. False if it was told something before.
    #[cfg(any(test, coeval_loom))]
    pub fn oust(mut self) -> bool
    where
        T: Clone,
    {
        let seat = self.seat.expect("it waits");
        matches!(self.leave(seat, Waited::Moved), Waited::Moved)
    }

    /// Whether it is not to wait any longer.
    fn is_tired(&mut self) -> bool {
        if cfg!(coeval_loom) {
            return false; // Models oust by themselves.
        }
        if self.flights.is_overdue(&self.flight) {
            return true;
        }
        let Some(work) = self.flight.let_be() else {
            self.asked.1 = 0;
            return false;
        };
        let asked = if self.asked.0 == work { self.asked.1 } else { 0 };
        self.asked = (work, asked + 1);
        asked == PATIENCE
    }

    /// Leaves its seat for `instead`, unless it was told something.
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
            Err(verdict) => self.told(verdict),
        }
    }

    /// Says on whose behalf it waits, if it is within a load. Whether that closes a circle.
    fn closes_circle(&mut self) -> bool {
        let Some(from) = waits::innermost() else {
            self.edge = None; // It was asked within a load, and is elsewhere now.
            return false;
        };
        Edge::wait(&mut self.edge, from, self.flight.point.name())
    }

    fn told(&mut self, verdict: Verdict) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        self.edge = None;
        match verdict {
            Verdict::Done => {
                self.seat = None;
                // SAFETY: told so.
                unsafe { self.flight.outcome() }.map_or(Waited::Failed, Waited::Done)
            }
            Verdict::Move => {
                self.seat = None;
                Waited::Moved
            }
            Verdict::Lead => Waited::Lead(self.lead()),
        }
    }

    /// It was told to lead.
    fn lead(&mut self) -> Leader<'f, K, T, R> {
        let seat = self.seat.take().expect("told once");
        self.flight.leave_to_lead(seat);
        // SAFETY: whoever led has told us to.
        unsafe { Leader::new(self.flights, self.flight.clone()) }
    }
}

impl<'f, K, T: Clone, R: Reclaim> Future for Waiter<'f, K, T, R> {
    type Output = Waited<'f, K, T, R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let seat = this.seat.expect("not polled after it was ready");
        if let Err(verdict) = this.flight.register(seat, context.waker()) {
            return Poll::Ready(this.told(verdict));
        }
        if this.closes_circle() {
            return Poll::Ready(this.leave(seat, Waited::Cycle));
        }
        if this.is_tired() {
            return Poll::Ready(this.leave(seat, Waited::Moved));
        }
        Poll::Pending
    }
}

impl<K, T, R: Reclaim> Drop for Waiter<'_, K, T, R> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        self.edge = None;
        if self.flight.leave(seat) == Err(Verdict::Lead) && !mutant("flights.leaves_with_the_lead")
        {
            drop(self.lead()); // Passes it on.
        }
    }
}
