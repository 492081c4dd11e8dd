//! Groups of a saved cache, put into a cache that other threads use already.
//!
//! A group is set by one commit, which takes a new number, because a view that is open must not
//! change. The commit is made only if no member was written, removed or cleared since the restore
//! began: all that came since has a larger number than the file, or has left a mark
//! (`gone_marks.rs`). So a member that is as old as the file never stands beside a newer one. For
//! that, the members that are not set themselves count, too: the commit has a witness for each.

use super::Engine;
use super::plan::Plan;
use super::restore::ToRestore;
use super::transact::demand_tags;
use crate::chain::{Parcel, RecordRef};
use crate::commit::Precondition;
use crate::dependencies::BondsBuilder;
use crate::policy::{HITS, Rank};
use crate::reclaim::Reclaim;
use crate::store::Decided;
use crate::sync::hook::{planted, step};
use crate::sync::{Ordering, fence};
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// The entries that one commit wrote. Most commits write one.
pub struct SavedGroup<K, V> {
    /// Those that are to be set.
    pub members: SmallVec<[ToRestore<K, V>; 1]>,
    /// The keys of the others, which have expired or for which there is no room.
    pub absent: Vec<K>,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOutcome {
    /// All its members are set.
    Restored,
    /// A member was written, removed or cleared since the restore began, or somebody holds its
    /// record: it is being loaded, or a value was derived from its absence.
    Superseded,
    /// The cache has no room for it.
    LeftOut,
}

/// The records of a group, which are held until this is dropped.
struct HeldMembers<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    engine: &'r Engine<K, V, S, R>,
    guard: &'g R::Guard<'r>,
    records: SmallVec<[RecordRef<'g, K, V>; 4]>,
}

impl<'g, K, V, S, R> HeldMembers<'g, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Holds the record of a key, which is made if there is none.
    fn hold(&mut self, key: K) -> RecordRef<'g, K, V> {
        let store = &self.engine.store;
        let record = store.locate(self.guard, store.hash(&key), key, None);
        record.hold();
        self.records.push(record);
        record
    }
}

