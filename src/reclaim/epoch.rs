//! [crossbeam-epoch](https://docs.rs/crossbeam-epoch) as a backend.
//!
//! Each instance has a `Collector` of its own. A pin costs a sequentially consistent
//! read-modify-write or a fence; every 128th pin of a thread, a reader's too, does a bounded amount
//! of reclamation. Registration of threads is lock-free: a handle is a node in a linked list. We
//! keep handles by thread number, so a thread's handle and local garbage pass to the next thread
//! with its number. Each retirement allocates a box: what the reclaiming needs and what counts it
//! together do not fit into the three words that crossbeam-epoch defers without allocating.

use super::counted::{self, Counted, Counting, Counts};
use super::{Garbage, Reclaim, Tally};
use crate::sync::per_thread::PerThread;
use crossbeam_epoch::{Collector, Guard, LocalHandle};
use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;

/// How many objects a thread retires between two flushes of its own: fewer than the 512 that a flush
/// can reclaim, so that it keeps pace with large batches under a single pin.
const BATCH: usize = if cfg!(coeval_loom) { 1 } else { 256 };

/// A flush reclaims no fewer than this, if so many are due.
const FLUSHED: usize = 64;
/// After so many rounds of flushes that reclaimed nothing, what is left is kept by a guard that was forgotten: two
/// would see all reclaimed that is due, and each object may retire another.
const IN_VAIN: usize = 8;

/// Epoch-based reclamation by crossbeam-epoch. See the header of its module.
pub struct CrossbeamEpoch {
    collector: Collector,
    participants: ManuallyDrop<PerThread<Participant>>,
    /// What threads that have ended counted.
    ended: Tally,
}

#[derive(Default)]
struct Participant {
    handle: OnceCell<LocalHandle>,
    /// Retirements since the last flush.
    since: Cell<usize>,
    counts: Counts,
    tally: Tally,
}

// SAFETY: a handle's unsynchronised fields are used by its holder alone, which changes only when
// one thread has ended and another begun (or the instance is drained or dropped).
unsafe impl Send for Participant {}

impl Counting for Participant {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

// SAFETY: crossbeam-epoch runs what was deferred only after all guards of the collector that were
// live then have been dropped, and its pin is a full fence: a sequentially consistent compare-exchange
// on x86, which is one there, `fence(SeqCst)` elsewhere.
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
        by.since.set(by.since.get() + 1);
        let counted = Counted::retire(garbage, &by.counts);
        // SAFETY: it may be reclaimed once, by any thread (contract of `retire`). The counts are there
        // until all is reclaimed: see `drop`.
        unsafe { guard.defer_unchecked(move || Counted::reclaim(counted)) };
    }

    fn collect(&self) {
        let participant = self.participants.get();
        let handle = self.handle(participant);
        // Reclaim functions run under a pin, so this also stops them from coming back in here.
        if participant.since.get() >= BATCH && !handle.is_pinned() {
            participant.since.set(0);
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
        participant.since.set(0);
        handle.pin().flush();
        // What threads that have ended have not handed over yet.
        self.participants.vacate(|left| {
            if left.counts.is_waiting() {
                left.handle.get().into_iter().for_each(|handle| handle.pin().flush());
            }
            false
        });
        let (mut last, mut in_vain) = (self.reclaimed(), 0);
        for _ in 0..self.retired() / FLUSHED + IN_VAIN {
            handle.pin().flush();
            let now = self.reclaimed();
            in_vain = if now == last { in_vain + 1 } else { 0 };
            last = now;
            if in_vain == IN_VAIN {
                break;
            }
        }
        last != before
    }

    unsafe fn drain(&self) {
        // Handles hold garbage of their own, so each must flush. A flush reclaims a bounded number
        // of objects, and only those retired two epochs before.
        let mut in_vain = 0;
        while self.retired() != 0 && in_vain < IN_VAIN {
            let before = self.retired();
            // SAFETY: no other thread uses the scheme (contract of `drain`).
            let handles = || unsafe { self.participants.iter() }.filter_map(|p| p.handle.get());
            handles().for_each(|handle| handle.pin().flush());
            // No guard is live: a handle that is pinned was so by a guard that was forgotten, and stays so.
            let is_stuck = self.retired() >= before && handles().any(LocalHandle::is_pinned);
            in_vain = if is_stuck { in_vain + 1 } else { 0 };
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
    fn handle<'a>(&self, participant: &'a Participant) -> &'a LocalHandle {
        participant.handle.get_or_init(|| self.collector.register())
    }
}

impl Drop for CrossbeamEpoch {
    /// Calls no reclaim function: what was not drained is lost.
    fn drop(&mut self) {
        if self.retired() == 0 {
            // SAFETY: dropped once, here. If something is left it stays where it is, with the counts
            // and the handles, of which each keeps the collector alive.
            unsafe { ManuallyDrop::drop(&mut self.participants) };
        }
    }
}
