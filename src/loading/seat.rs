//! One waiter's place in a flight: where it leaves its waker, and where it is told what comes of it.
//!
//! | word | meaning | the waker's cell belongs to |
//! |---|---|---|
//! | `NEW` | never used | who takes the seat |
//! | `VACANT` | its waiter is gone | nobody |
//! | `OWNED` | a waiter sits here, and is at work | the waiter |
//! | `SET` | a waiter sits here, its waker is in the cell | who takes the word away from `SET` |
//! | `DONE` | the waiter is told that the load is over | who told it, if that found `SET`; else the waiter |
//! | `MOVE` | the waiter is told to look for another load | as of `DONE` |
//! | `LEAD` | the waiter is told to lead | the waiter |
//! | `LEAD_AT_CELL` | as `LEAD`, while who told it takes the waker out | who told it |
//! | `LEAD_GONE` | as `LEAD_AT_CELL`, and the waiter is gone | who told it, who then makes it `VACANT` |
//!
//! The verdict and the right to the cell are one word, so that a waiter learns of a verdict as soon as
//! it is given, even if the one who gave it stops before it wakes anybody; a separate slot for a waker
//! (the `atomic-waker` crate's, say) would have its waiter ask again and again until that one goes on.
//! `DONE` and `MOVE` are for good: nobody needs a seat any more in a flight that is over, or was ousted.

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
const LEAD_AT_CELL: u32 = 6;
const LEAD_GONE: u32 = 7;
const MOVE: u32 = 8;

/// What a waiter is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The outcome is there.
    Done,
    /// It leads from now on.
    Lead,
    /// It waits here no longer, and looks for another flight.
    Move,
}

/// What came of an attempt to tell a seat's waiter something.
pub(super) enum Told {
    /// It is told. Its waker, if it has left one, is to be woken; else it will look by itself. And
    /// whether the seat was made vacant.
    Now(Option<Waker>, bool),
    /// Nobody waits here.
    Nobody,
}

/// See the module's header.
pub(super) struct Seat {
    word: AtomicU32,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the cell is touched only by the one to whom the word gives it.
unsafe impl Sync for Seat {}

impl Default for Seat {
    fn default() -> Self {
        Self { word: AtomicU32::new(NEW), waker: UnsafeCell::new(None) }
    }
}

impl Seat {
    /// AcqRel throughout: Release hands the cell, and what is known of the flight, over; Acquire pairs
    /// with that.
    fn change(&self, from: u32, to: u32) -> Result<u32, u32> {
        let verdict = match mutant("flights.relaxed_verdict") {
            true => Ordering::Relaxed,
            false => Ordering::Acquire,
        };
        self.word.compare_exchange(from, to, Ordering::AcqRel, verdict)
    }

    fn load(&self) -> u32 {
        self.word.load(Ordering::Acquire) // As in `change`.
    }

    /// Sits down in a seat that nobody else was given.
    pub(super) fn take_new(&self) {
        // Relaxed: a fence follows in `Flight::sit`, and there is nothing behind the word yet.
        self.word.store(OWNED, Ordering::Relaxed);
    }

    /// Sits down if the seat is vacant.
    pub(super) fn take_vacant(&self) -> bool {
        // The look before it spares the line.
        self.word.load(Ordering::Relaxed) == VACANT && self.change(VACANT, OWNED).is_ok()
    }

    /// Whether somebody waits here who was told nothing.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.load(), OWNED | SET)
    }

    /// Whether somebody waits here and has left a waker.
    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn is_asleep(&self) -> bool {
        self.load() == SET
    }

    /// Takes the cell, for its waiter. The verdict if there is one.
    fn own(&self) -> Result<(), Verdict> {
        match self.change(SET, OWNED) {
            // `OWNED`: an earlier call has panicked in a waker's code.
            Ok(_) | Err(OWNED) => Ok(()),
            Err(word) => Err(verdict(word)),
        }
    }

    /// # Safety
    /// The cell belongs to the caller.
    unsafe fn take_waker(&self) -> Option<Waker> {
        // SAFETY: the caller's clause.
        self.waker.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// Leaves a waker to be woken at the verdict, unless there is one already. Called by the waiter.
    pub(super) fn register(&self, waker: &Waker) -> Result<(), Verdict> {
        self.own()?;
        // SAFETY: owned by us.
        let old = self.waker.with_mut(|cell| unsafe {
            let is_there = (*cell).as_ref().is_some_and(|there| there.will_wake(waker));
            if is_there { None } else { (*cell).replace(waker.clone()) }
        });
        let published = self.change(OWNED, SET).map_err(verdict);
        if published.is_err() {
            // SAFETY: told while the cell was ours, so it still is.
            drop(unsafe { self.take_waker() });
        }
        drop(old); // A user's code; nothing is left half done if it panics.
        published.map(drop)
    }

    /// Stands up, unless there is a verdict. Called by the waiter.
    pub(super) fn leave(&self) -> Result<(), Verdict> {
        self.own()?;
        // SAFETY: owned by us.
        let waker = unsafe { self.take_waker() };
        let left = self.change(OWNED, VACANT);
        super::contain(|| drop(waker));
        left.map(drop).map_err(verdict)
    }

    /// Stands up after the verdict was to lead. Whether the seat is vacant now. Called by the waiter.
    pub(super) fn leave_to_lead(&self) -> bool {
        match self.change(LEAD_AT_CELL, LEAD_GONE) {
            Ok(_) => false,
            Err(_) => {
                // Release: pairs with `take_vacant`; the cell is empty.
                self.word.store(VACANT, Ordering::Release);
                true
            }
        }
    }

    /// Gives the waiter a verdict. Called by the one who leads, and by who ousts the flight.
    pub(super) fn tell(&self, verdict: Verdict) -> Told {
        let (plain, at_cell) = match verdict {
            Verdict::Done => (DONE, DONE),
            Verdict::Move => (MOVE, MOVE),
            Verdict::Lead => (LEAD, LEAD_AT_CELL),
        };
        loop {
            match self.load() {
                OWNED if self.change(OWNED, plain).is_ok() => return Told::Now(None, false),
                SET if self.change(SET, at_cell).is_ok() => {
                    // SAFETY: taken from `SET`, so it is ours: until the next line, or for good.
                    let waker = unsafe { self.take_waker() };
                    return Told::Now(waker, at_cell == LEAD_AT_CELL && self.leave_cell());
                }
                OWNED | SET => {} // It changed meanwhile: its waiter came or went.
                _ => return Told::Nobody,
            }
        }
    }

    /// Gives the cell to the waiter, if that is still there. Whether the seat is vacant now.
    fn leave_cell(&self) -> bool {
        let gone = self.change(LEAD_AT_CELL, LEAD).is_err();
        if gone {
            self.word.store(VACANT, Ordering::Release); // As in `leave_to_lead`.
        }
        gone
    }
}

fn verdict(word: u32) -> Verdict {
    match word {
        DONE => Verdict::Done,
        MOVE => Verdict::Move,
        LEAD | LEAD_AT_CELL => Verdict::Lead,
        _ => unreachable!("a waiter's seat is waited in, or told"),
    }
}
