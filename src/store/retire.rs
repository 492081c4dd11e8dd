//! Hands objects to reclamation, which ends them a grace period later.

use super::{Host, Store};
use crate::chain::Node;
use crate::commit::{ClearWatermark, Era, Milestone, ViewPlace};
use crate::reclaim::{Garbage, Reclaim};
use std::ptr::{self, NonNull};

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// # Safety
    /// `object` is retired once for each end that the caller prepares: after it was made
    /// unreachable, or with a `reclaim` that looks again whether it may end. `reclaim` may be
    /// called with the object and this store, a grace period later.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub(super) unsafe fn retire<T>(
        &self,
        guard: &R::Guard<'_>,
        object: *const T,
        reclaim: unsafe fn(*mut (), *const ()),
    ) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast_mut().cast(), context, reclaim };
        // SAFETY: the caller's promise. The context outlives the reclaimer's use of it, because the
        // store drains the reclaimer when it is dropped.
        unsafe { self.reclaim.retire(guard, garbage) };
    }

    /// Retires a clearing commit.
    ///
    /// # Safety
    /// It was taken out of the chain of clearing commits, and is retired only once.
    pub(super) unsafe fn retire_era(&self, guard: &R::Guard<'_>, node: *mut Node<Milestone<Era>>) {
        // SAFETY: the caller's promise.
        unsafe { self.retire(guard, node, Self::reclaim_era) };
    }

    /// Retires the place of a closed view.
    ///
    /// # Safety
    /// It was taken out of the list of views, and is retired only once.
    pub(super) unsafe fn retire_place(&self, guard: &R::Guard<'_>, place: *mut ViewPlace) {
        // SAFETY: the caller's promise.
        unsafe { self.retire(guard, place, Self::reclaim_place) };
    }

    unsafe fn reclaim_era(node: *mut (), _: *const ()) {
        // SAFETY: retired by `retire_era`; a grace period has passed.
        unsafe { ClearWatermark::free(node.cast()) };
    }

    unsafe fn reclaim_place(place: *mut (), store: *const ()) {
        // SAFETY: retired by `retire_place`, which passed the store; a grace period has passed.
        unsafe { (*store.cast::<Self>()).views.give(NonNull::new_unchecked(place.cast())) };
    }
}
