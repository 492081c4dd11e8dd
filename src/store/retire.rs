//! Hands objects to reclamation, which ends them a grace period later.

use super::{Host, Store};
use crate::chain::Node;
use crate::commit::{ClearWatermark, Era, Milestone, ViewPlace};
use crate::reclaim::{Garbage, Reclaim};
use std::ptr::{self, NonNull};

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    pub(super) fn retire<T>(
        &self,
        guard: &R::Guard<'_>,
        object: *const T,
        reclaim: unsafe fn(*mut (), *const ()),
    ) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast_mut().cast(), context, reclaim };
        // SAFETY: each caller retires an object once for each end that it prepares: after it made
        // the object unreachable, or with a callback that looks again whether it may end. The
        // context outlives the reclaimer's use of it, because the store drains the reclaimer when
        // it is dropped.
        unsafe { self.reclaim.retire(guard, garbage) };
    }

    /// Retires a clearing commit.
    pub(super) fn retire_era(&self, guard: &R::Guard<'_>, node: *mut Node<Milestone<Era>>) {
        self.retire(guard, node, Self::reclaim_era);
    }

    /// Retires the place of a closed view.
    pub(super) fn retire_place(&self, guard: &R::Guard<'_>, place: *mut ViewPlace) {
        self.retire(guard, place, Self::reclaim_place);
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
