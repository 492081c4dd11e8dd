//! The capacity bound, kept by the writers: what the engine tells the policy, and does when it says so.
//!
//! An eviction is a commit like any other: a tombstone upon the value that goes. So nobody sees a value again
//! that was evicted before, and a view that was opened earlier goes on showing it.

use super::Engine;
use super::keep::Moment;
use super::settle::Settled;
use crate::chain::{Node, Record, flags};
use crate::commit::{Entry, Era, Found};
use crate::policy::{HITS, Policy, Residents};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, step};
use crate::version::State;
use std::cell::Cell;
use std::ptr;

/// The engine as the policy sees it, under a guard.
pub(super) struct Keeper<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'g Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
    /// Changes of the weight, in this era, that are yet to be accounted for: what an insertion brings and what it
    /// evicts cancel each other out, and the sum that all threads write to is left alone.
    pending: Cell<i64>,
    era: &'g Era,
}

impl<'g, 'r, K, V, S, R: Reclaim> Keeper<'g, 'r, K, V, S, R> {
    pub fn new(engine: &'g Engine<K, V, S, R>, guard: &'g R::Guard<'r>) -> Self {
        // SAFETY: the guard is live.
        let era = unsafe { engine.order.floor.era(&engine.order.clock) };
        Self { engine, guard, pending: Cell::new(0), era }
    }

    /// Takes a change of the weight on.
    fn owe(&self, settled: Settled<'_>) {
        if ptr::eq(self.era, settled.era) {
            self.pending.set(self.pending.get() + settled.change);
        } else {
            settled.weigh();
        }
    }
}

/// A record's handle. It works as long as the record has the flag `ADMITTED`, and the guard lives under which
/// it had it.
pub(super) fn handle<K, V>(record: &Record<K, V>) -> Handle {
    Handle::new(ptr::from_ref(record).expose_provenance() as u64)
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// A value was written to `record`: the owner of the commit that wrote it accounts for its weight, and
    /// sees to the bound.
    pub(super) fn keep_bound(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: &Node<V>,
        settled: Settled<'_>,
    ) {
        let Some(policy) = &self.policy else { return settled.weigh() };
        let keeper = Keeper::new(self, guard);
        let is_heavier = settled.change > 0;
        keeper.owe(settled);
        keeper.admit(policy, record, node, is_heavier);
        let owed = keeper.pending.take();
        if owed != 0 && keeper.era.weigh(owed) > policy.capacity() && is_heavier {
            // Others came meanwhile, who did not see what we owed, nor we what they did.
            policy.make_room(&keeper);
            keeper.era.weigh(keeper.pending.take());
        }
    }

    /// The bound for a commit of several writes, when all of them are accounted for: else what it takes away itself
    /// would be in the way of what it brings.
    pub(super) fn keep_bound_of(&self, guard: &R::Guard<'_>, entries: &[Entry<K, V>]) {
        let Some(policy) = &self.policy else { return };
        let keeper = Keeper::new(self, guard);
        for entry in entries {
            // SAFETY: of a commit of the caller's, under the guard.
            let (record, node) = unsafe { (&*entry.record, &*entry.node) };
            if node.state().is_value() {
                keeper.admit(policy, record, node, true);
                keeper.era.weigh(keeper.pending.take());
            }
        }
    }
}

impl<K, V, S, R: Reclaim> Keeper<'_, '_, K, V, S, R> {
    /// Has the policy know the record, whose newest value was `node`, and evict what is too much then.
    fn admit(&self, policy: &Policy, record: &Record<K, V>, node: &Node<V>, is_heavier: bool) {
        if !policy.fits(self.engine.weight_of(node, node.state())) {
            self.evict(handle(record));
            return;
        }
        // By a read-modify-write in any case. Either the policy's `release`, which is one of the same word, comes
        // after it and sees our value; or before, and we see the flag cleared.
        let before = record.set_flags(flags::ADMITTED);
        step("evict.flagged");
        if before & flags::ADMITTED == 0 {
            policy.admit(self, handle(record));
        } else if is_heavier {
            policy.make_room(self);
        }
    }

    /// The record of a handle.
    pub fn record(&self, entry: Handle) -> &Record<K, V> {
        // SAFETY: made by `handle`. A record with the flag `ADMITTED` does not end, the flag is not cleared while the
        // policy holds the handle, and it calls us under the guard under which it took the handle out.
        unsafe { &*ptr::with_exposed_provenance(entry.bits() as usize) }
    }

    /// The newest version, if it is a value.
    pub fn newest(&self, record: &Record<K, V>) -> Option<(&Node<V>, State)> {
        // SAFETY: under our guard; see `record`.
        match unsafe { self.engine.order.newest(record) } {
            // SAFETY: kept by our guard.
            Found::Value(node, state) => Some((unsafe { &*ptr::from_ref(node) }, state)),
            _ => None,
        }
    }
}

impl<K, V, S, R: Reclaim> Residents for Keeper<'_, '_, K, V, S, R> {
    fn weight(&self) -> u64 {
        self.era.weight().saturating_add_signed(self.pending.get())
    }

    fn count(&self) -> u64 {
        if self.engine.rules.weigher.is_none() {
            return self.weight();
        }
        self.era.present() as u64
    }

    fn hash(&self, entry: Handle) -> u32 {
        self.record(entry).hash()
    }

    fn hits(&self, entry: Handle) -> Option<u32> {
        self.newest(self.record(entry)).map(|(_, state)| HITS - state.hits_left())
    }

    fn prefetch(&self, entry: Handle) {
        Record::<K, V>::prefetch_at(entry.bits() as usize);
    }

    fn set_hits(&self, entry: Handle, hits: u32) {
        if let Some((node, state)) = self.newest(self.record(entry)) {
            node.set_hits_left(state, HITS - hits);
        }
    }

    fn evict(&self, entry: Handle) -> bool {
        let record = self.record(entry);
        let Some((current, _)) = self.newest(record) else { return false };
        let ended = self.engine.end(self.guard, record, current, RemovalCause::Size);
        ended.map(|settled| self.owe(settled)).is_some()
    }

    fn release(&self, entry: Handle) -> bool {
        let record = self.record(entry);
        record.clear_flags(flags::ADMITTED);
        step("evict.released");
        let came = self.newest(record).is_some() && !mutant("evict.release_blindly");
        if came && record.set_flags(flags::ADMITTED) & flags::ADMITTED == 0 {
            return false;
        }
        self.engine.try_condemn(self.guard, record);
        true
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Ends the value `current` of `record`, unless it was superseded, by a commit of the cache's own. Its
    /// weight is yet to be accounted for.
    pub(super) fn end<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: &Record<K, V>,
        current: &Node<V>,
        cause: RemovalCause,
    ) -> Option<Settled<'g>> {
        if !record.revive() {
            return None;
        }
        step("evict.before_write");
        let (node, state) = self.write(guard, record, &mut None, None, Some(current))?;
        let moment = Moment::new(&self.timer);
        Some(self.settle_one(guard, record, (node, state), cause, &moment))
    }
}
