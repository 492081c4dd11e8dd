//! The capacity bound, kept by the writers: what the engine tells the policy, and does when it says so.
//!
//! An eviction is a commit like any other: a tombstone upon the value that goes. So nobody sees a value again
//! that was evicted before, and a view that was opened earlier goes on showing it.
//!
//! # Who pays
//! Whoever brings a weight makes room for it before his operation ends: [`EVICTIONS`] entries or so under the guard of
//! the operation, and what is still missing then when that is over (`make_owed_room`), under a guard for each so many, with
//! reclamation and the listener in between. Each eviction frees one unit at least, and was paid for by an insertion. Any
//! write that finds the weight above the bound nevertheless, as one who brought it has not come to it yet, or never
//! will, evicts a few ([`CARRIED_EVICTIONS`]).
//!
//! # What is spared
//! What an operation brings is not to go for the sake of just that. Its records get the flag `FRESH`, and lose it when
//! their thread brings something else. While a record has the flag, the policy takes others first, as long as it finds
//! some. The flag keeps the record, as its thread will come back to it; so a thread holds what its last operation brought,
//! 64 records at most. Of larger batches the rest is spared only by themselves.

use super::Engine;
use super::maintenance::due;
use super::post_commit::Settled;
use super::terms::weight_of;
use crate::chain::{NodeRef, Record, RecordRef, Visible, flags};
use crate::commit::{Entry, Era};
use crate::policy::{CHANCES, EVICTIONS, HITS, Policy, Residents, SpareDecision};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::Decided;
use crate::sync::hook::{mutant, step};
use std::cell::Cell;
use std::ptr;

/// How many entries a write evicts that did not bring what is too much.
const CARRIED_EVICTIONS: usize = if cfg!(coeval_loom) { 1 } else { 32 };
/// How little of a weight others need not see while room is made for it: what an entry counts for if nobody weighs.
const SMALL_WEIGHT: i64 = 1;
/// How often what a thread has just brought is spared in one search. Each time all others were passed over that are to be
/// had, for a hit or as they are spared, of which there is room for [`CHANCES`] each: so there are none.
const OWN_SPARES: usize = 2 * CHANCES + 2;

/// The engine as the policy sees it, under a guard.
pub(super) struct Keeper<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'g Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
    /// Changes of the weight, in this era, that are yet to be accounted for: what an insertion brings and what it
    /// evicts cancel each other out, and the sum that all threads write to is left alone.
    pending: Cell<i64>,
    era: &'g Era,
    /// The commit that brings what there is to be room for, unless it is a write of one key: in order of the records'
    /// addresses.
    entries: &'g [Entry<K, V>],
    /// How many more entries are spared, and how often more the one is that the thread has just brought, until something
    /// is evicted.
    spares_left: Cell<usize>,
    own_spares_left: Cell<usize>,
    evicted: Cell<usize>,
}

impl<'g, 'r, K, V, S, R: Reclaim> Keeper<'g, 'r, K, V, S, R> {
    pub fn new(engine: &'g Engine<K, V, S, R>, guard: &'g R::Guard<'r>) -> Self {
        let era = engine.store.era(guard);
        Self {
            engine,
            guard,
            pending: Cell::new(0),
            era,
            entries: &[],
            spares_left: Cell::new(CHANCES),
            own_spares_left: Cell::new(OWN_SPARES),
            evicted: Cell::new(0),
        }
    }

    /// For a commit of several writes.
    fn of(
        engine: &'g Engine<K, V, S, R>,
        guard: &'g R::Guard<'r>,
        entries: &'g [Entry<K, V>],
    ) -> Self {
        let spares_left = Cell::new(entries.len() + CHANCES);
        Self { entries, spares_left, ..Self::new(engine, guard) }
    }

    /// Accounts for what is pending. The weight that there is then.
    fn account(&self) -> u64 {
        self.era.weigh(self.pending.take())
    }

    /// Takes a change of the weight on.
    fn defer_weight(&self, settled: Settled<'_>) {
        if ptr::eq(self.era, settled.era) {
            self.pending.set(self.pending.get() + settled.change);
        } else {
            settled.account();
        }
    }
}

