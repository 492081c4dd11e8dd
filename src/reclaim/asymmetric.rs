//! Epochs whose readers issue no fence. The default backend.
//!
//! There is one global epoch. To pin, a thread announces the epoch that it read, and passes a light
//! barrier; to leave, it takes the announcement back. Whoever wants to advance the epoch from `n` to
//! `n + 1` issues a heavy barrier, finds no thread announcing anything but `n`, and then does the
//! CAS. A retired object is stamped with the global epoch, read in `retire`, and reclaimed when the
//! global epoch is three past its stamp.
//!
//! # Why three
//! Write `A(n)` for the CAS that takes the epoch from `n` to `n + 1`, `S(n)` for the scan before it and
//! `H(n)` for the heavy barrier before that. `A(n - 1)` happens before `H(n)`, since the attempt begins
//! by an Acquire load that read `n`. Let W retire x, `L(W)` be the light barrier of its outermost pin
//! and `a(W)` what it announced; likewise for a reader R. `a` may be older than the global epoch by any
//! number, since a thread may rest between reading and announcing it.
//! That is why stamping x with `a(W)` would be wrong: R may be pinned at an epoch three ahead of it.
//!
//! *If R misses anything that happened before x was retired (the unlinking, say), when has R left?*
//! 1. If the retirement happens before `A(k)`, then `a(R) <= k`: otherwise R's Acquire load of the
//!    epoch would have made it see the retirement.
//! 2. If the retirement happens before `H(k)`, then `L(R)` is before `H(k)`, and so before all later ones.
//! 3. If `L(R)` is before `H(k)`, then `S(k)` sees R's announcement or a later store of R. So `A(k)`
//!    succeeds only if `a(R) = k` or R has left; in the latter case all that R did happens before
//!    `A(k)`, since R's stores are Release and the scan's loads Acquire.
//!
//! W itself is pinned while it retires, so (3) holds for it as well. Let `j` be the least number with
//! `L(W)` before `H(j)`. `H(j - 1)` is then before `L(W)`, so the stamp `s >= j - 1`.
//! - If W announced `j`: `s >= j`, as `retire` reads the epoch after `pin` did. `A(j)` may succeed
//!   beside W, `A(j + 1)` only when W has left (3), so the retirement happens before `A(j + 1)` and
//!   `H(j + 2)`. Hence `a(R) <= j + 1` (1) and `L(R)` is before `H(j + 2)` (2), and R has left before
//!   `A(j + 2)` (3). At epoch `j + 3 <= s + 3` nobody is left.
//! - If W announced anything else, W has left before `A(j)`: everything moves one epoch down, and
//!   nobody is left at epoch `j + 2 <= s + 3`.
//!
//! Both bounds are met with equality, so two would not do. `loom-tests/tests/reclamation.rs` shows
//! what fails when a step is left out.
//!
//! # What it costs
//! A pin is two loads and a store; an advance is a system call that interrupts the other running
//! threads, so it is attempted once in [`BATCH`] retirements of a thread. A thread that stays pinned
//! keeps all that is retired meanwhile, by anyone, from being reclaimed; nobody waits for it.
//! What a thread leaves behind when it ends is taken over by whoever collects next, and as that one's it may stay a
//! little longer: it is stamped anew. Then nobody comes upon the ended thread any more.

mod participant;

use super::barrier::Barrier;
use super::{Garbage, Reclaim, Tally};
use crate::sync::hook::{mutant, step};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use participant::Participant;

/// How many objects a thread retires between two attempts to advance the epoch.
pub const BATCH: usize = if cfg!(coeval_loom) { 1 } else { 1024 };

/// How many due objects a call of `collect` reclaims, beside two for each that was retired since the
/// last call: so what is due is worked off without a pause, and does not pile up.
const STEP: usize = 32;

/// So many attempts `reclaim_now` makes: one for each epoch, and one more if somebody is in the way of the first.
const ADVANCES: usize = 4;

/// The first epoch. 0 is what a thread announces that is not pinned.
const FIRST: u64 = 1;

/// How many guards a thread may hold at a time.
const GUARDS: u32 = (1 << 20) - 1;

/// How many epochs past its stamp an object is reclaimed.
#[inline(always)]
fn grace() -> u64 {
    match () {
        () if mutant("reclaim.grace_two") => 2,
        () if mutant("reclaim.grace_one") => 1,
        () => 3,
    }
}

/// `order`, or Relaxed in a model that asked for this defect.
#[inline(always)]
fn unless(defect: &'static str, order: Ordering) -> Ordering {
    if mutant(defect) { Ordering::Relaxed } else { order }
}

