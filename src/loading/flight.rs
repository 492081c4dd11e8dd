//! A load under way: who leads it, who waits for it, and what came of it.
//!
//! Its state is *led*, *adrift* (its leader is gone, and has not found anyone to lead), *handed out* (its
//! leader has not begun, and whoever comes first may lead in its place), or *over*, which is for good.
//! - One who comes sits down, passes a fence, and looks at the state. One who leads changes the state,
//!   passes a fence, and looks at the seats. One of the two sees the other: nobody sits in a flight that
//!   is over, or adrift, without having been seen by its last leader.
//! - *adrift → led* is a CAS: by one who has just sat down, or by the old leader, if it sees somebody.
//! - *handed out → led* is a CAS, too: by one who has just sat down, by the leader that begins, or by the one
//!   who has just handed it out, if it sees somebody. So exactly one of them loads.
//! - *adrift → over* is a CAS by the one who set it adrift. The state bears a number that each *adrift* and
//!   each *handed out* raises, so that this CAS fails if others have led the flight meanwhile: what it saw of
//!   the seats is of no worth then.
//!
//! A flight has a link to its node in the registry. One who waits no longer may **oust** it: takes that link away,
//! passes a fence, and tells all seats to look again. One who comes looks at the link after its fence,
//! too: nobody sits in a flight that was ousted without having been told. Its leader leads it to its end,
//! alone.

use super::contain;
use super::seat::Verdict;
use super::seats::Seats;
use super::waits::Point;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::cell::UnsafeCell;
use std::ptr;
use std::task::Waker;

const LED: usize = 0;
const ADRIFT: usize = 1;
const OVER: usize = 2;
const HANDED: usize = 3;
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

