//! The capacity bound, which writers keep: what the engine tells the policy, and what it does at
//! the policy's request.
//!
//! An eviction is a commit like any other: it puts a tombstone on the evicted value. Therefore no
//! look-up finds a value after its eviction, and a view opened earlier still shows it.
//!
//! # Which operation evicts
//! An operation that adds weight makes room for it before it ends. It evicts about [`EVICTIONS`]
//! entries under its own guard. It evicts the rest after it has dropped that guard
//! (`make_owed_room`), under one guard for each such batch, and lets reclamation and the listener
//! run in between. Each eviction frees at least one unit of weight, for which an insertion has
//! paid. A write may still find the weight above the bound, because the thread that added it has
//! not made room yet or never will. Then the write evicts a few entries ([`CARRIED_EVICTIONS`]).
//!
//! # Which entries are spared
//! The entries that an operation adds must not be evicted to make room for the same operation.
//! Their records have the flag `FRESH` until their thread adds other entries. The policy prefers
//! other records as long as it finds some. The flag keeps the record in memory, because its thread
//! comes back to it. So a thread keeps the records of its last operation, at most 64. The other
//! entries of a larger batch are spared only by the commit of that batch itself. If the queues of
//! the policy are deep, a new record does not need the flag: its thread only notes its address, and
//! so spares it itself.

use super::Engine;
use super::fresh::FreshRecords;
use super::maintenance::due;
use super::post_commit::Settled;
use super::terms::weight_of;
use crate::chain::{NodeRef, Record, RecordRef, Visible, flags};
use crate::commit::{Entry, Era};
use crate::policy::{CHANCES, EVICTIONS, EvictionOutcome, HITS, Policy, Residents, SpareDecision};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::store::Decided;
use crate::sync::hook::{mutant, step};
use std::cell::Cell;
use std::ptr;

/// The most entries that a write evicts if it did not itself add the excess weight.
const CARRIED_EVICTIONS: usize = if cfg!(coeval_loom) { 1 } else { 32 };
/// Up to this weight, a pending change need not be visible to other threads while room is made for
/// it. It is the weight of an entry in a cache without a weigher.
const SMALL_WEIGHT: i64 = 1;
/// A thread gives up after so many searches in turn in which it found nothing, although other
/// threads had put something back each time.
const VAIN_SEARCHES: usize = 4;
/// How often one search spares an entry that the thread has just added. Between two such times, the
/// search has passed over all other candidates, because they were hit or are spared. Each of these
/// has at most [`CHANCES`] chances. After this many times there are no other candidates.
const OWN_SPARES: usize = 2 * CHANCES + 2;

/// The engine as seen by the policy, under a guard.
pub(super) struct EvictionContext<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'g Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
    fresh: &'g FreshRecords<K, V>,
    /// Changes of the weight and of the number of entries in this era that are not in the shared
    /// sums yet. What an insertion adds and what it evicts cancel out, so the sums, which all
    /// threads write, stay untouched.
    pending: Cell<i64>,
    pending_entries: Cell<i64>,
    era: &'g Era,
    /// The entries of the commit that needs room, ordered by the addresses of their records. Empty
    /// for a write of one key.
    entries: &'g [Entry<K, V>],
    /// How many more entries are spared, and how many more times the only entry that the thread has
    /// just added. An eviction resets both.
    spares_left: Cell<usize>,
    own_spares_left: Cell<usize>,
    evicted: Cell<usize>,
    /// The entry that the policy looked at last, with its value.
    looked_at: Cell<Option<(Handle, Visible<'g, V>)>>,
}

impl<'g, 'r, K, V, S, R: Reclaim> EvictionContext<'g, 'r, K, V, S, R> {
    pub fn new(engine: &'g Engine<K, V, S, R>, guard: &'g R::Guard<'r>) -> Self {
        let era = engine.store.era(guard);
        Self {
            engine,
            guard,
            fresh: &engine.scratch.get().fresh,
            pending: Cell::new(0),
            pending_entries: Cell::new(0),
            era,
            entries: &[],
            spares_left: Cell::new(CHANCES),
            own_spares_left: Cell::new(OWN_SPARES),
            evicted: Cell::new(0),
            looked_at: Cell::new(None),
        }
    }

    /// Returns the context for a commit of several writes.
    fn of(
        engine: &'g Engine<K, V, S, R>,
        guard: &'g R::Guard<'r>,
        entries: &'g [Entry<K, V>],
    ) -> Self {
        let spares_left = Cell::new(entries.len() + CHANCES);
        Self { entries, spares_left, ..Self::new(engine, guard) }
    }

