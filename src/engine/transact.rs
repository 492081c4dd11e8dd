//! Transactions: reads as of one view, and one commit that takes effect only if nothing that was
//! read has changed since.
//!
//! This is optimistic concurrency control (Kung and Robinson, "On optimistic methods for
//! concurrency control", 1981). The verdict of the commit is the validation: each key that was read
//! must be unchanged. On a key that was read and is not written, the commit puts a *witness*, a
//! version that is never visible. Like any version, it keeps later writers of the key waiting for
//! the verdict, which they help to find. All helpers find the same verdict, because they compare
//! the precondition with the version below the witness. So there is no write skew. The witness is
//! removed a grace period later.

use super::Engine;
use super::changes::{Change, Changes, WriteTerms};
use super::plan::Plan;
use super::views::EngineView;
use crate::chain::{Bonds, EntryTerms, HeldRecord, Parcel, RecordRef};
use crate::commit::{Precondition, ReadAt, Resolved};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::{Snapshot, cells_of};
use crate::sync::hook::{mutant, planted, step};
use crate::sync::time::NEVER;
use crate::version::Version;
use equivalent::Equivalent;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr::{self, NonNull};

/// One attempt of a transaction: the keys that it has read in its view, and the writes that it has
/// planned.
pub struct Attempt<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    reads: ViewReads<'e, K, V, S, R>,
    pub changes: Changes<K, V>,
}

/// What an attempt has read in its view of one cache.
pub(super) struct ViewReads<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    pub view: EngineView<'e, K, V, S, R>,
    pub reads: ReadSet<'e, K, V, S, R>,
    /// The hashes of the keys that were read and of which there was no record.
    pub unknown: Vec<u32>,
}

/// The records of the keys that were read. Each is held once for each time that it occurs here. A
/// few need no memory of their own, because most transactions read few keys.
pub(super) struct ReadSet<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    records: SmallVec<[HeldRecord<K, V>; 4]>,
    /// Whether a record could not be held, because it has too many holds.
    is_incomplete: bool,
}

/// The preconditions of a commit, with their records.
pub(super) type Demands<'g, K, V> = Vec<(RecordRef<'g, K, V>, Precondition)>;

impl<K, V, S, R: Reclaim> Drop for ReadSet<'_, K, V, S, R> {
    fn drop(&mut self) {
        {
            let guard = self.engine.pin();
            for record in self.records.drain(..) {
                let record = record.kept(self.engine.store.live(&guard));
                record.let_go();
                self.engine.store.condemn_or_queue(&guard, record);
            }
        }
        self.engine.collect_some();
    }
}

impl<'e, K, V, S, R> Attempt<'e, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(engine: &'e Engine<K, V, S, R>) -> Self {
        let (reads, changes) = (ViewReads::new(engine, engine.open_view()), engine.changes());
        Self { engine, reads, changes }
    }

    /// Returns the number of planned writes.
    pub fn writes(&self) -> usize {
        self.changes.len()
    }

    /// Returns the version as of which the transaction reads.
    pub fn version(&self) -> Version {
        Version::from_u64(self.reads.view.snapshot().version())
    }

    /// Passes the value that this transaction plans to write to `key`, otherwise the one in the
    /// view, to `give`.
    pub fn read<Q, T>(&mut self, key: &Q, give: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.reads.read(&self.changes, key, give)
    }

    /// Plans to set `key`, with its declared relations.
    pub fn set(&mut self, key: K, value: V, terms: WriteTerms) {
        self.changes.set(self.engine.hash(&key), key, value, terms);
    }

    /// Plans to remove `key`, with its declared relations if `related`.
    pub fn remove(&mut self, key: K, related: bool) {
        self.changes.remove(self.engine.hash(&key), key, related);
    }

    /// Commits the planned writes, if everything that was read is unchanged. Otherwise returns
    /// `None`.
    pub fn commit(self) -> Option<Version> {
        let Self { engine, reads: ViewReads { view, reads, unknown, .. }, mut changes } = self;
        if changes.is_empty() {
            reads.note_uses(&engine.pin());
            // all reads are valid as of the view
            return Some(Version::from_u64(view.snapshot().version()));
        }
        let committed = {
            let guard = engine.pin();
            let config = engine.observers().config.snapshot();
            let mut plan = Plan::new(engine, &guard, &config);
            plan.add_changes(&mut changes);
            engine.keep_changes(changes);
            // SAFETY: the view is registered until the commit is decided.
            let kept = unsafe { plan.read_preserved(view.snapshot()) };
            let preconditions = reads.preconditions(&guard, view.snapshot(), kept);
            preconditions.ok_or_else(Vec::new).and_then(|mut preconditions| {
                let (first, since) = (plan.set.record(0), view.snapshot().version());
                preconditions.extend(unknown.iter().map(|hash| {
                    let key = engine.store.unknown_key(*hash);
                    (first, Precondition::UnknownSince(key, since))
                }));
                if mutant("transact.reads_unwitnessed") {
                    preconditions.clear();
                }
                plan.set.witness(preconditions.iter().map(|(record, _)| *record));
                step("transact.planned");
                // The view must stay open until the verdict. The superseded versions need not wait
                // for it.
                let decided = engine.run_then(&mut plan, &preconditions, || view.close(&guard));
                if let Some(commit) = decided.commit() {
                    reads.note_uses(&guard);
                    return Ok(Version::from_u64(commit.version()));
                }
                let mut values = Vec::new();
                decided.take_values(|_, unset| unset.give_back(Parcel::add_to(&mut values)));
                Err(values)
            })
        };
        if committed.is_err() {
            let hash = unknown.first().copied();
            engine.observers().conflicted(hash.unwrap_or_else(|| reads.hash()));
        }
        engine.tend_after_several();
        committed.ok()
    }
}

