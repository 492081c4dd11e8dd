//! Reclamation: decides when the memory of a retired object can be reused, although readers may
//! still have held the object when it was retired.
//!
//! The trait [`Reclaim`] has three backends.

mod asymmetric;
#[cfg(any(feature = "crossbeam-epoch", feature = "seize"))]
mod counted;
#[cfg(feature = "crossbeam-epoch")]
mod epoch;
#[cfg(feature = "seize")]
mod hyaline;
mod tally;
#[cfg(all(test, not(coeval_loom)))]
mod tests;

#[allow(unused_imports)]
pub use asymmetric::Asymmetric;
#[cfg(feature = "crossbeam-epoch")]
#[cfg_attr(docsrs, doc(cfg(feature = "crossbeam-epoch")))]
#[allow(unused_imports)]
pub use epoch::CrossbeamEpoch;
#[cfg(feature = "seize")]
#[cfg_attr(docsrs, doc(cfg(feature = "seize")))]
#[allow(unused_imports)]
pub use hyaline::Seize;

pub use tally::Tally;

/// The number of objects that dropped schemes left unreclaimed.
#[cfg(not(coeval_loom))]
static LEAKED: crate::sync::AtomicU64 = crate::sync::AtomicU64::new(0);

/// Returns how many retired objects the caches of this process left unreclaimed when they were
/// dropped.
///
/// A guard may be forgotten (`mem::forget(cache.pin())`). While the cache lives, such a guard
/// prevents what is retired from then on from being reclaimed;
/// [`Stats::retired`](crate::Stats::retired) counts these objects. When the cache is dropped,
/// nothing can be referenced through that guard any more. The default backend then reclaims
/// everything. crossbeam-epoch and seize cannot take such a guard back. They leak what it keeps,
/// and this function counts it. The keys and values in it are not dropped.
#[cfg(not(coeval_loom))]
#[must_use]
pub fn leaked() -> u64 {
    LEAKED.load(crate::sync::Ordering::Relaxed) // Relaxed: a statistic.
}

/// Counts the objects that a drained scheme leaves unreclaimed.
pub(crate) fn count_leaked(scheme: &impl Reclaim) {
    let left = scheme.retired();
    #[cfg(not(coeval_loom))]
    if left != 0 {
        LEAKED.fetch_add(left as u64, crate::sync::Ordering::Relaxed); // Relaxed: as above.
    }
    debug_assert!(!cfg!(coeval_loom) || left == 0, "models forget no guards");
}

/// An unlinked object, and the function that reclaims it once no thread holds it any more.
pub struct Garbage {
    /// The object.
    pub object: *mut (),
    /// The second argument of `reclaim`, such as the pool that the object belongs to.
    pub context: *const (),
    /// Called once, with `object` and `context`, on any thread, with or without a live guard. It
    /// may pin and retire, and must not unwind.
    pub reclaim: unsafe fn(*mut (), *const ()),
}

/// A reclamation scheme. All state belongs to the instance, so two caches share nothing.
///
/// # Safety
/// `retire(g, x)` calls `x.reclaim` only after every guard of this instance that was live when
/// `retire` was called has been dropped. `pin` is a full fence with respect to later loads through
/// the guard: either a retired object's reclaimer sees the guard, or the guard's holder sees
/// everything that was written before the object was retired.
pub unsafe trait Reclaim: Send + Sync + Sized + 'static {
    /// A guard. While it lives, it keeps every object that its thread can reach from being
    /// reclaimed. Bound to its thread.
    type Guard<'a>
    where
        Self: 'a;

    /// Creates a scheme with nothing retired.
    fn new() -> Self;

    /// Begins a guarded section and returns its guard. Guards nest.
    fn pin(&self) -> Self::Guard<'_>;

    /// Pins as `pin` does, for a guard that may still be live when the thread ends and its
    /// thread-local values are dropped.
    #[inline(always)]
    fn pin_for_long(&self) -> Self::Guard<'_> {
        self.pin()
    }

    /// Pins as `pin` does if that takes only a few instructions and no call. Otherwise, it may
    /// return `None`; the caller then uses `pin`.
    #[inline(always)]
    fn try_pin(&self) -> Option<Self::Guard<'_>> {
        Some(self.pin())
    }

    /// Hands over an unlinked object: threads that pin from now on cannot reach it.
    ///
    /// # Safety
    /// The object is retired once, and was unlinked before. `garbage.reclaim` may be called with it
    /// and its context from any thread until `drain` returns.
    unsafe fn retire(&self, guard: &Self::Guard<'_>, garbage: Garbage);

    /// Does a bounded part of the reclamation that is due. Writers call it between operations. It
    /// does nothing if the thread holds a guard. It is cheap when little is due.
    fn collect(&self);

    /// Reclaims all objects that were retired before and that no guard keeps. This covers the
    /// objects of this thread, those of ended threads, and those that can be taken from other
    /// threads without waiting for them. Returns whether it reclaimed any object. Does nothing if
    /// the thread holds a guard.
    fn reclaim_now(&self) -> bool {
        self.collect();
        false
    }

    /// Requests that retired objects be reclaimed soon, because a large one is among them.
    fn hurry(&self) {}

    /// Reclaims all retired objects, and those that their reclamation retires in turn, until none
    /// is left. If a guard was forgotten (`mem::forget`), stops when only objects that this guard
    /// keeps are left. These are never reclaimed.
    ///
    /// # Safety
    /// No guard is live, though some may have been forgotten, and no other thread uses the scheme
    /// during the call.
    unsafe fn drain(&self);

    /// Returns the number of objects that are retired but not yet reclaimed. It is approximate
    /// while other threads use the scheme.
    fn retired(&self) -> usize;

    /// Returns the counters of the thread that holds `guard`. `None` if the scheme does not count.
    fn tally<'a>(&'a self, _guard: &'a Self::Guard<'_>) -> Option<&'a Tally> {
        None
    }

    /// Returns how many look-ups of all threads found a value, and how many did not; zeros if the
    /// scheme does not count.
    fn tallied(&self) -> (u64, u64) {
        (0, 0)
    }
}