    /// Adds the pending changes to the shared sums. Returns the weight after that.
    fn account(&self) -> u64 {
        let (entries, weight) = (self.pending_entries.take(), self.pending.take());
        Settled { era: self.era, entries, weight }.account_and_weigh()
    }

    /// Adds changes to the pending ones.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn defer(&self, settled: Settled<'_>) {
        if ptr::eq(self.era, settled.era) {
            self.pending.set(self.pending.get() + settled.weight);
            self.pending_entries.set(self.pending_entries.get() + settled.entries);
        } else {
            settled.account();
        }
    }
}

/// Returns the handle of a record. The handle is usable while the record has the flag `ADMITTED`,
/// and afterwards until the end of a guard under which it had the flag.
pub(super) fn handle<K, V>(record: RecordRef<'_, K, V>) -> Handle {
    Handle::new(ptr::from_ref(record.get()).expose_provenance() as u64)
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Accounts for the weight of a value and keeps the bound. The owner of the commit that wrote
    /// the value to `record` calls it.
    #[inline(never)]
    pub(super) fn keep_bound<'g>(
        &'g self,
        policy: &Policy,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        settled: Option<Settled<'g>>,
    ) {
        let context = EvictionContext::new(self, guard);
        let added = settled.as_ref().map_or(0, |settled| settled.weight);
        settled.into_iter().for_each(|settled| context.defer(settled));
        if added > 0 {
            self.clear_fresh_of(guard, context.fresh);
        }
        context.admit(policy, record, node, added > 0);
        if context.account() > policy.capacity() {
            context.evict_more(policy, added.max(0) as u64);
        }
    }

    /// Does the same as [`keep_bound`](Self::keep_bound) for a new record, which began with these
    /// flags.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub(super) fn keep_bound_of_new<'g>(
        &'g self,
        policy: &Policy,
        guard: &'g R::Guard<'_>,
        (record, node): (RecordRef<'g, K, V>, NodeRef<'g, V>),
        flags: u32,
        settled: Settled<'g>,
    ) {
        if flags == 0 {
            return self.keep_bound(policy, guard, record, node, Some(settled));
        }
        let context = EvictionContext::new(self, guard);
        context.defer(settled);
        self.clear_fresh_of(guard, context.fresh);
        context.fresh.add_new(&record, flags & flags::FRESH != 0);
        step("evict.flagged");
        policy.admit(&context, handle(record));
        if context.account() > policy.capacity() {
            context.evict_more(policy, 1);
        }
    }

    /// Keeps the bound for a commit of several writes. It runs after all their removals are
    /// accounted for, so that the weight that the commit removes does not compete with the weight
    /// that it adds.
    pub(super) fn keep_bound_of<'g>(
        &'g self,
        policy: &Policy,
        guard: &'g R::Guard<'_>,
        decided: &Decided<'g, K, V>,
    ) {
        let context = EvictionContext::of(self, guard, decided.entries());
        self.clear_fresh_of(guard, context.fresh);
        let mut added = 0;
        for (record, node, _) in decided.writes() {
            let state = node.state();
            if state.is_value() {
                added += u64::from(weight_of(node, state));
                context.admit(policy, record, node, true);
                context.account();
            }
        }
        if context.era.weight() > policy.capacity() {
            context.evict_more(policy, added);
        }
    }

    /// Accounts for the weight that a write removed. If the weight is still above the bound, marks
    /// that room is due.
    pub(super) fn account_removal(&self, settled: Settled<'_>) {
        let weight = settled.account_and_weigh();
        if self.policy.as_ref().is_some_and(|policy| weight > policy.capacity()) {
            self.mark_over_bound();
        }
    }

    /// Marks that the weight is above the bound and that possibly no thread is making room.
    fn mark_over_bound(&self) {
        // Release: the thread that clears the mark sees the weight that this thread saw or added.
        // The partner is `DueWork::clear`.
        self.due.set(due::ROOM);
    }

    /// Changes the bound of the weight, if there is one, and returns the former one. Later writes
    /// evict what is above the new one.
    pub fn resize(&self, capacity: u64) -> Option<u64> {
        let former = self.policy.as_ref()?.resize(capacity);
        let guard = self.pin();
        if self.store.era(&guard).weight() > capacity {
            self.mark_over_bound();
        }
        Some(former)
    }

    /// Makes the room that is still missing. Stops when the weight is within the bound, or after as
    /// many evictions as this thread owes, or after a few if it owes none. The caller has no guard.
    #[cold]
    pub(super) fn make_owed_room(&self) {
        let Some(policy) = &self.policy else { return };
        let owed = usize::try_from(self.scratch.get().owed.take()).unwrap_or(usize::MAX);
        let mut left = owed.max(CARRIED_EVICTIONS);
        let mut vain = 0;
        loop {
            // Clear first: a thread that sets the mark afterwards may have added weight that this
            // search does not see.
            self.due.clear(due::ROOM);
            let (gone, is_searched) = {
                let guard = self.pin();
                let context = EvictionContext::new(self, &guard);
                let more = context.fresh.count();
                context.spares_left.set(CHANCES + more);
                let is_searched = policy.make_room(&context, left.min(EVICTIONS));
                policy.look_again();
                if context.account() <= policy.capacity() {
                    return;
                }
                (context.evicted.get(), is_searched)
            };
            self.mark_over_bound();
            left = left.saturating_sub(gone);
            vain = if gone > 0 { 0 } else { vain + 1 };
            if left == 0 || gone == 0 && is_searched || vain == VAIN_SEARCHES {
                return;
            }
            self.store.reclaim.collect();
            self.notify_listener();
        }
    }

    /// Returns the weight of all entries, if room is due.
    pub(super) fn weight_to_evict(&self) -> Option<u64> {
        self.due.is_set(due::ROOM).then(|| self.store.era(&self.pin()).weight())
    }

    /// Makes all the room that is missing, as long as each step makes some: the entries that are
    /// left may be spared. The caller has no guard.
    pub(super) fn make_all_room(&self) {
        let mut before = u64::MAX;
        while let Some(weight) = self.weight_to_evict().filter(|weight| *weight < before) {
            before = weight;
            self.make_owed_room();
        }
    }
}

