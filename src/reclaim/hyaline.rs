//! [seize](https://docs.rs/seize) (the Hyaline-1 scheme) as a backend.
//!
//! Each instance has a `Collector` of its own. seize links a thread's batch of 32 or more retired
//! objects to the threads that are pinned at that moment. The last of them to unpin reclaims the
//! batch, so reclamation may happen where a reader drops its guard. To unpin is an atomic swap.
//! Each retirement allocates a box, since seize passes only one pointer to a reclaim function.
//!
//! # Locks
//! seize takes a process-wide mutex when a thread first uses any collector and when such a thread
//! ends, and the first collector of a process initialises a `OnceLock`. Where Linux offers no
//! `membarrier` on x86-64, its heavy barrier takes a mutex too. A cache that must take no lock at
//! all uses another backend.
//!
//! # Threads that end
//! seize keeps the state of a thread in a thread-local value. After the destructor of that value,
//! seize panics when it needs the state, and gives the thread's slot to another thread. So a guard
//! of the thread's slot must not be made or dropped after that. From then on, each guard of a call
//! has a slot of its own ([`thread`]). Guards that a program may keep always have one
//! (`pin_for_long`). Such a guard takes the mutex when it is made and when it is dropped.
//!
//! # What a pin orders
//! The trait requires a full fence for later plain loads. seize guarantees one for loads by its
//! `Guard::protect`, which makes them `SeqCst`.
//! - With `membarrier`, seize's `enter` is a relaxed store and a compiler fence, and the heavy
//!   barrier orders that store before loads of any ordering (`barrier.rs`). No fence needs to be
//!   added, and `protect` would be an ordinary load on x86-64.
//! - Otherwise seize may rely on `SeqCst` for both accesses, which does not order an Acquire load
//!   that follows. So `pin` adds a `fence(SeqCst)` after `enter`, which pairs with the one in
//!   seize's heavy barrier. (On systems other than Linux, this is more than needed where seize has
//!   an asymmetric barrier that this crate does not detect.)

use super::counted::{self, Counted, Counts, HasCounts};
use super::{Garbage, Reclaim, Tally};
use crate::sync::barrier::Barrier;
use crate::sync::per_thread::PerThread;
use seize::{Collector, Guard as _, LocalGuard, OwnedGuard};
use std::cell::{Cell, UnsafeCell};
use std::mem::{self, ManuallyDrop};

/// A batch with this many objects added is handed over although it is not full.
const PADDING: usize = 31;

/// Keeps a thread pinned. Bound to its thread, like the guards of other backends.
pub struct SeizeGuard<'a>(GuardKind<'a>);

enum GuardKind<'a> {
    /// Uses the slot that seize keeps for the thread.
    Local(LocalGuard<'a>),
    /// Uses a slot of its own.
    Owned(OwnedGuard<'a>),
}

/// Whether a thread may use its slot in seize. The state that seize keeps for a thread has a
/// destructor. After that, seize panics on access, and another thread may have the slot.
mod thread {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[derive(Clone, Copy, PartialEq)]
    pub(super) enum Registration {
        Unknown,
        Registered,
        Ended,
    }

    std::thread_local! {
        // Const and without a destructor: access is one load, at any time.
        static REGISTRATION: Cell<Registration> = const { Cell::new(Registration::Unknown) };
        static BEFORE: End = const { End };
        static AFTER: End = const { End };
    }

    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            REGISTRATION.set(Registration::Ended);
        }
    }

    #[inline(always)]
    pub(super) fn is_registered() -> bool {
        REGISTRATION.get() == Registration::Registered
    }

    /// Registers the thread with seize, unless it is too late for that. Destructors of thread-local
    /// values run in the order of registration, or in the reverse order. So `BEFORE` or `AFTER` is
    /// dropped before seize's value.
    #[cold]
    pub(super) fn register(enter: impl FnOnce()) -> bool {
        let mut is_alive =
            REGISTRATION.get() == Registration::Unknown && BEFORE.try_with(|_| ()).is_ok();
        // Panics only if other code has used seize on this thread and seize's destructor has run.
        is_alive = is_alive && catch_unwind(AssertUnwindSafe(enter)).is_ok();
        is_alive = is_alive && AFTER.try_with(|_| ()).is_ok();
        REGISTRATION.set(if is_alive { Registration::Registered } else { Registration::Ended });
        is_alive
    }
}

/// Reclamation by seize. See the module's documentation.
pub struct Seize {
    collector: ManuallyDrop<Collector>,
    barrier: Barrier,
    participants: PerThread<SeizeParticipant>,
    /// The look-ups counted by threads that have ended.
    ended: Tally,
}

#[derive(Default)]
struct SeizeParticipant {
    counts: Counts,
    tally: Tally,
    /// Set while this thread is in `drain`.
    draining: Cell<bool>,
    /// Garbage that reclaim functions retire meanwhile. Never borrowed across a call to the
    /// outside.
    deferred: UnsafeCell<Vec<Garbage>>,
}

