//! The end of a value and of its record by one step: what an eviction does.
//!
//! An eviction is a tombstone on exactly the value that the policy has chosen. The step that
//! installs the tombstone also marks the record as condemned, and one grace period serves both: the
//! callback drops the value, and then seals the record or, if a writer came, frees the inline slot.

use super::{Host, OwnVersion, Store, Written};
use crate::chain::{NodeRef, Record, RecordRef, flags};
use crate::commit::{self, Over};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use std::cell::Cell;
use std::ptr;

/// What came of an eviction.
pub enum Evicted<'g, K, V> {
    /// The value ended. The owner of the commit settles it, and disposes of the value.
    Gone(Written<'g, K, V>, RecordEnd),
    /// Another commit came. `is_released` says that the policy no longer holds the record: a
    /// writer has found the flag `ADMITTED` cleared, and has admitted the record anew.
    Refused { is_released: bool },
}

/// Whether the record of an evicted value ends with it. If so, this thread has the flag
/// `CONDEMNING`, and the policy no longer holds the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RecordEnd {
    WithTheValue,
    Later,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Puts a tombstone on `current`, the newest value of the record, unless another commit has
    /// come. The record ends with the value if the value is in the inline slot, as most are, and if
    /// only the policy holds the record and has its handle `in_hand`, and no view is open.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub fn evict<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        current: NodeRef<'g, V>,
        in_hand: bool,
    ) -> Evicted<'g, K, V> {
        if !record.revive() {
            return Evicted::Refused { is_released: false };
        }
        step("evict.before_write");
        let (end, over) = match in_hand && self.claim_end(record, current) {
            true => (RecordEnd::WithTheValue, Over::Last(current)),
            false => (RecordEnd::Later, Over::Only(current)),
        };
        match self.write(guard, record, None, None, over) {
            Some(written) => Evicted::Gone(written, end),
            None => Evicted::Refused {
                is_released: end == RecordEnd::WithTheValue && !Self::unclaim_end(record),
            },
        }
    }

    /// Claims the right to end the record, and takes the record from the policy by the same step.
    fn claim_end(&self, record: RecordRef<'_, K, V>, current: NodeRef<'_, V>) -> bool {
        let busy = (flags::HELD & !flags::ADMITTED) | flags::CONDEMNING | flags::PRUNING;
        let claimed = |now: u32| now & !flags::ADMITTED | flags::CONDEMNING;
        let may = |now: u32| now & (busy | flags::ADMITTED) == flags::ADMITTED;
        let claim = |now: u32| may(now).then(|| claimed(now));
        let may_end = current.is(record.inline_slot()) && self.views.seem_none();
        may_end && record.change_flags(claim).is_ok()
    }

    /// Gives the right back, since another commit came, and the record to the policy. Returns false
    /// if the policy has it again already.
    ///
    /// Whoever wanted to condemn the record meanwhile leaves that to the policy, which lets go of
    /// the record later.
    #[cold]
    fn unclaim_end(record: RecordRef<'_, K, V>) -> bool {
        let admitted = if mutant("evict.forgets") { 0 } else { flags::ADMITTED };
        let before = record.change_flags(|now| Some(now & !flags::CONDEMNING | admitted));
        before.is_ok_and(|before| before & flags::ADMITTED == 0)
    }

    /// Disposes of the value that an eviction superseded; the version is its tombstone. If the
    /// record was to end, too, its removal begins, or the record goes on.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub fn dispose_evicted(&self, guard: &R::Guard<'_>, own: OwnVersion<'_, K, V>, end: RecordEnd) {
        let (record, tombstone) = (own.record(), own.node());
        let is_seen = !self.views.none() && !mutant("evict.unseen");
        if end == RecordEnd::Later || is_seen {
            self.dispose_superseded(guard, own);
            if end == RecordEnd::WithTheValue {
                self.go_on(guard, record);
            }
            return;
        }
        let inline = Cell::new(false);
        // SAFETY: as in `dispose_superseded`. The version in the inline slot was taken off the
        // chain by this call, and this thread has the flag `CONDEMNING`.
        unsafe {
            let retire = |node: *mut _| match ptr::eq(node, record.inline_slot()) {
                true => inline.set(true),
                false => self.retire_node(guard, &record, node),
            };
            commit::take_suffix(record.get(), tombstone.get(), true, retire);
            if inline.get() {
                return self.retire(guard, record.get(), Self::seal_evicted);
            }
        }
        self.go_on(guard, record);
    }

    /// Has a record go on that was condemned together with its value: a view may need the value, or
    /// another thread has retired it, which comes back to the record when the inline slot is free.
    #[cold]
    #[inline(never)]
    fn go_on(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        record.revive();
        if !mutant("evict.keeps_right") {
            self.begin_again(guard, record);
        }
    }

    /// The second step for an evicted record, whose inline version ends with it. If a writer came,
    /// only that version ends.
    unsafe fn seal_evicted(record: *mut (), store: *const ()) {
        // SAFETY: retired by `dispose_evicted`. For the record, as in `seal`; for the version in
        // its inline slot, as in `reclaim_inline`.
        unsafe {
            let store = &*store.cast::<Self>();
            let record = RecordRef::new(&*record.cast::<Record<K, V>>());
            store.drop_contents(&*record.inline_slot());
            let guard = store.pin();
            if !store.try_seal(&guard, record) {
                if !mutant("evict.keeps_slot") {
                    record.free_inline_slot();
                }
                store.begin_again(&guard, record);
            }
        }
    }
}