impl<'g, K, V, S, R: Reclaim> EvictionContext<'g, '_, K, V, S, R> {
    /// Makes the record known to the policy, and evicts the excess. `node` was the newest value of
    /// the record.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn admit(
        &self,
        policy: &Policy,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        adds_weight: bool,
    ) {
        let weight = weight_of(node, node.state());
        if weight == 0 {
            return; // evicting an entry without weight makes no room
        }
        if !policy.fits(weight) {
            // The policy does not know the record and releases nothing.
            if self.evict_entry(handle(record), false).is_gone {
                self.engine.store.try_condemn(self.guard, record);
            }
            return;
        }
        // A thread that adds weight does a read-modify-write in any case, because the policy's
        // `release` does one on the same word. If `release` comes later, it sees this value. If it
        // came before, this thread sees the flag cleared. A write that adds none found the entry
        // present, so some thread has added it and does so. This thread helps if that one is
        // stopped.
        let before = match adds_weight {
            true => self.set_admission_flags(record),
            false if record.flags() & flags::ADMITTED != 0 => return,
            false => record.set_flags(flags::ADMITTED),
        };
        step("evict.flagged");
        if before & flags::ADMITTED == 0 {
            policy.admit(self, handle(record));
        } else if adds_weight {
            policy.make_room(self, EVICTIONS);
        }
    }

    /// Sets the flags of a record whose value the operation has added. Returns the flags that were
    /// set before.
    fn set_admission_flags(&self, record: RecordRef<'g, K, V>) -> u32 {
        let fresh = self.fresh;
        if !fresh.has_room() {
            return record.set_flags(flags::ADMITTED);
        }
        let before = record.set_flags(flags::ADMITTED | flags::FRESH);
        if before & flags::FRESH == 0 {
            fresh.push(&record); // otherwise another thread has the record and spares it
        }
        before
    }

    /// Evicts again if the weight is above the bound although entries were evicted for the weight
    /// `brought`, if any.
    #[cold]
    fn evict_more(&self, policy: &Policy, added: u64) {
        // Other threads added weight in the meantime, without seeing this thread's pending weight
        // nor this thread theirs. Or the evictions were not enough.
        if added > 0 {
            policy.make_room(self, EVICTIONS);
        }
        if self.account() > policy.capacity() {
            self.engine.scratch.get().owed.set(added);
            self.engine.mark_over_bound();
        }
    }

    /// Returns the record of a handle.
    pub fn record(&self, entry: Handle) -> RecordRef<'g, K, V> {
        // SAFETY: `handle` made the handle. A record with the flag `ADMITTED` does not end, and the
        // flag is not cleared while the policy holds the handle. The policy calls this under the
        // guard under which it took the handle out, or read it in a queue. A record in the wheel is
        // held by a count.
        unsafe { RecordRef::new(&*ptr::with_exposed_provenance(entry.bits() as usize)) }
    }

    /// Returns the newest version, if it is a value.
    pub fn newest(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        self.engine.store.order.newest(record)
    }

    /// Returns the newest version, if it is a value with a weight above 0.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn newest_with_weight(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        self.newest(record).filter(|found| weight_of(found.node(), found.seen()) > 0)
    }

    /// Evicts the value of an entry, unless another commit came. `in_hand`: the policy holds the
    /// handle, and has taken it out of its queue.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn evict_entry(&self, entry: Handle, in_hand: bool) -> EvictionOutcome {
        let record = self.record(entry);
        // What the policy has just seen is evicted, or nothing, if another commit came.
        let seen = self.looked_at.take().filter(|(looked_at, _)| *looked_at == entry);
        let current = seen.map(|(_, found)| found).or_else(|| self.newest_with_weight(record));
        let (settled, is_released) = match current {
            Some(current) => self.engine.evict(self.guard, record, current, in_hand),
            None => (None, false),
        };
        let Some(settled) = settled else {
            return EvictionOutcome { is_gone: false, is_released };
        };
        self.defer(settled);
        self.evicted.set(self.evicted.get() + 1);
        self.spares_left.set(self.spares_left.get().max(CHANCES));
        self.own_spares_left.set(OWN_SPARES);
        EvictionOutcome { is_gone: true, is_released }
    }

    /// Returns whether the current commit writes the record.
    fn is_own_write(&self, record: RecordRef<'g, K, V>) -> bool {
        let address = ptr::from_ref(record.get()).addr();
        self.entries.binary_search_by_key(&address, |entry| entry.record.addr()).is_ok()
    }
}

