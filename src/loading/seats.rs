//! The seats of a flight. There are as many as ever waited in it at the same time, or a few times that:
//! one who comes looks at some of those that others have left before it takes a new one.

use super::contain;
use super::seat::{Seat, Told, Verdict};
use crate::sync::segmented::SegmentedArray;
use crate::sync::{AtomicUsize, Ordering};
use std::task::Waker;

/// How many seats one who comes looks at for a vacant one.
const LOOK: usize = 8;

/// All of a flight's seats. Its numbers order nothing: they are Relaxed, and `Flight::sit` and the one
/// who leads pass fences where it matters.
pub(super) struct Seats {
    seats: SegmentedArray<Seat>,
    /// Seats below this were given out.
    given: AtomicUsize,
    /// How many of them are vacant, about.
    vacant: AtomicUsize,
    /// Where one who comes looks for them.
    hand: AtomicUsize,
    /// Where the next to lead is looked for, so that it is the one that waits longest, about.
    turn: AtomicUsize,
}

impl Seats {
    pub(super) fn new() -> Self {
        Self {
            seats: SegmentedArray::new(),
            given: AtomicUsize::new(0),
            vacant: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// A waiter's seat.
    fn of(&self, number: usize) -> &Seat {
        self.seats.get(number).expect("taken, hence made")
    }

    /// Takes a seat.
    pub(super) fn take(&self) -> usize {
        if let Some(number) = self.take_vacant() {
            return number;
        }
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        self.seats.get_or_make(number).take_new();
        number
    }

    fn take_vacant(&self) -> Option<usize> {
        if self.vacant.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let given = self.given.load(Ordering::Relaxed);
        // A place and not a count, which would jump about as the seats become more. Others may look at the
        // same ones meanwhile.
        let from = self.hand.load(Ordering::Relaxed);
        for number in (0..LOOK.min(given)).map(|step| (from + step) % given) {
            self.hand.store(number + 1, Ordering::Relaxed);
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
    pub(super) fn register(&self, number: usize, waker: &Waker) -> Result<(), Verdict> {
        self.of(number).register(waker)
    }

    /// See [`Seat::leave`].
    pub(super) fn leave(&self, number: usize) -> Result<(), Verdict> {
        let left = self.of(number).leave();
        self.count_vacant(left.is_ok());
        left
    }

    /// See [`Seat::leave_to_lead`].
    pub(super) fn leave_to_lead(&self, number: usize) {
        self.count_vacant(self.of(number).leave_to_lead());
    }

    /// Whether anybody waits.
    pub(super) fn is_any_waiting(&self) -> bool {
        let given = self.given.load(Ordering::Relaxed);
        (0..given).filter_map(|number| self.seats.get(number)).any(Seat::is_waiting)
    }

    /// Tells one waiter to lead. False if nobody waits.
    pub(super) fn tell_one_to_lead(&self) -> bool {
        let given = self.given.load(Ordering::Relaxed);
        let turn = self.turn.load(Ordering::Relaxed);
        for number in (0..given).map(|step| (turn + step) % given) {
            // Before the next one leads, who may look at it.
            self.turn.store(number + 1, Ordering::Relaxed);
            if self.tell(number, Verdict::Lead) {
                return true;
            }
        }
        false
    }

    /// Tells all waiters the same, which is not to lead.
    pub(super) fn tell_all(&self, verdict: Verdict) {
        for number in 0..self.given.load(Ordering::Relaxed) {
            self.tell(number, verdict);
        }
    }

    fn tell(&self, number: usize, verdict: Verdict) -> bool {
        let Some(seat) = self.seats.get(number) else { return false };
        let Told::Now(waker, is_vacant) = seat.tell(verdict) else { return false };
        self.count_vacant(is_vacant);
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
        true
    }

    /// How many seats there are.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn len(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }

    /// How many have left a waker in theirs.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn asleep(&self) -> usize {
        (0..self.len())
            .filter_map(|number| self.seats.get(number))
            .filter(|seat| seat.is_asleep())
            .count()
    }
}
