//! The seats of a flight. Their number is at most a few times the largest number of callers that
//! waited at the same time, because a new waiter tries some vacant seats before it takes a new one.

use super::contain;
use super::seat::{Delivery, Seat, Signal};
use crate::sync::segmented::SegmentedArray;
use crate::sync::{AtomicUsize, Ordering};
use std::task::Waker;

/// The number of seats that a new waiter tries.
const TRIES: usize = 8;

/// All seats of a flight. The numbers order nothing, so they are Relaxed; `Flight::join` and the
/// leader pass fences where the order matters.
pub(super) struct Seats {
    seats: SegmentedArray<Seat>,
    /// Seats below this number have been issued.
    issued: AtomicUsize,
    /// The approximate number of vacant seats among them.
    vacant: AtomicUsize,
    /// Where a new waiter begins its search for a vacant seat.
    search_start: AtomicUsize,
    /// Where the search for the next leader begins. So the next leader is, approximately, the
    /// waiter that has waited longest.
    lead_start: AtomicUsize,
}

impl Seats {
    pub(super) fn new() -> Self {
        Self {
            seats: SegmentedArray::new(),
            issued: AtomicUsize::new(0),
            vacant: AtomicUsize::new(0),
            search_start: AtomicUsize::new(0),
            lead_start: AtomicUsize::new(0),
        }
    }

    fn seat(&self, number: usize) -> &Seat {
        self.seats.get(number).expect("a seat that a waiter has taken exists")
    }

    /// Takes a seat. Returns its number.
    pub(super) fn take(&self) -> usize {
        if let Some(number) = self.take_vacant() {
            return number;
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        self.seats.get_or_make(number).take_new();
        number
    }

    fn take_vacant(&self) -> Option<usize> {
        if self.vacant.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let issued = self.issued.load(Ordering::Relaxed);
        // A position, because a running count modulo `issued` would jump as seats are added.
        // Several threads may try the same seats.
        let from = self.search_start.load(Ordering::Relaxed);
        for number in (0..TRIES.min(issued)).map(|step| (from + step) % issued) {
            self.search_start.store(number + 1, Ordering::Relaxed);
            if self.seats.get(number).is_some_and(Seat::take_vacant) {
                self.vacant.fetch_sub(1, Ordering::Relaxed);
                return Some(number);
            }
        }
        None
    }

    fn count_vacant(&self, is_vacant: bool) {
        if is_vacant {
            self.vacant.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// See [`Seat::register`].
    pub(super) fn register(&self, number: usize, waker: &Waker) -> Result<(), Signal> {
        self.seat(number).register(waker)
    }

    /// See [`Seat::leave`].
    pub(super) fn leave(&self, number: usize) -> Result<(), Signal> {
        let left = self.seat(number).leave();
        self.count_vacant(left.is_ok());
        left
    }

    /// See [`Seat::leave_to_lead`].
    pub(super) fn leave_to_lead(&self, number: usize) {
        self.count_vacant(self.seat(number).leave_to_lead());
    }

    /// Returns whether any waiter has no signal yet.
    pub(super) fn is_any_waiting(&self) -> bool {
        let issued = self.issued.load(Ordering::Relaxed);
        (0..issued).filter_map(|number| self.seats.get(number)).any(Seat::is_waiting)
    }

    /// Counts the waiters that have no signal yet.
    pub(super) fn waiting(&self) -> usize {
        let issued = self.issued.load(Ordering::Relaxed);
        let seats = (0..issued).filter_map(|number| self.seats.get(number));
        seats.filter(|seat| seat.is_waiting()).count()
    }

    /// Signals one waiter to lead. Returns false if there is no waiter.
    pub(super) fn signal_one_to_lead(&self) -> bool {
        let issued = self.issued.load(Ordering::Relaxed);
        let start = self.lead_start.load(Ordering::Relaxed);
        for number in (0..issued).map(|step| (start + step) % issued) {
            // Stored before the signal, because the next leader may read it at once.
            self.lead_start.store(number + 1, Ordering::Relaxed);
            if self.signal(number, Signal::Lead) {
                return true;
            }
        }
        false
    }

    /// Gives all waiters the same signal, which is not [`Signal::Lead`].
    pub(super) fn signal_all(&self, signal: Signal) {
        for number in 0..self.issued.load(Ordering::Relaxed) {
            self.signal(number, signal);
        }
    }

    fn signal(&self, number: usize, signal: Signal) -> bool {
        let Some(seat) = self.seats.get(number) else { return false };
        let Delivery::Delivered { waker, is_vacated } = seat.signal(signal) else { return false };
        self.count_vacant(is_vacated);
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
        true
    }

    /// Returns the number of issued seats.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn len(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }

    /// Counts the waiters that have left a waker.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn asleep(&self) -> usize {
        (0..self.len())
            .filter_map(|number| self.seats.get(number))
            .filter(|seat| seat.is_asleep())
            .count()
    }
}