// SAFETY: a participant passes from a thread that ended to one that began later. Any thread may
// reclaim the garbage (contract of `retire`).
unsafe impl Send for SeizeParticipant {}

impl HasCounts for SeizeParticipant {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

// SAFETY: seize reclaims a batch only when the guards that were live at a heavy barrier after the
// retirements have been dropped. For the order of pins, see the module's documentation.
unsafe impl Reclaim for Seize {
    type Guard<'a> = SeizeGuard<'a>;

    fn new() -> Self {
        Self {
            collector: ManuallyDrop::new(Collector::new()),
            barrier: Barrier::detect(),
            participants: PerThread::new(),
            ended: Tally::default(),
        }
    }

    #[inline]
    fn pin(&self) -> SeizeGuard<'_> {
        let guard = if thread::is_registered() {
            SeizeGuard(GuardKind::Local(self.collector.enter()))
        } else {
            self.pin_unregistered()
        };
        self.barrier.light();
        guard
    }

    fn pin_for_long(&self) -> SeizeGuard<'_> {
        let guard = SeizeGuard(GuardKind::Owned(self.collector.enter_owned()));
        self.barrier.light();
        guard
    }

    unsafe fn retire(&self, guard: &SeizeGuard<'_>, garbage: Garbage) {
        let by = self.participants.get();
        if by.draining.get() {
            by.counts.add_retired();
            // SAFETY: only the owner uses the cell, and no borrow is live: none spans a call.
            unsafe { &mut *by.deferred.get() }.push(garbage);
            return;
        }
        let counted = Counted::retire(garbage, &by.counts);
        // SAFETY: unlinked and retired once; any thread may reclaim it (contract of `retire`). The
        // counts exist as long as the collector: see `drop`.
        unsafe {
            match &guard.0 {
                GuardKind::Local(guard) => {
                    guard.defer_retire(counted, |it, _| Counted::reclaim(it))
                }
                GuardKind::Owned(guard) => {
                    guard.defer_retire(counted, |it, _| Counted::reclaim(it))
                }
            }
        };
    }

    /// Does nothing: a full batch is handed over by `retire`, and reclaimed when guards are
    /// dropped.
    fn collect(&self) {}

    fn reclaim_now(&self) -> bool {
        if self.participants.get().draining.get() {
            return false;
        }
        let before = self.reclaimed();
        {
            // SAFETY: counts are atomic.
            let waiting = unsafe { self.participants.iter() }.filter(|p| p.counts.is_waiting());
            // seize reuses the slots of ended threads, lowest first. So these guards get the slots,
            // and with them the batches that the ended threads have left.
            let orphans: Vec<_> = waiting.map(|_| self.pin_for_long()).collect();
            let threads = PADDING + orphans.len();
            for guard in orphans.into_iter().chain([self.pin()]) {
                guard.0.hand_over(threads);
            }
        }
        self.reclaimed() != before
    }

    unsafe fn drain(&self) {
        let own = self.participants.get();
        own.draining.set(true);
        // seize would reclaim what a reclaim function retires immediately, even under a live guard
        // of that function, or leave it in a batch that it has passed. So `retire` defers it.
        // SAFETY: no guard is live and no other thread uses the collector (contract of `drain`).
        unsafe { self.collector.reclaim_all() };
        loop {
            // SAFETY: as in `retire`.
            let deferred = mem::take(unsafe { &mut *own.deferred.get() });
            if deferred.is_empty() {
                break;
            }
            for garbage in deferred {
                // SAFETY: the reclaim function that retired it has returned, so no guard is live.
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

impl GuardKind<'_> {
    /// Hands over the objects retired through this slot. Adds enough empty objects that the batch
    /// can be linked to `threads` pinned threads.
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
        // SAFETY: the pointer is never followed, and the reclaim function does nothing.
        unsafe { guard.defer_retire(nothing, |_, _| ()) };
    }
    guard.flush();
}

impl Seize {
    fn reclaimed(&self) -> usize {
        // SAFETY: counts are atomic.
        Counts::reclaimed(unsafe { self.participants.iter() }.map(|p| &p.counts))
    }

    /// Makes a thread's first guard, and guards during its destructors. The latter have slots of
    /// their own, and each takes a lock.
    #[cold]
    fn pin_unregistered(&self) -> SeizeGuard<'_> {
        let is_registered = thread::register(|| drop(self.collector.enter()));
        SeizeGuard(match is_registered {
            true => GuardKind::Local(self.collector.enter()),
            false => GuardKind::Owned(self.collector.enter_owned()),
        })
    }
}

impl Drop for Seize {
    /// Calls no reclaim function: objects that were not drained are lost.
    fn drop(&mut self) {
        if self.retired() == 0 {
            // SAFETY: dropped once, here, while the participants still exist. If garbage is left,
            // as a guard was forgotten, the collector is leaked: its drop would reclaim that
            // garbage.
            unsafe { ManuallyDrop::drop(&mut self.collector) };
        }
    }
}
