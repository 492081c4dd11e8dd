//! The leader: the caller that loads.

use super::Flights;
use super::flight::{DriftOutcome, Flight};
use super::waits::{self, Edge};
use crate::reclaim::Reclaim;
use crate::sync::hook::is_torn_down;
use std::sync::Arc;

/// The caller that loads a key, for itself and for all waiters.
///
/// The leader ends the load with [`share`](Self::share). If it is dropped instead, there are two
/// cases:
/// - The load has failed: the leader was [set to fail](Self::set_failing), or the load panicked. If
///   the [rules](super::LoadRules) report failures, the load ends and all waiters are told so.
/// - The load was cancelled, or the rules do not report failures. The waiter that has waited
///   longest, approximately, is signaled to lead. Without a waiter, the next caller leads.
#[must_use = "dropping it signals a waiter to lead"]
pub struct Leader<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    /// `None` once the leader leads no more.
    flight: Option<Arc<Flight<T>>>,
    /// The edge to this flight from the load within which it was begun.
    outer_edge: Option<Edge>,
}

impl<'f, K, T, R: Reclaim> Leader<'f, K, T, R> {
    /// Creates the leader of `flight`.
    ///
    /// # Safety
    /// The caller leads `flight`.
    pub(super) unsafe fn new(flights: &'f Flights<K, T, R>, flight: Arc<Flight<T>>) -> Self {
        flight.note_begin(flights.now());
        Self { flights, flight: Some(flight), outer_edge: None }
    }

    /// Returns the key to load. The flight must not be ousted.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn key(&self) -> &K {
        let node = self.flight().node().cast::<super::registry::FlightNode<K, T>>();
        // SAFETY: the node is in the registry until the flight is over or ousted, and it is
        // neither.
        unsafe { node.as_ref() }.expect("the flight is not ousted").key()
    }

    fn flight(&self) -> &Flight<T> {
        self.flight.as_ref().expect("this caller leads")
    }

    /// Runs a part of the load: all of it, or one poll of the future that loads. Waits within
    /// `load` are waits on behalf of this load, so that cycles are found (see [`Waited::Cycle`]).
    ///
    /// [`Waited::Cycle`]: super::Waited::Cycle
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let flight = self.flight();
        flight.note_work(true);
        if self.flights.rules.tells_failures {
            flight.set_failing(true); // In case `load` panics.
        }
        let vertex = flight.vertex.id();
        let scope = waits::enter(vertex);
        match scope.outer {
            Some(outer) => Edge::set(&mut self.outer_edge, outer, vertex),
            None => self.outer_edge = None, // It was begun within a load, but is elsewhere now.
        }
        let loaded = load();
        let flight = self.flight();
        if self.flights.rules.tells_failures {
            flight.set_failing(false);
        }
        flight.note_work(false);
        loaded
    }

    /// Notes that the loader has ended. If the leader is dropped from now on, the load counts as
    /// failed. A second call, with false, takes that back.
    pub fn set_failing(&self, is_failing: bool) {
        self.flight().note_work(true);
        self.flight().set_failing(is_failing && self.flights.rules.tells_failures);
    }

    /// Ends a load that has failed. By the [rules](super::LoadRules), all waiters are told so, or
    /// one of them is signaled to lead.
    #[cfg(all(test, not(coeval_loom)))]
    pub fn fail(self) {
        self.set_failing(true);
    }

    /// Hands the load out: it begins later, unless a caller wants the key before. Returns `None` if
    /// a waiter wants it already.
    pub fn hand_out(mut self) -> Option<HandedOut<'f, K, T, R>> {
        self.leave_graph();
        let flight = self.flight.take().expect("this caller leads");
        // SAFETY: this caller leads.
        let state = unsafe { flight.hand_out() }?;
        Some(HandedOut { flights: self.flights, flight, state })
    }

    /// Ends the load. All waiters get a clone of `outcome`.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn finish(mut self, outcome: T) {
        self.end(Some(outcome));
    }

    /// Ends the load. All waiters get a clone of `outcome`. The caller gets a clone too, or, if
    /// there is no waiter, `outcome` itself.
    pub fn share(mut self, outcome: T) -> T
    where
        T: Clone,
    {
        let flight = self.end(Some(outcome));
        let outcome = match Arc::try_unwrap(flight) {
            Ok(flight) => flight.into_outcome(),
            // SAFETY: this caller ended the flight.
            Err(flight) => unsafe { flight.outcome() },
        };
        outcome.expect("the flight ended with an outcome")
    }

    fn end(&mut self, outcome: Option<T>) -> Arc<Flight<T>> {
        self.leave_graph();
        let section = self.flights.registry.pin();
        // SAFETY: this caller leads.
        unsafe { self.flight().end(outcome) };
        // SAFETY: the section began before the flight was over.
        unsafe { section.remove_flight(self.flight()) };
        drop(section);
        let flight = self.flight.take().expect("this caller leads");
        flight.signal_done();
        self.flights.registry.collect();
        flight
    }

    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn seats(&self) -> &super::seats::Seats {
        self.flight().seats()
    }

    fn leave_graph(&mut self) {
        self.outer_edge = None;
        self.flight().vertex.clear();
    }
}

impl<K, T, R: Reclaim> Drop for Leader<'_, K, T, R> {
    fn drop(&mut self) {
        if self.flight.is_none() {
            return;
        }
        if is_torn_down() {
            return std::mem::forget((self.outer_edge.take(), self.flight.take()));
        }
        if self.flights.rules.tells_failures && self.flight().is_failing() {
            return drop(self.end(None));
        }
        self.leave_graph();
        loop {
            let flight = self.flight();
            // SAFETY: this caller leads, until `hand_over` or `set_adrift` says otherwise.
            if unsafe { flight.hand_over() } {
                return;
            }
            let section = self.flights.registry.pin();
            // SAFETY: as above.
            match unsafe { flight.set_adrift() } {
                DriftOutcome::Awaited => {}
                DriftOutcome::Led => return,
                DriftOutcome::Over => {
                    // SAFETY: the section began before the flight was over.
                    unsafe { section.remove_flight(self.flight()) };
                    drop(section);
                    return self.flights.registry.collect();
                }
            }
        }
    }
}

/// The right to begin a load that was handed out, until another caller takes it over. If it is
/// dropped, the next caller may load.
#[must_use = "the load does not begin by itself"]
pub struct HandedOut<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    flight: Arc<Flight<T>>,
    /// The state of the flight by which the load begins.
    state: usize,
}

impl<'f, K, T, R: Reclaim> HandedOut<'f, K, T, R> {
    /// Begins the load. Returns `None` if another caller has taken it over.
    pub fn begin(self) -> Option<Leader<'f, K, T, R>> {
        self.lead() // The drop that follows cannot lead again, because the state has changed.
    }

    fn lead(&self) -> Option<Leader<'f, K, T, R>> {
        let leads = self.flight.begin(self.state);
        // SAFETY: `begin` returned true, so this caller leads.
        leads.then(|| unsafe { Leader::new(self.flights, self.flight.clone()) })
    }
}

impl<K, T, R: Reclaim> Drop for HandedOut<'_, K, T, R> {
    fn drop(&mut self) {
        drop(self.lead()); // Passes the lead on.
    }
}
