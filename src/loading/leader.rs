//! The one who loads.

use super::flight::{Drifted, Flight};
use super::registry::Node;
use super::waits::{self, Edge};
use super::{Flights, Spot};
use crate::reclaim::Reclaim;
use crate::sync::hook::is_torn_down;
use std::sync::Arc;

/// The caller that loads a key, for itself and all who wait.
///
/// It ends the load with [`share`](Self::share). Dropped without, because the
/// load has failed, panicked or been cancelled, it tells the one that waits longest, about, to lead in its place; if
/// nobody waits, the next caller will.
#[must_use = "who waits is told to lead when it is dropped"]
pub struct Leader<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    /// Taken when it leads no more.
    flight: Option<Arc<Flight<T>>>,
    spot: Spot<K, T>,
    /// That the load within which this one was begun waits for this one.
    within: Option<Edge>,
}

impl<'f, K, T, R: Reclaim> Leader<'f, K, T, R> {
    /// # Safety
    /// The caller leads `flight`, whose node is at `spot`.
    pub(super) unsafe fn new(
        flights: &'f Flights<K, T, R>,
        flight: Arc<Flight<T>>,
        spot: Spot<K, T>,
    ) -> Self {
        Self { flights, flight: Some(flight), spot, within: None }
    }

    /// The key to load.
    #[cfg(any(test, coeval_loom))]
    pub fn key(&self) -> &K {
        self.node().key()
    }

    fn node(&self) -> &Node<K, T> {
        // SAFETY: in the registry until the flight is over, which it is not while it is led.
        unsafe { self.spot.node() }
    }

    fn flight(&self) -> &Flight<T> {
        self.flight.as_ref().expect("it leads")
    }

    /// Runs a part of the load: all of it, or a poll of the future that does it. What is waited for in
    /// there is waited for on behalf of this load, so that a circle is found (see [`Waited::Cycle`]).
    ///
    /// [`Waited::Cycle`]: super::Waited::Cycle
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let me = self.flight().point.name();
        let scope = waits::enter(me);
        if let Some(outer) = scope.outer {
            Edge::set(&mut self.within, outer, me);
        }
        load()
    }

    /// Ends the load: all who wait get a clone of `outcome`.
    #[cfg(any(test, coeval_loom))]
    pub fn finish(mut self, outcome: T) {
        self.end(outcome);
    }

    /// Ends the load: all who wait get a clone of `outcome`, and the caller itself, if nobody waits, or a clone.
    pub fn share(mut self, outcome: T) -> T
    where
        T: Clone,
    {
        let flight = self.end(outcome);
        match Arc::try_unwrap(flight) {
            Ok(flight) => flight.into_outcome().expect("just put in"),
            // SAFETY: we ended the flight.
            Err(flight) => unsafe { flight.outcome() },
        }
    }

    fn end(&mut self, outcome: T) -> Arc<Flight<T>> {
        self.leave_graph();
        let section = self.flights.registry.pin();
        // SAFETY: we lead.
        unsafe { self.flight().end(outcome) };
        // Pinned before the flight was over, so the node is not freed yet, whoever takes it out.
        section.remove(self.node());
        drop(section);
        let flight = self.flight.take().expect("it leads");
        flight.tell_all();
        self.flights.registry.collect();
        flight
    }

    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn seats(&self) -> &super::seats::Seats {
        self.flight().seats()
    }

    fn leave_graph(&mut self) {
        self.within = None;
        self.flight().point.clear();
    }
}

impl<K, T, R: Reclaim> Drop for Leader<'_, K, T, R> {
    fn drop(&mut self) {
        if self.flight.is_none() {
            return;
        }
        if is_torn_down() {
            return std::mem::forget((self.within.take(), self.flight.take()));
        }
        self.leave_graph();
        loop {
            let flight = self.flight();
            // SAFETY: we lead, until one of these says otherwise.
            if unsafe { flight.hand_over() } {
                return;
            }
            let section = self.flights.registry.pin();
            // SAFETY: as above.
            match unsafe { flight.drift() } {
                Drifted::Awaited => {}
                Drifted::Led => return,
                Drifted::Over => {
                    section.remove(self.node()); // As in `end`.
                    drop(section);
                    return self.flights.registry.collect();
                }
            }
        }
    }
}
