//! The clear watermark: the commits that cleared everything.
//!
//! Clearing is one commit of one version in a chain of its own. A key's version is visible only if
//! it is newer than the newest clearing commit that the reader may see. Later writes sweep out what
//! is hidden, a little each.

use super::{Milestone, Milestones, ReadAt, ViewPlace, Views};
use crate::chain::{Linked, Live, Node};
use crate::memory::{self, Mapped};
use crate::sync::lazy_array::LazyArray;
use crate::sync::per_thread::thread_number;
use crate::sync::{AtomicU64, Ordering, lines};
use crate::version::{Clock, State};
use crossbeam_utils::CachePadded;
use std::ptr;

/// The time between two clearing commits, with the number and the weight of the keys that are
/// present in it.
pub struct Era {
    /// All writers write it, so it shares no line with what look-ups read.
    sums: CachePadded<Sums>,
    /// Further counts of keys, each for some threads. Made when two threads contended for `sums`.
    stripes: LazyArray<[CachePadded<AtomicU64>; STRIPES], 1>,
}

#[derive(Default)]
struct Sums {
    weight: AtomicU64,
    present: AtomicU64,
}

/// The number of stripes that fill a page.
const STRIPES: usize =
    if cfg!(coeval_loom) { 1 } else { memory::PAGE / size_of::<CachePadded<AtomicU64>>() };

impl Era {
    /// Makes an era without keys.
    pub fn new() -> Self {
        Self { sums: CachePadded::default(), stripes: LazyArray::new() }
    }

    /// Adds the number of keys that became present, minus the number of those that became absent.
    pub fn count(&self, change: i64) {
        if change == 0 {
            return;
        }
        // Relaxed, everywhere: the sum is exact when no write is in progress, and no other memory
        // depends on it.
        if self.stripes.get(0).is_none() {
            lines::ask_to_write(&self.sums.present);
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
        #[allow(clippy::modulo_one)] // Models have one stripe.
        let stripe = thread_number() % STRIPES;
        stripes[stripe].fetch_add(change as u64, Ordering::Relaxed);
    }

    /// Adds to the weight and returns the sum. There is one sum for all threads, because the
    /// capacity bound depends on it: each thread sees at least what it added itself.
    #[inline]
    pub fn weigh(&self, change: i64) -> u64 {
        if change == 0 {
            return self.weight();
        }
        // Relaxed: no other memory depends on it.
        sum(self
            .sums
            .weight
            .fetch_add(change as u64, Ordering::Relaxed)
            .wrapping_add(change as u64))
    }

    /// The weight of the present keys.
    #[inline]
    pub fn weight(&self) -> u64 {
        sum(self.sums.weight.load(Ordering::Relaxed))
    }

    /// The number of present keys.
    pub fn present(&self) -> usize {
        let stripes = self.stripes.get(0).into_iter().flatten();
        // Relaxed: as in `count`.
        let counts = stripes.map(|stripe| stripe.load(Ordering::Relaxed));
        let sum = counts.fold(self.sums.present.load(Ordering::Relaxed), u64::wrapping_add);
        // Negative if the removal of a key was counted before its insertion.
        usize::try_from(sum as i64).unwrap_or(0)
    }
}

/// A sum of additions minus removals. A removal may be counted before its addition, so the sum may
/// be negative for a moment.
fn sum(bits: u64) -> u64 {
    u64::try_from(bits as i64).unwrap_or(0)
}

/// The chain of clearing commits. The number of the newest one that a reader may see is its clear
/// watermark.
pub struct ClearWatermark {
    cleared: Milestones<Era>,
    /// The era before anything is cleared.
    pub(super) first: Era,
}

impl ClearWatermark {
    /// Makes an empty chain.
    pub fn new() -> Self {
        Self { cleared: Milestones::new(), first: Era::new() }
    }

    /// Whether anything was ever cleared.
    #[inline(always)]
    pub fn is_raised(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// The number of the newest clearing commit; 0 if there is none. Stamps a ready one.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock, live: Live<'_>) -> u64 {
        self.cleared.newest(clock, live)
    }

    /// The number of the newest clearing commit as of an instant (0 if there is none), and its era.
    #[inline(always)]
    pub fn at<'g>(&'g self, clock: &Clock, at: ReadAt<'g>) -> (u64, &'g Era) {
        self.cleared.at(clock, at).unwrap_or((0, &self.first))
    }

    /// Clears everything by one commit. Returns its number.
    ///
    /// # Safety
    /// A guard is live. `retire` retires a node of this chain, to be [freed](Self::free).
    /// `retire_place` retires a view's place.
    pub unsafe fn clear(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Milestone<Era>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        let new = Linked::new(State::READY, ptr::null_mut(), Some(Milestone::new(Era::new())));
        let new = Mapped::new(new).into_raw().cast();
        // SAFETY: the node was made just now. The rest is the caller's promise.
        unsafe { self.cleared.add(clock, views, new, retire, retire_place) }
    }

    /// Retires the clearing commits that no view needs, if they are many; see [`Milestones::trim`].
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
    #[cfg(any(coeval_loom, coeval_internals))]
    pub unsafe fn each(&self, show: impl FnMut(*mut Node<Milestone<Era>>)) {
        // SAFETY: the caller's promise.
        unsafe { self.cleared.each(show) };
    }

    /// Drops a clearing commit that `clear` made.
    ///
    /// # Safety
    /// Nobody else has access to it.
    pub unsafe fn free(node: *mut Node<Milestone<Era>>) {
        // SAFETY: `clear` made it this way, with an era. The rest is the caller's promise.
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
        // SAFETY: the access is exclusive, and each node is freed once.
        self.cleared.drain(|node| unsafe { Self::free(node) });
    }
}
