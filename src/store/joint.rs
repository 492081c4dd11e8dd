//! The part of this store in a joint commit.

use super::commit::Preconditions;
use super::{Decided, Host, Store, TermsAndBonds, WriteSet};
use crate::chain::{Node, Record, RecordRef};
use crate::commit::{Descriptor, Joint};
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::version::State;
use std::cell::Cell;

/// The descriptor of a part whose joint commit is undecided. The owner of the commit decides it,
/// and passes it to [`conclude_part`](Store::conclude_part).
#[must_use]
pub struct PreparedPart<K, V> {
    descriptor: *const Descriptor<K, V>,
    has_witnesses: bool,
}

impl<K, V> PreparedPart<K, V> {
    /// The descriptor, as the joint commit knows it.
    pub fn descriptor(&self) -> *const () {
        self.descriptor.cast()
    }

    /// Whether the part has preconditions.
    pub fn is_conditional(&self) -> bool {
        // SAFETY: the owner of the commit has this, and its guard keeps the descriptor.
        !unsafe { &*self.descriptor }.expected().is_empty()
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Makes the versions and the descriptor of a part of a joint commit. Arguments as for
    /// [`commit`](Self::commit); `unknown` has the preconditions on keys without a record.
    pub fn prepare_part<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        joint: *const Joint,
        set: &mut WriteSet<'g, K, V>,
        preconditions: Preconditions<'_, 'g, K, V>,
        terms_of: impl FnMut(RecordRef<'g, K, V>, u32) -> TermsAndBonds,
    ) -> PreparedPart<K, V> {
        self.assist(guard);
        let has_witnesses = set.has_witnesses();
        let descriptor = self.make_descriptor(guard, joint, set, preconditions, terms_of);
        PreparedPart { descriptor, has_witnesses }
    }

    /// Copies the outcome of the joint commit into the versions of a part. The owner ends the part
    /// by [`forget`](Self::forget).
    ///
    /// # Safety
    /// The part was prepared under this guard, and its joint commit was decided so.
    pub unsafe fn conclude_part<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        part: PreparedPart<K, V>,
        outcome: State,
    ) -> Decided<'g, K, V> {
        // SAFETY: the caller's promise.
        unsafe { self.decided(guard, part.descriptor, part.has_witnesses, outcome) }
    }

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
