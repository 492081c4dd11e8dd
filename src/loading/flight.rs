//! A flight: a load under way, with its leader, its waiters and its outcome.
//!
//! The state of a flight is *led*, *adrift* (its leader has given it up and found no other leader),
//! *handed out* (its leader has not begun, and the first caller may lead instead), or *over*, which
//! is final.
//! - A caller takes a seat, passes a fence, and reads the state. The leader changes the state,
//!   passes a fence, and looks at the seats. At least one of the two sees the other. So no caller
//!   sits in a flight that is over or adrift unless its last leader has seen the seat.
//! - *adrift → led* is a CAS, by a caller that has just taken a seat, or by the old leader if it
//!   sees a waiter.
//! - *handed out → led* is also a CAS, by a caller that has just taken a seat, by the leader that
//!   begins, or by the leader that has just handed the flight out, if it sees a waiter. So exactly
//!   one of them loads.
//! - *adrift → over* is a CAS by the leader that set the flight adrift. The state contains a number
//!   that each *adrift* and each *handed out* raises. So this CAS fails if another thread has led
//!   the flight meanwhile, in which case what the old leader saw of the seats is outdated.
//!
//! A flight has a link to its node in the registry. A caller that stops waiting may **oust** the
//! flight: it takes the link away, passes a fence, and signals all seats to move. A caller also
//! reads the link after its fence. So no caller sits in an ousted flight without a signal. The
//! leader of an ousted flight ends the load, for which no caller waits any more.

use super::contain;
use super::seat::Signal;
use super::seats::Seats;
use super::waits::Vertex;
use crate::sync::hook::{mutant, step, too_early};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::cell::UnsafeCell;
use std::ptr;
use std::task::Waker;

const LED: usize = 0;
const ADRIFT: usize = 1;
const OVER: usize = 2;
const HANDED_OUT: usize = 3;
const KIND: usize = 3;
/// One, in the number above the kind.
const NUMBER: usize = 4;

/// The result of joining a flight.
pub(super) enum Arrival {
    /// The caller waits, in this seat.
    Waits(usize),
    /// The caller leads.
    Leads,
    /// The flight is over.
    Over,
}

/// The result of a caller's attempt to lead without waiting.
pub(super) enum LeadAttempt {
    /// The caller leads.
    Leads,
    /// Another caller leads.
    Busy,
    /// The flight is over.
    Over,
}

/// The result of setting a flight adrift.
pub(super) enum DriftOutcome {
    /// The flight is over.
    Over,
    /// Another thread leads it.
    Led,
    /// The caller leads it again, because there is a waiter.
    Awaited,
}

/// See the module documentation.
pub(super) struct Flight<T> {
    state: AtomicUsize,
    seats: Seats,
    outcome: UnsafeCell<Option<T>>,
    /// The flight's vertex in the wait-for graph.
    pub(super) vertex: Vertex,
    /// The flight's node in the registry, of a type that the registry knows. Null once a thread has
    /// taken the node out by this link.
    node: AtomicPtr<()>,
    /// Counts the beginnings and the ends of work on the load. Odd while a thread works on it.
    work: AtomicU32,
    /// When the present leader began, by the clock of its caller.
    begun: AtomicU64,
    /// Whether the load counts as failed if its leader is dropped now.
    is_failing: AtomicU32,
}

// SAFETY: only the leader writes the outcome, before it signals anyone. From then on the outcome is
// only read, by all waiters that were signaled. The last owner of the flight drops it.
unsafe impl<T: Send + Sync> Sync for Flight<T> {}

impl<T> Flight<T> {
    /// Creates a flight that its creator leads.
    pub(super) fn new() -> Self {
        Self {
            state: AtomicUsize::new(LED),
            seats: Seats::new(),
            outcome: UnsafeCell::new(None),
            vertex: Vertex::new(),
            node: AtomicPtr::new(ptr::null_mut()),
            work: AtomicU32::new(1),
            begun: AtomicU64::new(0),
            is_failing: AtomicU32::new(0),
        }
    }

