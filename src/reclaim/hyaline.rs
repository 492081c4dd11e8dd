//! [seize](https://docs.rs/seize) (the Hyaline-1 scheme) as a backend.
//!
//! Each instance has a `Collector` of its own. A thread's batch of 32 or more retired objects is
//! linked to the threads that are pinned at that moment; the last of them to leave reclaims the batch,
//! so reclaiming may happen where a reader drops its guard. Leaving is an atomic swap. Each
//! retirement allocates a box, since seize hands a reclaim function only one pointer.
//!
//! # Locks
//! seize takes a process-wide mutex when a thread first uses any collector and when such a thread
//! ends, and the first collector of a process initialises a `OnceLock`. Where Linux offers no
//! `membarrier` on x86-64, its heavy barrier takes a mutex too. A cache for which "no lock" must hold
//! to the letter uses another backend.
//!
//! # Threads that end
//! seize keeps what it knows of a thread in a thread-local value, panics when it is asked for that after its destructor,
//! and gives the thread's slot to another. So a guard of the thread's slot must not be made, or dropped, after that.
//! Guards of a call are made in slots of their own by then ([`thread`]); those that a program may keep always are
//! (`pin_for_long`). Such a guard takes the mutex when it is made and when it is dropped.
//!
//! # What its pin orders
//! The trait promises a full fence for later plain loads; seize promises one for loads made by its
//! `Guard::protect`, which makes them `SeqCst`.
//! - With `membarrier`, seize's `enter` is a relaxed store and a compiler fence, and the heavy side
//!   orders that store before loads of any ordering (`barrier.rs`). Nothing needs to be added, and
//!   `protect` would be an ordinary load on x86-64.
//! - Otherwise seize may rely on `SeqCst` on both accesses, which says nothing about an Acquire load
//!   that follows. Then we add a `fence(SeqCst)` after `enter`, which pairs with the one in seize's
//!   heavy barrier. (On systems other than Linux this is more than needed where seize has an
//!   asymmetric barrier that we do not detect.)

use super::barrier::Barrier;
use super::counted::{self, Counted, Counting, Counts};
use super::{Garbage, Reclaim, Tally};
use crate::sync::per_thread::PerThread;
use seize::{Collector, Guard as _, LocalGuard, OwnedGuard};
use std::cell::{Cell, UnsafeCell};
use std::mem::{self, ManuallyDrop};

/// With so much more a batch is handed over although it is not full.
const MADE_UP: usize = 31;

/// Keeps a thread pinned. Bound to its thread, as the usual kind is.
pub struct Guard<'a>(Kind<'a>);

enum Kind<'a> {
    /// By the slot that seize keeps for the thread.
    Local(LocalGuard<'a>),
    /// By a slot of its own.
    Owned(OwnedGuard<'a>),
}

/// Whether seize knows the thread. What it knows of a thread has a destructor, after which it panics when asked for
/// it again; and by then another thread may have the slot.
mod thread {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[derive(Clone, Copy, PartialEq)]
    pub(super) enum State {
        Unknown,
        Registered,
        Ended,
    }

    std::thread_local! {
        // Const and without a destructor: reading it is one load, at any time.
        static STATE: Cell<State> = const { Cell::new(State::Unknown) };
        static BEFORE: End = const { End };
        static AFTER: End = const { End };
    }

    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            STATE.set(State::Ended);
        }
    }

    #[inline(always)]
    pub(super) fn is_registered() -> bool {
        STATE.get() == State::Registered
    }

    /// Registers the thread if that may be. Destructors run in the order of registration, or the other way round:
    /// one of ours runs before that of seize.
    #[cold]
    pub(super) fn register(enter: impl FnOnce()) -> bool {
        let mut is_alive = STATE.get() == State::Unknown && BEFORE.try_with(|_| ()).is_ok();
        // It panics only if others have used seize on this thread, and its own destructor has run already.
        is_alive = is_alive && catch_unwind(AssertUnwindSafe(enter)).is_ok();
        is_alive = is_alive && AFTER.try_with(|_| ()).is_ok();
        STATE.set(if is_alive { State::Registered } else { State::Ended });
        is_alive
    }
}

/// Reclamation by seize. See the header of its module.
pub struct Seize {
    collector: ManuallyDrop<Collector>,
    barrier: Barrier,
    participants: PerThread<Participant>,
    /// What threads that have ended counted.
    ended: Tally,
}

#[derive(Default)]
struct Participant {
    counts: Counts,
    tally: Tally,
    /// Set while this thread is in `drain`.
    draining: Cell<bool>,
    /// What reclaim functions retire meanwhile. Never borrowed across a call to the outside.
    late: UnsafeCell<Vec<Garbage>>,
}

// SAFETY: a participant goes from a thread that ended to one that began later; garbage may be
// reclaimed by any thread (contract of `retire`).
unsafe impl Send for Participant {}

impl Counting for Participant {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

// SAFETY: seize reclaims a batch only when the guards that were live at a heavy barrier after the
// retirements have been dropped; for the order of pins see the module's header.
unsafe impl Reclaim for Seize {
    type Guard<'a> = Guard<'a>;

