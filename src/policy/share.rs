//! What a thread keeps of the policy for its next operations: tickets of the queues, and counts
//! that are not added to the common ones yet. So threads that insert at the same time seldom write
//! to the same cache lines.
//!
//! Threads begin to do so once the queues are deep. A thread that stops then leaves behind a few
//! entries that others do not come upon (see `queue::lots`), and few insertions and evictions that
//! are not counted. [`Policy::recover`] finds the entries if there is nothing else to evict.

use super::history::InsertionTime;
use super::{Policy, QueueKind, Residents};
use crate::queue::{Handle, Queue, Queued, Tickets};
use crate::sync::{AtomicU32, Ordering, fence, fence_after_rmw};
use std::cell::Cell;

/// The number of tickets that a thread draws at once, and of insertions that it counts at once. As
/// many slots of a queue are on a cache line.
const LOT: u32 = 8;
/// A new entry with at least so many entries before it need not be spared by other threads.
const DEEP: u64 = 128;
/// Threads draw tickets in lots while both queues have at least so many entries, and so many for
/// each of these threads. So at most a quarter of a queue is in lots.
const DEEP_ENOUGH: u64 = 256;
const DEEP_ENOUGH_FOR_ONE: u64 = 4 * LOT as u64;

/// Entries are prefetched this many places ahead, and this many places ahead what else their
/// evictions access, for which the entry must have arrived. The evictions in between take about as
/// long as one memory access.
const AHEAD: u64 = 4;
const AHEAD_TO_EVICT: u64 = 2;

/// What one thread keeps.
#[derive(Default)]
pub(super) struct Share {
    push: [Tickets; 2],
    pop: [Tickets; 2],
    insertions: Cell<u32>,
    evictions: [Cell<u32>; 2],
    /// For each queue, how long the entry that was evicted last had stayed.
    stays: [Cell<u16>; 2],
    /// Entries that came to the front of small, and those of them that had hits.
    passed: Cell<u32>,
    passed_with_hits: Cell<u32>,
}

/// How deep the queues are. It lags a little behind.
pub(super) struct Depth(AtomicU32);

// All accesses are Relaxed: threads may notice a little later. For WAITING, see `Policy::recover`.
impl Depth {
    const DEEP: u32 = 1;
    const LOTS: u32 = 2;
    /// Threads may have tickets left.
    const HAD_LOTS: u32 = 4;
    /// Words may wait for threads that have drawn tickets to pop them.
    const WAITING: u32 = 8;

    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline(always)]
    fn has(&self, flag: u32) -> bool {
        // The queues of models are never deep, so a load would only multiply the schedules.
        !cfg!(coeval_loom) && self.0.load(Ordering::Relaxed) & flag != 0
    }

    fn note(&self, depth: u64, threads: u64) {
        let (is_deep, enough) = (depth >= DEEP, DEEP_ENOUGH.max(DEEP_ENOUGH_FOR_ONE * threads));
        let in_lots = depth >= enough;
        if is_deep != self.has(Self::DEEP) || in_lots != self.has(Self::LOTS) {
            let deep = if is_deep { Self::DEEP } else { 0 };
            let lots = if in_lots { Self::LOTS | Self::HAD_LOTS } else { 0 };
            self.0.fetch_and(!(Self::DEEP | Self::LOTS), Ordering::Relaxed);
            self.0.fetch_or(deep | lots, Ordering::Relaxed);
        }
    }

    /// Notes that a thread has drawn more tickets to pop than it uses at once.
    #[inline(always)]
    fn note_waiting(&self) {
        if !self.has(Self::WAITING) {
            self.0.fetch_or(Self::WAITING, Ordering::Relaxed);
        }
    }
}

/// A count of a thread.
fn add(count: &Cell<u32>, more: u32) {
    count.set(count.get() + more);
}

impl Policy {
    /// Returns whether a new entry is far from the front of either queue.
    #[inline(always)]
    pub fn is_deep(&self) -> bool {
        self.depth.has(Depth::DEEP)
    }

    /// Looks how deep the queues are. Threads that insert do so now and then. The engine calls this
    /// after it has evicted many entries.
    pub fn look_again(&self) {
        self.look_how_deep(self.share());
    }

    pub(super) fn look_how_deep(&self, share: Option<&Share>) {
        let (small, main) = self.lens(share);
        self.depth.note(small.min(main), self.shares.count());
    }

    /// Returns what the thread keeps, if threads keep something.
    #[inline(always)]
    pub(super) fn share(&self) -> Option<&Share> {
        self.depth.has(Depth::HAD_LOTS).then(|| self.shares.get())
    }

    /// Returns how many tickets a thread draws.
    #[inline(always)]
    fn lot(&self) -> u64 {
        if self.depth.has(Depth::LOTS) { LOT.into() } else { 1 }
    }

    fn queue(&self, kind: QueueKind) -> &Queue {
        match kind {
            QueueKind::Small => &self.small,
            QueueKind::Main => &self.main,
        }
    }

    /// Returns the lengths of small and main. The thread's own tickets do not distort them.
    #[inline(always)]
    pub(super) fn lens(&self, share: Option<&Share>) -> (u64, u64) {
        let len = |queue: &Queue, kind: QueueKind| match share {
            None => queue.len(),
            Some(share) => queue.len_by(&share.push[kind as usize], &share.pop[kind as usize]),
        };
        (len(&self.small, QueueKind::Small), len(&self.main, QueueKind::Main))
    }