    /// Joins the flight: the caller waits, unless it can lead or the flight is over.
    pub(super) fn join(&self) -> Arrival {
        // Acquire: pairs with all changes of the state, for what happens before the flight is over.
        let look = || self.state.load(Ordering::Acquire);
        let early = too_early("flights.lost_wakeup", look);
        step("flights.found");
        let seat = self.seats.take();
        step("flights.seated");
        // Partners: the fences in `end`, `set_adrift`, `hand_out` and `signal_move`. They see the
        // seat, or this thread sees their change.
        fence(Ordering::SeqCst);
        let mut state = early.unwrap_or_else(look);
        if self.is_unlinked() && !mutant("flights.sits_in_the_ousted") {
            state = OVER; // For this caller. The leader, if any, leads to the end alone.
        }
        loop {
            match state & KIND {
                // A later change of the state comes with a look at the seats, which sees this one.
                LED => return Arrival::Waits(seat),
                OVER => {
                    // If the caller cannot leave, its seat was seen and has a signal.
                    return self.seats.leave(seat).map_or(Arrival::Waits(seat), |()| Arrival::Over);
                }
                _ if self.take_lead(state) => {
                    let left = self.seats.leave(seat);
                    debug_assert!(
                        !matches!(left, Err(Signal::Done | Signal::Lead)),
                        "only the leader gives these signals"
                    );
                    return Arrival::Leads;
                }
                _ => state = look(),
            }
        }
    }

    /// Leads the flight if no thread does. Takes over a flight that is handed out only if
    /// `takes_over`.
    pub(super) fn try_lead(&self, takes_over: bool) -> LeadAttempt {
        loop {
            let state = self.state.load(Ordering::Acquire); // as in `join`
            match state & KIND {
                _ if self.is_unlinked() => return LeadAttempt::Over,
                OVER => return LeadAttempt::Over,
                LED => return LeadAttempt::Busy,
                HANDED_OUT if !takes_over => return LeadAttempt::Busy,
                _ if self.take_lead(state) => return LeadAttempt::Leads,
                _ => {} // Another thread changed the state meanwhile.
            }
        }
    }

    /// Takes the lead of a flight that is adrift or handed out. Returns false if the state has
    /// changed.
    fn take_lead(&self, state: usize) -> bool {
        let led = state & !KIND | LED;
        // Acquire: pairs with `set_adrift` and `hand_out`, for what the last leader left behind.
        self.state.compare_exchange(state, led, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Hands the flight out: the leader will begin later. Returns the state by which it begins, or
    /// `None` if another thread leads instead already.
    ///
    /// # Safety
    /// The caller leads. It no longer leads after this call, whatever the result. If the result is
    /// a state, the caller leads again once [`begin`](Self::begin) returns true.
    pub(super) unsafe fn hand_out(&self) -> Option<usize> {
        loop {
            // Relaxed: only leaders change the state now, and each passes it on to the next.
            let led = self.state.load(Ordering::Relaxed);
            let handed_out = (led + NUMBER) & !KIND | HANDED_OUT;
            // Release: pairs with `take_lead`.
            self.state.store(handed_out, Ordering::Release);
            step("flights.handed_out");
            fence(Ordering::SeqCst); // partner: the fence in `join`
            if !self.seats.is_any_waiting() || mutant("flights.hands_out_unseen") {
                return Some(handed_out);
            }
            // SAFETY: the caller leads again if `take_lead` returned true.
            if !self.take_lead(handed_out) || unsafe { self.hand_over() } {
                return None;
            }
        }
    }

    /// Begins a load that was handed out with this state. Returns false if another thread has taken
    /// it over.
    pub(super) fn begin(&self, handed_out: usize) -> bool {
        if mutant("flights.begins_anyway") {
            return true;
        }
        self.take_lead(handed_out)
    }

    /// See [`Seats::register`].
    pub(super) fn register(&self, seat: usize, waker: &Waker) -> Result<(), Signal> {
        self.seats.register(seat, waker)
    }

    /// Leaves the seat of a waiter. Fails if the waiter has a signal.
    pub(super) fn leave(&self, seat: usize) -> Result<(), Signal> {
        self.seats.leave(seat)
    }

    /// Leaves the seat of a waiter that was signaled to lead.
    pub(super) fn leave_to_lead(&self, seat: usize) {
        self.seats.leave_to_lead(seat);
    }

    /// Signals one waiter to lead. Returns true if the caller no longer leads.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn hand_over(&self) -> bool {
        step("flights.hand_over");
        !mutant("flights.no_handover") && self.seats.signal_one_to_lead()
    }

    /// Sets the flight adrift after the leader has found no waiter, and looks at the seats again.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn set_adrift(&self) -> DriftOutcome {
        step("flights.to_adrift");
        // Relaxed: only leaders change the state now, and each passes it on to the next.
        let led = self.state.load(Ordering::Relaxed);
        let adrift =
            if mutant("flights.unnumbered") { ADRIFT } else { led + NUMBER + ADRIFT - LED };
        // Release: pairs with `take_lead`.
        self.state.store(adrift, Ordering::Release);
        step("flights.adrift");
        fence(Ordering::SeqCst); // partner: the fence in `join`
        if self.seats.is_any_waiting() && !mutant("flights.no_handover") {
            let leads = self.take_lead(adrift);
            return if leads { DriftOutcome::Awaited } else { DriftOutcome::Led };
        }
        step("flights.deserted");
        // Release: pairs with `join`. Relaxed on failure: another thread leads.
        let over =
            self.state.compare_exchange(adrift, OVER, Ordering::Release, Ordering::Relaxed).is_ok();
        if over { DriftOutcome::Over } else { DriftOutcome::Led }
    }