impl<K, V, S, R: Reclaim> Drop for HeldMembers<'_, '_, K, V, S, R> {
    fn drop(&mut self) {
        for record in &self.records {
            record.let_go();
            self.engine.store.condemn_or_queue(self.guard, *record);
        }
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Makes a new cache ready for groups of a file with this version. No other thread knows the
    /// cache yet. All its commits will have larger numbers.
    pub fn begin_restore(&self, version: u64) {
        self.store.order.clock.advance_to(version);
        self.observers().gone.begin();
    }

    /// Ends the restore.
    pub fn end_restore(&self) {
        self.observers().gone.end();
    }

    /// Sets the members of a group by one commit, unless one of them was written, removed or
    /// cleared since the restore of the file with this version began. Their times count from
    /// `since`.
    pub fn restore_group(&self, group: SavedGroup<K, V>, version: u64, since: u64) -> GroupOutcome {
        let unwound = self.collect_on_unwind();
        let outcome = {
            let guard = self.pin();
            if self.store.watermark(self.store.live(&guard)) > version {
                GroupOutcome::Superseded
            } else if !self.has_room_for(&guard, &group) {
                GroupOutcome::LeftOut
            } else if self.restore_members(&guard, group, version, since) {
                GroupOutcome::Restored
            } else {
                GroupOutcome::Superseded
            }
        };
        std::mem::forget(unwound);
        self.tend();
        outcome
    }

    /// Returns whether the bound leaves room for a group.
    fn has_room_for(&self, guard: &R::Guard<'_>, group: &SavedGroup<K, V>) -> bool {
        let Some(policy) = &self.policy else { return true };
        let weights = group.members.iter().map(|member| u64::from(member.weight));
        let weight: u64 = weights.sum();
        self.store.era(guard).weight().saturating_add(weight) <= policy.capacity()
    }

    /// Whether there is a mark of a key of this group.
    fn is_any_noted(&self, group: &SavedGroup<K, V>) -> bool {
        let mut keys = group.members.iter().map(|member| &member.key).chain(&group.absent);
        keys.any(|key| self.observers().gone.is_noted(self.store.hash(key)))
    }

    /// Returns whether it has set the members.
    fn restore_members<'r>(
        &'r self,
        guard: &R::Guard<'r>,
        group: SavedGroup<K, V>,
        version: u64,
        since: u64,
    ) -> bool {
        let early = planted("gone.looked_first").then(|| self.is_any_noted(&group));
        step("restore.to_hold");
        let SavedGroup { members, absent } = group;
        let records = SmallVec::with_capacity(members.len() + absent.len());
        let mut held = HeldMembers { engine: self, guard, records };
        absent.into_iter().for_each(|key| _ = held.hold(key));
        let absent = held.records.len();
        let mut tags = SmallVec::<[_; 4]>::new();
        let mut writes = SmallVec::<[_; 1]>::with_capacity(members.len());
        for ToRestore { key, value, rank, weight, terms, .. } in members {
            let record = held.hold(key);
            let mut ties = None;
            for tag in terms.iter().flat_map(|terms| &terms.tags) {
                let (hash, builder) = (self.hash(tag), || BondsBuilder::new(&self.store));
                let cell = self.store.find_or_create_tag(guard, hash, tag);
                ties.get_or_insert_with(builder).add_tag(cell, version);
                tags.push(hash);
            }
            let mut place = Parcel::empty();
            place.put(value);
            // Apart, as most entries have none.
            let requested = self.terms_to_restore(terms.as_deref(), weight, since);
            let requested = requested.map(|requested| Box::new((requested, ties)));
            writes.push((record, place, requested, rank));
        }
        // Partners: the fences in `GoneMarks::note_now`, `remove` and `lease_held_record`.
        fence(Ordering::SeqCst);
        step("restore.held");
        // If there is another holder, somebody loads the key. (Or a file that was forged has it
        // twice in one group.) Looked for as late as possible: the loads that begin from here on
        // are refused, if they began before the commit.
        let gone = &self.observers().gone;
        let is_taken = |record: &RecordRef<'_, K, V>| record.holds() > 1;
        let mut hashes = held.records.iter().map(|record| record.hash()).chain(tags);
        let is_gone = || hashes.any(|hash| gone.is_noted(hash));
        if held.records.iter().any(is_taken) || early.unwrap_or_else(is_gone) {
            return false;
        }
        // No user code runs from here on. A panic in it would separate the bonds from their
        // versions.
        let config = self.observers().config.snapshot();
        let mut plan = Plan::new(self, guard, &config);
        let mut preconditions = SmallVec::<[_; 1]>::with_capacity(writes.len());
        let mut ranks = SmallVec::<[_; 1]>::with_capacity(writes.len());
        for (record, mut place, requested, rank) in writes {
            let limit = if planted("gone.newer_unchecked") { u64::MAX } else { version };
            preconditions.push((record, Precondition::UnchangedSince(limit)));
            let requested = requested.map(|requested| {
                let (mut requested, ties) = *requested;
                requested.bonds = ties.and_then(|ties| ties.into_bonds(guard));
                if let Some(bonds) = &requested.bonds {
                    let mut demands = Vec::new();
                    demand_tags(&mut demands, record, bonds, version);
                    preconditions.extend(demands);
                }
                requested
            });
            ranks.push((ptr::from_ref(record.get()).addr(), rank));
            plan.push(record, Some(&mut place), requested, false, None);
        }
        if absent > 0 {
            let unset = held.records[..absent].iter().copied();
            plan.set.witness(unset.clone());
            let unchanged = |record| (record, Precondition::UnchangedSince(version));
            preconditions.extend(unset.map(unchanged));
        }
        let decided = self.run(plan, &preconditions);
        if decided.is_committed() {
            self.set_hits(&decided, ranks);
            return true;
        }
        decided.take_values(|_, unset| drop(unset));
        false
    }

    /// Gives the values that a commit has set their former hits. `ranks` has the addresses of their
    /// records.
    fn set_hits<'g>(&self, decided: &Decided<'g, K, V>, mut ranks: SmallVec<[(usize, Rank); 1]>)
    where
        K: 'g,
        V: 'g,
    {
        if self.policy.is_none() {
            return;
        }
        ranks.sort_unstable_by_key(|(address, _)| *address);
        // Both are in the order of the addresses. A witness has no cause.
        let writes = decided.writes().filter(|(.., cause)| cause.is_some());
        for ((_, node, _), (_, rank)) in writes.zip(ranks) {
            let state = node.state();
            if state.is_value() {
                node.set_hits_left(state, HITS - rank.hits());
            }
        }
    }
}
