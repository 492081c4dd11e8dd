//! Groups of a saved cache, put into a cache that other threads use already.
//!
//! A group is set by one commit, which takes a new number, because a view that is open must not
//! change. The commit is made only if no member was written, removed or cleared since the restore
//! began: all that came since has a larger number than the file, or has left a mark
//! (`gone_marks.rs`). So a member that is as old as the file never stands beside a newer one. For
//! that, the members that are not set themselves count, too: the commit has a witness for each.

use super::Engine;
use super::observers::Observers;
use super::plan::Plan;
use super::restore::ToRestore;
use super::terms::RequestedTerms;
use super::transact::demand_tags;
use crate::chain::{Parcel, RecordRef};
use crate::commit::Precondition;
use crate::config::ConfigSnapshot;
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

impl<K, V> SavedGroup<K, V> {
    fn keys(&self) -> impl Iterator<Item = &K> {
        self.members.iter().map(|member| &member.key).chain(&self.absent)
    }
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

/// What restores one group after another under one guard. Its lists are empty between groups, and
/// keep their memory.
struct GroupWork<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    engine: &'r Engine<K, V, S, R>,
    guard: &'g R::Guard<'r>,
    config: &'g ConfigSnapshot<'r, K, V>,
    /// The version of the file.
    version: u64,
    /// The time from which the times of the entries count.
    since: u64,
    /// The records of the group, which are held.
    records: Vec<RecordRef<'g, K, V>>,
    writes: Vec<MemberWrite<'r, 'g, K, V, S, R>>,
    /// The hashes of the tags.
    tags: Vec<u32>,
    preconditions: Vec<(RecordRef<'g, K, V>, Precondition)>,
    /// The addresses of the records that are written, and the ranks of their values.
    ranks: Vec<(usize, Rank)>,
}

/// A member that is to be set.
struct MemberWrite<'r, 'g, K, V, S, R: Reclaim> {
    record: RecordRef<'g, K, V>,
    value: Parcel<V>,
    rank: Rank,
    /// Apart, as most members request nothing.
    requested: Option<Box<MemberTerms<'r, K, V, S, R>>>,
}

/// The terms that a member requests, and what ties it to its tags.
struct MemberTerms<'r, K, V, S, R: Reclaim> {
    terms: RequestedTerms,
    ties: Option<Ties<'r, K, V, S, R>>,
}

/// The tags of a member.
type Ties<'r, K, V, S, R> = BondsBuilder<'r, K, V, S, R, Observers<K, V>>;

impl<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> GroupWork<'g, 'r, K, V, S, R> {
    fn new(
        engine: &'r Engine<K, V, S, R>,
        (guard, config): (&'g R::Guard<'r>, &'g ConfigSnapshot<'r, K, V>),
        (version, since): (u64, u64),
    ) -> Self {
        Self {
            engine,
            guard,
            config,
            version,
            since,
            records: Vec::new(),
            writes: Vec::new(),
            tags: Vec::new(),
            preconditions: Vec::new(),
            ranks: Vec::new(),
        }
    }

    /// Lets go of the records.
    fn release(&mut self) {
        while let Some(record) = self.records.pop() {
            record.let_go();
            self.engine.store.condemn_or_queue(self.guard, record);
        }
    }
}