    /// Ends the flight, with an outcome unless the load has failed. The caller signals the waiters
    /// afterwards.
    ///
    /// # Safety
    /// The caller leads.
    pub(super) unsafe fn end(&self, outcome: Option<T>) {
        // SAFETY: only the leader writes, and no thread reads before it is signaled.
        unsafe { *self.outcome.get() = outcome };
        step("flights.outcome");
        // Release: pairs with `join`. Waiters read the outcome after the signal in their seat.
        self.state.store(OVER, Ordering::Release);
        fence(Ordering::SeqCst); // partner: the fence in `join`
        step("flights.over");
    }

    /// Counts the waiters.
    pub(super) fn waiting(&self) -> usize {
        self.seats.waiting()
    }

    /// Signals all waiters that the flight is over.
    pub(super) fn signal_done(&self) {
        self.seats.signal_all(Signal::Done);
    }

    /// Returns a clone of the outcome; `None` if the load has failed.
    ///
    /// # Safety
    /// The caller ended the flight, or was signaled [`Signal::Done`].
    pub(super) unsafe fn outcome(&self) -> Option<T>
    where
        T: Clone,
    {
        // SAFETY: the outcome was written before the flight was over, and is not written any more.
        unsafe { (*self.outcome.get()).clone() }
    }

    /// Sets the link to the flight's node, before the node is published.
    pub(super) fn set_node(&self, node: *mut ()) {
        self.node.store(node, Ordering::Relaxed); // The node's publication publishes it.
    }

    /// Takes the link to the flight's node. The caller takes the node out of the registry. Null if
    /// another thread has the link.
    ///
    /// The node stays valid while the caller's section lives, if that began before the flight was
    /// over.
    pub(super) fn take_node(&self) -> *mut () {
        // AcqRel: pairs with the insertion of the node, and with `is_unlinked`.
        self.node.swap(ptr::null_mut(), Ordering::AcqRel)
    }

    /// Returns whether the flight is over.
    pub(super) fn is_over(&self) -> bool {
        // Acquire: pairs with `end` and `set_adrift`.
        self.state.load(Ordering::Acquire) & KIND == OVER
    }

    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub(super) fn node(&self) -> *mut () {
        self.node.load(Ordering::Acquire)
    }

    /// Returns whether a thread has taken the link to the node.
    fn is_unlinked(&self) -> bool {
        // Acquire: pairs with `take_node`.
        self.node.load(Ordering::Acquire).is_null()
    }

    /// Signals all waiters to look for another flight. The caller has taken the flight out of the
    /// registry.
    pub(super) fn signal_move(&self) {
        fence(Ordering::SeqCst); // partner: the fence in `join`
        step("flights.ousted");
        if !mutant("flights.ousts_silently") {
            self.seats.signal_all(Signal::Move);
        }
    }

    #[cfg(all(test, not(coeval_loom)))]
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }
}

/// The progress of the load. All accesses are Relaxed, because they order nothing: a thread that
/// acts on an outdated value loads beside another thread, or waits a little longer.
impl<T> Flight<T> {
    /// Notes that a thread begins or ends to work on the load.
    pub(super) fn note_work(&self, is_at_work: bool) {
        if cfg!(coeval_loom) {
            return; // Models oust flights explicitly.
        }
        // Only the leader writes it.
        let work = self.work.load(Ordering::Relaxed);
        if (work % 2 == 1) != is_at_work {
            self.work.store(work.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Returns a count of the work on the load so far, if no thread works on it now.
    pub(super) fn idle_work(&self) -> Option<u32> {
        Some(self.work.load(Ordering::Relaxed)).filter(|work| work % 2 == 0)
    }

    /// Returns when the present leader began.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Notes that a new leader begins, at the time `time` unless that is 0.
    pub(super) fn note_begin(&self, time: u64) {
        self.note_work(true);
        if time != 0 {
            self.begun.store(time, Ordering::Relaxed);
        }
    }

    /// Returns whether the load counts as failed if its leader is dropped now.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed) != 0
    }

    pub(super) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(u32::from(is_failing), Ordering::Relaxed);
    }

    /// Returns the outcome of a flight that the caller owns alone.
    pub(super) fn into_outcome(mut self) -> Option<T> {
        self.outcome.get_mut().take()
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        // User code, which may run while another caller waits.
        contain(|| drop(self.outcome.get_mut().take()));
    }
}
