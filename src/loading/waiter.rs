//! One who waits.

use super::flight::Flight;
use super::seat::Verdict;
use super::waits::{self, Edge};
use super::{Flights, Leader, Spot};
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use crate::sync::park;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A caller that waits for another's load of the same key, on its thread ([`wait`](Self::wait)) or as a
/// future. Dropped, it waits no more; if it had been told to lead, it passes that on.
#[must_use = "it waits for nothing when it is dropped"]
pub struct Waiter<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    flight: Arc<Flight<T>>,
    spot: Spot<K, T>,
    /// Taken when it has left.
    seat: Option<usize>,
    /// That the load within which it waits waits for this flight.
    edge: Option<Edge>,
}

/// What came of waiting.
pub enum Waited<'f, K, T, R: Reclaim> {
    /// The load's outcome.
    Done(T),
    /// Who led is gone, and the caller leads now.
    Lead(Leader<'f, K, T, R>),
    /// The load that is waited for itself waits, perhaps through others, for the load within which
    /// this wait is: none of them would ever end. The caller waits no more.
    Cycle,
}

impl<'f, K, T, R: Reclaim> Waiter<'f, K, T, R> {
    pub(super) fn new(
        flights: &'f Flights<K, T, R>,
        flight: Arc<Flight<T>>,
        spot: Spot<K, T>,
        seat: usize,
    ) -> Self {
        Self { flights, flight, spot, seat: Some(seat), edge: None }
    }

    /// Waits on the calling thread.
    pub fn wait(self) -> Waited<'f, K, T, R>
    where
        T: Clone,
    {
        park::block_on(self)
    }

    /// Says on whose behalf it waits, if it is within a load. Whether that closes a circle.
    fn closes_circle(&mut self) -> bool {
        let Some(from) = waits::innermost() else { return false };
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
                Waited::Done(unsafe { self.flight.outcome() })
            }
            Verdict::Lead => Waited::Lead(self.lead()),
        }
    }

    /// It was told to lead.
    fn lead(&mut self) -> Leader<'f, K, T, R> {
        let seat = self.seat.take().expect("told once");
        self.flight.leave_to_lead(seat);
        // SAFETY: whoever led has told us to.
        unsafe { Leader::new(self.flights, self.flight.clone(), self.spot.clone()) }
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
        if !this.closes_circle() {
            return Poll::Pending;
        }
        Poll::Ready(match this.flight.leave(seat) {
            Ok(()) => {
                (this.seat, this.edge) = (None, None);
                Waited::Cycle
            }
            Err(verdict) => this.told(verdict),
        })
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
