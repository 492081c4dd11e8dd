//! Epoch-based reclamation whose readers issue no fence. The default backend.
//!
//! There is one global epoch. To pin, a thread announces the epoch that it read, and passes a light
//! barrier. To unpin, it clears the announcement. A thread that advances the epoch from `n` to
//! `n + 1` issues a heavy barrier, checks that no thread announces an epoch other than `n`, and
//! then does the CAS. `retire` stamps an object with the global epoch that it reads. The object is
//! reclaimed when the global epoch is three past its stamp.
//!
//! # Why three epochs
//! Write `A(n)` for the CAS that takes the epoch from `n` to `n + 1`, `S(n)` for the scan before it
//! and `H(n)` for the heavy barrier before that. `A(n - 1)` happens before `H(n)`, since the
//! attempt begins by an Acquire load that read `n`. Let W retire x. Let `L(W)` be the light barrier
//! of its outermost pin and `a(W)` the epoch that it announced; likewise for a reader R. `a` may be
//! older than the global epoch by any number, since a thread may be delayed between reading the
//! epoch and announcing it. So a stamp of `a(W)` would be wrong: R may be pinned at an epoch three
//! ahead of it.
//!
//! *If R misses anything that happened before x was retired (the unlinking, say), when has R left?*
//! 1. If the retirement happens before `A(k)`, then `a(R) <= k`: otherwise R's Acquire load of the
//!    epoch would have made it see the retirement.
//! 2. If the retirement happens before `H(k)`, then `L(R)` is before `H(k)`, and so before all
//!    later heavy barriers.
//! 3. If `L(R)` is before `H(k)`, then `S(k)` sees R's announcement or a later store of R. So
//!    `A(k)` succeeds only if `a(R) = k` or R has left. If R has left, all that R did happens
//!    before `A(k)`, since R's stores are Release and the scan's loads Acquire.
//!
//! W itself is pinned while it retires, so (3) holds for it as well. Let `j` be the least number
//! with `L(W)` before `H(j)`. `H(j - 1)` is then before `L(W)`, so the stamp `s >= j - 1`.
//! - If W announced `j`: `s >= j`, as `retire` reads the epoch after `pin` did. `A(j)` may succeed
//!   while W is pinned, but `A(j + 1)` only when W has left (3). So the retirement happens before
//!   `A(j + 1)` and `H(j + 2)`. Hence `a(R) <= j + 1` (1), `L(R)` is before `H(j + 2)` (2), and R
//!   has left before `A(j + 2)` (3). At epoch `j + 3 <= s + 3` no such reader is left.
//! - If W announced another epoch, W has left before `A(j)`: everything moves one epoch down, and
//!   no such reader is left at epoch `j + 2 <= s + 3`.
//!
//! Both bounds are met with equality, so two epochs are not enough.
//! `loom-tests/tests/reclamation.rs` shows what fails when a step is left out.
//!
//! # Cost
//! A pin is two loads and a store. An advance is a system call that interrupts the other running
//! threads, so a thread attempts it once in [`BATCH`] retirements. A thread that stays pinned keeps
//! everything that any thread retires meanwhile from being reclaimed, but no thread waits for it.
//! A thread that collects takes over the garbage of ended threads. It stamps this garbage anew, so
//! the garbage may stay a little longer. After that, no scan visits the ended threads.

mod participant;

use super::{Garbage, Reclaim, Tally};
use crate::sync::barrier::Barrier;
use crate::sync::hook::{mutant, step};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
pub use participant::Guard;
use participant::{MAX_GUARDS, Participant, Shared, unless_mutant};

/// How many objects a thread retires between two attempts to advance the epoch.
pub const BATCH: usize = if cfg!(coeval_loom) { 1 } else { 1024 };

/// The number of attempts to advance that `reclaim_now` makes: one for each epoch, and one more in
/// case another thread prevents the first.
const ADVANCE_ATTEMPTS: usize = 4;

/// The first epoch. A thread that is not pinned announces 0.
const FIRST: u64 = 1;