impl<'e, K, V, S, R> ViewReads<'e, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(engine: &'e Engine<K, V, S, R>, view: EngineView<'e, K, V, S, R>) -> Self {
        let reads = ReadSet { engine, records: SmallVec::new(), is_incomplete: false };
        Self { engine, view, reads, unknown: Vec::new() }
    }

    /// Passes the value that these changes write to `key`, otherwise the one in the view, to
    /// `give`. Notes what was read in the view.
    pub fn read<Q, T>(
        &mut self,
        changes: &Changes<K, V>,
        key: &Q,
        give: impl FnOnce(&V) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let engine = self.engine;
        let hash = engine.hash(key);
        let is_it = |change: &&Change<K, V>| change.hash == hash && key.equivalent(&change.key);
        if let Some(change) = changes.list.iter().rev().find(is_it) {
            return change.value.get().map(give);
        }
        let guard = engine.pin();
        let Some(record) = engine.store.find_alive(&guard, hash, key) else {
            self.unknown.push(hash);
            return None;
        };
        self.reads.note(&guard, record);
        if planted("transact.reads_newest") {
            return engine.newest::<Q, false>(&guard, key).map(|found| give(found.value()));
        }
        engine.read_record(record, self.view.snapshot()).map(|found| give(found.value()))
    }
}