/// Epoch-based reclamation with fence-free pins. See the header of its module.
pub struct Asymmetric {
    shared: CachePadded<Shared>,
    participants: PerThread<Participant>,
    /// What threads that have ended counted.
    ended: Tally,
}

/// Read by everyone at each pin, written when the epoch advances.
struct Shared {
    /// From [`FIRST`] on.
    epoch: AtomicU64,
    barrier: Barrier,
}

/// Keeps a thread pinned. Neither `Send` nor `Sync`, since a participant is not `Sync`.
pub struct Guard<'a> {
    participant: &'a Participant,
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let nested = self.participant.nested.get();
        if nested != 0 && !mutant("reclaim.inner_guard_leaves") {
            return self.participant.nested.set(nested - 1);
        }
        // Release: pairs with the scan in `advance`, so that what was done under the guard
        // happens before the advance and the reclaiming that it permits.
        self.participant.announced.store(0, unless("reclaim.leave_relaxed", Ordering::Release));
    }
}

// SAFETY: the module's header derives that all guards that missed a retirement are gone when the
// epoch is `grace()` past its stamp, which `Participant::gather` awaits. `pin` ends with a light barrier
// whose heavy counterpart precedes every scan.
unsafe impl Reclaim for Asymmetric {
    type Guard<'a> = Guard<'a>;

    fn new() -> Self {
        Self::with(Barrier::detect())
    }

    #[inline(always)]
    fn pin(&self) -> Guard<'_> {
        self.try_pin().unwrap_or_else(|| self.pin_anyhow())
    }

    #[inline(always)]
    fn try_pin(&self) -> Option<Guard<'_>> {
        self.announce(self.participants.try_get()?)
    }

    #[inline]
    unsafe fn retire(&self, guard: &Guard<'_>, garbage: Garbage) {
        let participant = guard.participant;
        // Relaxed: it must only not be older than the header says, which the light barrier of `pin`
        // (for every load after it) and coherence with the load in `pin` provide.
        let mut stamp = self.shared.epoch.load(Ordering::Relaxed);
        if mutant("reclaim.stamp_announced") {
            stamp = participant.announced.load(Ordering::Relaxed);
        }
        participant.keep(stamp, garbage);
    }

    #[inline]
    fn collect(&self) {
        let participant = self.participants.get();
        let fresh = participant.fresh.get();
        // SAFETY: as in `keep`; the borrow ends here.
        let idle = fresh == 0
            && participant.since.get() < BATCH
            && unsafe { &*participant.due.get() }.is_empty();
        if !idle && !participant.is_pinned() && !participant.reclaiming.get() {
            participant.fresh.set(0);
            participant.since.set(participant.since.get() + fresh);
            if participant.since.get() >= BATCH {
                self.collect_now(participant);
            }
            participant.reclaiming.set(true);
            // SAFETY: by the header nobody holds what is three epochs old, and only that is put
            // into `due`, after an Acquire load of the epoch.
            unsafe { participant.reclaim_due(STEP + 2 * fresh) };
            participant.reclaiming.set(false);
        }
    }

    fn reclaim_now(&self) -> bool {
        let participant = self.participants.get();
        if participant.is_pinned() || participant.reclaiming.get() {
            return false;
        }
        participant.fresh.set(0);
        // Before the epoch advances: it is stamped anew.
        self.take_over_all(participant);
        let mut epoch = FIRST;
        for _ in 0..ADVANCES {
            // Acquire: pairs with the CAS in `advance`, as in `collect_now`.
            epoch = self.advance(self.shared.epoch.load(Ordering::Acquire));
        }
        participant.seen.set(epoch);
        participant.gather(|stamp| stamp + grace() <= epoch);
        participant.reclaiming.set(true);
        // SAFETY: as in `collect`.
        let count = unsafe { participant.reclaim_due(usize::MAX) };
        participant.reclaiming.set(false);
        count != 0
    }

    fn hurry(&self) {
        let participant = self.participants.get();
        // Three advances, and one more if somebody is in the way of the first.
        participant.since.set(participant.since.get() + 4 * BATCH);
    }

    unsafe fn drain(&self) {
        // SAFETY: no other thread uses the scheme (contract of `drain`).
        for participant in unsafe { self.participants.iter() } {
            // No guard is live, so what is announced was left by guards that were forgotten. Relaxed: nobody else looks.
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
                participant.gather(|_| true);
                // SAFETY: no guard was live when we were called, so whatever was retired before may
                // go. What a reclaim function retires is gathered after it returned.
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
        Some(&guard.participant.tally)
    }

    fn tallied(&self) -> (u64, u64) {
        // Relaxed: `waiting` is the visitor's own while he visits.
        self.participants
            .vacate(|left| left.waiting.load(Ordering::Relaxed) == 0 && self.part(left));
        self.participants.read_stable(|| {
            // SAFETY: tallies are atomic.
            let all = unsafe { self.participants.iter() }.map(|p| &p.tally);
            Tally::sum(all.chain([&self.ended]))
        })
    }
}