/// What one is to do who would load, but not wait.
pub(super) enum Idle {
    /// The caller leads.
    Leads,
    /// Somebody else does.
    Busy,
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
    /// Its node in the registry, of a type that the registry knows; null if it was taken out by this link.
    node: AtomicPtr<()>,
    /// How often its load was begun, gone on with, or let be: odd while somebody is at work on it.
    work: AtomicU32,
    /// When it was begun by the one who leads, by the clock of whoever says.
    begun: AtomicU64,
    /// Whether the load has failed if its leader goes now.
    is_failing: AtomicU32,
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
            node: AtomicPtr::new(ptr::null_mut()),
            work: AtomicU32::new(1),
            begun: AtomicU64::new(0),
            is_failing: AtomicU32::new(0),
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
        if self.is_out() && !mutant("flights.sits_in_the_ousted") {
            state = OVER; // For us: whoever leads it does so alone.
        }
        loop {
            match state & KIND {
                // Whoever changes it, from now on, sees the seat.
                LED => return Came::Sits(seat),
                OVER => {
                    // If it cannot leave, it has been seen, and told.
                    return self.seats.leave(seat).map_or(Came::Sits(seat), |()| Came::Late);
                }
                _ if self.take_lead(state) => {
                    let left = self.seats.leave(seat);
                    debug_assert!(!matches!(left, Err(Verdict::Done | Verdict::Lead)), "we lead");
                    return Came::Leads;
                }
                _ => state = look(),
            }
        }
    }

    /// Leads a flight that nobody leads; one that is handed out, if `takes`.
    pub(super) fn come_idle(&self, takes: bool) -> Idle {
        loop {
            let state = self.state.load(Ordering::Acquire); // As in `come`.
            match state & KIND {
                _ if self.is_out() => return Idle::Late,
                OVER => return Idle::Late,
                LED => return Idle::Busy,
                HANDED if !takes => return Idle::Busy,
                _ if self.take_lead(state) => return Idle::Leads,
                _ => {} // It was led meanwhile.
            }
        }
    }

    /// Takes the lead of a flight that is adrift, or handed out. False if another did, or it is over.
    fn take_lead(&self, state: usize) -> bool {
        let led = state & !KIND | LED;
        // Acquire: pairs with `drift` and `hand_out`: what the last leader left is ours.
        self.state.compare_exchange(state, led, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The leader will begin later. The number by which it does, unless somebody leads in its place already.
    ///
    /// # Safety
    /// The caller leads, and does not if this says `None`. With a number it leads once [`begin`](Self::begin) says so.
    pub(super) unsafe fn hand_out(&self) -> Option<usize> {
        loop {
            // Relaxed: only those who lead change it, and who led before has passed it on.
            let led = self.state.load(Ordering::Relaxed);
            let handed = (led + NUMBER) & !KIND | HANDED;
            // Release: pairs with `take_lead`.
            self.state.store(handed, Ordering::Release);
            step("flights.handed_out");
            fence(Ordering::SeqCst); // Pairs with `come`.
            if !self.seats.is_any_waiting() || mutant("flights.hands_out_unseen") {
                return Some(handed);
            }
            // SAFETY: we lead.
            if !self.take_lead(handed) || unsafe { self.hand_over() } {
                return None;
            }
        }
    }

    /// Begins what was handed out by that number. False if another has taken it over.
    pub(super) fn begin(&self, handed: usize) -> bool {
        if mutant("flights.begins_anyway") {
            return true;
        }
        self.take_lead(handed)
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

    /// The flight is over, with an outcome unless the load has failed. Those who wait are to be told.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn end(&self, outcome: Option<T>) {
        // SAFETY: only the leader writes, and nobody reads before it is told.
        unsafe { *self.outcome.get() = outcome };
        step("flights.outcome");
        // Release: pairs with `come`. What waiters read, they read after the verdict in their seat.
        self.state.store(OVER, Ordering::Release);
        fence(Ordering::SeqCst); // Pairs with `come`.
        step("flights.over");
    }

    /// Tells those who wait that the outcome is there.
    pub(super) fn tell_all(&self) {
        self.seats.tell_all(Verdict::Done);
    }

    /// A clone of the outcome; none if the load has failed.
    ///
    /// # Safety
    /// The caller ended the flight, or was told `Done`.
    pub(super) unsafe fn outcome(&self) -> Option<T>
    where
        T: Clone,
    {
        // SAFETY: written before the flight was over, and nobody writes it any more.
        unsafe { (*self.outcome.get()).clone() }
    }

    /// Says where its node is, before that is published.
    pub(super) fn set_node(&self, node: *mut ()) {
        self.node.store(node, Ordering::Relaxed); // Published with the node.
    }

    /// Its node, which the caller takes out of the registry; null if somebody else does.
    ///
    /// The node is there as long as the caller's section lives if that began before the flight was over.
    pub(super) fn take_node(&self) -> *mut () {
        // Acquire: pairs with whoever put it in.
        self.node.swap(ptr::null_mut(), Ordering::AcqRel)
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        // Acquire: pairs with `end` and `drift`.
        self.state.load(Ordering::Acquire) & KIND == OVER
    }

    #[cfg(any(test, coeval_loom))]
    pub(super) fn node(&self) -> *mut () {
        self.node.load(Ordering::Acquire)
    }

    /// Whether somebody has taken it out of the registry.
    fn is_out(&self) -> bool {
        self.node.load(Ordering::Acquire).is_null()
    }

    /// Tells all who wait to look for another flight. It was taken out of the registry before.
    pub(super) fn tell_to_move(&self) {
        fence(Ordering::SeqCst); // Pairs with `come`.
        step("flights.ousted");
        if !mutant("flights.ousts_silently") {
            self.seats.tell_all(Verdict::Move);
        }
    }

    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }
}

/// What is known of the load's progress. All of it is Relaxed: it orders nothing, and whoever goes by what is out
/// of date loads beside another, or waits a little longer.
impl<T> Flight<T> {
    /// Somebody goes on with the load, or lets it be for now.
    pub(super) fn note_work(&self, is_at_work: bool) {
        if cfg!(coeval_loom) {
            return; // Models oust by themselves.
        }
        // Only the leader writes it.
        let work = self.work.load(Ordering::Relaxed);
        if (work % 2 == 1) != is_at_work {
            self.work.store(work.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How often the load was gone on with, if nobody is at work on it now.
    pub(super) fn let_be(&self) -> Option<u32> {
        Some(self.work.load(Ordering::Relaxed)).filter(|work| work % 2 == 0)
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Another leads, from that time on.
    pub(super) fn note_begin(&self, time: u64) {
        self.note_work(true);
        if time != 0 {
            self.begun.store(time, Ordering::Relaxed);
        }
    }

    /// Whether the load has failed if its leader goes.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed) != 0
    }

    pub(super) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(u32::from(is_failing), Ordering::Relaxed);
    }

    /// The outcome, of one who has the flight alone.
    pub(super) fn into_outcome(mut self) -> Option<T> {
        self.outcome.get_mut().take()
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        // A user's code; it may run in another caller's wait.
        contain(|| drop(self.outcome.get_mut().take()));
    }
}