/// A record's handle. It works as long as the record has the flag `ADMITTED`, and the guard lives under which
/// it had it.
pub(super) fn handle<K, V>(record: RecordRef<'_, K, V>) -> Handle {
    Handle::new(ptr::from_ref(record.get()).expose_provenance() as u64)
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// A value was written to `record`: the owner of the commit that wrote it accounts for its
    /// weight, and sees to the bound.
    pub(super) fn keep_bound<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        settled: Settled<'g>,
    ) {
        let Some(policy) = &self.policy else { return settled.account() };
        let keeper = Keeper::new(self, guard);
        let brought = settled.change;
        keeper.defer_weight(settled);
        if brought > 0 {
            self.clear_fresh(guard);
        }
        keeper.admit(policy, record, node, brought > 0);
        if keeper.account() > policy.capacity() {
            keeper.evict_more(policy, brought.max(0) as u64);
        }
    }

    /// The bound for a commit of several writes, when all of them are accounted for: else what it
    /// takes away itself would be in the way of what it brings.
    pub(super) fn keep_bound_of<'g>(&'g self, guard: &'g R::Guard<'_>, entries: &'g [Entry<K, V>]) {
        let Some(policy) = &self.policy else { return };
        let keeper = Keeper::of(self, guard, entries);
        self.clear_fresh(guard);
        let mut brought = 0;
        for (record, node) in entries.iter().map(Decided::entry) {
            let state = node.state();
            if state.is_value() {
                brought += u64::from(weight_of(node, state));
                keeper.admit(policy, record, node, true);
                keeper.account();
            }
        }
        if keeper.era.weight() > policy.capacity() {
            keeper.evict_more(policy, brought);
        }
    }

    /// Accounts for what a write has taken away. If there is too much nevertheless, it carries on.
    pub(super) fn account_removal(&self, settled: Settled<'_>) {
        let Some(policy) = &self.policy else { return settled.account() };
        if settled.era.weigh(settled.change) > policy.capacity() {
            self.mark_over_bound();
        }
    }

    /// Says that the weight is above the bound, and nobody may be about to change that.
    fn mark_over_bound(&self) {
        // Release: who takes the mark off sees the weight that we have seen or made.
        self.due.set(due::ROOM);
    }

    /// Carries on with the room that is missing: until there is some, or as much was done as the thread owes itself, or a
    /// little. Without a guard.
    #[cold]
    pub(super) fn make_owed_room(&self) {
        let Some(policy) = &self.policy else { return };
        let owed = usize::try_from(self.scratch.get().owed.take()).unwrap_or(usize::MAX);
        let mut left = owed.max(CARRIED_EVICTIONS);
        loop {
            // First of all: whoever sets it anew has come to a weight that we need not have seen.
            self.due.clear(due::ROOM);
            let gone = {
                let guard = self.pin();
                let keeper = Keeper::new(self, &guard);
                let more = self.scratch.get().fresh.count();
                keeper.spares_left.set(CHANCES + more);
                policy.make_room(&keeper, left.min(EVICTIONS));
                if keeper.account() <= policy.capacity() {
                    return;
                }
                keeper.evicted.get()
            };
            self.mark_over_bound();
            left = left.saturating_sub(gone);
            if gone == 0 || left == 0 {
                return;
            }
            self.store.reclaim.collect();
            self.notify_listener();
        }
    }

    /// What the thread brought before is no longer spared on its behalf.
    pub(super) fn clear_fresh(&self, guard: &R::Guard<'_>) {
        self.scratch.get().fresh.take(|record| {
            // It has had the flag since we gave it to it, and nobody else takes it off: until then it
            // does not end.
            let record = self.store.held(guard, record);
            record.clear_flags(flags::FRESH);
            step("evict.spared_no_more");
            if !mutant("room.forgets") {
                self.store.try_condemn(guard, record);
            }
        });
    }
}