    /// Returns the present time, with the insertions that the thread has not published.
    #[inline(always)]
    pub(super) fn now(&self, share: Option<&Share>) -> InsertionTime {
        self.history.now() + share.map_or(0, |share| share.insertions.get().into())
    }

    /// Pushes a handle to the back of a queue.
    #[inline]
    pub(super) fn push(
        &self,
        share: Option<&Share>,
        kind: QueueKind,
        handle: Handle,
        now: InsertionTime,
    ) {
        let stamp = self.history.tick(now) as u16;
        let queued = Queued { handle, stamp };
        match share {
            None => self.queue(kind).push(queued),
            Some(share) => self.queue(kind).push_by(&share.push[kind as usize], self.lot(), queued),
        }
        if kind == QueueKind::Main {
            let moved = self.main_moved.load(Ordering::Relaxed);
            if self.history.tick(moved) as u16 != stamp {
                self.main_moved.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Pops the handle at the front of a queue.
    #[inline(always)]
    pub(super) fn pop_from(&self, share: Option<&Share>, kind: QueueKind) -> Option<Queued> {
        let Some(share) = share else { return self.queue(kind).pop() };
        let lot = self.lot();
        let popped = self.queue(kind).pop_by(&share.pop[kind as usize], lot);
        if lot > 1 {
            // After the draw. Partner: the fence in `recover`.
            fence_after_rmw();
            self.depth.note_waiting();
        }
        popped
    }

    /// Returns the handle at the front of main, unless a thread is just pushing or popping it.
    pub(super) fn peek_main(&self, share: Option<&Share>) -> Option<Queued> {
        match share {
            None => self.main.peek(),
            Some(share) => self.main.peek_by(&share.pop[QueueKind::Main as usize]),
        }
    }

    /// Returns the handle at a distance behind the front. Only a hint.
    #[inline(always)]
    fn ahead(&self, share: Option<&Share>, kind: QueueKind, distance: u64) -> Option<Handle> {
        match share {
            None => self.queue(kind).ahead(distance),
            Some(share) => self.queue(kind).ahead_by(&share.pop[kind as usize], distance),
        }
    }

    /// Prefetches what the next evictions access. (Small caches are near the processor anyway.)
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub(super) fn look_ahead(
        &self,
        share: Option<&Share>,
        residents: &impl Residents,
        kind: QueueKind,
    ) {
        if let Some(later) = self.ahead(share, kind, AHEAD) {
            residents.prefetch(later);
        }
        if let Some(later) = self.ahead(share, kind, AHEAD_TO_EVICT) {
            self.history.prefetch(residents.prefetch_to_evict(later));
        }
    }

    /// Pushes handles anew that wait for threads with tickets. Returns whether there were any.
    #[cold]
    pub(super) fn recover(&self) -> bool {
        if !self.depth.has(Depth::WAITING) {
            return false;
        }
        // A thread that draws tickets sees the flag cleared, and sets it again; or this thread sees
        // the tickets. What is drawn later is drawn by a thread that then looks at the weight, and
        // sees the weight for which this one finds no word.
        self.depth.0.fetch_and(!Depth::WAITING, Ordering::Relaxed);
        fence(Ordering::SeqCst); // partner: the fence in `pop_from`
        self.small.recover() | self.main.recover()
    }

    /// Counts an insertion. Returns its time, and whether it is the thread's turn to look after
    /// the queues.
    #[inline(always)]
    pub(super) fn count_insertion(&self, share: Option<&Share>) -> (InsertionTime, bool) {
        let Some(share) = share else {
            let now = self.history.advance_by(1);
            return (now, now.is_multiple_of(super::SWEEP_EACH));
        };
        let own = share.insertions.get() + 1;
        share.insertions.set(own);
        if own < LOT {
            return (self.history.now() + u64::from(own), false);
        }
        (self.publish_counts(share), true)
    }

    /// Counts an eviction, and notes how long the entry had stayed.
    #[inline(always)]
    pub(super) fn count_eviction(
        &self,
        share: Option<&Share>,
        kind: QueueKind,
        stay: u16,
        now: InsertionTime,
    ) {
        match share {
            None => self.balance.evicted(kind, 1, stay, now, self.history.entries()),
            Some(share) => {
                add(&share.evictions[kind as usize], 1);
                share.stays[kind as usize].set(stay);
            }
        }
    }

    /// Counts an entry that came to the front of small.
    #[inline(always)]
    pub(super) fn count_passed(&self, share: Option<&Share>, has_hit: bool) {
        match share {
            None => self.balance.passed_small(1, has_hit.into()),
            Some(share) => {
                add(&share.passed, 1);
                add(&share.passed_with_hits, has_hit.into());
            }
        }
    }

    /// Adds the thread's counts to the common ones. Returns the time.
    fn publish_counts(&self, share: &Share) -> InsertionTime {
        let now = self.history.advance_by(share.insertions.take().into());
        for kind in [QueueKind::Small, QueueKind::Main] {
            let count = share.evictions[kind as usize].take();
            if count > 0 {
                let stay = share.stays[kind as usize].get();
                self.balance.evicted(kind, count, stay, now, self.history.entries());
            }
        }
        if share.passed.get() > 0 {
            self.balance.passed_small(share.passed.take(), share.passed_with_hits.take());
        }
        now
    }
}
