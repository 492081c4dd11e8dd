//! Reclamation: when an object that readers may still hold can be used again.
//!
//! One small trait, [`Reclaim`], three backends behind it.

mod asymmetric;
mod barrier;
#[cfg(any(feature = "crossbeam-epoch", feature = "seize"))]
mod counted;
#[cfg(feature = "crossbeam-epoch")]
mod epoch;
#[cfg(feature = "seize")]
mod hyaline;
mod pile;
mod tally;
#[cfg(all(test, not(coeval_loom)))]
mod tests;

#[allow(unused_imports)]
pub use asymmetric::Asymmetric;
#[cfg(feature = "crossbeam-epoch")]
#[allow(unused_imports)]
pub use epoch::CrossbeamEpoch;
#[cfg(feature = "seize")]
#[allow(unused_imports)]
pub use hyaline::Seize;

pub use tally::Tally;

/// What was left by schemes that are gone.
#[cfg(not(coeval_loom))]
static LEAKED: crate::sync::AtomicU64 = crate::sync::AtomicU64::new(0);

/// How many retired objects the caches of this process have left unreclaimed when they were dropped.
///
/// A guard may be forgotten (`mem::forget(cache.pin())`). As long as the cache lives, it keeps what is retired from
/// then on from being reclaimed ([`Stats::retired`](crate::Stats::retired) counts that). When the cache is dropped,
/// nobody can have a reference by that guard any more. The default backend then reclaims everything. crossbeam-epoch
/// and seize cannot take such a guard back: what it keeps is leaked, and counted here. Keys and values in it are not dropped.
#[cfg(not(coeval_loom))]
#[must_use]
pub fn leaked() -> u64 {
    LEAKED.load(crate::sync::Ordering::Relaxed) // Relaxed: a figure to look at.
}

/// Counts what is lost with a scheme that was drained.
pub(crate) fn count_leaked(scheme: &impl Reclaim) {
    let left = scheme.retired();
    #[cfg(not(coeval_loom))]
    if left != 0 {
        LEAKED.fetch_add(left as u64, crate::sync::Ordering::Relaxed); // As above.
    }
    debug_assert!(!cfg!(coeval_loom) || left == 0, "models forget no guards");
}

/// An object that nobody can newly reach, and what to do with it once nobody holds it any more.
pub struct Garbage {
    /// The object.
    pub object: *mut (),
    /// Handed to `reclaim` beside the object: what it needs to know of its surroundings.
    pub context: *const (),
    /// Called once, with `object` and `context`, by any thread, in which no guard need be live. It
    /// may pin and retire, and must not unwind.
    pub reclaim: unsafe fn(*mut (), *const ()),
}

/// A reclamation scheme. Its state belongs to the instance: two caches share nothing.
///
/// # Safety
/// `retire(g, x)` calls `x.reclaim` only after every guard of this instance that was live when
/// `retire` was called has been dropped. `pin` is a full fence as far as later loads through the
/// guard are concerned: either a retired object's reclaimer sees the guard, or the guard's holder
/// sees everything that was written before the object was retired.
pub unsafe trait Reclaim: Send + Sync + Sized + 'static {
    /// Keeps what could be reached while it lives from being reclaimed. Bound to its thread.
    type Guard<'a>
    where
        Self: 'a;

    /// A scheme with nothing retired.
    fn new() -> Self;

    /// Begins a guarded section. Guards nest.
    fn pin(&self) -> Self::Guard<'_>;

    /// The same, for a guard that may still be there when the thread ends and its thread-local values are dropped.
    #[inline(always)]
    fn pin_for_long(&self) -> Self::Guard<'_> {
        self.pin()
    }

    /// The same as `pin`, if that takes a few steps only, none of them a call. `None` says nothing.
    #[inline(always)]
    fn try_pin(&self) -> Option<Self::Guard<'_>> {
        Some(self.pin())
    }

    /// Hands over an object that was unlinked: threads that pin from now on cannot reach it.
    ///
    /// # Safety
    /// The object is retired once, was unlinked before, and `garbage.reclaim` may be called with it
    /// and its context from any thread until `drain` returns.
    unsafe fn retire(&self, guard: &Self::Guard<'_>, garbage: Garbage);

    /// Does a bounded amount of reclamation that is due. Called by writers between operations, while
    /// the thread holds no guard (it does nothing if one is held). Cheap when there is little to do.
    fn collect(&self);

    /// Reclaims all that was retired before and that no guard keeps: what this thread has retired, what threads that have
    /// ended have, and of others what can be had without waiting for them. Says whether that was anything. Does
    /// nothing if the thread holds a guard.
    fn reclaim_now(&self) -> bool {
        self.collect();
        false
    }

    /// Asks that what was retired be reclaimed soon: something large is among it.
    fn hurry(&self) {}

    /// Reclaims all that was retired, and what its reclaiming retires in turn, until nothing is left; or, if a guard was
    /// forgotten (`mem::forget`), until what is left is kept by that, and never reclaimed.
    ///
    /// # Safety
    /// No guard is live, though some may have been forgotten, and no other thread uses the scheme meanwhile.
    unsafe fn drain(&self);

    /// How many objects are retired and not yet reclaimed (approximate while others are at work).
    fn retired(&self) -> usize;

    /// Where the thread that holds `guard` counts its look-ups. A scheme may not count.
    fn tally<'a>(&'a self, _guard: &'a Self::Guard<'_>) -> Option<&'a Tally> {
        None
    }

    /// How many look-ups of all threads have found something, and how many have not.
    fn tallied(&self) -> (u64, u64) {
        (0, 0)
    }
}