impl<'g, K, V, S, R: Reclaim> Keeper<'g, '_, K, V, S, R> {
    /// Has the policy know the record, whose newest value was `node`, and evict what is too much
    /// then.
    fn admit(
        &self,
        policy: &Policy,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        is_heavier: bool,
    ) {
        let weight = weight_of(node, node.state());
        if weight == 0 {
            return; // Whatever is above the bound, it is not for that.
        }
        if !policy.fits(weight) {
            self.evict(handle(record));
            return;
        }
        // By a read-modify-write in any case. Either the policy's `release`, which is one of the
        // same word, comes after it and sees our value; or before, and we see the flag cleared.
        let before = if is_heavier {
            self.set_admission_flags(record)
        } else {
            record.set_flags(flags::ADMITTED)
        };
        step("evict.flagged");
        if before & flags::ADMITTED == 0 {
            policy.admit(self, handle(record));
        } else if is_heavier {
            policy.make_room(self, EVICTIONS);
        }
    }

    /// Sets the flags of a record whose value the operation has brought, and says what was set
    /// before.
    fn set_admission_flags(&self, record: RecordRef<'g, K, V>) -> u32 {
        let fresh = &self.engine.scratch.get().fresh;
        if !fresh.has_room() {
            return record.set_flags(flags::ADMITTED);
        }
        let before = record.set_flags(flags::ADMITTED | flags::FRESH);
        if before & flags::FRESH == 0 {
            fresh.push(&record); // Else another thread's, which spares it.
        }
        before
    }

    /// The weight is above the bound, although a number of entries went for what was `brought`, if anything was.
    #[cold]
    fn evict_more(&self, policy: &Policy, brought: u64) {
        // Others is_value meanwhile, who did not see what we owed, nor we what they did; or it was not enough.
        if brought > 0 {
            policy.make_room(self, EVICTIONS);
        }
        if self.account() > policy.capacity() {
            self.engine.scratch.get().owed.set(brought);
            self.engine.mark_over_bound();
        }
    }

    /// The record of a handle.
    pub fn record(&self, entry: Handle) -> RecordRef<'g, K, V> {
        // SAFETY: made by `handle`. A record with the flag `ADMITTED` does not end, the flag is not
        // cleared while the policy holds the handle, and it calls us under the guard under which it
        // took the handle out. The wheel holds the record by a count.
        unsafe { RecordRef::new(&*ptr::with_exposed_provenance(entry.bits() as usize)) }
    }

    /// The newest version, if it is a value.
    pub fn newest(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        self.engine.store.order.newest(record)
    }

    /// The same, if the value counts for anything.
    fn heavy(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        self.newest(record).filter(|found| weight_of(found.node(), found.seen()) > 0)
    }

    /// Whether the commit at hand writes the record.
    fn brings(&self, record: RecordRef<'g, K, V>) -> bool {
        let address = ptr::from_ref(record.get()).addr();
        self.entries.binary_search_by_key(&address, |entry| entry.record.addr()).is_ok()
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
        self.heavy(self.record(entry)).map(|found| HITS - found.seen().hits_left())
    }

    fn prefetch(&self, entry: Handle) {
        Record::<K, V>::prefetch_at(entry.bits() as usize);
    }

    fn set_hits(&self, entry: Handle, hits: u32) {
        if let Some(found) = self.newest(self.record(entry)) {
            found.set_hits_left(found.seen(), HITS - hits);
        }
    }

    fn spare(&self, entry: Handle) -> SpareDecision {
        let record = self.record(entry);
        let is_fresh = record.flags() & flags::FRESH != 0;
        if !is_fresh && !self.brings(record) {
            return SpareDecision::Evict;
        }
        // What there is nothing else for, there is room for.
        if is_fresh && self.entries.is_empty() && self.engine.scratch.get().fresh.is(&record) {
            let left = self.own_spares_left.get();
            self.own_spares_left.set(left.saturating_sub(1));
            return if left > 0 { SpareDecision::SpareOwn } else { SpareDecision::EndSearch };
        }
        let left = self.spares_left.get();
        self.spares_left.set(left.saturating_sub(1));
        match left {
            0 => SpareDecision::Evict,
            _ if self.brings(record) || self.engine.scratch.get().fresh.has(&record) => {
                SpareDecision::SpareOwn
            }
            _ => SpareDecision::SpareOther,
        }
    }

    fn publish(&self) {
        if self.pending.get() > SMALL_WEIGHT {
            self.account();
        }
    }

    fn evict(&self, entry: Handle) -> bool {
        let record = self.record(entry);
        let Some(current) = self.newest(record) else { return false };
        let ended = self.engine.end(self.guard, record, current.node(), RemovalCause::Size);
        let is_gone = ended.map(|settled| self.defer_weight(settled)).is_some();
        if is_gone {
            self.evicted.set(self.evicted.get() + 1);
            self.spares_left.set(self.spares_left.get().max(CHANCES));
            self.own_spares_left.set(OWN_SPARES);
        }
        is_gone
    }

    fn release(&self, entry: Handle) -> bool {
        let record = self.record(entry);
        record.clear_flags(flags::ADMITTED);
        step("evict.released");
        let is_value = self.heavy(record).is_some() && !mutant("evict.release_blindly");
        if is_value && record.set_flags(flags::ADMITTED) & flags::ADMITTED == 0 {
            return false;
        }
        self.engine.store.try_condemn(self.guard, record);
        true
    }
}
