//! The watermark: commits that cleared everything.
//!
//! Clearing is one commit of one version in a chain of its own. A key's version is visible only if
//! it is newer than the newest clearing commit that the reader may see. What that hid is swept out later, a little by each write.

use super::{Milestone, Milestones, ReadAt, ViewPlace, Views};
use crate::chain::{Linked, Live, Node};
use crate::memory::{self, Mapped};
use crate::sync::lazy_array::LazyArray;
use crate::sync::per_thread::thread_number;
use crate::sync::{AtomicU64, Ordering};
use crate::version::{Clock, State};
use crossbeam_utils::CachePadded;
use std::ptr;

/// The time between two clearing commits, how many keys are present in it, and what they weigh.
pub struct Era {
    /// Written by all; what look-ups read is not to lie beside it.
    sums: CachePadded<Sums>,
    /// Counts of keys beside that in `sums`, each for some threads; made when two were in each other's way there.
    stripes: LazyArray<[CachePadded<AtomicU64>; STRIPES], 1>,
}

#[derive(Default)]
struct Sums {
    weight: AtomicU64,
    present: AtomicU64,
}

/// So many make a page.
const STRIPES: usize =
    if cfg!(coeval_loom) { 1 } else { memory::PAGE / size_of::<CachePadded<AtomicU64>>() };

impl Era {
    /// Nothing present.
    pub fn new() -> Self {
        Self { sums: CachePadded::default(), stripes: LazyArray::new() }
    }

    /// Counts keys that became present, less those that became absent.
    pub fn count(&self, change: i64) {
        if change == 0 {
            return;
        }
        // Relaxed, everywhere: the sum is exact once writers have come to rest, and tells of nothing else.
        if self.stripes.get(0).is_none() {
            let now = self.sums.present.load(Ordering::Relaxed);
            let sum = now.wrapping_add(change as u64);
            let counted =
                self.sums.present.compare_exchange(now, sum, Ordering::Relaxed, Ordering::Relaxed);
            if counted.is_ok() {
                return;
            }
        }
        let stripes =
            self.stripes.get_or_make(0, || std::array::from_fn(|_| CachePadded::default()));
        #[allow(clippy::modulo_one)] // Models have one.
        let stripe = thread_number() % STRIPES;
        stripes[stripe].fetch_add(change as u64, Ordering::Relaxed);
    }

    /// Adds to the weight, and says what it is then. One sum for all threads, since the bound is kept by it: each
    /// of them sees what it added itself at least.
    pub fn weigh(&self, change: i64) -> u64 {
        if change == 0 {
            return self.weight();
        }
        // Relaxed: it is read through nothing but itself.
        sum(self
            .sums
            .weight
            .fetch_add(change as u64, Ordering::Relaxed)
            .wrapping_add(change as u64))
    }

    /// The weight of what is present.
    pub fn weight(&self) -> u64 {
        sum(self.sums.weight.load(Ordering::Relaxed))
    }

    /// How many keys are present.
    pub fn present(&self) -> usize {
        let stripes = self.stripes.get(0).into_iter().flatten();
        // Relaxed: as in `count`.
        let counts = stripes.map(|stripe| stripe.load(Ordering::Relaxed));
        let sum = counts.fold(self.sums.present.load(Ordering::Relaxed), u64::wrapping_add);
        usize::try_from(sum as i64).unwrap_or(0) // a moment's view may be short of an insert
    }
}

/// A sum of what came less what went, which may be counted before it was counted as come.
fn sum(bits: u64) -> u64 {
    u64::try_from(bits as i64).unwrap_or(0)
}

/// The chain of clearing commits.
pub struct ClearWatermark {
    cleared: Milestones<Era>,
    first: Era,
}

impl ClearWatermark {
    /// Nothing cleared yet.
    pub fn new() -> Self {
        Self { cleared: Milestones::new(), first: Era::new() }
    }

    /// Whether anything was ever cleared.
    #[inline(always)]
    pub fn is_raised(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// The version of the newest clearing commit; 0 if there is none. Stamps one that is ready.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock, live: Live<'_>) -> u64 {
        self.cleared.newest(clock, live)
    }

    /// The same, unless it is yet to be stamped.
    #[inline(always)]
    pub fn newest_stamped(&self, live: Live<'_>) -> Option<u64> {
        self.cleared.newest_stamped(live)
    }

    /// The version of the newest clearing commit as of an instant (0 if none), and its era.
    pub fn at<'g>(&'g self, clock: &Clock, at: ReadAt<'g>) -> (u64, &'g Era) {
        self.cleared.at(clock, at).unwrap_or((0, &self.first))
    }

    /// Clears everything: one commit. Returns its version.
    ///
    /// # Safety
    /// A guard is live. `retire` retires a node of this chain (to be [`free`](Self::free)d), `retire_place` a place of a
    /// view.
    pub unsafe fn clear(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Milestone<Era>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        let fresh = Linked::new(State::READY, ptr::null_mut(), Some(Milestone::new(Era::new())));
        let fresh = Mapped::new(fresh).into_raw().cast();
        // SAFETY: made just now; the rest is the caller's promise.
        unsafe { self.cleared.add(clock, views, fresh, retire, retire_place) }
    }

    /// Retires the clearing commits that no view needs, if they are many: see [`Milestones::trim`].
    ///
    /// # Safety
    /// As for [`clear`](Self::clear).
    pub unsafe fn trim(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Milestone<Era>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) {
        // SAFETY: the caller's promise.
        unsafe { self.cleared.trim(clock, views, retire, retire_place) };
    }

    /// See [`Milestones::each`].
    ///
    /// # Safety
    /// As there.
    #[cfg(coeval_loom)]
    pub unsafe fn each(&self, show: impl FnMut(*mut Node<Milestone<Era>>)) {
        // SAFETY: the caller's promise.
        unsafe { self.cleared.each(show) };
    }

    /// Drops a clearing commit that `clear` made.
    ///
    /// # Safety
    /// Nobody else has access to it.
    pub unsafe fn free(node: *mut Node<Milestone<Era>>) {
        // SAFETY: `clear` made it so, and it holds an era; the caller's promise.
        unsafe {
            (*node).drop_value();
            drop(Mapped::from_raw(node.cast::<Linked<Milestone<Era>>>()));
        }
    }

    /// The newest era.
    pub fn era<'g>(&'g self, clock: &Clock, live: Live<'g>) -> &'g Era {
        self.cleared.newest_of(clock, live).unwrap_or(&self.first)
    }
}

impl Drop for ClearWatermark {
    fn drop(&mut self) {
        // SAFETY: exclusive, and each once.
        self.cleared.drain(|node| unsafe { Self::free(node) });
    }
}
