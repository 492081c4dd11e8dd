//! Boxed and counted garbage, for backends that pass one pointer to a reclaim function and do not
//! report how many objects are waiting.

use super::{Garbage, Tally};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicUsize, Ordering};

/// The numbers of objects that a thread retired and of those that were reclaimed. Relaxed
/// throughout: counts order nothing.
#[derive(Default)]
pub(super) struct Counts {
    /// Written by the owner only.
    retired: AtomicUsize,
    /// Written by any thread that reclaims.
    reclaimed: AtomicUsize,
}

impl Counts {
    /// Counts a retirement. Only the owner calls it.
    pub(super) fn add_retired(&self) {
        self.retired.store(self.retired.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts the reclamation of an object that this thread retired. Any thread calls it.
    pub(super) fn add_reclaimed(&self) {
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether objects that this thread retired are waiting.
    pub(super) fn is_waiting(&self) -> bool {
        self.retired.load(Ordering::Relaxed) != self.reclaimed.load(Ordering::Relaxed)
    }

    /// Returns the number of objects reclaimed, over all threads. It may wrap.
    pub(super) fn reclaimed<'a>(all: impl Iterator<Item = &'a Counts>) -> usize {
        all.fold(0, |count, one| count.wrapping_add(one.reclaimed.load(Ordering::Relaxed)))
    }

    /// Returns the number of waiting objects, over all threads.
    pub(super) fn waiting<'a>(all: impl Iterator<Item = &'a Counts>) -> usize {
        // Wrapping: an object may be counted as reclaimed between the two loads.
        let count = all.fold(0_usize, |count, one| {
            let reclaimed = one.reclaimed.load(Ordering::Relaxed);
            count.wrapping_add(one.retired.load(Ordering::Relaxed)).wrapping_sub(reclaimed)
        });
        if count > isize::MAX as usize { 0 } else { count }
    }
}

/// The per-thread state of a backend that counts with [`Counts`].
pub(super) trait HasCounts {
    fn counts(&self) -> &Counts;
    fn tally(&self) -> &Tally;
}

/// Returns the hits and misses of all threads. First moves those of ended threads to `ended`, and
/// frees their places.
pub(super) fn tallied<P: HasCounts>(participants: &PerThread<P>, ended: &Tally) -> (u64, u64) {
    participants.vacate(|left| {
        // Only a place whose count of waiting objects is zero is freed: that count is not moved.
        let is_settled = !left.counts().is_waiting();
        if is_settled {
            ended.inherit(left.tally());
        }
        is_settled
    });
    participants.read_stable(|| {
        // SAFETY: tallies are atomic.
        let all = unsafe { participants.iter() }.map(HasCounts::tally);
        Tally::sum(all.chain([ended]))
    })
}

/// A retired object, and the counts in which it is counted.
pub(super) struct Counted {
    garbage: Garbage,
    by: *const Counts,
}

impl Counted {
    /// Counts a retirement by the calling thread, and boxes the garbage for
    /// [`reclaim`](Self::reclaim).
    pub(super) fn retire(garbage: Garbage, by: &Counts) -> *mut Self {
        by.add_retired();
        Box::into_raw(Box::new(Self { garbage, by }))
    }

    /// Reclaims the object, and counts it.
    ///
    /// # Safety
    /// `counted` comes from `retire`, is due, and is not used again. The counts still exist.
    pub(super) unsafe fn reclaim(counted: *mut Self) {
        // SAFETY: made by `Box::into_raw`; the caller owns it now.
        let Self { garbage, by } = *unsafe { Box::from_raw(counted) };
        // SAFETY: the object is due, by the caller's promise.
        unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        // SAFETY: the counts still exist, by the caller's promise.
        unsafe { &*by }.add_reclaimed();
    }
}
