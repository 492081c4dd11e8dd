//! [crossbeam-epoch](https://docs.rs/crossbeam-epoch) as a backend.
//!
//! Each instance has a `Collector` of its own. A pin costs a sequentially consistent
//! read-modify-write or a fence. Every 128th pin of a thread, a reader's too, does a bounded amount
//! of reclamation. Registration of threads is lock-free: a handle is a node in a linked list.
//! Handles are kept per thread, so an ended thread's handle and local garbage pass to a later
//! thread. Each retirement allocates a box: the garbage and its counts do not fit into the three
//! words that crossbeam-epoch defers without an allocation.

use super::counted::{self, Counted, Counts, HasCounts};
use super::{Garbage, Reclaim, Tally};
use crate::sync::per_thread::PerThread;
use crossbeam_epoch::{Collector, Guard, LocalHandle};
use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;

/// The number of objects that a thread retires between two flushes. It is smaller than the 512
/// objects that a flush can reclaim, so that flushes keep pace with large batches under one pin.
const BATCH: usize = if cfg!(coeval_loom) { 1 } else { 256 };

/// A flush reclaims at least this many objects, if as many are due.
const MIN_FLUSHED: usize = 64;
/// After this many rounds of flushes that reclaim nothing, a forgotten guard keeps the rest. Two
/// rounds reclaim everything that is due, but each object may retire another.
const MAX_IDLE_ROUNDS: usize = 8;

/// Epoch-based reclamation by crossbeam-epoch. See the module's documentation.
pub struct CrossbeamEpoch {
    collector: Collector,
    participants: ManuallyDrop<PerThread<EpochParticipant>>,
    /// The look-ups counted by threads that have ended.
    ended: Tally,
}

#[derive(Default)]
struct EpochParticipant {
    handle: OnceCell<LocalHandle>,
    /// The number of retirements since the last flush.
    since_flush: Cell<usize>,
    counts: Counts,
    tally: Tally,
}

// SAFETY: only the holder of a handle uses its unsynchronised fields. The holder changes only when
// one thread has ended and another begun (or the instance is drained or dropped).
unsafe impl Send for EpochParticipant {}

impl HasCounts for EpochParticipant {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

// SAFETY: crossbeam-epoch runs deferred functions only after all guards of the collector that were
// live then have been dropped. Its pin is a full fence: a sequentially consistent compare-exchange
// on x86, where that is a full fence, and `fence(SeqCst)` elsewhere.
unsafe impl Reclaim for CrossbeamEpoch {
    type Guard<'a> = Guard;

    fn new() -> Self {
        Self {
            collector: Collector::new(),
            participants: ManuallyDrop::new(PerThread::new()),
            ended: Tally::default(),
        }
    }

    #[inline]
    fn pin(&self) -> Guard {
        self.handle(self.participants.get()).pin()
    }

    unsafe fn retire(&self, guard: &Guard, garbage: Garbage) {
        debug_assert_eq!(guard.collector(), Some(&self.collector));
        let by = self.participants.get();
        by.since_flush.set(by.since_flush.get() + 1);
        let counted = Counted::retire(garbage, &by.counts);
        // SAFETY: any thread may reclaim it once (contract of `retire`). The counts exist until
        // everything is reclaimed: see `drop`.
        unsafe { guard.defer_unchecked(move || Counted::reclaim(counted)) };
    }

    fn collect(&self) {
        let participant = self.participants.get();
        let handle = self.handle(participant);
        // Reclaim functions run under a pin, so this check also prevents recursion.
        if participant.since_flush.get() >= BATCH && !handle.is_pinned() {
            participant.since_flush.set(0);
            handle.pin().flush();
        }
    }

    fn reclaim_now(&self) -> bool {
        let participant = self.participants.get();
        let handle = self.handle(participant);
        if handle.is_pinned() {
            return false;
        }
        let before = self.reclaimed();
        participant.since_flush.set(0);
        handle.pin().flush();
        // Flush what ended threads have not handed over yet.
        self.participants.vacate(|left| {
            if left.counts.is_waiting() {
                left.handle.get().into_iter().for_each(|handle| handle.pin().flush());
            }
            false
        });
        let (mut last, mut idle_rounds) = (self.reclaimed(), 0);
        for _ in 0..self.retired() / MIN_FLUSHED + MAX_IDLE_ROUNDS {
            handle.pin().flush();
            let now = self.reclaimed();
            idle_rounds = if now == last { idle_rounds + 1 } else { 0 };
            last = now;
            if idle_rounds == MAX_IDLE_ROUNDS {
                break;
            }
        }
        last != before
    }

    unsafe fn drain(&self) {
        // Each handle holds garbage of its own, so all must flush. A flush reclaims a bounded
        // number of objects, and only those retired two epochs before.
        let mut idle_rounds = 0;
        while self.retired() != 0 && idle_rounds < MAX_IDLE_ROUNDS {
            let before = self.retired();
            // SAFETY: no other thread uses the scheme (contract of `drain`).
            let handles = || unsafe { self.participants.iter() }.filter_map(|p| p.handle.get());
            handles().for_each(|handle| handle.pin().flush());
            // No guard is live, so a pinned handle was pinned by a forgotten guard, and stays so.
            let is_stuck = self.retired() >= before && handles().any(LocalHandle::is_pinned);
            idle_rounds = if is_stuck { idle_rounds + 1 } else { 0 };
        }
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

impl CrossbeamEpoch {
    fn reclaimed(&self) -> usize {
        // SAFETY: counts are atomic.
        Counts::reclaimed(unsafe { self.participants.iter() }.map(|p| &p.counts))
    }

    #[inline(always)]
    fn handle<'a>(&self, participant: &'a EpochParticipant) -> &'a LocalHandle {
        participant.handle.get_or_init(|| self.collector.register())
    }
}

impl Drop for CrossbeamEpoch {
    /// Calls no reclaim function: objects that were not drained are lost.
    fn drop(&mut self) {
        if self.retired() == 0 {
            // SAFETY: dropped once, here. Otherwise the garbage stays, with the counts and the
            // handles, each of which keeps the collector alive.
            unsafe { ManuallyDrop::drop(&mut self.participants) };
        }
    }
}
