//! A load under way: who leads it, who waits for it, and what came of it.
//!
//! Its state is *led*, *adrift* (its leader is gone, and has not found anyone to lead), or *over*, which is
//! for good.
//! - One who comes sits down, passes a fence, and looks at the state. One who leads changes the state,
//!   passes a fence, and looks at the seats. One of the two sees the other: nobody sits in a flight that
//!   is over, or adrift, without having been seen by its last leader.
//! - *adrift → led* is a CAS: by one who has just sat down, or by the old leader, if it sees somebody.
//! - *adrift → over* is a CAS by the one who set it adrift. The state bears a number that each *adrift*
//!   raises, so that this CAS fails if others have led the flight meanwhile: what it saw of the seats is
//!   of no worth then.

use super::contain;
use super::seat::Verdict;
use super::seats::Seats;
use super::waits::Point;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicUsize, Ordering, fence};
use std::cell::UnsafeCell;
use std::task::Waker;

const LED: usize = 0;
const ADRIFT: usize = 1;
const OVER: usize = 2;
const KIND: usize = 3;
/// The number above the kind.
const NUMBER: usize = 4;

/// What came of coming to a flight.
pub(super) enum Came {
    /// The caller waits, in this seat.
    Sits(usize),
    /// The caller leads.
    Leads,
    /// The flight is over.
    Late,
}

/// What came of setting a flight adrift.
pub(super) enum Drifted {
    /// The flight is over.
    Over,
    /// Another leads it.
    Led,
    /// The caller leads it again, since somebody waits.
    Awaited,
}

/// See the module's header.
pub(super) struct Flight<T> {
    state: AtomicUsize,
    seats: Seats,
    outcome: UnsafeCell<Option<T>>,
    /// Where it is in the graph of waits.
    pub(super) point: Point,
}

// SAFETY: the outcome is written by the one who leads, before it tells anybody, and from then on only
// read, by all who were told; whoever has the flight last drops it.
unsafe impl<T: Send + Sync> Sync for Flight<T> {}

impl<T> Flight<T> {
    /// A flight that its maker leads.
    pub(super) fn new() -> Self {
        Self {
            state: AtomicUsize::new(LED),
            seats: Seats::new(),
            outcome: UnsafeCell::new(None),
            point: Point::new(),
        }
    }

    /// Joins a flight.
    pub(super) fn come(&self) -> Came {
        // Acquire: pairs with those who change the state, for what is done before it is over.
        let look = || self.state.load(Ordering::Acquire);
        let early = mutant("flights.lost_wakeup").then(look);
        let seat = self.seats.take();
        step("flights.seated");
        // Pairs with the fences in `end` and `drift`: they see the seat, or we their state.
        fence(Ordering::SeqCst);
        let mut state = early.unwrap_or_else(look);
        loop {
            match state & KIND {
                // Whoever changes it, from now on, sees the seat.
                LED => return Came::Sits(seat),
                ADRIFT if self.take_lead(state) => {
                    let left = self.seats.leave(seat);
                    debug_assert!(left.is_ok(), "nobody tells anything, for we lead");
                    return Came::Leads;
                }
                ADRIFT => state = look(),
                // If it cannot leave, it has been seen, and told.
                _ => return self.seats.leave(seat).map_or(Came::Sits(seat), |()| Came::Late),
            }
        }
    }

    /// Takes the lead of a flight that is adrift. False if another did, or it is over.
    fn take_lead(&self, adrift: usize) -> bool {
        let led = adrift - ADRIFT + LED;
        // Acquire: pairs with `drift`: what the last leader left is ours.
        self.state.compare_exchange(adrift, led, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// See [`Seats::register`].
    pub(super) fn register(&self, seat: usize, waker: &Waker) -> Result<(), Verdict> {
        self.seats.register(seat, waker)
    }

    /// A waiter leaves, unless it has been told something.
    pub(super) fn leave(&self, seat: usize) -> Result<(), Verdict> {
        self.seats.leave(seat)
    }

    /// A waiter that was told to lead leaves its seat.
    pub(super) fn leave_to_lead(&self, seat: usize) {
        self.seats.leave_to_lead(seat);
    }

    /// Tells one who waits to lead. True if the caller leads no more.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn hand_over(&self) -> bool {
        step("flights.hand_over");
        !mutant("flights.no_handover") && self.seats.tell_one_to_lead()
    }

    /// The leader gives the lead away without having found anyone to take it, and looks again.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn drift(&self) -> Drifted {
        // Relaxed: only those who lead change it, and who led before has passed it on.
        let led = self.state.load(Ordering::Relaxed);
        let adrift =
            if mutant("flights.unnumbered") { ADRIFT } else { led + NUMBER + ADRIFT - LED };
        // Release: pairs with `take_lead`.
        self.state.store(adrift, Ordering::Release);
        step("flights.adrift");
        fence(Ordering::SeqCst); // Pairs with `come`.
        if self.seats.is_any_waiting() && !mutant("flights.no_handover") {
            return if self.take_lead(adrift) { Drifted::Awaited } else { Drifted::Led };
        }
        step("flights.deserted");
        // Release: pairs with `come`. Relaxed on failure: another leads.
        let over =
            self.state.compare_exchange(adrift, OVER, Ordering::Release, Ordering::Relaxed).is_ok();
        if over { Drifted::Over } else { Drifted::Led }
    }

    /// The flight is over. Those who wait are to be told.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn end(&self, outcome: T) {
        // SAFETY: only the leader writes, and nobody reads before it is told.
        unsafe { *self.outcome.get() = Some(outcome) };
        step("flights.outcome");
        // Release: pairs with `come`. What waiters read, they read after the verdict in their seat.
        self.state.store(OVER, Ordering::Release);
        fence(Ordering::SeqCst); // Pairs with `come`.
        step("flights.over");
    }

    /// Tells those who wait that the outcome is there.
    pub(super) fn tell_all(&self) {
        self.seats.tell_all();
    }

    /// A clone of the outcome.
    ///
    /// # Safety
    /// The caller ended the flight, or was told `Done`.
    pub(super) unsafe fn outcome(&self) -> T
    where
        T: Clone,
    {
        // SAFETY: written before the flight was over, and nobody writes it any more.
        let outcome = unsafe { &*self.outcome.get() };
        outcome.clone().expect("there is one if one is told so")
    }

    /// The outcome, of one who has the flight alone.
    pub(super) fn into_outcome(mut self) -> Option<T> {
        self.outcome.get_mut().take()
    }

    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        // A user's code; it may run in another caller's wait.
        contain(|| drop(self.outcome.get_mut().take()));
    }
}