impl Asymmetric {
    /// A scheme that uses ordinary fences whatever the system offers.
    #[allow(dead_code)] // For tests and measurements.
    pub fn with_fences() -> Self {
        Self::with(Barrier::fences())
    }

    /// Whether pins of this instance are free of fences.
    #[allow(dead_code)] // For tests and reports.
    pub fn is_asymmetric(&self) -> bool {
        self.shared.barrier.is_asymmetric()
    }

    /// Pins a thread, unless it has too many guards.
    #[inline(always)]
    fn announce<'a>(&'a self, participant: &'a Participant) -> Option<Guard<'a>> {
        if participant.is_pinned() {
            return participant.nest();
        }
        // Acquire: pairs with the CAS in `advance`; step 1 of the header rests on it.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        step("reclaim.pin.read");
        // Release: pairs with the scan in `advance`. A scan that reads this, having missed the
        // store that ended an earlier guard, still comes after what that guard protected.
        let order = unless("reclaim.announce_relaxed", Ordering::Release);
        participant.announced.store(epoch, order);
        self.shared.barrier.light();
        step("reclaim.pin.announced");
        Some(Guard { participant })
    }

    #[cold]
    fn pin_anyhow(&self) -> Guard<'_> {
        let guard = self.announce(self.participants.get());
        guard.unwrap_or_else(|| panic!("a thread may hold {GUARDS} guards at a time"))
    }

    fn with(barrier: Barrier) -> Self {
        let shared = CachePadded::new(Shared { epoch: AtomicU64::new(FIRST), barrier });
        Self { shared, participants: PerThread::new(), ended: Tally::default() }
    }

    #[cold]
    fn collect_now(&self, participant: &Participant) {
        // Also if nothing comes of it: while somebody stays pinned, the barrier is not worth more
        // than one attempt a batch.
        participant.since.set((participant.since.get() - BATCH).min(4 * BATCH));
        // Acquire: pairs with the CAS in `advance`, so that the guards that ended before it ended
        // before what we reclaim.
        let mut epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch == participant.seen.get() {
            epoch = self.advance(epoch);
        } // Otherwise others have advanced it since, which serves as well.
        participant.seen.set(epoch);
        participant.gather(|stamp| stamp + grace() <= epoch);
        self.take_over_all(participant);
    }

    /// Takes over the garbage of threads that have ended.
    fn take_over_all(&self, participant: &Participant) {
        self.participants.vacate(|left| {
            // Acquire: not before what its owner has seen, whose number we have acquired.
            let epoch = self.shared.epoch.load(Ordering::Acquire);
            participant.take_over(left, epoch);
            self.part(left)
        });
    }

    /// Takes leave of a thread that has ended and has left no garbage. True: nothing is left of it.
    fn part(&self, left: &Participant) -> bool {
        self.ended.inherit(&left.tally);
        left.forget_pages();
        true
    }

    /// One attempt to advance the epoch from `epoch`, which the caller read (Acquire). Returns the
    /// epoch that this thread may act upon.
    fn advance(&self, epoch: u64) -> u64 {
        if !self.shared.barrier.heavy() {
            return epoch;
        }
        // SAFETY: `announced` is atomic.
        for participant in unsafe { self.participants.iter() } {
            // Acquire: pairs with the stores in `Guard::drop` and `pin`.
            let order = unless("reclaim.scan_relaxed", Ordering::Acquire);
            let announced = participant.announced.load(order);
            if announced != 0 && announced != epoch {
                return epoch;
            }
        }
        step("reclaim.advance.scanned");
        // Release: hands on what the scan acquired, to the Acquire loads in `pin` and `collect_now`.
        // Acquire would add nothing: the value replaced is the one that the caller acquired.
        let advance = self.shared.epoch.compare_exchange(
            epoch,
            epoch + 1,
            Ordering::Release,
            Ordering::Relaxed, // We go on as if we had not tried.
        );
        if advance.is_ok() { epoch + 1 } else { epoch }
    }
}

impl Drop for Asymmetric {
    /// Calls no reclaim function: what was not drained is lost.
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking() || self.retired() == 0, "dropped without drain");
    }
}