impl<K, V, S, R: Reclaim> Residents for EvictionContext<'_, '_, K, V, S, R> {
    fn weight(&self) -> u64 {
        self.era.weight().saturating_add_signed(self.pending.get())
    }

    fn count(&self) -> u64 {
        if self.engine.rules.weigher.is_none() {
            return self.weight();
        }
        (self.era.present() as u64).saturating_add_signed(self.pending_entries.get())
    }

    fn hash(&self, entry: Handle) -> u32 {
        self.record(entry).hash()
    }

    #[inline]
    fn hits(&self, entry: Handle) -> Option<u32> {
        let found = self.newest_with_weight(self.record(entry))?;
        self.looked_at.set(Some((entry, found)));
        Some(HITS - found.seen().hits_left())
    }

    fn prefetch(&self, entry: Handle) {
        Record::<K, V>::prefetch_at(entry.bits() as usize);
    }

    fn prefetch_to_evict(&self, entry: Handle) -> u32 {
        let hash = self.hash(entry);
        self.engine.store.prefetch_bucket(self.guard, hash);
        hash
    }

    fn set_hits(&self, entry: Handle, hits: u32) {
        if let Some(found) = self.newest(self.record(entry)) {
            found.set_hits_left(found.seen(), HITS - hits);
        }
    }

    #[inline]
    fn spare(&self, entry: Handle) -> SpareDecision {
        let record = self.record(entry);
        let fresh = self.fresh;
        let is_fresh = record.flags() & flags::FRESH != 0 || fresh.is(&record);
        if !is_fresh && !self.is_own_write(record) {
            return SpareDecision::Evict;
        }
        // If the only fresh entry is the only candidate, the rest of the cache has room for it.
        if is_fresh && self.entries.is_empty() && fresh.is(&record) {
            let left = self.own_spares_left.get().checked_sub(1);
            self.own_spares_left.set(left.unwrap_or(OWN_SPARES)); // for the next search
            return left.map_or(SpareDecision::EndSearch, |_| SpareDecision::SpareOwn);
        }
        let left = self.spares_left.get();
        self.spares_left.set(left.saturating_sub(1));
        match left {
            0 => SpareDecision::Evict,
            _ if self.is_own_write(record) || fresh.has(&record) => SpareDecision::SpareOwn,
            _ => SpareDecision::SpareOther,
        }
    }

    fn publish(&self) {
        if self.pending.get() > SMALL_WEIGHT {
            self.account();
        }
    }

    #[cfg_attr(not(coeval_loom), inline(always))]
    fn evict(&self, entry: Handle) -> EvictionOutcome {
        self.evict_entry(entry, true)
    }

    #[inline]
    fn release(&self, entry: Handle) -> bool {
        let record = self.record(entry);
        record.clear_flags(flags::ADMITTED);
        step("evict.released");
        let is_value =
            self.newest_with_weight(record).is_some() && !mutant("evict.release_blindly");
        if is_value && record.set_flags(flags::ADMITTED) & flags::ADMITTED == 0 {
            return false;
        }
        self.engine.store.try_condemn(self.guard, record);
        true
    }
}