/// Returns how many epochs past its stamp an object is reclaimed.
#[inline(always)]
fn grace_epochs() -> u64 {
    match () {
        () if mutant("reclaim.grace_two") => 2,
        () if mutant("reclaim.grace_one") => 1,
        () => 3,
    }
}

/// Epoch-based reclamation with fence-free pins. See the module's documentation.
pub struct Asymmetric {
    shared: CachePadded<Shared>,
    participants: PerThread<Participant>,
    /// The look-ups counted by threads that have ended.
    ended: Tally,
}

// SAFETY: the module's documentation derives that all guards that missed a retirement are gone when
// the epoch is `grace_epochs()` past its stamp, and `Participant::move_due` waits for that. `pin`
// ends with a light barrier, and a heavy barrier of the same instance precedes every scan.
unsafe impl Reclaim for Asymmetric {
    type Guard<'a> = Guard<'a>;

    fn new() -> Self {
        Self::with(Barrier::detect())
    }

    #[inline(always)]
    fn pin(&self) -> Guard<'_> {
        self.try_pin().unwrap_or_else(|| self.pin_slow())
    }

    #[inline(always)]
    fn try_pin(&self) -> Option<Guard<'_>> {
        self.announce(self.participants.try_get()?)
    }

    #[inline]
    unsafe fn retire(&self, guard: &Guard<'_>, garbage: Garbage) {
        self.push(guard, garbage);
    }

    #[inline]
    fn collect(&self) {
        self.collect_due();
    }

    fn reclaim_now(&self) -> bool {
        let participant = self.participants.get();
        if participant.is_pinned() || participant.reclaiming.get() {
            return false;
        }
        participant.since_collect.set(0);
        // Before the epoch advances, since this garbage is stamped anew.
        self.take_over_all(participant);
        let mut epoch = FIRST;
        for _ in 0..ADVANCE_ATTEMPTS {
            // Acquire: pairs with the CAS in `advance`, as in `collect_now`.
            epoch = self.advance(self.shared.epoch.load(Ordering::Acquire));
        }
        participant.seen_epoch.set(epoch);
        participant.move_due(|stamp| stamp + grace_epochs() <= epoch);
        participant.reclaiming.set(true);
        // SAFETY: as in `collect`.
        let count = unsafe { participant.reclaim_due(usize::MAX) };
        participant.reclaiming.set(false);
        count != 0
    }

    fn hurry(&self) {
        let participant = self.participants.get();
        // Three advances, and one more in case another thread prevents the first.
        participant.since_attempt.set(participant.since_attempt.get() + 4 * BATCH);
    }

    unsafe fn drain(&self) {
        // SAFETY: no other thread uses the scheme (contract of `drain`).
        for participant in unsafe { self.participants.iter() } {
            // No guard is live, so this announcement is of a forgotten guard. Relaxed: no other
            // thread uses the scheme.
            participant.announced.store(0, Ordering::Relaxed);
            participant.nested.set(0);
        }
        let own = self.participants.get();
        debug_assert!(!own.reclaiming.get());
        own.reclaiming.set(true);
        loop {
            let mut reclaimed = 0;
            // SAFETY: no other thread uses the scheme (contract of `drain`).
            for participant in unsafe { self.participants.iter() } {
                participant.move_due(|_| true);
                // SAFETY: no guard was live when `drain` was called, so everything retired before
                // may be reclaimed. `push` keeps what a reclaim function retires for the next
                // round.
                reclaimed += unsafe { participant.reclaim_due(usize::MAX) };
            }
            if reclaimed == 0 {
                break;
            }
        }
        own.reclaiming.set(false);
    }

    fn retired(&self) -> usize {
        // SAFETY: `waiting` is atomic. Relaxed: a count that orders nothing.
        unsafe { self.participants.iter() }.map(|p| p.waiting.load(Ordering::Relaxed)).sum()
    }

    #[inline(always)]
    fn tally<'a>(&'a self, guard: &'a Self::Guard<'_>) -> Option<&'a Tally> {
        Some(guard.tally())
    }

    fn tallied(&self) -> (u64, u64) {
        // Relaxed: while it is visited, `waiting` belongs to the visitor.
        self.participants
            .vacate(|left| left.waiting.load(Ordering::Relaxed) == 0 && self.absorb(left));
        self.participants.read_stable(|| {
            // SAFETY: tallies are atomic.
            let all = unsafe { self.participants.iter() }.map(|p| &p.tally);
            Tally::sum(all.chain([&self.ended]))
        })
    }
}

