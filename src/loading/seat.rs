//! A seat: one waiter's place in a flight. The waiter leaves its waker there, and receives its
//! signal there.
//!
//! | word | meaning | owner of the waker's cell |
//! |---|---|---|
//! | `NEW` | never used | the thread that takes the seat |
//! | `VACANT` | its waiter has left | no thread |
//! | `OWNED` | a waiter sits here, and runs | the waiter |
//! | `SET` | a waiter sits here, with its waker in the cell | the thread that changes the word |
//! | `DONE` | the load is over | the sender if it found `SET`, otherwise the waiter |
//! | `MOVE` | the waiter looks for another load | as for `DONE` |
//! | `LEAD` | the waiter leads | the waiter |
//! | `LEAD_WAKING` | as `LEAD`, while the sender takes the waker out | the sender |
//! | `LEAD_LEFT` | as `LEAD_WAKING`, but the waiter has left | the sender, which stores `VACANT` |
//!
//! `DONE`, `MOVE` and the three `LEAD` words are signals. The *sender* is the thread that gives the
//! signal.
//!
//! One word holds both the signal and the ownership of the cell. So a waiter sees a signal as soon
//! as it is given, even if the sender stops before it wakes anyone. With a separate slot
//! for the waker (such as the `atomic-waker` crate's), the waiter would poll until that thread goes
//! on. `DONE` and `MOVE` are final: a flight that is over or ousted needs no seats.

use crate::sync::cell::UnsafeCell;
use crate::sync::hook::mutant;
use crate::sync::{AtomicU32, Ordering};
use std::task::Waker;

const NEW: u32 = 0;
const VACANT: u32 = 1;
const OWNED: u32 = 2;
const SET: u32 = 3;
const DONE: u32 = 4;
const LEAD: u32 = 5;
const LEAD_WAKING: u32 = 6;
const LEAD_LEFT: u32 = 7;
const MOVE: u32 = 8;

/// The signal that ends a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// The flight is over.
    Done,
    /// The waiter leads from now on.
    Lead,
    /// The waiter stops waiting here, and looks for another flight.
    Move,
}

/// The result of an attempt to signal the waiter of a seat.
pub(super) enum Delivery {
    /// The waiter has its signal. If it has left a waker, the caller wakes it; otherwise the waiter
    /// looks by itself.
    Delivered { waker: Option<Waker>, is_vacated: bool },
    /// The seat has no waiter without a signal.
    NoWaiter,
}

/// See the module documentation.
pub(super) struct Seat {
    word: AtomicU32,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: only the owner that the word names touches the cell.
unsafe impl Sync for Seat {}

impl Default for Seat {
    fn default() -> Self {
        Self { word: AtomicU32::new(NEW), waker: UnsafeCell::new(None) }
    }
}

impl Seat {
    /// Changes the word. Always AcqRel: Release passes on the cell and what the thread knows of the
    /// flight; Acquire pairs with that.
    fn change(&self, from: u32, to: u32) -> Result<u32, u32> {
        let failure = match mutant("flights.relaxed_verdict") {
            true => Ordering::Relaxed,
            false => Ordering::Acquire,
        };
        self.word.compare_exchange(from, to, Ordering::AcqRel, failure)
    }

    fn load(&self) -> u32 {
        self.word.load(Ordering::Acquire) // pairs with the Release in `change`
    }

    /// Takes a seat that no other thread has ever been given.
    pub(super) fn take_new(&self) {
        // Relaxed: a fence follows in `Flight::join`, and the word passes on nothing yet.
        self.word.store(OWNED, Ordering::Relaxed);
    }

    /// Takes the seat if it is vacant.
    pub(super) fn take_vacant(&self) -> bool {
        // The load avoids a write to the cache line of a seat that is in use.
        self.word.load(Ordering::Relaxed) == VACANT && self.change(VACANT, OWNED).is_ok()
    }

    /// Returns whether a waiter without a signal sits here.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.load(), OWNED | SET)
    }

