//! Garbage in a box, counted: for backends that hand a reclaim function one pointer and do not tell
//! how much is waiting.

use super::{Garbage, Tally};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicUsize, Ordering};

/// How much a thread retired, and how much of that was reclaimed. Relaxed throughout: counts order
/// nothing.
#[derive(Default)]
pub(super) struct Counts {
    /// Written by the owner only.
    retired: AtomicUsize,
    /// Written by whoever reclaims.
    reclaimed: AtomicUsize,
}

impl Counts {
    /// Counts a retirement. Called by the owner.
    pub(super) fn add_retired(&self) {
        self.retired.store(self.retired.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts an object of this thread as reclaimed. Called by anyone.
    pub(super) fn add_reclaimed(&self) {
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether objects of this thread are waiting.
    pub(super) fn is_waiting(&self) -> bool {
        self.retired.load(Ordering::Relaxed) != self.reclaimed.load(Ordering::Relaxed)
    }

    /// How many objects were reclaimed, over all threads. It may wrap.
    pub(super) fn reclaimed<'a>(all: impl Iterator<Item = &'a Counts>) -> usize {
        all.fold(0, |count, one| count.wrapping_add(one.reclaimed.load(Ordering::Relaxed)))
    }

    /// How many objects are waiting, over all threads.
    pub(super) fn waiting<'a>(all: impl Iterator<Item = &'a Counts>) -> usize {
        // Wrapping: an object may be counted as reclaimed between the two loads.
        let count = all.fold(0_usize, |count, one| {
            let reclaimed = one.reclaimed.load(Ordering::Relaxed);
            count.wrapping_add(one.retired.load(Ordering::Relaxed)).wrapping_sub(reclaimed)
        });
        if count > isize::MAX as usize { 0 } else { count }
    }
}

/// What a thread has in a backend that counts so.
pub(super) trait Counting {
    fn counts(&self) -> &Counts;
    fn tally(&self) -> &Tally;
}

/// The sums of all tallies. Those of threads that have ended go into `ended` first, with the places of
/// these threads.
pub(super) fn tallied<P: Counting>(participants: &PerThread<P>, ended: &Tally) -> (u64, u64) {
    participants.vacate(|left| {
        // What it has counted as waiting is nothing then, so it need not be moved.
        let is_settled = !left.counts().is_waiting();
        if is_settled {
            ended.inherit(left.tally());
        }
        is_settled
    });
    participants.read_stable(|| {
        // SAFETY: tallies are atomic.
        let all = unsafe { participants.iter() }.map(Counting::tally);
        Tally::sum(all.chain([ended]))
    })
}

/// A retired object, and where it is counted.
pub(super) struct Counted {
    garbage: Garbage,
    by: *const Counts,
}

impl Counted {
    /// Counts the retirement by the calling thread, and boxes it for [`reclaim`](Self::reclaim).
    pub(super) fn retire(garbage: Garbage, by: &Counts) -> *mut Self {
        by.add_retired();
        Box::into_raw(Box::new(Self { garbage, by }))
    }

    /// Reclaims it.
    ///
    /// # Safety
    /// `counted` comes from `retire`, is due, and is not used again; the counts still exist.
    pub(super) unsafe fn reclaim(counted: *mut Self) {
        // SAFETY: made by `Box::into_raw`, ours alone now.
        let Self { garbage, by } = *unsafe { Box::from_raw(counted) };
        // SAFETY: due.
        unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        // SAFETY: they still exist.
        unsafe { &*by }.add_reclaimed();
    }
}