impl Asymmetric {
    /// Creates a scheme that uses ordinary fences on any system.
    #[allow(dead_code)] // For tests and measurements.
    pub fn with_fences() -> Self {
        Self::with(Barrier::fences())
    }

    /// Returns whether pins of this instance issue no fence.
    #[allow(dead_code)] // For tests and reports.
    pub fn is_asymmetric(&self) -> bool {
        self.shared.barrier.is_asymmetric()
    }

    #[cold]
    fn pin_slow(&self) -> Guard<'_> {
        let guard = self.announce(self.participants.get());
        guard.unwrap_or_else(|| panic!("a thread may hold at most {MAX_GUARDS} guards at a time"))
    }

    fn with(barrier: Barrier) -> Self {
        let shared = CachePadded::new(Shared { epoch: AtomicU64::new(FIRST), barrier });
        Self { shared, participants: PerThread::new(), ended: Tally::default() }
    }

    #[cold]
    fn collect_now(&self, participant: &Participant) {
        // Even if the attempt fails: while another thread stays pinned, a heavy barrier is not
        // worth more than one attempt per batch.
        participant.since_attempt.set((participant.since_attempt.get() - BATCH).min(4 * BATCH));
        // Acquire: pairs with the CAS in `advance`, so that the guards that ended before it also
        // ended before this thread reclaims.
        let mut epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch == participant.seen_epoch.get() {
            epoch = self.advance(epoch);
        } // Otherwise another thread has advanced it since, which is as good.
        participant.seen_epoch.set(epoch);
        participant.move_due(|stamp| stamp + grace_epochs() <= epoch);
        self.take_over_all(participant);
    }

    /// Takes over the garbage of ended threads.
    fn take_over_all(&self, participant: &Participant) {
        self.participants.vacate(|left| {
            // Acquire: no older than what the owner saw, whose number this thread has acquired.
            let epoch = self.shared.epoch.load(Ordering::Acquire);
            participant.take_over(left, epoch);
            self.absorb(left)
        });
    }

    /// Moves the counts of an ended thread that has no garbage left, and frees its pages. Returns
    /// true: the place is empty.
    fn absorb(&self, left: &Participant) -> bool {
        self.ended.inherit(&left.tally);
        left.free_pages();
        true
    }

    /// Attempts once to advance the epoch from `epoch`, which the caller read (Acquire). Returns
    /// the epoch on which this thread may act.
    fn advance(&self, epoch: u64) -> u64 {
        if !self.shared.barrier.heavy() {
            return epoch;
        }
        // SAFETY: `announced` is atomic.
        for participant in unsafe { self.participants.iter() } {
            // Acquire: pairs with the stores in `Guard::drop` and `pin`.
            let order = unless_mutant("reclaim.scan_relaxed", Ordering::Acquire);
            let announced = participant.announced.load(order);
            if announced != 0 && announced != epoch {
                return epoch;
            }
        }
        step("reclaim.advance.scanned");
        // Release: passes on what the scan acquired, to the Acquire loads in `pin` and
        // `collect_now`. Acquire would add nothing: the caller acquired the value replaced.
        let advance = self.shared.epoch.compare_exchange(
            epoch,
            epoch + 1,
            Ordering::Release,
            Ordering::Relaxed, // On failure, nothing is read.
        );
        if advance.is_ok() { epoch + 1 } else { epoch }
    }
}

impl Drop for Asymmetric {
    /// Calls no reclaim function: objects that were not drained are lost.
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking() || self.retired() == 0, "dropped without drain");
    }
}