impl<K, V, S, R: Reclaim> Drop for GroupWork<'_, '_, K, V, S, R> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<'g, 'r, K, V, S, R> GroupWork<'g, 'r, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Restores a group.
    fn restore(&mut self, group: SavedGroup<K, V>) -> GroupOutcome {
        let (store, guard) = (&self.engine.store, self.guard);
        if store.watermark(store.live(guard)) > self.version {
            return GroupOutcome::Superseded;
        }
        if !self.engine.has_room_for(guard, &group) {
            return GroupOutcome::LeftOut;
        }
        let early = planted("gone.looked_first").then(|| self.engine.is_any_noted(&group));
        step("restore.to_hold");
        let absent = self.hold_all(group);
        // Partners: the fences in `GoneMarks::note_now`, `remove` and `lease_held_record`.
        fence(Ordering::SeqCst);
        step("restore.held");
        // If there is another holder, somebody loads the key. (Or a file that was forged has it
        // twice in one group.) Looked for as late as possible: the loads that begin from here on
        // are refused, if they began before the commit.
        let is_restored = !early.unwrap_or_else(|| self.is_gone())
            && !self.records.iter().any(|record| record.holds() > 1)
            && self.set_all(absent);
        self.writes.clear();
        self.tags.clear();
        self.release();
        if is_restored { GroupOutcome::Restored } else { GroupOutcome::Superseded }
    }

    /// Holds the record of a key, which is made if there is none.
    fn hold(&mut self, key: K) -> RecordRef<'g, K, V> {
        let store = &self.engine.store;
        let record = store.locate(self.guard, store.hash(&key), key, None);
        record.hold();
        self.records.push(record);
        record
    }

    /// Holds the records of all keys of a group, and notes what is to be written. Returns how many
    /// of the records, the first ones, are not to be written.
    fn hold_all(&mut self, SavedGroup { members, absent }: SavedGroup<K, V>) -> usize {
        let Self { engine, guard, .. } = *self;
        absent.into_iter().for_each(|key| _ = self.hold(key));
        let absent = self.records.len();
        for ToRestore { key, value, rank, weight, terms, .. } in members {
            let record = self.hold(key);
            let mut ties = None;
            for tag in terms.iter().flat_map(|terms| &terms.tags) {
                let (hash, builder) = (engine.hash(tag), || BondsBuilder::new(&engine.store));
                let cell = engine.store.find_or_create_tag(guard, hash, tag);
                ties.get_or_insert_with(builder).add_tag(cell, self.version);
                self.tags.push(hash);
            }
            let requested = engine.terms_to_restore(terms.as_deref(), weight, self.since);
            let requested = requested.map(|terms| Box::new(MemberTerms { terms, ties }));
            let mut place = Parcel::empty();
            place.put(value);
            self.writes.push(MemberWrite { record, value: place, rank, requested });
        }
        absent
    }

    /// Whether there is a mark of a key or a tag of the group.
    fn is_gone(&self) -> bool {
        let gone = &self.engine.observers().gone;
        self.records.iter().any(|record| gone.is_noted(record.hash()))
            || self.tags.iter().any(|tag| gone.is_noted(*tag))
    }

    /// Sets all members by one commit, unless a record was written or cleared. The first `absent`
    /// records are only looked at. Returns whether it has set them. No user code runs here. A panic
    /// in it would separate the bonds from their versions.
    fn set_all(&mut self, absent: usize) -> bool {
        let Self { engine, guard, config, version, .. } = *self;
        let Self { records, writes, preconditions, ranks, .. } = self;
        let mut plan = Plan::new(engine, guard, config);
        preconditions.clear();
        ranks.clear();
        for MemberWrite { record, mut value, rank, requested } in writes.drain(..) {
            let limit = if planted("gone.newer_unchecked") { u64::MAX } else { version };
            preconditions.push((record, Precondition::UnchangedSince(limit)));
            let requested = requested.map(|requested| {
                let MemberTerms { mut terms, ties } = *requested;
                terms.bonds = ties.and_then(|ties| ties.into_bonds(guard));
                if let Some(bonds) = &terms.bonds {
                    let mut demands = Vec::new();
                    demand_tags(&mut demands, record, bonds, version);
                    preconditions.extend(demands);
                }
                terms
            });
            ranks.push((ptr::from_ref(record.get()).addr(), rank));
            plan.push(record, Some(&mut value), requested, false, None);
        }
        if absent > 0 {
            let unset = records[..absent].iter().copied();
            plan.set.witness(unset.clone());
            let unchanged = |record| (record, Precondition::UnchangedSince(version));
            preconditions.extend(unset.map(unchanged));
        }
        let decided = engine.run(&mut plan, preconditions);
        if decided.is_committed() {
            engine.set_hits(&decided, ranks);
            return true;
        }
        decided.take_values(|_, unset| drop(unset));
        false
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

    /// Takes these groups, and sets the members of each by one commit, unless one of them was
    /// written, removed or cleared since the restore of a file of this version began. `of` has the
    /// version, and the time from which the times of the entries count. `note` hears what became of
    /// each group, and the number of its members. The caller passes few groups at a time, because
    /// one guard is live for all of them.
    pub fn restore_groups(
        &self,
        groups: &mut Vec<SavedGroup<K, V>>,
        of: (u64, u64),
        mut note: impl FnMut(GroupOutcome, u64),
    ) {
        let unwound = self.collect_on_unwind();
        {
            let config = self.observers().config.snapshot();
            let guard = self.pin();
            for key in groups.iter().flat_map(SavedGroup::keys) {
                let hash = self.hash(key);
                self.store.prefetch_bucket(&guard, hash);
                self.store.prefetch_home(hash);
            }
            let mut work = GroupWork::new(self, (&guard, &config), of);
            for group in groups.drain(..) {
                let members = group.members.len() as u64;
                note(work.restore(group), members);
            }
        }
        std::mem::forget(unwound);
        self.tend_after_several();
    }

    /// Returns whether the bound leaves room for a group.
    fn has_room_for(&self, guard: &R::Guard<'_>, group: &SavedGroup<K, V>) -> bool {
        let Some(policy) = &self.policy else { return true };
        let weights = group.members.iter().map(|member| u64::from(member.weight.amount));
        let weight: u64 = weights.sum();
        self.store.era(guard).weight().saturating_add(weight) <= policy.capacity()
    }

    /// Whether there is a mark of a key of this group.
    fn is_any_noted(&self, group: &SavedGroup<K, V>) -> bool {
        group.keys().any(|key| self.observers().gone.is_noted(self.store.hash(key)))
    }

    /// Gives the values that a commit has set their former hits. `ranks` has the addresses of their
    /// records.
    fn set_hits<'g>(&self, decided: &Decided<'g, K, V>, ranks: &mut [(usize, Rank)])
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
        for ((_, node, _), &mut (_, rank)) in writes.zip(ranks) {
            let state = node.state();
            if state.is_value() {
                node.set_hits_left(state, HITS - rank.hits());
            }
        }
    }
}
