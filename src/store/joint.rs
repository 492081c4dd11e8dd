//! The part of this store in a joint commit.

use super::{Host, Store};
use crate::chain::{Node, Record};
use crate::commit::{Descriptor, Joint};
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use std::cell::Cell;

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Installs the versions of a part; see [`Partner`](crate::commit::Partner).
    ///
    /// # Safety
    /// As there.
    pub unsafe fn install_part(&self, part: *const (), joint: &Joint) {
        let guard = self.pin();
        step("joint.pinned");
        // The commit is undecided under the guard. So its owner still has a guard of this store,
        // and what the part names is kept by this guard from now on.
        if !joint.is_installing() {
            return;
        }
        // SAFETY: see above, and the caller's promise.
        unsafe { self.install_under(&guard, part, joint) };
    }

    /// Does the same under a guard that keeps the part: its owner's, or one under which the commit
    /// was seen undecided.
    ///
    /// # Safety
    /// The part is a descriptor of this store in this commit, and the guard keeps it.
    #[inline(always)]
    pub unsafe fn install_under(&self, guard: &R::Guard<'_>, part: *const (), joint: &Joint) {
        let retire = |record: &Record<K, V>, node: *mut Node<V>| {
            // SAFETY: taken out of the record by the caller, once.
            unsafe { self.retire_node(guard, record, node) };
        };
        // SAFETY: the caller's promise. A commit that blocks this one is kept by the guard.
        unsafe {
            let part = &*part.cast::<Descriptor<K, V>>();
            while let Err(blocking) = part.install_all(joint.word(), &self.order, &retire) {
                self.order.help(blocking, &retire);
            }
        }
    }

    /// Whether what a part requires is met; see [`Partner`](crate::commit::Partner).
    ///
    /// # Safety
    /// As there.
    pub unsafe fn is_part_met(&self, part: *const (), joint: &Joint, version: u64) -> Option<bool> {
        let guard = self.pin();
        step("joint.judged");
        if !joint.is_ready() {
            return Some(false); // decided
        }
        // SAFETY: as in `install_part`.
        let part = unsafe { &*part.cast::<Descriptor<K, V>>() };
        part.are_met(&self.order, version, &Cell::new(None), self.live(&guard))
    }
}