    fn new() -> Self {
        Self {
            collector: ManuallyDrop::new(Collector::new()),
            barrier: Barrier::detect(),
            participants: PerThread::new(),
            ended: Tally::default(),
        }
    }

    #[inline]
    fn pin(&self) -> Guard<'_> {
        let guard = if thread::is_registered() {
            Guard(Kind::Local(self.collector.enter()))
        } else {
            self.pin_unregistered()
        };
        self.barrier.light();
        guard
    }

    fn pin_for_long(&self) -> Guard<'_> {
        let guard = Guard(Kind::Owned(self.collector.enter_owned()));
        self.barrier.light();
        guard
    }

    unsafe fn retire(&self, guard: &Guard<'_>, garbage: Garbage) {
        let by = self.participants.get();
        if by.draining.get() {
            by.counts.add_retired();
            // SAFETY: the owner's alone, and nobody else has it borrowed: no borrow spans a call.
            unsafe { &mut *by.late.get() }.push(garbage);
            return;
        }
        let counted = Counted::retire(garbage, &by.counts);
        // SAFETY: unlinked and retired once, and may be reclaimed by any thread (contract of
        // `retire`). The counts are there as long as the collector: see `drop`.
        unsafe {
            match &guard.0 {
                Kind::Local(guard) => guard.defer_retire(counted, |it, _| Counted::reclaim(it)),
                Kind::Owned(guard) => guard.defer_retire(counted, |it, _| Counted::reclaim(it)),
            }
        };
    }

    /// Nothing: a batch is handed over when it is full, and reclaimed as guards are dropped.
    fn collect(&self) {}

    fn reclaim_now(&self) -> bool {
        if self.participants.get().draining.get() {
            return false;
        }
        let before = self.reclaimed();
        {
            // SAFETY: counts are atomic.
            let waiting = unsafe { self.participants.iter() }.filter(|p| p.counts.is_waiting());
            // The slots of threads that have ended are given out again, the lowest first: with them, what these left.
            let orphans: Vec<_> = waiting.map(|_| self.pin_for_long()).collect();
            let threads = MADE_UP + orphans.len();
            for guard in orphans.into_iter().chain([self.pin()]) {
                guard.0.hand_over(threads);
            }
        }
        self.reclaimed() != before
    }

    unsafe fn drain(&self) {
        let own = self.participants.get();
        own.draining.set(true);
        // seize would reclaim what a reclaim function retires at once, even under a live guard of
        // that function, or leave it in a batch already passed; so `retire` keeps it for us.
        // SAFETY: no guard is live and no other thread uses the collector (contract of `drain`).
        unsafe { self.collector.reclaim_all() };
        loop {
            // SAFETY: as in `retire`.
            let late = mem::take(unsafe { &mut *own.late.get() });
            if late.is_empty() {
                break;
            }
            for garbage in late {
                // SAFETY: retired before by a reclaim function that has returned: nobody has it.
                unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
                own.counts.add_reclaimed();
            }
        }
        own.draining.set(false);
    }

    fn retired(&self) -> usize {
        // SAFETY: counts are atomic.
        Counts::waiting(unsafe { self.participants.iter() }.map(|p| &p.counts))
    }

    #[inline(always)]
    fn tally<'a>(&'a self, _guard: &'a Self::Guard<'_>) -> Option<&'a Tally> {
        Some(&self.participants.get().tally)
    }

    fn tallied(&self) -> (u64, u64) {
        counted::tallied(&self.participants, &self.ended)
    }
}

impl Kind<'_> {
    /// Hands over what was retired through this slot, with so much beside it that it may go to as many threads as
    /// are pinned.
    fn hand_over(&self, threads: usize) {
        match self {
            Self::Local(guard) => hand_over(guard, threads),
            Self::Owned(guard) => hand_over(guard, threads),
        }
    }
}

fn hand_over(guard: &impl seize::Guard, threads: usize) {
    for _ in 0..threads {
        let nothing = std::ptr::NonNull::<()>::dangling().as_ptr();
        // SAFETY: nobody looks at it, and to reclaim it is to do nothing.
        unsafe { guard.defer_retire(nothing, |_, _| ()) };
    }
    guard.flush();
}

impl Seize {
    fn reclaimed(&self) -> usize {
        // SAFETY: counts are atomic.
        Counts::reclaimed(unsafe { self.participants.iter() }.map(|p| &p.counts))
    }

    /// For a thread's first guard, and those of its end: these have slots of their own, each for a lock.
    #[cold]
    fn pin_unregistered(&self) -> Guard<'_> {
        let is_registered = thread::register(|| drop(self.collector.enter()));
        Guard(match is_registered {
            true => Kind::Local(self.collector.enter()),
            false => Kind::Owned(self.collector.enter_owned()),
        })
    }
}

impl Drop for Seize {
    /// Calls no reclaim function: what was not drained is lost.
    fn drop(&mut self) {
        if self.retired() == 0 {
            // SAFETY: dropped once, here, while the participants still exist. If something is left, as a
            // guard was forgotten, the collector would reclaim it when dropped, so then it is leaked instead.
            unsafe { ManuallyDrop::drop(&mut self.collector) };
        }
    }
}