    /// Returns whether a waiter sits here and has left a waker.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn is_asleep(&self) -> bool {
        self.load() == SET
    }

    /// Takes the cell for its waiter. Fails if the waiter has a signal.
    fn take_cell(&self) -> Result<(), Signal> {
        match self.change(SET, OWNED) {
            // The word is `OWNED` already if a waker's code panicked in an earlier call.
            Ok(_) | Err(OWNED) => Ok(()),
            Err(word) => Err(signal_of(word)),
        }
    }

    /// Takes the waker out of the cell.
    ///
    /// # Safety
    /// The caller owns the cell.
    unsafe fn take_waker(&self) -> Option<Waker> {
        // SAFETY: the caller owns the cell.
        self.waker.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// Leaves a waker, which the signal wakes. Fails if the waiter has a signal. The waiter calls
    /// this.
    pub(super) fn register(&self, waker: &Waker) -> Result<(), Signal> {
        self.take_cell()?;
        // SAFETY: this thread has taken the cell.
        let old = self.waker.with_mut(|cell| unsafe {
            let is_same = (*cell).as_ref().is_some_and(|present| present.will_wake(waker));
            if is_same { None } else { (*cell).replace(waker.clone()) }
        });
        let published = self.change(OWNED, SET).map_err(signal_of);
        if published.is_err() {
            // SAFETY: the signal came while this thread owned the cell, so it still owns it.
            drop(unsafe { self.take_waker() });
        }
        drop(old); // User code. If it panics, the seat is already in a valid state.
        published.map(drop)
    }

    /// Leaves the seat. Fails if the waiter has a signal. The waiter calls this.
    pub(super) fn leave(&self) -> Result<(), Signal> {
        self.take_cell()?;
        // SAFETY: this thread has taken the cell.
        let waker = unsafe { self.take_waker() };
        let left = self.change(OWNED, VACANT);
        super::contain(|| drop(waker));
        left.map(drop).map_err(signal_of)
    }

    /// Leaves the seat after the signal to lead. Returns whether the seat is vacant now. The waiter
    /// calls this.
    pub(super) fn leave_to_lead(&self) -> bool {
        match self.change(LEAD_WAKING, LEAD_LEFT) {
            Ok(_) => false,
            Err(_) => {
                // Release: pairs with `take_vacant`. The cell is empty.
                self.word.store(VACANT, Ordering::Release);
                true
            }
        }
    }

    /// Signals the waiter. The leader calls this, and so does a thread that ousts the flight.
    pub(super) fn signal(&self, signal: Signal) -> Delivery {
        let (without_waker, with_waker) = match signal {
            Signal::Done => (DONE, DONE),
            Signal::Move => (MOVE, MOVE),
            Signal::Lead => (LEAD, LEAD_WAKING),
        };
        loop {
            match self.load() {
                OWNED if self.change(OWNED, without_waker).is_ok() => {
                    return Delivery::Delivered { waker: None, is_vacated: false };
                }
                SET if self.change(SET, with_waker).is_ok() => {
                    // SAFETY: this thread changed the word from `SET`, so it owns the cell: until
                    // `return_cell` below, or for good.
                    let waker = unsafe { self.take_waker() };
                    let is_vacated = with_waker == LEAD_WAKING && self.return_cell();
                    return Delivery::Delivered { waker, is_vacated };
                }
                OWNED | SET => {} // The waiter changed the word meanwhile.
                _ => return Delivery::NoWaiter,
            }
        }
    }

    /// Returns the cell to the waiter, if it has not left. Returns whether the seat is vacant now.
    fn return_cell(&self) -> bool {
        let has_left = self.change(LEAD_WAKING, LEAD).is_err();
        if has_left {
            self.word.store(VACANT, Ordering::Release); // pairs with `take_vacant`
        }
        has_left
    }
}

fn signal_of(word: u32) -> Signal {
    match word {
        DONE => Signal::Done,
        MOVE => Signal::Move,
        LEAD | LEAD_WAKING => Signal::Lead,
        _ => unreachable!("the seat of a waiter has a waiter or a signal"),
    }
}
