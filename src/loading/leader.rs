//! The one who loads.

use super::Flights;
use super::flight::{Drifted, Flight};
use super::waits::{self, Edge};
use crate::reclaim::Reclaim;
use crate::sync::hook::is_torn_down;
use std::sync::Arc;

/// The caller that loads a key, for itself and all who wait.
///
/// It ends the load with [`share`](Self::share). Dropped after it was [said to fail](Self::set_failing), or by a panic
/// in the load, it ends it, too, and all who wait are told, if the [rules](super::Rules) say so. Else, because the load was
/// cancelled, it tells the one that waits longest, about, to lead in its place; if nobody waits, the next
/// caller will.
#[must_use = "who waits is told to lead when it is dropped"]
pub struct Leader<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    /// Taken when it leads no more.
    flight: Option<Arc<Flight<T>>>,
    /// That the load within which this one was begun waits for this one.
    within: Option<Edge>,
}

impl<'f, K, T, R: Reclaim> Leader<'f, K, T, R> {
    /// # Safety
    /// The caller leads `flight`.
    pub(super) unsafe fn new(flights: &'f Flights<K, T, R>, flight: Arc<Flight<T>>) -> Self {
        flight.note_begin(flights.now());
        Self { flights, flight: Some(flight), within: None }
    }

    /// The key to load, of a flight that nobody ousts.
    #[cfg(any(test, coeval_loom))]
    pub fn key(&self) -> &K {
        let node = self.flight().node().cast::<super::registry::Node<K, T>>();
        // SAFETY: in the registry until the flight is over, or ousted, which it is not.
        unsafe { node.as_ref() }.expect("not ousted").key()
    }

    fn flight(&self) -> &Flight<T> {
        self.flight.as_ref().expect("it leads")
    }

    /// Runs a part of the load: all of it, or a poll of the future that does it. What is waited for in
    /// there is waited for on behalf of this load, so that a circle is found (see [`Waited::Cycle`]).
    ///
    /// [`Waited::Cycle`]: super::Waited::Cycle
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let flight = self.flight();
        flight.note_work(true);
        if self.flights.rules.tells_failures {
            flight.set_failing(true);
        }
        let me = flight.point.name();
        let scope = waits::enter(me);
        match scope.outer {
            Some(outer) => Edge::set(&mut self.within, outer, me),
            None => self.within = None, // It was begun within a load, and goes on elsewhere.
        }
        let loaded = load();
        let flight = self.flight();
        if self.flights.rules.tells_failures {
            flight.set_failing(false);
        }
        flight.note_work(false);
        loaded
    }

    /// The loader has come to its end. If it is dropped from now on, the load has failed; or not, by a second call.
    pub fn set_failing(&self, is_failing: bool) {
        self.flight().note_work(true);
        self.flight().set_failing(is_failing && self.flights.rules.tells_failures);
    }

    #[cfg(all(test, not(coeval_loom)))]
    /// Ends the load, which has failed: all who wait are told so, or one of them to lead, as the flights were
    /// [set up](super::Rules).
    pub fn fail(self) {
        self.set_failing(true);
    }

    /// The load will be begun later, unless somebody wants the key before.
    pub fn hand_out(mut self) -> Option<Handed<'f, K, T, R>> {
        self.leave_graph();
        let flight = self.flight.take().expect("it leads");
        // SAFETY: we lead.
        let number = unsafe { flight.hand_out() }?;
        Some(Handed { flights: self.flights, flight, number })
    }

    /// Ends the load: all who wait get a clone of `outcome`.
    #[cfg(any(test, coeval_loom))]
    pub fn finish(mut self, outcome: T) {
        self.end(Some(outcome));
    }

    /// Ends the load: all who wait get a clone of `outcome`, and the caller itself, if nobody waits, or a clone.
    pub fn share(mut self, outcome: T) -> T
    where
        T: Clone,
    {
        let flight = self.end(Some(outcome));
        let outcome = match Arc::try_unwrap(flight) {
            Ok(flight) => flight.into_outcome(),
            // SAFETY: we ended the flight.
            Err(flight) => unsafe { flight.outcome() },
        };
        outcome.expect("just put in")
    }

    fn end(&mut self, outcome: Option<T>) -> Arc<Flight<T>> {
        self.leave_graph();
        let section = self.flights.registry.pin();
        // SAFETY: we lead.
        unsafe { self.flight().end(outcome) };
        // SAFETY: pinned before the flight was over.
        unsafe { section.remove_flight(self.flight()) };
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
        if self.flights.rules.tells_failures && self.flight().is_failing() {
            return drop(self.end(None));
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
                    // SAFETY: as in `end`.
                    unsafe { section.remove_flight(self.flight()) };
                    drop(section);
                    return self.flights.registry.collect();
                }
            }
        }
    }
}

/// The right to begin a load, as long as nobody has taken it over. Dropped, it is for the next who comes.
#[must_use = "nobody loads before somebody begins"]
pub struct Handed<'f, K, T, R: Reclaim> {
    flights: &'f Flights<K, T, R>,
    flight: Arc<Flight<T>>,
    number: usize,
}

impl<'f, K, T, R: Reclaim> Handed<'f, K, T, R> {
    /// Begins. `None` if somebody else has.
    pub fn begin(self) -> Option<Leader<'f, K, T, R>> {
        self.lead() // Once: the number is of no use again.
    }

    fn lead(&self) -> Option<Leader<'f, K, T, R>> {
        let leads = self.flight.begin(self.number);
        // SAFETY: just told so.
        leads.then(|| unsafe { Leader::new(self.flights, self.flight.clone()) })
    }
}

impl<K, T, R: Reclaim> Drop for Handed<'_, K, T, R> {
    fn drop(&mut self) {
        drop(self.lead()); // Passes it on.
    }
}