impl<K, V, S, R: Reclaim> ReadSet<'_, K, V, S, R> {
    /// Holds a record that was located under the guard.
    fn note(&mut self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if let Some(held) = record.try_to_hold() {
            self.records.push(held);
        } else {
            self.is_incomplete = true;
            self.engine.store.try_condemn(guard, record);
        }
    }

    /// Counts a use of everything that was read, if the policy or a deadline depends on uses.
    /// Called after the commit.
    pub fn note_uses(&self, guard: &R::Guard<'_>) {
        let engine = self.engine;
        if engine.policy.is_none() && !engine.deadlines.may_be() {
            return;
        }
        let moment = Moment::new(&engine.timer);
        for record in &self.records {
            // As by a look-up that counts.
            engine.store.present(record.kept(engine.store.live(guard)), true, &moment);
        }
    }

    /// Returns the hash of the first key, for the recorder.
    pub fn hash(&self) -> u32 {
        let first = self.records.first();
        let guard = self.engine.pin();
        first.map_or(0, |record| record.kept(self.engine.store.live(&guard)).hash())
    }

    /// Returns the preconditions for everything that was read in a view, for these located records
    /// as well, and for all their direct and indirect inputs. Returns `None` if one of the records
    /// cannot be a precondition.
    pub fn preconditions<'g: 'v, 'v>(
        &'g self,
        guard: &'g R::Guard<'_>,
        snapshot: &'v Snapshot,
        mut todo: Vec<RecordRef<'g, K, V>>,
    ) -> Option<Demands<'g, K, V>> {
        let address = |record: &RecordRef<'g, K, V>| ptr::from_ref(record.get());
        let live = self.engine.store.live(guard);
        todo.extend(self.records.iter().map(|record| record.kept(live)));
        todo.sort_unstable_by_key(address);
        todo.dedup_by_key(|record| address(record));
        let at = snapshot.at(live);
        let was_in_time = |terms: &EntryTerms| !terms.is_expired(snapshot.opened());
        let is_lastingly_absent =
            |held: Resolved<'v, V>| self.engine.is_lastingly_absent(held, snapshot.opened(), at);
        let as_of = (snapshot.version(), at);
        let preconditions =
            || self.engine.preconditions(todo, as_of, was_in_time, is_lastingly_absent);
        (!self.is_incomplete).then(preconditions)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns preconditions that these records, which are held, and their direct and indirect
    /// inputs are unchanged. No commit after the number `since` may have written them; their
    /// versions are read at the instant `at`. A version that was not in time was absent. A record
    /// for which `is_lastingly_absent` holds is absent for good, so the precondition is only that
    /// it stays absent.
    pub(super) fn preconditions<'g: 'v, 'v>(
        &'g self,
        mut todo: Vec<RecordRef<'g, K, V>>,
        (since, at): (u64, ReadAt<'v>),
        was_in_time: impl Fn(&EntryTerms) -> bool,
        is_lastingly_absent: impl Fn(Resolved<'v, V>) -> bool,
    ) -> Demands<'g, K, V> {
        let (mut preconditions, mut known, mut next) =
            (Vec::with_capacity(2 * todo.len()), HashSet::new(), 0);
        // The first records were read themselves, the others are inputs. `absent` has the indexes
        // of preconditions.
        let (read, mut absent) = (todo.len(), Vec::new());
        while let Some(&record) = todo.get(next) {
            next += 1;
            let revived = record.revive();
            debug_assert!(revived, "a held record is not sealed");
            let held = self.store.order.resolve(record, at);
            let held = held.expect("the view or the guard keeps the version");
            let found = held.version();
            preconditions.push((record, Precondition::UnchangedSince(since)));
            if next <= read && is_lastingly_absent(held) {
                absent.push(preconditions.len() - 1);
                continue;
            }
            // The view or the guard keeps the version, and the version holds the records of its
            // inputs.
            let Some(terms) = found.and_then(|(node, _)| node.terms()) else { continue };
            if terms.deadline() != NEVER && was_in_time(terms) {
                preconditions.push((record, Precondition::IsInTime));
            }
            let Some(bonds) = found.and_then(|(node, _)| node.bonds()) else { continue };
            demand_tags(&mut preconditions, record, bonds, since);
            if known.is_empty() && !bonds.inputs().is_empty() {
                known.extend(todo.iter().map(|record| ptr::from_ref(record.get())));
            }
            for input in bonds.inputs().iter().filter(|input| known.insert(input.record())) {
                todo.push(self.store.record_of(record.live(), input));
            }
        }
        // A record that is absent for good stays absent after a clear. That does not suffice if a
        // value may have been derived from its absence: such a value ends with any change of the
        // record.
        if known.is_empty() {
            absent
                .into_iter()
                .for_each(|at: usize| preconditions[at].1 = Precondition::AbsentSince(since));
        }
        preconditions
    }

    /// Returns whether a version that a view keeps was a tombstone, cleared, invalidated by a tag,
    /// or expired when the view was opened. A value whose inputs have changed does not count,
    /// because it may become valid again.
    fn is_lastingly_absent<'g>(&self, held: Resolved<'g, V>, opened: u64, at: ReadAt<'g>) -> bool {
        let Some(found) = held.value() else { return true };
        let stays = |bonds: &Bonds| self.store.are_tags_valid(bonds.tags(), found.number(), at);
        found.is_expired(opened) || !found.bonds().is_none_or(stays)
    }
}

/// Adds preconditions that no tag of a value is invalidated after a number. The version must be
/// kept meanwhile.
pub(super) fn demand_tags<'g, K, V>(
    preconditions: &mut Demands<'g, K, V>,
    record: RecordRef<'g, K, V>,
    bonds: &Bonds,
    since: u64,
) {
    for (cell, _) in cells_of(bonds).filter(|_| !mutant("transact.tags_undemanded")) {
        let ended = NonNull::from(&cell.ended);
        preconditions.push((record, Precondition::NotEndedSince(ended, since)));
    }
}
